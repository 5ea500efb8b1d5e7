package gossip

import (
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// graph has a Gossip a node without any records, and peers as the test says.
type graph struct {
	w     *world
	nodes []keys.NodePublic
	g     map[keys.NodePublic]*Gossip
}

func newGraph(t *testing.T, seed uint64, n int) *graph {
	w := newWorld(t, seed)
	x := &graph{w: w, g: make(map[keys.NodePublic]*Gossip)}
	for range n {
		node := keys.NodePublic(w.bytes())
		x.nodes = append(x.nodes, node)
		x.g[node] = New(Config{Self: node, Book: discovery.NewBook(w.network.Prefix6(), 0), Rand: w})
	}
	return x
}

func (x *graph) link(a, b keys.NodePublic) {
	x.g[a].SetPeer(x.w.now, b, true)
	x.g[b].SetPeer(x.w.now, a, true)
}

// exchange lets the digests pass that tell who follows whom.
func (x *graph) exchange() {
	for range 20 {
		x.w.now = x.w.now.Add(time.Second)
		for _, n := range x.nodes {
			for _, o := range x.g[n].Advance(x.w.now) {
				if o.Signal.Digest != nil {
					x.g[o.To].ReceiveDigest(x.w.now, n, *o.Signal.Digest)
				}
			}
		}
	}
}

// reach is how many nodes the news of one gets to, and in how many hops.
func (x *graph) reach(from keys.NodePublic) (n, hops int) {
	seen := map[keys.NodePublic]bool{from: true}
	for edge := []keys.NodePublic{from}; len(edge) > 0; hops++ {
		var next []keys.NodePublic
		for _, a := range edge {
			for _, p := range x.g[a].order {
				if p.told() && !seen[p.node] {
					seen[p.node] = true
					next = append(next, p.node)
				}
			}
		}
		edge = next
	}
	return len(seen), hops - 1
}

// In whatever shape nodes can speak to each other, news of each reaches all at
// once, although nobody tells it to more than a few.
func TestNewsReachesAll(t *testing.T) {
	for _, c := range []struct {
		name string
		n    int
		hops int
		link func(x *graph, i, j int) bool
	}{
		{"mesh of 2", 2, 1, func(*graph, int, int) bool { return true }},
		{"mesh of 9", 9, 1, func(*graph, int, int) bool { return true }},
		{"mesh of 10", 10, 2, func(*graph, int, int) bool { return true }},
		{"mesh of 100", 100, 4, func(*graph, int, int) bool { return true }},
		{"mesh of 300", 300, 5, func(*graph, int, int) bool { return true }},
		{"star of 100", 100, 2, func(_ *graph, i, _ int) bool { return i == 0 }},
		{"half of a mesh", 100, 5, func(x *graph, i, j int) bool { return i == 0 || x.w.rng.IntN(2) == 0 }},
		{"few servers, many clients", 200, 5, func(_ *graph, i, _ int) bool { return i < 5 }},
		{"a chain", 20, 19, func(_ *graph, i, j int) bool { return j == i+1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(max(1, 200/c.n)) {
				x := newGraph(t, seed, c.n)
				for i := range c.n {
					for j := i + 1; j < c.n; j++ {
						if c.link(x, i, j) {
							x.link(x.nodes[i], x.nodes[j])
						}
					}
				}
				x.exchange()
				told, most := 0, 0
				for _, from := range x.nodes {
					n, hops := x.reach(from)
					if n != c.n || hops > c.hops {
						t.Fatalf("seed %d: news reaches %d of %d nodes in %d hops, want all in %d", seed, n, c.n, hops, c.hops)
					}
					if k := len(x.g[from].Neighbors()); k > MaxNeighbors || k < min(MaxNeighbors, len(x.g[from].order)) {
						t.Fatalf("seed %d: %d neighbours of %d peers", seed, k, len(x.g[from].order))
					}
					k := 0
					for _, p := range x.g[from].order {
						if p.told() {
							k++
						}
					}
					told, most = told+k, max(most, k)
				}
				if c.name == "mesh of 300" && (told > 10*c.n || most > 16) {
					t.Errorf("seed %d: each tells %d on average, and up to %d", seed, told/c.n, most)
				}
			}
		})
	}
}

// Neighbours stand while they can be spoken to; one that is lost has a
// successor at once.
func TestNeighborsStand(t *testing.T) {
	const runs = 20
	kept := 0
	for seed := range uint64(runs) {
		x := newGraph(t, seed, 61)
		g := x.g[x.nodes[0]]
		grow := func(nodes []keys.NodePublic) (before, after []keys.NodePublic) {
			before = g.Neighbors()
			for _, n := range nodes {
				g.SetPeer(x.w.now, n, true)
			}
			if len(before) == MaxNeighbors && !slices.Equal(before, g.Neighbors()) {
				t.Fatal("neighbours change with each peer that appears")
			}
			x.w.now = x.w.now.Add(choosePause)
			g.Advance(x.w.now)
			return before, g.Neighbors()
		}
		grow(x.nodes[1:41])
		before, after := grow(x.nodes[41:])
		for _, n := range after {
			if slices.Contains(before, n) {
				kept++
			}
		}
		for range 40 {
			lost := g.Neighbors()[x.w.rng.IntN(MaxNeighbors)]
			g.SetPeer(x.w.now, lost, false)
			now := g.Neighbors()
			if len(now) != MaxNeighbors || slices.Contains(now, lost) {
				t.Fatalf("%d neighbours after one is lost", len(now))
			}
		}
	}
	// Of each two in three are expected.
	if share := float64(kept) / (runs * MaxNeighbors); share < 0.5 {
		t.Errorf("%.0f %% of the neighbours are left when the mesh grows from 40 to 60", 100*share)
	}
}

// Whoever does not know a node's secret cannot make keys that it chooses.
func TestRandomNeighborsAreItsOwn(t *testing.T) {
	x := newGraph(t, 3, 100)
	again := New(Config{Self: x.nodes[0], Book: discovery.NewBook(x.w.network.Prefix6(), 0), Rand: x.w})
	for _, n := range x.nodes[1:] {
		x.g[x.nodes[0]].SetPeer(x.w.now, n, true)
		again.SetPeer(x.w.now, n, true)
	}
	for _, g := range []*Gossip{x.g[x.nodes[0]], again} {
		g.Advance(x.w.now.Add(choosePause))
	}
	same := 0
	for _, n := range again.Neighbors() {
		if slices.Contains(x.g[x.nodes[0]].Neighbors(), n) {
			same++
		}
	}
	if same < 3 || same > 6 {
		t.Errorf("two starts of a node have %d neighbours in common, want the 3 of the ring and hardly more", same)
	}
}

func TestFollowersAreBounded(t *testing.T) {
	x := newGraph(t, 3, 1)
	g := x.g[x.nodes[0]]
	for range 1000 {
		n := keys.NodePublic(x.w.bytes())
		g.SetPeer(x.w.now, n, true)
		g.ReceiveDigest(x.w.now, n, wire.Digest{Last: wire.LastHash, Follow: true})
		if x.w.rng.IntN(4) == 0 { // and comes back
			g.SetPeer(x.w.now, n, false)
			g.SetPeer(x.w.now, n, true)
		}
	}
	told := 0
	for _, p := range g.order {
		if p.told() {
			told++
		}
	}
	if told < maxFollowers-1 || told > maxFollowers+MaxNeighbors {
		t.Errorf("%d peers are told the news", told)
	}
}

func TestPeersAreBounded(t *testing.T) {
	b := newBox(t, 1, 0)
	g := New(Config{Self: b.h.node, Book: b.h.book, Limit: 20, Rand: b.w})
	node := func(i int) keys.NodePublic { return keys.NodePublic{1, byte(i), byte(i >> 8)} }
	for i := range 20 {
		g.SetPeer(b.w.now, node(i), true)
	}
	g.SetPeer(b.w.now, node(20), true)
	if len(g.peers) != 20 || len(g.order) != 20 || g.peers[node(20)] != nil {
		t.Errorf("%d peers, limit 20", len(g.peers))
	}
	// One that has spent its budget is remembered, but in nobody's way.
	for range 200 {
		g.ReceiveDigest(b.w.now, node(0), wire.Digest{Sums: []uint64{1}})
	}
	g.SetPeer(b.w.now, node(0), false)
	g.SetPeer(b.w.now, node(0), true)
	if got := g.ReceiveDigest(b.w.now, node(0), wire.Digest{Sums: []uint64{1}}); got != dropRateLimit {
		t.Errorf("back at once, it is heard: %q", got)
	}
	g.SetPeer(b.w.now, node(0), false)
	for i := 20; i < 1000; i++ {
		g.SetPeer(b.w.now, node(i), true)
		g.SetPeer(b.w.now, node(i), false)
	}
	if len(g.peers) > 20 || len(g.order) != 19 {
		t.Errorf("%d peers, %d work", len(g.peers), len(g.order))
	}
	if got := g.ReceiveDigest(b.w.now, node(999), wire.Digest{Sums: []uint64{1}}); got != dropNotWorking {
		t.Errorf("from a node that cannot be answered: %q", got)
	}
}
