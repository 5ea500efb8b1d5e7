package mainline

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/anacrolix/dht/v2"
	"github.com/anacrolix/dht/v2/krpc"
)

func randomNode(r *rand.Rand) node {
	n := node{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}), 6881)}
	for i := range n.id {
		n.id[i] = byte(r.Uint32())
	}
	return n
}

// Random events keep the table within BEP 5's form, and closest finds what a slow
// search finds.
func TestRoutingRandomEvents(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	self := randomNode(rnd).id
	r := newRouting(self)
	var seen []node
	now := responderStart
	for step := range 20_000 {
		now = now.Add(time.Duration(rnd.IntN(2000)) * time.Millisecond)
		n := randomNode(rnd)
		switch {
		case rnd.IntN(20) == 0:
			n.id = self
		case rnd.IntN(4) == 0: // near us
			copy(n.id[:], self[:rnd.IntN(20)])
		case len(seen) > 0 && rnd.IntN(2) == 0:
			n = seen[rnd.IntN(len(seen))]
		}
		switch rnd.IntN(5) {
		case 0:
			r.asked(now, n)
		case 1, 2:
			r.answered(now, n)
			seen = append(seen, n)
		case 3:
			r.failed(n.addr)
		case 4:
			r.named(nodeAddr, []node{n})
			r.due(now)
		}
		if step%500 == 0 {
			checkRouting(t, r, rnd)
		}
	}
	if r.size() < 50 {
		t.Errorf("%d nodes after all", r.size())
	}
}

func checkRouting(t *testing.T, r *routing, rnd *rand.Rand) {
	t.Helper()
	sum := 0
	var all []node
	for i := range r.buckets {
		b := &r.buckets[i]
		sum += len(b.nodes)
		if len(b.nodes) > closestK {
			t.Fatalf("%d nodes in bucket %d", len(b.nodes), i)
		}
		for _, n := range b.nodes {
			if got := commonBits(r.self, n.id); got != i {
				t.Fatalf("%x is in bucket %d and shares %d bits with %x", n.id, i, got, r.self)
			}
			if r.nodes[n.addr] != n {
				t.Fatalf("%v is in a bucket alone", n.addr)
			}
			if n.failures == 0 {
				all = append(all, n.node)
			}
		}
	}
	if sum != len(r.nodes) || len(r.candidates) > maxCandidates {
		t.Fatalf("%d nodes in buckets, %d in all; %d candidates", sum, len(r.nodes), len(r.candidates))
	}
	hosts := make(map[netip.Prefix]int)
	for a := range r.nodes {
		if hosts[sourceHost(a.Addr())]++; hosts[sourceHost(a.Addr())] > maxOfHost4 {
			t.Fatalf("two nodes at %v", a.Addr())
		}
	}
	if len(hosts) != len(r.ofHost) {
		t.Fatalf("%d hosts counted, %d there", len(r.ofHost), len(hosts))
	}
	target := infoHash(randomNode(rnd).id)
	slices.SortFunc(all, func(a, b node) int { return distanceCompare(target, a.id, b.id) })
	if got := r.closest(target, closestK, netip.AddrPort{}); !slices.Equal(got, all[:min(len(all), closestK)]) {
		t.Fatalf("closest(%x) = %v, want %v", target, got, all[:min(len(all), closestK)])
	}
}

func commonBits(a, b nodeID) int {
	for i := range 160 {
		if (a[i/8]^b[i/8])>>(7-i%8)&1 == 1 {
			return i
		}
	}
	return 160
}

// Nodes enter by answering; one that does not any more is pinged, and makes room.
func TestRoutingKeepsWhoAnswers(t *testing.T) {
	r := newRouting(nodeID{})
	now := responderStart
	at := func(i byte) node {
		return node{nodeID{0x80, i}, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, i}), 6881)}
	}
	r.asked(now, at(1))
	if r.size() != 0 {
		t.Error("a node entered by asking")
	}
	if p, ok := r.due(now); !ok || p.to != at(1).addr || p.target != nil {
		t.Errorf("due() = %v, %t; want a ping of who asked", p, ok)
	}
	for i := range byte(closestK + 1) {
		r.answered(now, at(i+1))
	}
	if got := r.closest(infoHash{}, 20, netip.AddrPort{}); len(got) != closestK {
		t.Errorf("%d nodes in one bucket", len(got))
	}
	if r.asked(now, at(20)); len(r.candidates) != 0 {
		t.Error("a candidate without room")
	}

	now = now.Add(goodFor)
	for i := range byte(closestK) {
		if i != 3 {
			r.answered(now, at(i+1))
		}
	}
	p, ok := r.due(now)
	if !ok || p.to != at(4).addr {
		t.Fatalf("due() = %v, %t; want a ping of who was not heard", p, ok)
	}
	if _, ok := r.due(now); ok {
		t.Error("two probes at once")
	}
	r.failed(p.to)
	for _, n := range r.closest(infoHash{}, closestK, netip.AddrPort{}) {
		if n == at(4) {
			t.Error("a node that fails is named")
		}
	}
	r.answered(now, at(20))
	if got := r.closest(infoHash{}, closestK, netip.AddrPort{}); !slices.Contains(got, at(20)) || len(got) != closestK {
		t.Errorf("%v: the failing node made no room", got)
	}
	r.asked(now, at(4))
	r.answered(now, node{nodeID{0x80, 99}, at(20).addr})
	if got := r.closest(infoHash{}, closestK, netip.AddrPort{}); slices.Contains(got, at(20)) {
		t.Errorf("%v: a node with another id now is named by the old one", got)
	}
}

// A bucket in which nothing changes is asked about, and answers come from inside it.
func TestRoutingRefresh(t *testing.T) {
	r := newRouting(nodeID{0xff})
	near := node{nodeID{0xf0}, netip.MustParseAddrPort("198.51.100.1:6881")}
	now := responderStart
	r.answered(now, near)
	refreshed := make(map[int]int)
	for range 3600 {
		now = now.Add(probeEvery)
		r.answered(now, near)
		if p, ok := r.due(now); ok && p.target != nil {
			if p.to != near.addr {
				t.Fatalf("asked %v", p.to)
			}
			refreshed[commonBits(r.self, nodeID(*p.target))]++
		}
	}
	for i := range 5 {
		if n := refreshed[i]; n < 3 || n > 5 {
			t.Errorf("bucket %d was refreshed %d times in an hour, want four", i, n)
		}
	}
	if len(refreshed) != 5 {
		t.Errorf("refreshed: %v", refreshed)
	}
}

// BEP 42, test vectors.
func TestNodeIDs(t *testing.T) {
	for _, c := range []struct {
		addr string
		rand byte
		id   string
	}{
		{"124.31.75.21", 1, "5fbfbf"},
		{"21.75.31.124", 86, "5a3ce9"},
		{"65.23.51.170", 22, "a5d432"},
		{"84.124.73.14", 65, "1b0321"},
		{"43.213.53.83", 90, "e56f6c"},
	} {
		addr := netip.MustParseAddr(c.addr)
		id := newNodeID(addr)
		if !dht.NodeIdSecure(id, addr.AsSlice()) {
			t.Errorf("%x is no id of %v", id, addr)
		}
		want := krpc.ID{19: c.rand}
		_, _ = hex.Decode(want[:3], []byte(c.id))
		want[2] &= 0xf8
		got := krpc.ID{19: c.rand}
		dht.SecureNodeId(&got, addr.AsSlice())
		if got[2] &= 0xf8; got != want {
			t.Errorf("%v: %x, want %x", addr, got, want)
		}
	}
	a, b := newNodeID(netip.Addr{}), newNodeID(netip.Addr{})
	if a == b {
		t.Error("two nodes have one id")
	}
}

// The stores count what they hold, whatever happens.
func TestPeerStoreRandomEvents(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	var s peerStore
	want := make(map[peerKey]time.Time)
	now := responderStart
	for range 20_000 {
		now = now.Add(time.Duration(rnd.IntN(2000)) * time.Millisecond)
		key := peerKey{infoHash{byte(rnd.IntN(20))}, netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, byte(rnd.IntN(20)), 1, byte(rnd.IntN(4))}), 5000)}
		if s.add(now, key.hash, key.addr) {
			want[key] = now
		}
		for k, at := range want {
			if now.Sub(at) >= peerExpiry {
				delete(want, k)
			}
		}
	}
	n, sources := 0, 0
	for hash, list := range s.ofHash {
		n += len(list)
		for _, a := range list {
			if _, ok := want[peerKey{hash, a}]; !ok {
				t.Errorf("%x has %v, which was not announced lately", hash, a)
			}
		}
	}
	for _, c := range s.ofSource {
		sources += c
	}
	if n != len(want) || s.peers.len() != n || sources != n || n == 0 {
		t.Errorf("%d announces, %d kept, %d by source; want %d", n, s.peers.len(), sources, len(want))
	}
}
