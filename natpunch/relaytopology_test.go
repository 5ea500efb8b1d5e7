package natpunch

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// TestRandomTopologiesWithRelays: every pair gets a path at once, over whatever
// family each side has, and then the best there is, both sides the same.
func TestRandomTopologiesWithRelays(t *testing.T) {
	count := *topologyCount / 2
	if testing.Short() {
		count = min(count, 200)
	}
	var relayed, direct int
	for seed := uint64(1); seed <= uint64(count); seed++ {
		if *topologySeed != 0 && seed != *topologySeed {
			continue
		}
		if relayTopology(t, seed, reference(seed)) == Relay {
			relayed++
		} else {
			direct++
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d relayed, %d direct", relayed, direct)
}

// TestLossyTopologiesWithRelays: with one datagram of twenty lost on each link, all
// pairs get a path soon, and the best one in the end.
func TestLossyTopologiesWithRelays(t *testing.T) {
	count := *topologyCount / 10
	if testing.Short() {
		count = min(count, 30)
	}
	total, soon, best := 0, 0, 0
	for seed := uint64(1); seed <= uint64(count); seed++ {
		want := max(reference(seed), rankRelay)
		top := newTopology(seed)
		n := top.net
		out := top.hosts[0].realm
		for out.gateway != nil {
			out = out.gateway.outside
		}
		relay := out.relay("203.0.113.101", "2001:db8:0:65::1")
		a := newNode(top.hosts[0], 1, top.bits[0]...)
		b := newNode(top.hosts[1], 2, top.bits[1]...)
		a.learnReflexive(top.servers)
		b.learnReflexive(top.servers)
		n.run(10*time.Second, nil)
		a.setLocal()
		b.setLocal()
		n.loss = 0.05
		meet(a, b, 0, 0)
		relay.allocate(a, b, 0, 0)
		total++
		if n.run(3*time.Second, bothSettled(a, b)) {
			soon++
		}
		for range 10 * 60 { // some traffic, so that relays are measured
			n.run(time.Second, nil)
			for _, x := range [][2]*simNode{{a, b}, {b, a}} {
				x[0].agent.Measure(n.now, x[1].key)
				x[0].advance()
			}
		}
		n.run(time.Minute, bothSettled(a, b))
		samePair(t, a, b)
		if t.Failed() {
			t.Fatalf("seed %d:\n%s%v, %v", seed, top.text, a.selects, b.selects)
		}
		if path, _ := a.agent.Path(b.key); a.agent.peers[b.key].rankOf(path.Addr) == want {
			best++
		}
	}
	t.Logf("of %d: a path within 3 s %d, the best in the end %d", total, soon, best)
	if soon < total*98/100 || best < total*97/100 {
		t.Errorf("of %d: a path within 3 s %d, the best in the end %d", total, soon, best)
	}
}

func relayTopology(t *testing.T, seed uint64, want rank) PathKind {
	t.Helper()
	top := newTopology(seed)
	n := top.net
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("seed %d (-topology.seed=%d):\n%s%s", seed, seed, top.text, fmt.Sprintf(format, args...))
	}
	out := top.hosts[0].realm
	for out.gateway != nil {
		out = out.gateway.outside
	}
	relay := out.relay("203.0.113.101", "2001:db8:0:65::1")
	swap := n.rng.IntN(2)
	a := newNode(top.hosts[0], 1+swap, top.bits[0]...)
	b := newNode(top.hosts[1], 2-swap, top.bits[1]...)
	a.learnReflexive(top.servers)
	b.learnReflexive(top.servers)
	n.run(6*time.Second, nil)
	a.setLocal()
	b.setLocal()
	if *topologySeed != 0 {
		t.Log(top.text)
		n.trace = func(p simPacket) { t.Logf("%v %v -> %v", n.now.Format("05.000"), p.from, p.to) }
	}
	meet(a, b, 0, 0)
	relay.allocate(a, b, time.Duration(n.rng.IntN(200))*time.Millisecond, time.Duration(n.rng.IntN(200))*time.Millisecond)
	bound := func() bool { return a.ready() && b.ready() }
	n.run(time.Minute, bound)
	ready := n.now
	n.run(3*time.Minute, nil)

	path, okA := a.agent.Path(b.key)
	_, okB := b.agent.Path(a.key)
	if !okA || !okB {
		fail("no path: %v, %v", a.lost, b.lost)
		return 0
	}
	samePair(t, a, b)
	if got := a.agent.peers[b.key].rankOf(path.Addr); got != max(want, rankRelay) {
		fail("path %v has rank %d, and there is one of %d: %v", path, got, want, a.selects)
	}
	// A round trip through the relay, and the window.
	took := max(latest(a.selectedAt(0), b.selectedAt(0)).Sub(ready), 0)
	rtt := path.RTT
	for _, p := range append(a.agent.peers[b.key].pairs, b.agent.peers[a.key].pairs...) {
		if p.relayed() {
			rtt = max(rtt, p.rtt)
		}
	}
	limit := rtt + nominationWindow + 2*pace
	if a.selects[0].Path.Kind != Relay || b.selects[0].Path.Kind != Relay {
		// A direct check succeeded while the relay was being nominated.
		limit += path.RTT + nominationWindow
	}
	if took > limit {
		fail("selected %v after the relay was ready, with a round trip of %v: %v", took, rtt, a.selects)
	}
	for _, x := range []*simNode{a, b} {
		before := rank(0)
		for _, s := range x.selects {
			r := x.agent.peers[map[*simNode]*simNode{a: b, b: a}[x].key].rankOf(s.Path.Addr)
			if r < before || len(x.selects) > 4 {
				fail("moved back and forth: %v", x.selects)
			}
			before = r
		}
		for _, r := range x.seen {
			if relay.host.addrs[0] == r.Addr.Addr() || relay.host.addrs[1] == r.Addr.Addr() {
				fail("the relay is taken for this node's own address: %v", x.seen)
			}
		}
		for _, c := range x.agent.peers {
			for _, p := range c.pairs {
				if p.remote == x.bindings[0].addr && (p.typ != 4 || p.rank != rankRelay) {
					fail("the relay is taken for the peer's address: %v", p)
				}
			}
		}
	}
	sent := a.sent + b.sent
	n.run(time.Hour, nil)
	if now := a.sent + b.sent - sent; path.Kind != Relay && now > 0 || now > 500 {
		fail("%d datagrams in an hour in which nothing happened", now)
	}
	return path.Kind
}

// Between two NATs that map per destination there is only the relay. One of them is
// replaced by one that does not: the pair moves, though nobody tells the agents
// more than their STUN does, or than the search finds.
func TestNATBecomesBetter(t *testing.T) {
	for name, told := range map[string]bool{"the record says so": true, "nobody says so": false} {
		t.Run(name, func(t *testing.T) {
			n, a, b, relays := twoRelayed(t, unreachable)
			meet(a, b, 0, 0)
			relays[0].allocate(a, b, 0, 0)
			n.run(10*time.Minute, nil)
			if s := lastSelect(t, a); s.Path.Kind != Relay || len(a.selects) != 1 || len(b.selects) != 1 {
				t.Fatalf("selected %v, %v", a.selects, b.selects)
			}
			g := a.realm.gateway
			g.mapping, g.filtering, g.preserves = EndpointIndependent, EndpointIndependent, true
			if !told {
				// Where a's own port is kept, b finds it by what it was told before.
				g.nextPort = a.candidatePort() - 1
				g.preserves = false
			}
			g.mappings = nil
			a.simHost.send(netip.AddrPortFrom(relays[0].host.addrs[0], 20000), keepalive)
			n.run(time.Second, nil)
			start := n.now
			if told {
				a.stun.Refresh(n.now)
				a.advance()
				n.run(10*time.Second, nil)
				a.setLocal()
				_, ba := simPairs(a.key, b.key, 1)
				b.agent.SetPeer(n.now, Peer{Node: a.key, Pair: ba, Candidates: a.candidates()})
				b.advance()
				start = n.now
			}
			direct := func() bool { return lastSelect(t, a).Path.Kind == Direct && lastSelect(t, b).Path.Kind == Direct }
			if !n.run(3*time.Hour, direct) {
				t.Fatalf("selected %v, %v; %s", a.selects, b.selects, a.agent.WhyNotDirect(b.key))
			}
			took := n.now.Sub(start)
			t.Logf("direct after %v", took)
			if told && took > time.Second {
				t.Errorf("direct after %v", took)
			}
			samePair(t, a, b)
			if len(a.lost)+len(b.lost) > 0 || len(a.selects) != 2 || len(b.selects) != 2 {
				t.Errorf("selected %v, %v; lost %v, %v", a.selects, b.selects, a.lost, b.lost)
			}
		})
	}
}

// candidatePort is the port of the first reflexive candidate.
func (n *simNode) candidatePort() uint16 { return n.candidates()[1].Addr.Port() }
