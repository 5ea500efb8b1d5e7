package gossip

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

func TestSpread(t *testing.T) {
	// Members 0 to 3 are peers; 3 is not told what it has shown to have.
	for _, c := range []struct {
		name string
		do   func(b *box, about *host)
		want []int // who is introduced to it at once
	}{
		{"from elsewhere", func(b *box, about *host) { b.learn(about, keys.NodePublic{}) }, []int{0, 1, 2, 3}},
		{"from its node", func(b *box, about *host) { b.learn(about, about.node) }, []int{0, 1, 2, 3}},
		{"from a peer", func(b *box, about *host) { b.learn(about, b.members[1].node) }, []int{0, 2, 3}},
		{"from two peers", func(b *box, about *host) {
			b.learn(about, b.members[1].node)
			b.h.g.Learned(b.w.now, about.node, b.members[3].node)
		}, []int{0, 2}},
		{"a peer shows that it has it", func(b *box, about *host) {
			b.learn(about, b.members[1].node)
			b.digest(b.members[3], wire.Digest{Entries: entriesOf(about)})
		}, []int{0, 2}},
		{"a peer shows that it has an older one", func(b *box, about *host) {
			b.learn(about, b.members[1].node)
			old := about.entry()
			old.Seq--
			b.digest(b.members[3], wire.Digest{Entries: []wire.Entry{old}})
		}, []int{0, 2, 3}},
		{"twice", func(b *box, about *host) {
			b.learn(about, b.members[1].node)
			b.learn(about, b.members[1].node)
		}, []int{0, 2, 3}},
		{"two numbers at once", func(b *box, about *host) {
			b.learn(about, b.members[1].node)
			about.sign()
			b.learn(about, b.members[1].node)
		}, []int{0, 2, 3}},
		{"nothing in the book", func(b *box, about *host) { b.h.g.Learned(b.w.now, about.node, b.members[1].node) }, nil},
		{"as good as expired", func(b *box, about *host) {
			b.put(about, wire.MaxLifetime-time.Minute)
			b.h.g.Learned(b.w.now, about.node, b.members[1].node)
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t, 1, 4)
			for _, m := range b.members {
				b.peer(m)
			}
			b.pass(time.Minute)
			about := b.member()
			c.do(b, about)
			out := b.out()
			for i, m := range b.members {
				got := introducedTo(t, out, m)
				if want := slices.Contains(c.want, i); (len(got) == 1 && got[0] == about.node) != want || len(got) > 1 {
					t.Errorf("member %d is introduced to %d, want %t", i, len(got), want)
				}
			}
			if again := b.pass(time.Second); slices.ContainsFunc(again, func(o Output) bool { return o.Signal.Introduce != nil }) {
				t.Error("and told once more")
			}
		})
	}
}

// The record's own node is not told of it, unless it has an older one itself.
func TestOwnRecord(t *testing.T) {
	b := newBox(t, 1, 2)
	x, y := b.members[0], b.members[1]
	b.peer(x)
	b.peer(y)
	b.pass(time.Minute)
	x.sign()
	b.learn(x, x.node)
	if out := b.out(); len(introducedTo(t, out, x)) != 0 || len(introducedTo(t, out, y)) != 1 {
		t.Error("a node is told its own news")
	}

	first := b.h.signed
	b.h.sign()
	b.h.g.SetOwn(b.w.now, b.h.signed)
	if got := introducedTo(t, b.out(), x); !slices.Equal(got, []keys.NodePublic{b.h.node}) {
		t.Errorf("a new record of its own is told as %v", got)
	}
	b.h.g.SetOwn(b.w.now, first) // older than what was told
	b.h.g.SetOwn(b.w.now, x.signed)
	b.h.g.Learned(b.w.now, b.h.node, x.node)
	if out := b.pass(time.Second); len(introducedTo(t, out, x)) != 0 {
		t.Error("an older record of its own is told")
	}

	// Somebody claims to have a newer one: nobody can. Somebody has an older.
	b.pass(10 * time.Second)
	newer, older := b.h.entry(), b.h.entry()
	newer.Seq += 1000
	older.Seq--
	b.digest(x, wire.Digest{From: newer.Node, Last: newer.Node, Entries: []wire.Entry{newer}})
	b.digest(y, wire.Digest{From: newer.Node, Last: newer.Node, Entries: []wire.Entry{older}})
	out := b.out()
	if len(wantsTo(out, x)) != 0 {
		t.Error("a node asks for its own record")
	}
	if got := introducedTo(t, out, y); !slices.Equal(got, []keys.NodePublic{b.h.node}) {
		t.Errorf("who has an old record of this node is told of %d", len(got))
	}
}

func TestAgesGrow(t *testing.T) {
	b := newBox(t, 1, 1)
	b.peer(b.members[0])
	about := b.member()
	b.put(about, 3*time.Hour)
	b.h.g.Learned(b.w.now, about.node, keys.NodePublic{})
	b.w.now = b.w.now.Add(7 * time.Second)
	var got []time.Duration
	for _, o := range b.out() {
		if o.Signal.Introduce != nil {
			got = append(got, o.Signal.Introduce.Age)
		}
	}
	if !slices.Equal(got, []time.Duration{3*time.Hour + 7*time.Second}) && !slices.Equal(got, []time.Duration{7 * time.Second, 3*time.Hour + 7*time.Second}) {
		t.Errorf("told with ages %v", got)
	}
	b.w.now = b.w.now.Add(time.Hour)
	b.want(b.members[0], wire.Entry{Node: b.h.entry().Node})
	for _, o := range b.out() {
		if i := o.Signal.Introduce; i != nil && i.Age < time.Hour {
			t.Errorf("this node's own record is told with age %v an hour later", i.Age)
		}
	}
}

// A comparison heals what differs on either side.
func TestCompare(t *testing.T) {
	for _, c := range []struct {
		name       string
		known      int // records here
		digest     func(b *box) wire.Digest
		introduced int // to the peer, without being asked
		announced  int
		wanted     int
		pages      bool
	}{
		{"the same page", 10, func(b *box) wire.Digest {
			return wire.Digest{Last: wire.LastHash, Entries: b.h.g.set.view(b.w.now).entries}
		}, 0, 0, 0, false},
		{"the same sums", 100, func(b *box) wire.Digest {
			return wire.Digest{Sums: b.h.g.set.view(b.w.now).sumsOf(128)}
		}, 0, 0, 0, false},
		{"the same sum", 100, func(b *box) wire.Digest {
			return wire.Digest{Sums: b.h.g.set.view(b.w.now).sumsOf(1)}
		}, 0, 0, 0, false},
		{"it has nothing of few", 5, func(b *box) wire.Digest { return wire.Digest{Last: wire.LastHash} }, 6, 0, 0, false},
		{"it has nothing of many", 100, func(b *box) wire.Digest { return wire.Digest{Last: wire.LastHash} }, 0, 101, 0, false},
		{"it has more", 5, func(b *box) wire.Digest {
			return wire.Digest{Last: wire.LastHash, Entries: entriesOf(append(slices.Clone(b.members), b.h, b.member(), b.member())...)}
		}, 0, 0, 2, false},
		{"one newer, one older", 5, func(b *box) wire.Digest {
			entries := entriesOf(append(slices.Clone(b.members), b.h)...)
			for i, e := range entries {
				switch e.Node {
				case b.members[1].entry().Node:
					entries[i].Seq++
				case b.members[2].entry().Node:
					entries[i].Seq--
				}
			}
			return wire.Digest{Last: wire.LastHash, Entries: entries}
		}, 1, 0, 1, false},
		{"some entries, one of them news", 5, func(b *box) wire.Digest {
			return wire.Digest{Entries: entriesOf(b.members[3], b.member())}
		}, 0, 0, 1, false},
		{"a range that it has nothing in", 5, func(b *box) wire.Digest {
			h := b.members[3].entry().Node
			return wire.Digest{From: h, Last: h}
		}, 1, 0, 0, false},
		{"another sum", 100, func(b *box) wire.Digest { return wire.Digest{Sums: []uint64{1}} }, 0, 0, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t, 1, c.known)
			p := b.member()
			b.peer(p)
			b.pass(time.Minute) // the first comparison is over
			if reason := b.digest(p, c.digest(b)); reason != "" {
				t.Fatalf("dropped: %s", reason)
			}
			out := b.pass(100 * time.Millisecond)
			announced, wanted, pages := 0, 0, 0
			for _, d := range digestsTo(out, p) {
				if d.Last != 0 || len(d.Sums) > 0 {
					pages++
				} else {
					announced += len(d.Entries)
				}
			}
			for _, w := range wantsTo(out, p) {
				wanted += len(w.Entries)
			}
			if n := len(introducedTo(t, out, p)); n != c.introduced || announced != c.announced || wanted != c.wanted || (pages > 0) != c.pages {
				t.Errorf("%d introduced, %d announced, %d wanted, %d pages; want %d, %d, %d, %t", n, announced, wanted, pages,
					c.introduced, c.announced, c.wanted, c.pages)
			}
		})
	}
}

// The pages that answer sums are all of what differs.
func TestAnswerToSums(t *testing.T) {
	b := newBox(t, 1, 300)
	p := b.member()
	b.peer(p)
	b.pass(time.Minute)
	sums := slices.Clone(b.h.g.set.view(b.w.now).sumsOf(128))
	for _, i := range []int{3, 4, 5, 90} {
		sums[i]++
	}
	b.digest(p, wire.Digest{Sums: sums})
	ds := digestsTo(b.out(), p)
	for _, i := range []int{3, 4, 5, 90} {
		first, last := part(i, 128)
		if !slices.ContainsFunc(ds, func(d wire.Digest) bool { return d.From <= first && last <= d.Last }) {
			t.Errorf("part %d is in none of %d pages", i, len(ds))
		}
	}
	if len(ds) > 2 {
		t.Errorf("%d pages", len(ds))
	}
	for _, d := range ds {
		if want := b.h.g.set.view(b.w.now).within(d.From, d.Last); !slices.Equal(d.Entries, want) {
			t.Errorf("page %x to %x has %d entries, want %d", d.From, d.Last, len(d.Entries), len(want))
		}
	}
}

// What many have is asked of one of them; where it fails, of another.
func TestFetch(t *testing.T) {
	b := newBox(t, 1, 0)
	x, y := b.member(), b.member()
	b.peer(x)
	b.peer(y)
	b.pass(time.Minute)
	var news []*host
	for range 20 {
		news = append(news, b.member())
	}
	for _, p := range []*host{x, y} {
		b.digest(p, wire.Digest{Entries: entriesOf(news...)})
	}
	out := b.out()
	wx, wy := wantsTo(out, x), wantsTo(out, y)
	if len(wx)+len(wy) != 1 || len(slices.Concat(wx, wy)[0].Entries) != 20 {
		t.Fatalf("%d and %d wants", len(wx), len(wy))
	}
	asked, other := x, y
	if len(wy) > 0 {
		asked, other = y, x
	}
	// It sends five and falls silent.
	for _, m := range news[:5] {
		b.learn(m, asked.node)
	}
	if again := b.pass(answerWait - time.Millisecond); len(wantsTo(again, other)) != 0 {
		t.Error("another is asked while the first may still answer")
	}
	out = b.pass(time.Millisecond)
	if ws := wantsTo(out, other); len(ws) != 1 || len(ws[0].Entries) != 15 {
		t.Fatalf("the other is asked %d times after the first fell silent", len(ws))
	}
	if out = append(out, b.pass(comparePause)...); len(digestsTo(out, asked)) == 0 {
		t.Error("who has sent something is not compared with again")
	}
	// One that sends nothing at all is not asked for a while, and longer the next time.
	pause := answerWait
	b.pass(answerWait - comparePause)
	for range 3 {
		b.digest(other, wire.Digest{Entries: entriesOf(news...)})
		if out := b.pass(pause - time.Millisecond); len(wantsTo(out, other)) != 0 {
			t.Fatalf("asked again within %v", pause)
		}
		b.pass(time.Millisecond)
		b.digest(other, wire.Digest{Entries: entriesOf(news...)})
		if out := b.out(); len(wantsTo(out, other)) != 1 {
			t.Fatalf("not asked again after %v", pause)
		}
		b.pass(answerWait)
		pause *= 2
	}
}

// A thousand records come as fast as the budget allows, and no peer is asked for
// more than it should owe.
func TestFetchMany(t *testing.T) {
	b := newBox(t, 1, 0)
	p := b.member()
	b.peer(p)
	b.pass(time.Minute)
	var news []*host
	for range 200 {
		news = append(news, b.member())
	}
	byHash := make(map[wire.NodeHash]*host)
	for _, m := range news {
		byHash[m.entry().Node] = m
	}
	entries := entriesOf(news...)
	for chunk := range slices.Chunk(entries, wire.MaxEntries) {
		b.digest(p, wire.Digest{Entries: chunk})
	}
	var owed []*host
	most, compared := 0, false
	for range 400 {
		out := b.out()
		compared = len(digestsTo(out, p)) > 0
		for _, w := range wantsTo(out, p) {
			for _, e := range w.Entries {
				owed = append(owed, byHash[e.Node])
			}
		}
		most = max(most, len(owed))
		if len(owed) == 0 {
			break
		}
		b.learn(owed[0], p.node)
		owed = owed[1:]
		b.w.now = b.w.now.Add(10 * time.Millisecond)
	}
	if most != maxAsked {
		t.Errorf("up to %d records are asked for, want %d", most, maxAsked)
	}
	if got := len(b.h.g.set.byHash); got != 200 {
		t.Errorf("%d of 200 records came", got)
	}
	if !compared {
		t.Error("not compared again after so much")
	}
}

// Copies that are asked for are paced, news is not kept waiting by them, and
// nobody's by another's.
func TestServe(t *testing.T) {
	b := newBox(t, 1, 100)
	x, y := b.member(), b.member()
	b.peer(x)
	b.peer(y)
	b.pass(time.Minute)
	all := entriesOf(b.members...)
	for i := range all {
		all[i].Seq = 0
	}
	start := b.w.now
	b.want(x, all[:64]...)
	b.want(y, all[:64]...)
	out := b.out()
	if nx, ny := len(introducedTo(t, out, x)), len(introducedTo(t, out, y)); nx+ny != 16 || nx != ny {
		t.Errorf("at once %d and %d copies", nx, ny)
	}
	news := b.member()
	b.learn(news, news.node)
	if out := b.out(); len(introducedTo(t, out, x)) != 1 || len(introducedTo(t, out, y)) != 1 {
		t.Error("news waits for copies")
	}
	out = b.pass(500 * time.Millisecond)
	if nx, ny := len(introducedTo(t, out, x)), len(introducedTo(t, out, y)); nx+ny < 48 || nx+ny > 51 || cmp.Compare(nx, ny) > 1 {
		t.Errorf("in half a second %d and %d copies", nx, ny)
	}
	b.pass(time.Minute)
	if got := b.want(x, wire.Entry{Node: all[0].Node, Seq: b.members[0].record.Seq}, wire.Entry{Node: 7}); got != "" {
		t.Errorf("dropped: %s", got)
	}
	if out := b.pass(start.Add(2 * time.Minute).Sub(b.w.now)); len(introducedTo(t, out, x)) != 0 {
		t.Error("sent what is not newer than what was asked for")
	}
}

// A node makes sure that news has reached those who rely on it, unless they
// have shown it.
func TestSettle(t *testing.T) {
	for _, c := range []struct {
		name           string
		follows, shows bool
		want           int
	}{
		{"follows", true, false, 1},
		{"follows, and has it", true, true, 0},
		{"does not follow", false, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t, 1, 60)
			for _, m := range b.members {
				b.peer(m)
			}
			b.pass(time.Hour)
			all := func() wire.Digest {
				return wire.Digest{Last: wire.LastHash, Entries: b.h.g.set.view(b.w.now).entries, Follow: c.follows}
			}
			// No neighbour, so that no other reason to compare with it is likely.
			var p *host
			for _, m := range b.members {
				if !b.h.g.peers[m.node].neighbor {
					p = m
				}
			}
			b.digest(p, all())
			b.learn(b.members[0], keys.NodePublic{})
			b.members[0].sign()
			b.learn(b.members[0], keys.NodePublic{})
			out := b.pass(time.Second)
			if got := len(introducedTo(t, out, p)); (got > 0) != c.follows {
				t.Fatalf("introduced to %d", got)
			}
			if c.shows {
				b.digest(p, all())
			}
			if got := len(digestsTo(b.pass(settleAfter), p)); got != c.want {
				t.Errorf("%d digests after news, want %d", got, c.want)
			}
		})
	}
}

// Without news a node compares less and less.
func TestRhythm(t *testing.T) {
	b := newBox(t, 1, 3)
	for _, m := range b.members {
		b.peer(m)
	}
	b.pass(time.Hour)
	if n := len(b.pass(time.Hour)); n < 10 || n > 15 {
		t.Errorf("%d digests in an idle hour, want one in 5 minutes", n)
	}
	b.learn(b.member(), keys.NodePublic{})
	if n := len(b.pass(time.Minute)); n < 3+3 || n > 3+8 {
		t.Errorf("%d datagrams in the minute after news", n)
	}

	// Where there is news all the time, it compares all the same.
	compared := 0
	for range 300 {
		b.learn(b.member(), keys.NodePublic{})
		out := b.pass(time.Second)
		for _, m := range b.members {
			for _, d := range digestsTo(out, m) {
				if d.Last != 0 || len(d.Sums) > 0 {
					compared++
				}
			}
		}
	}
	if compared < 20 || compared > 100 {
		t.Errorf("%d comparisons in 5 minutes with news each second", compared)
	}

	alone := newBox(t, 1, 3)
	alone.pass(time.Minute)
	if at, ok := alone.h.g.Next(); ok {
		t.Errorf("without peers there is something to do in %v", at.Sub(alone.w.now))
	}
}

func TestBucket(t *testing.T) {
	l := limit{rate: 10, burst: 3}
	var b bucket
	now := time.Unix(1000, 0)
	for i, want := range []bool{true, true, true, false} {
		if got := b.take(now, l, 1); got != want {
			t.Errorf("take %d: %t", i, got)
		}
	}
	if at := b.ready(now, l); at.Sub(now) != 100*time.Millisecond {
		t.Errorf("ready in %v", at.Sub(now))
	}
	now = b.ready(now, l)
	if !b.take(now, l, 5) || b.take(now.Add(400*time.Millisecond), l, 1) || !b.take(now.Add(500*time.Millisecond), l, 1) {
		t.Error("what is taken beyond the tokens is not owed")
	}
	if b.full(now.Add(700*time.Millisecond), l) || !b.full(now.Add(800*time.Millisecond), l) {
		t.Error("full too early or never")
	}
	if b.level(now.Add(-time.Hour), l) > 0 {
		t.Error("time that goes back fills it")
	}
}
