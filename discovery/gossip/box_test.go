package gossip

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// box is one Gossip alone, whose peers are the test.
type box struct {
	t   testing.TB
	w   *world
	h   *host // the Gossip's
	rng *rand.Rand
	// members are those whose records are known, by node hash.
	members []*host
}

// newBox makes a Gossip that knows n members and has no peers.
func newBox(t testing.TB, seed uint64, n int) *box {
	t.Helper()
	w := newWorld(t, seed)
	b := &box{t: t, w: w, h: w.add(), rng: w.rng}
	for range n {
		b.members = append(b.members, b.member())
	}
	for _, m := range b.members {
		b.put(m, 0)
	}
	slices.SortFunc(b.members, func(x, y *host) int { return byHash(x.entry(), y.entry()) })
	b.h.g = New(Config{Self: b.h.node, Book: b.h.book, Rand: w})
	b.h.g.SetOwn(w.now, b.h.signed)
	return b
}

// member makes a node that has signed a record and nothing more.
func (b *box) member() *host {
	b.t.Helper()
	key, err := keys.ParseNodePrivate(b.w.bytes())
	if err != nil {
		b.t.Fatal(err)
	}
	m := &host{w: b.w, key: key, node: key.Public()}
	m.sign()
	return m
}

// put files m's record.
func (b *box) put(m *host, age time.Duration) {
	b.t.Helper()
	if _, _, err := b.h.book.Put(b.w.now, m.signed, age); err != nil {
		b.t.Fatal(err)
	}
}

// learn files m's record as from has sent it.
func (b *box) learn(m *host, from keys.NodePublic) {
	b.t.Helper()
	b.put(m, 0)
	b.h.g.Learned(b.w.now, m.node, from)
}

// peer makes the member a peer.
func (b *box) peer(m *host) { b.h.g.SetPeer(b.w.now, m.node, true) }

// out is what is sent now.
func (b *box) out() []Output { return b.h.g.Advance(b.w.now) }

// pass lets time pass and returns what was sent meanwhile.
func (b *box) pass(d time.Duration) (out []Output) {
	b.t.Helper()
	end := b.w.now.Add(d)
	for range 1_000_000 {
		out = append(out, b.out()...)
		at, ok := b.h.g.Next()
		if !ok || at.After(end) {
			b.w.now = end
			return out
		}
		if !at.After(b.w.now) && len(b.out()) == 0 {
			if again, _ := b.h.g.Next(); !again.After(b.w.now) {
				b.t.Fatalf("something is due at %v, and nothing is done", b.w.now)
			}
		}
		b.w.now = later(at, b.w.now)
	}
	b.t.Fatal("no end")
	return nil
}

func (b *box) digest(from *host, d wire.Digest) string {
	return b.h.g.ReceiveDigest(b.w.now, from.node, d)
}

func (b *box) want(from *host, entries ...wire.Entry) string {
	return b.h.g.ReceiveWant(b.w.now, from.node, wire.Want{Entries: entries})
}

func (m *host) entry() wire.Entry {
	return wire.Entry{Node: wire.HashNode(m.node), Seq: m.record.Seq}
}

// entriesOf are the entries of members in order.
func entriesOf(members ...*host) (entries []wire.Entry) {
	for _, m := range members {
		entries = append(entries, m.entry())
	}
	slices.SortFunc(entries, byHash)
	return entries
}

// to are the signals of one sort to a member.
func digestsTo(out []Output, m *host) (ds []wire.Digest) {
	for _, o := range out {
		if o.To == m.node && o.Signal.Digest != nil {
			ds = append(ds, *o.Signal.Digest)
		}
	}
	return ds
}

func wantsTo(out []Output, m *host) (ws []wire.Want) {
	for _, o := range out {
		if o.To == m.node && o.Signal.Want != nil {
			ws = append(ws, *o.Signal.Want)
		}
	}
	return ws
}

// introducedTo are the nodes that m is introduced to.
func introducedTo(t testing.TB, out []Output, m *host) (nodes []keys.NodePublic) {
	t.Helper()
	for _, o := range out {
		if o.To == m.node && o.Signal.Introduce != nil {
			node, _, err := o.Signal.Introduce.Signed.Claim()
			if err != nil {
				t.Fatal(err)
			}
			nodes = append(nodes, node)
		}
	}
	return nodes
}
