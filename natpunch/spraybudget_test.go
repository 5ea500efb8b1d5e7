package natpunch

import (
	"net/netip"
	"testing"
	"time"
)

// Both routers are spared: the mappings and sessions of one attempt, the rate, and the
// time between attempts.
func TestSprayBudgets(t *testing.T) {
	for _, kind := range []natKind{randomDependent, blockDependent, countingDependent} {
		t.Run(kind.name, func(t *testing.T) {
			n, a, b, relay := sprayPair(7, kind, strictIndependent)
			ga, gb := a.realm.gateway, b.realm.gateway
			ga.lifetime, gb.lifetime = 24*time.Hour, 24*time.Hour
			// Nothing meets: what comes from the other side is dropped.
			ga.blocks = func(p simPacket) bool { return p.from.Addr() == gb.addr }
			meet(a, b, 0, 0)
			relay.allocate(a, b, 0, 0)
			n.run(1300*time.Millisecond, nil)
			mappings, sessions := ga.made, gb.sessions
			var fastest, last int
			start := n.now
			for n.now.Sub(start) < 40*time.Second {
				n.run(time.Second, nil)
				fastest = max(fastest, n.sent-last)
				last = n.sent
			}
			if got := ga.made - mappings; got > 300 || a.extra.opened != sprayPorts {
				t.Errorf("%d mappings at the dependent side, %d ports", got, a.extra.opened)
			}
			if got := gb.sessions - sessions; got > 1100 || got < 1000 {
				t.Errorf("%d sessions at the other side", got)
			}
			t.Logf("%d mappings, %d sessions, %d datagrams in the busiest second", ga.made-mappings, gb.sessions-sessions, fastest)
			for _, x := range []*simNode{a, b} {
				if x.isDirect(map[*simNode]*simNode{a: b, b: a}[x]) || len(x.lost) > 0 {
					t.Errorf("selected %v, lost %v", x.selects, x.lost)
				}
			}
			if r := a.agent.Reason(b.key); r.Code != ReasonOwnMapping || r.Mend == "" {
				t.Errorf("reason %+v", r)
			}
			if r := b.agent.Reason(a.key); r.Code != ReasonPeerMapping {
				t.Errorf("reason %+v", r)
			}
			// Another after a minute, after 5, 30, 60 and 60 more.
			for i, at := range []time.Duration{50 * time.Second, 2 * time.Minute, 10 * time.Minute, 45 * time.Minute, 2 * time.Hour, 190 * time.Minute} {
				n.run(start.Add(at).Sub(n.now), nil)
				if want := []int{1, 2, 3, 4, 5, 6}[i] * sprayPorts; a.extra.opened != want {
					t.Errorf("after %v %d ports have been opened, want %d", at, a.extra.opened, want)
				}
			}
			opened := a.extra.opened
			a.agent.RestartAll(n.now)
			a.advance()
			n.run(30*time.Second, nil)
			if a.extra.opened == opened {
				t.Error("no attempt after the network changed")
			}
		})
	}
}

// The busiest second of one spray.
func TestSprayRate(t *testing.T) {
	n, a, b, relay := sprayPair(7, randomDependent, strictIndependent)
	a.realm.gateway.blocks = func(p simPacket) bool { return p.from.Addr() == b.realm.gateway.addr }
	var times [2][]time.Time
	for i, x := range []*simNode{a, b} {
		gate := x.realm.gateway
		before := gate.blocks
		gate.blocks = func(p simPacket) bool {
			if x.realm.hosts[p.from.Addr()] != nil {
				times[i] = append(times[i], n.now)
			}
			return before != nil && before(p)
		}
	}
	meet(a, b, 0, 0)
	relay.allocate(a, b, 0, 0)
	n.run(30*time.Second, nil)
	for i := range times {
		most := 0
		for j, k := 0, 0; j < len(times[i]); j++ {
			for times[i][j].Sub(times[i][k]) >= time.Second {
				k++
			}
			most = max(most, j-k+1)
		}
		if most > 310 { // with binds and keepalives
			t.Errorf("node %d sent %d datagrams within a second", i, most)
		}
	}
}

// With many peers to punch to, one is punched to at a time, and each has its turn.
func TestSpraysTakeTurns(t *testing.T) {
	n := newSimnet(3)
	r, servers := internet(n)
	relay := r.relay("198.51.100.101")
	d := newNode(r.inner(randomDependent.gateway(n.rng, "198.51.100.11")).host(41000, "192.168.1.10"), 1, 24)
	d.nat4 = randomDependent.behavior()
	d.learnReflexive(servers)
	var others []*simNode
	for i := range 5 {
		addr := netip.AddrFrom4([4]byte{198, 51, 100, byte(20 + i)}).String()
		x := newNode(r.inner(strictIndependent.gateway(n.rng, addr)).host(42000, "192.168.2.10"), 2+i, 24)
		x.nat4 = strictIndependent.behavior()
		x.learnReflexive(servers)
		others = append(others, x)
	}
	n.run(time.Second, nil)
	d.setLocal()
	for _, x := range others {
		x.setLocal()
		meet(d, x, 0, 0)
		relay.allocate(d, x, 0, 0)
	}
	all := func() bool {
		for _, x := range others {
			if !x.isDirect(d) || !d.isDirect(x) {
				return false
			}
		}
		return true
	}
	start := n.now
	if !n.run(10*time.Minute, all) {
		t.Fatalf("selected %v", d.selects)
	}
	t.Logf("all direct after %v", n.now.Sub(start))
	for _, x := range others {
		samePair(t, d, x)
	}
	if len(d.extra.kept) != len(others) {
		t.Errorf("%d ports are kept", len(d.extra.kept))
	}
}
