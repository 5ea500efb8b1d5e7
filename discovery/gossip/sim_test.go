package gossip

import (
	"fmt"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

var sizes = []int{10, 100}

// One network after the other lives through everything that happens to one. The
// round trip is 40 ms throughout.
func TestSimulation(t *testing.T) {
	for _, n := range sizes {
		t.Run(fmt.Sprintf("nodes=%d", n), func(t *testing.T) {
			w := settled(t, 1, n)
			for _, part := range []struct {
				name string
				do   func(*testing.T, *world)
			}{
				{"idle", simulateIdle},
				{"news", simulateNews},
				{"a member that meets the others", func(t *testing.T, w *world) { simulateThird(t, w, false) }},
				{"a member with one path", func(t *testing.T, w *world) { simulateThird(t, w, true) }},
				{"partition, one path after it", func(t *testing.T, w *world) { simulatePartition(t, w, 1) }},
				{"partition, all meet again", func(t *testing.T, w *world) { simulatePartition(t, w, 10*n) }},
				{"churn", func(t *testing.T, w *world) { simulateChurn(t, w, 0) }},
				{"churn, 5 % lost", func(t *testing.T, w *world) { simulateChurn(t, w, 0.05) }},
				{"churn, 30 % lost", func(t *testing.T, w *world) { simulateChurn(t, w, 0.3) }},
			} {
				t.Run(part.name, func(t *testing.T) {
					w.t = t
					part.do(t, w)
				})
				w.loss, w.apart, w.meets = 0, nil, true
				w.run(10*time.Minute, nil)
				w.reset()
			}
		})
	}
}

// An idle node sends one datagram in five minutes, and hears one.
func simulateIdle(t *testing.T, w *world) {
	w.run(2*time.Hour, nil)
	for i, h := range w.hosts {
		if both := h.sent + h.heard; both > 80 {
			t.Errorf("node %d: %d datagrams both ways in two hours", i, both)
		}
	}
	if both := 2 * w.sent() / len(w.hosts); both > 55 {
		t.Errorf("on average %d datagrams both ways in two hours", both)
	}
}

// News reaches all in a few hops, and costs each node little more than its
// neighbours.
func simulateNews(t *testing.T, w *world) {
	n := len(w.hosts)
	rounds := map[int]int{10: 2, 100: 5}[n]
	for range 5 {
		w.reset()
		start := w.now
		w.hosts[w.rng.IntN(n)].publish()
		if !w.run(time.Second, w.same) {
			t.Fatal("news has not reached all in a second")
		}
		if took, limit := w.now.Sub(start), time.Duration(rounds)*23*time.Millisecond; w.rounds() > rounds || took > limit {
			t.Errorf("%d hops in %v, want %d in %v", w.rounds(), took, rounds, limit)
		}
		w.run(100*time.Millisecond, nil)
		if got := w.sent() / n; got > 10 {
			t.Errorf("each sends %d datagrams, want at most 10", got)
		}
		w.run(15*time.Minute, nil)
		if got := w.sent() / n; got > 30 {
			t.Errorf("with all that follows each sends %d datagrams", got)
		}
	}
}

// A member that comes through one contact knows everybody within a second, and
// everybody it. Alone: no other path than that is there, ever.
func simulateThird(t *testing.T, w *world, alone bool) {
	n := len(w.hosts)
	contact, joiner := w.hosts[n/2], w.add()
	if alone {
		w.apart = func(a, b *host) bool { return a == joiner && b != contact || b == joiner && a != contact }
	}
	start := w.now
	w.connect(joiner, contact)
	known := func() bool {
		for _, h := range w.hosts {
			if !h.knows(joiner) {
				return false
			}
		}
		return true
	}
	if !w.run(time.Second, known) {
		t.Fatal("not everybody knows the new member after a second")
	}
	knownAfter := w.now.Sub(start)
	if !w.run(time.Second-knownAfter, w.same) {
		t.Fatalf("the new member knows %d of %d after a second", joiner.book.Len(), n)
	}
	t.Logf("all know it after %v and it knows all after %v", knownAfter, w.now.Sub(start))
	w.run(10*time.Second, nil)
	if limit := 2*n + 80; joiner.heard > limit {
		t.Errorf("it heard %d datagrams, want at most %d", joiner.heard, limit)
	}
}

// A network that was cut in two has told each half of the other's news seconds
// after the first path between them stands, however few do.
func simulatePartition(t *testing.T, w *world, paths int) {
	n := len(w.hosts)
	half := make(map[*host]bool)
	for i, h := range w.hosts {
		half[h] = i%2 == 0
	}
	w.apart = func(a, b *host) bool { return half[a] != half[b] }
	for _, a := range w.hosts {
		for _, b := range w.hosts {
			if w.apart(a, b) {
				w.disconnect(a, b)
			}
		}
	}
	for i := range n / 2 {
		w.hosts[w.rng.IntN(n)].publish()
		if i%10 == 0 {
			joiner := w.add()
			half[joiner] = i%20 == 0
			w.connect(joiner, w.hosts[i%20/10])
		}
		w.run(10*time.Second, nil)
	}
	w.apart, w.meets = nil, paths > 1
	w.reset()
	start := w.now
	for i := 0; i < paths; i++ {
		a, b := w.hosts[w.rng.IntN(n)], w.hosts[w.rng.IntN(n)]
		if half[a] == half[b] {
			i--
			continue
		}
		w.after(time.Duration(w.rng.Int64N(int64(time.Second))), func() { w.connect(a, b) })
	}
	if limit := 5 * time.Second; !w.run(limit, w.same) {
		t.Fatalf("not the same on all after %v", limit)
	}
	t.Logf("%v, %d datagrams a node", w.now.Sub(start), w.sent()/len(w.hosts))
	w.run(time.Minute, nil)
	for range 3 {
		w.hosts[w.rng.IntN(n)].publish()
		if !w.run(time.Second, w.same) {
			t.Fatal("news takes more than a second after that")
		}
	}
}

// Nodes come, go and lose their memory, paths break and datagrams are lost; a
// few seconds after that all know the same.
func simulateChurn(t *testing.T, w *world, loss float64) {
	w.loss = loss
	for range 60 {
		w.churn()
		w.run(300*time.Millisecond, nil)
	}
	start := w.now
	if limit := 30 * time.Second; !w.run(limit, w.same) {
		t.Fatalf("not the same on all after %v", limit)
	}
	t.Logf("%v", w.now.Sub(start))
	for _, h := range w.hosts {
		if !h.up {
			h.start()
			w.connect(h, w.hosts[0])
		}
	}
}

// churn does something to somebody.
func (w *world) churn() {
	h := w.hosts[1+w.rng.IntN(len(w.hosts)-1)]
	switch {
	case !h.up:
		h.start()
		w.connect(h, w.hosts[0])
	case w.rng.IntN(3) == 0:
		h.stop()
	case w.rng.IntN(2) == 0:
		h.publish()
	default:
		o := w.hosts[w.rng.IntN(len(w.hosts))]
		w.disconnect(h, o)
		w.after(time.Second, func() { w.connect(h, o) })
	}
}

// A thousand records come from one contact as fast as its budget allows.
func TestJoinOfMany(t *testing.T) {
	const n = 1000
	w := newWorld(t, 10)
	w.meets = false
	contact, joiner := w.add(), w.add()
	for range n {
		m := w.add()
		m.up = false
		contact.learn(wire.Introduce{Signed: m.signed}, m.node, 1)
	}
	w.connect(contact, joiner)
	if !w.run(15*time.Second, func() bool { return joiner.book.Len() == n+1 }) {
		t.Fatalf("after 15 s %d of %d records have come", joiner.book.Len(), n+1)
	}
	w.run(time.Minute, nil)
	if contact.sent > n+n/10 || joiner.sent > n/8 {
		t.Errorf("the contact sent %d datagrams, the new member %d", contact.sent, joiner.sent)
	}
}

// News crosses the only path between two groups at once, although whoever is at
// its ends has dozens of other peers.
func TestBridge(t *testing.T) {
	const n = 60
	w := newWorld(t, 6)
	w.meets = false
	for range n {
		w.add()
	}
	for i, h := range w.hosts[2:] {
		w.connect(h, w.hosts[i%2])
	}
	w.run(time.Minute, nil)
	w.connect(w.hosts[0], w.hosts[1])
	// Each end has 30 others to tell of 30, which takes 9 s.
	if !w.run(20*time.Second, w.same) {
		t.Fatal("two groups do not know each other after 20 s")
	}
	w.run(time.Minute, nil)
	for i := range 10 {
		w.hosts[i].publish()
		start := w.now
		if !w.run(2*time.Second, w.same) {
			t.Fatalf("news of host %d has not crossed after %v", i, w.now.Sub(start))
		}
		w.run(15*time.Minute, nil)
	}
}

// A record whose node is gone ends everywhere after its lifetime, although the
// nodes count its age differently, and nobody revives it. Its node is welcome
// when it comes back.
func TestExpiry(t *testing.T) {
	const n = 10
	w := settled(t, 7, n)
	gone := w.hosts[3]
	gone.publish()
	w.run(time.Minute, nil)
	gone.stop()
	sentAfter := 0
	dead := w.now.Add(wire.MaxLifetime)
	w.lost = func(_, _ *host, s wire.Signal) bool {
		if s.Introduce != nil && w.now.After(dead.Add(-lifeMargin)) {
			if node, _, err := s.Introduce.Signed.Claim(); err == nil && node == gone.node {
				sentAfter++
			}
		}
		return w.rng.IntN(10) == 0
	}
	for hour := range 30 {
		for _, h := range w.hosts {
			if h.up && hour%8 == 0 {
				h.publish()
			}
		}
		if hour == 12 { // it has the record from others, older than they know
			restarted := w.hosts[5]
			restarted.stop()
			restarted.start()
			w.connect(restarted, w.hosts[6])
		}
		w.run(time.Hour, nil)
		for i, h := range w.hosts {
			h.book.Expire(w.now)
			if _, has := h.book.Get(gone.node); h.up && has != (hour < 23) {
				t.Fatalf("after %d hours host %d has the record: %t", hour+1, i, has)
			}
		}
	}
	if sentAfter > 0 {
		t.Errorf("it was sent %d times after that", sentAfter)
	}
	w.lost = nil
	gone.start()
	w.connect(gone, w.hosts[0])
	if !w.run(2*time.Second, w.same) {
		t.Error("the node is not known again")
	}
}

// An age is never less than on the way before.
func TestAgesGrowOnTheWay(t *testing.T) {
	w := newWorld(t, 8)
	w.meets = false
	for range 8 {
		w.add()
	}
	for i, h := range w.hosts[1:] {
		w.connect(h, w.hosts[i]) // a chain
	}
	w.run(time.Minute, nil)
	age := func(h *host) time.Duration {
		m, ok := h.book.Get(w.hosts[0].node)
		if !ok {
			t.Fatal("the chain's first is not known")
		}
		return m.AgeAt(w.now)
	}
	for i, h := range w.hosts[2:] {
		if a, b := age(w.hosts[i+1]), age(h); b < a {
			t.Errorf("host %d thinks that the record is %v old, and the one before %v", i+2, b, a)
		}
	}
	if a := age(w.hosts[7]); a < time.Minute || a > time.Minute+10*time.Second {
		t.Errorf("at the end of the chain the record is %v old", a)
	}
}

// A restart of the whole network from what each remembers.
func TestWarmStart(t *testing.T) {
	const n = 50
	w := settled(t, 9, n)
	for _, h := range w.hosts {
		book := h.book
		h.stop()
		h.start()
		for _, m := range book.All() {
			if _, _, err := h.book.Put(w.now, m.Signed, m.AgeAt(w.now)); err != nil {
				t.Fatal(err)
			}
		}
		h.g = New(Config{Self: h.node, Book: h.book, Rand: w})
		h.g.SetOwn(w.now, h.signed)
		for _, o := range w.hosts {
			if _, ok := h.book.Get(o.node); ok {
				h.seqs[o.i] = o.record.Seq
			}
		}
	}
	w.reset()
	for i, a := range w.hosts {
		for _, b := range w.hosts[:i] {
			w.after(time.Duration(w.rng.Int64N(int64(time.Second))), func() { w.connect(a, b) })
		}
	}
	if !w.run(5*time.Second, w.same) {
		t.Error("not the same on all after 5 s")
	}
	w.run(5*time.Minute, nil)
	if got := w.sent() / n; got > 400 {
		t.Errorf("each sent %d datagrams", got)
	}
	var none keys.NodePublic
	for _, h := range w.hosts {
		if len(h.g.Neighbors()) != MaxNeighbors || h.g.Neighbors()[0] == none {
			t.Errorf("%d neighbours", len(h.g.Neighbors()))
		}
	}
}
