package natpunch

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// sprayedPair returns two nodes that have a direct path from a kept port of a's.
func sprayedPair(t *testing.T, seed uint64) (n *simnet, a, b *simNode, relay *simRelay) {
	t.Helper()
	n, a, b, relay = sprayPair(seed, randomDependent, strictIndependent)
	meet(a, b, 0, 0)
	relay.allocate(a, b, 0, 0)
	if !n.run(time.Minute, bothDirect(a, b)) {
		t.Fatal("not direct")
	}
	if len(a.extra.kept) != 1 || len(a.extra.open) != 0 || b.extra != nil {
		t.Fatalf("kept %v, %d ports are open", a.extra.kept, len(a.extra.open))
	}
	return n, a, b, relay
}

// A kept port outlives an outage, and is released when it is of no use any more.
func TestKeptPort(t *testing.T) {
	for name, tt := range map[string]struct {
		event  func(n *simnet, a, b *simNode)
		after  time.Duration // at the latest
		direct bool          // in the end, without another attempt
	}{
		"nothing happens": {
			event: func(*simnet, *simNode, *simNode) {}, direct: true,
		},
		"an outage of 20 s": {
			event: func(n *simnet, a, b *simNode) {
				g := a.realm.gateway
				g.cut = true
				a.agent.CheckConsent(n.now, b.key)
				a.advance()
				b.agent.CheckConsent(n.now, a.key)
				b.advance()
				n.run(20*time.Second, nil)
				g.cut = false
			}, direct: true,
		},
		"the peer is removed": {
			event: func(n *simnet, a, b *simNode) { a.agent.RemovePeer(b.key); a.advance() },
			after: time.Nanosecond,
		},
		"the host's address changes": {
			event: func(n *simnet, a, b *simNode) {
				a.agent.SetLocal(n.now, Local{
					Candidates: a.candidates()[1:], HasIPv4: true, NAT4: a.nat4,
					Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.77/24")},
				})
				a.advance()
			},
			after: time.Nanosecond,
		},
		"the other side's network is gone for good": {
			event: func(n *simnet, a, b *simNode) {
				b.realm.gateway.cut = true
				a.agent.CheckConsent(n.now, b.key)
				a.advance()
			},
			after: keptAfter + 10*time.Second,
		},
		"a better path is found": {
			event: func(n *simnet, a, b *simNode) {
				r := a.realm.gateway.outside
				r.hosts[netip.MustParseAddr("198.51.100.99")] = b.simHost
				a.agent.Validated(n.now, b.key, netip.MustParseAddrPort("198.51.100.99:42000"), time.Millisecond)
				a.advance()
				a.agent.Avoid(n.now, b.key, func() netip.AddrPort { p, _ := a.agent.Path(b.key); return p.Addr }(), time.Hour)
				a.advance()
			},
			after: keptAfter + 10*time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, a, b, _ := sprayedPair(t, 5)
			opened := a.extra.opened
			tt.event(n, a, b)
			released := n.run(max(tt.after, time.Minute), func() bool { return a.extra.released > 0 })
			if tt.direct {
				if released || !a.isDirect(b) || !b.isDirect(a) || a.extra.opened != opened {
					t.Fatalf("released %v, opened %d; %v %v", released, a.extra.opened, a.selects, b.selects)
				}
				samePair(t, a, b)
			} else if !released {
				t.Fatalf("the port is still kept: %v", a.selects)
			}
		})
	}
}

// The NAT forgets all its mappings: the pair is on the relay at once, and direct again
// after another attempt.
func TestSprayAgain(t *testing.T) {
	n, a, b, _ := sprayedPair(t, 5)
	n.run(10*time.Minute, nil)
	a.realm.gateway.mappings = nil
	b.realm.gateway.mappings = nil
	for _, x := range [][2]*simNode{{a, b}, {b, a}} {
		x[0].agent.CheckConsent(n.now, x[1].key)
		x[0].advance()
	}
	start := n.now
	n.run(time.Second, nil)
	if !n.run(5*time.Minute, bothDirect(a, b)) {
		t.Fatalf("selected %v, %v", a.selects, b.selects)
	}
	t.Logf("direct again after %v", n.now.Sub(start))
	samePair(t, a, b)
	n.run(10*time.Minute, nil)
	if !a.isDirect(b) || len(a.extra.kept) != 1 {
		t.Errorf("kept %v; %v", a.extra.kept, a.selects)
	}
}

// A host that cannot keep a port says so, and leaves no ports open.
func TestKeepRefused(t *testing.T) {
	n, a, b, relay := sprayPair(5, randomDependent, strictIndependent)
	a.extra = &simPorts{host: a.simHost, kept: map[netip.AddrPort]uint16{}, refuses: true}
	meet(a, b, 0, 0)
	relay.allocate(a, b, 0, 0)
	n.run(40*time.Second, nil)
	if a.extra.keeps_ != 1 || len(a.extra.open) != 0 || a.isDirect(b) {
		t.Errorf("asked to keep %d ports; %d open; %v", a.extra.keeps_, len(a.extra.open), a.selects)
	}
	if r := a.agent.Reason(b.key); r.Code != ReasonNoPorts {
		t.Errorf("reason %+v", r)
	}
}

// Without relay or member, the owners agree on a time; clocks differ by seconds.
func TestPunchAt(t *testing.T) {
	for _, skew := range []time.Duration{-8 * time.Second, 0, 8 * time.Second} {
		direct := 0
		for seed := uint64(1); seed <= 20; seed++ {
			n, a, b, _ := sprayPair(seed, randomDependent, strictIndependent)
			meet(a, b, 0, 0)
			n.run(5*time.Second, nil)
			a.agent.PunchAt(n.now, b.key, n.now.Add(20*time.Second))
			a.advance()
			b.agent.PunchAt(n.now, a.key, n.now.Add(20*time.Second+skew))
			b.advance()
			if n.run(time.Minute, bothDirect(a, b)) {
				direct++
				samePair(t, a, b)
			}
		}
		if direct < 18 {
			t.Errorf("%v apart: %d of 20 direct", skew, direct)
		}
	}
}

// Both NATs count ports up, and little else happens there: matched indices meet. Where
// one of them does not count, nothing is tried.
func TestBothDependent(t *testing.T) {
	for _, relayed := range []bool{true, false} {
		direct := 0
		for seed := uint64(1); seed <= 20; seed++ {
			quiet := countingDependent
			quiet.others = 0
			n, a, b, relay := sprayPair(seed, quiet, quiet)
			meet(a, b, 0, 0)
			carry(a, b)
			if relayed {
				relay.allocate(a, b, 0, 0)
			}
			made := a.realm.gateway.made
			n.run(50*time.Second, nil)
			if bothDirect(a, b)() {
				direct++
				samePair(t, a, b)
			}
			if got := a.realm.gateway.made - made; got > 300 {
				t.Errorf("%d mappings", got)
			}
		}
		t.Logf("relayed %v: %d of 20 direct", relayed, direct)
		if direct < 10 {
			t.Errorf("relayed %v: %d of 20 direct", relayed, direct)
		}
	}
	n, a, b, relay := sprayPair(1, countingDependent, randomDependent)
	meet(a, b, 0, 0)
	relay.allocate(a, b, 0, 0)
	sent := n.sent
	n.run(10*time.Minute, nil)
	if a.extra != nil || b.extra != nil || n.sent-sent > 700 {
		t.Errorf("%d datagrams for what cannot be", n.sent-sent)
	}
	r := a.agent.Reason(b.key)
	if want := "a port mapping (UPnP, NAT-PMP or PCP) on either router, IPv6 on both sides, or a port forwarded to UDP 41000 of this host would make it direct"; r.Code != ReasonBothMappings || r.Mend != want {
		t.Errorf("reason %+v", r)
	}
}

// One datagram of twenty is lost on every link.
func TestLossySpray(t *testing.T) {
	var took []time.Duration
	for seed := uint64(1); seed <= 60; seed++ {
		kind := []natKind{randomDependent, blockDependent, busyDependent}[seed%3]
		n, a, b, relay := sprayPair(seed, kind, strictIndependent)
		n.loss = 0.05
		start := n.now
		meet(a, b, 0, 0)
		carry(a, b)
		if seed%2 == 0 {
			relay.allocate(a, b, 0, 0)
		}
		if !n.run(time.Hour, bothDirect(a, b)) {
			t.Fatalf("seed %d: %v %v %s", seed, a.selects, b.selects, a.agent.WhyNotDirect(b.key))
		}
		took = append(took, n.now.Sub(start))
		samePair(t, a, b)
	}
	slices.Sort(took)
	t.Logf("direct after %v", took)
	if p95 := took[len(took)*95/100]; took[len(took)/2] > 5*time.Second || p95 > 80*time.Second {
		t.Errorf("half after %v, 95 of 100 after %v", took[len(took)/2], p95)
	}
}
