package gossip

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// What one peer can make a node of a hundred members send, in half an hour,
// whatever it does: what a member costs that starts anew all the time.
func TestOnePeerIsBounded(t *testing.T) {
	random := func(b *box, n int, seq uint64) []wire.Entry {
		entries := make([]wire.Entry, n)
		for i := range entries {
			entries[i] = wire.Entry{Node: wire.NodeHash(b.rng.Uint64()), Seq: seq}
		}
		slices.SortFunc(entries, byHash)
		return entries
	}
	for _, c := range []struct {
		name string
		do   func(b *box, liar *host)
	}{
		{"wants everything again and again", func(b *box, liar *host) {
			entries := entriesOf(b.members...)
			for i := range entries {
				entries[i].Seq = 0
			}
			b.want(liar, entries[:64]...)
			b.want(liar, entries[64:]...)
		}},
		{"wants what does not exist", func(b *box, liar *host) { b.want(liar, random(b, 64, 0)...) }},
		{"has nothing", func(b *box, liar *host) { b.digest(liar, wire.Digest{Last: wire.LastHash}) }},
		{"has nothing of a few", func(b *box, liar *host) {
			h := b.members[b.rng.IntN(100)].entry().Node
			b.digest(liar, wire.Digest{From: h, Last: h})
		}},
		{"has other sums", func(b *box, liar *host) {
			sums := make([]uint64, 128)
			for i := range sums {
				sums[i] = b.rng.Uint64()
			}
			b.digest(liar, wire.Digest{Sums: sums})
		}},
		{"invents nodes", func(b *box, liar *host) { b.digest(liar, wire.Digest{Entries: random(b, 64, 1)}) }},
		{"invents numbers", func(b *box, liar *host) {
			entries := entriesOf(b.members[:64]...)
			for i := range entries {
				entries[i].Seq = math.MaxUint64 - uint64(b.rng.IntN(100))
			}
			b.digest(liar, wire.Digest{Entries: entries})
		}},
		{"says that it has all", func(b *box, liar *host) {
			b.digest(liar, wire.Digest{Sums: b.h.g.set.view(b.w.now).sumsOf(128)})
		}},
		{"follows and does not", func(b *box, liar *host) {
			b.digest(liar, wire.Digest{Sums: b.h.g.set.view(b.w.now).sumsOf(1), Follow: b.rng.IntN(2) == 0})
		}},
		{"comes and goes", func(b *box, liar *host) {
			b.digest(liar, wire.Digest{Last: wire.LastHash})
			b.h.g.SetPeer(b.w.now, liar.node, false)
			b.peer(liar)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t, 1, 100)
			liar, honest := b.member(), b.members[0]
			b.peer(liar)
			b.peer(honest)
			b.pass(time.Minute)
			var out []Output
			for range 1800 * 4 {
				c.do(b, liar)
				out = append(out, b.pass(250*time.Millisecond)...)
			}
			n := 0
			for _, o := range out {
				if o.To == liar.node {
					n++
				}
			}
			// One a second is heard, and one a second is owed; after a comparison
			// of each 2 s.
			if limit := 96 + 264 + 1800 + 1800 + 900; n > limit {
				t.Errorf("a liar was sent %d datagrams in half an hour, at most %d are due", n, limit)
			}
			if n := len(b.h.g.asked) + b.h.g.offered; n > maxOffers+maxAsked {
				t.Errorf("%d asked for and offered", n)
			}
			checkOffered(t, b.h.g)

			// The honest one is served as if nothing had been.
			b.w.now = b.w.now.Add(time.Second)
			news := b.member()
			if got := b.digest(honest, wire.Digest{Entries: entriesOf(news)}); got != "" {
				t.Errorf("the honest peer's digest is dropped: %s", got)
			}
			c.do(b, liar)
			if ws := wantsTo(b.pass(50*time.Millisecond), honest); len(ws) != 1 {
				t.Errorf("the honest peer is asked %d times for what it has", len(ws))
			}
			b.learn(news, honest.node)
			wants := entriesOf(b.members[50:]...)
			for i := range wants {
				wants[i].Seq = 0
			}
			if got := b.want(honest, wants...); got != "" {
				t.Errorf("the honest peer's want is dropped: %s", got)
			}
			c.do(b, liar)
			if n := len(introducedTo(t, b.pass(1500*time.Millisecond), honest)); n < 50 {
				t.Errorf("the honest peer was sent %d of 50 records", n)
			}
		})
	}
}

// A liar that claims a newer record of somebody does not keep the true one from
// being asked for or told.
func TestClaimOfNewer(t *testing.T) {
	b := newBox(t, 1, 10)
	liar, honest := b.member(), b.member()
	b.peer(liar)
	b.peer(honest)
	b.pass(time.Minute)
	m := b.members[3]
	claim := m.entry()
	claim.Seq = math.MaxUint64
	b.digest(liar, wire.Digest{Entries: []wire.Entry{claim}})
	if ws := wantsTo(b.out(), liar); len(ws) != 1 {
		t.Fatalf("asked %d times", len(ws))
	}
	b.w.now = b.w.now.Add(time.Millisecond)
	m.sign()
	b.digest(honest, wire.Digest{Entries: entriesOf(m)})
	out := b.pass(answerWait + 100*time.Millisecond)
	if ws := wantsTo(out, honest); len(ws) != 1 {
		t.Fatalf("who has it is asked %d times", len(ws))
	}
	b.learn(m, honest.node)
	if out := b.pass(time.Second); len(introducedTo(t, out, liar))+announcedTo(out, liar, m) == 0 {
		t.Error("the news is not told")
	}
}

func announcedTo(out []Output, to, about *host) (n int) {
	for _, d := range digestsTo(out, to) {
		if slices.Contains(d.Entries, about.entry()) {
			n++
		}
	}
	return n
}

// One who sends news all the time has little of it pushed on, and all of it
// told.
func TestFloodOfNews(t *testing.T) {
	b := newBox(t, 1, 0)
	liar, honest := b.member(), b.member()
	b.peer(liar)
	b.peer(honest)
	b.pass(time.Minute)
	var out []Output
	const n = 500
	var last *host
	for range n {
		last = b.member()
		b.learn(last, liar.node)
		out = append(out, b.pass(10*time.Millisecond)...)
	}
	out = append(out, b.pass(time.Second)...)
	pushed := len(introducedTo(t, out, honest))
	if limit := int(newsLimit.burst + 7*newsLimit.rate); pushed > limit {
		t.Errorf("%d of %d records are pushed on, want at most %d", pushed, n, limit)
	}
	if len(out) > pushed+n/10 {
		t.Errorf("%d datagrams about %d records", len(out), n)
	}
	if announcedTo(out, honest, last) == 0 {
		t.Error("the last of them is not told")
	}
}

// Hundreds of liars together cost no more than the budgets of all, and leave no
// more behind than the bounds.
func TestManyPeersAreBounded(t *testing.T) {
	b := newBox(t, 1, 300)
	g := b.h.g
	var liars []keys.NodePublic
	for range 300 {
		liars = append(liars, keys.NodePublic(b.w.bytes()))
		g.SetPeer(b.w.now, liars[len(liars)-1], true)
	}
	all := entriesOf(b.members...)
	sent := 0
	start := b.w.now
	for range 100 {
		for _, l := range liars {
			switch b.rng.IntN(4) {
			case 0:
				g.ReceiveDigest(b.w.now, l, wire.Digest{Last: wire.LastHash, Follow: true})
			case 1:
				i := b.rng.IntN(len(all) - wire.MaxEntries)
				wants := slices.Clone(all[i : i+wire.MaxEntries])
				for i := range wants {
					wants[i].Seq = 0
				}
				g.ReceiveWant(b.w.now, l, wire.Want{Entries: wants})
			case 2:
				var entries []wire.Entry
				for range wire.MaxEntries {
					entries = append(entries, wire.Entry{Node: wire.NodeHash(b.rng.Uint64()), Seq: 1})
				}
				slices.SortFunc(entries, byHash)
				g.ReceiveDigest(b.w.now, l, wire.Digest{Entries: entries})
			default:
				g.ReceiveDigest(b.w.now, l, wire.Digest{Sums: []uint64{b.rng.Uint64()}})
			}
		}
		sent += len(b.pass(50 * time.Millisecond))
		if g.offered > maxAllOffers || len(g.asked) > g.limit {
			t.Fatalf("%d offers, %d asked for", g.offered, len(g.asked))
		}
		for _, p := range g.order {
			if len(p.pushes) > maxPushes || len(p.announce) > maxAnnounce || len(p.copies) > maxOwed ||
				len(p.pages) > maxPages || len(p.offers) > maxOffers || p.asked > maxAsked || len(p.pushed) > maxPushes {
				t.Fatalf("of one peer: %d pushes, %d announced, %d owed, %d pages, %d offers, %d asked for",
					len(p.pushes), len(p.announce), len(p.copies), len(p.pages), len(p.offers), p.asked)
			}
		}
	}
	seconds := b.w.now.Sub(start).Seconds()
	if limit := 16 + 32 + 64 + int(300*seconds) + 10; sent > limit {
		t.Errorf("%d datagrams in %.0f s, want at most %d", sent, seconds, limit)
	}
	checkOffered(t, g)
	for _, l := range liars {
		g.SetPeer(b.w.now, l, false)
	}
	if g.offered != 0 || len(g.asked) != 0 || len(g.order) != 0 {
		t.Errorf("when all are gone, %d offers, %d asked for and %d peers are left", g.offered, len(g.asked), len(g.order))
	}
}

// checkOffered holds what is counted to what there is.
func checkOffered(t *testing.T, g *Gossip) {
	t.Helper()
	offered := 0
	asked := make(map[*peer]int)
	for _, a := range g.asked {
		asked[a.of]++
	}
	for _, p := range g.peers {
		offered += len(p.offers)
		if asked[p] != p.asked {
			t.Errorf("a peer was asked for %d records, %d are noted", p.asked, asked[p])
		}
	}
	if offered != g.offered {
		t.Errorf("%d offers are counted, there are %d", g.offered, offered)
	}
}
