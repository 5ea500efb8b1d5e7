package natpunch

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/discovery/wire"
)

// ways is a node with several uplinks, each behind a NAT of its own.
type ways struct {
	*simNode
	nats []*gateway
}

// newWays starts a node with an uplink for each of the outer addresses.
func newWays(r *realm, id int, outer ...string) *ways {
	w := &ways{}
	var h *simHost
	var bits []int
	for i, o := range outer {
		in := r.inner(home(o))
		own := fmt.Sprintf("192.168.%d.%d", 10*id+i, 10+id)
		if i == 0 {
			h = in.host(uint16(40000+id), own)
		} else {
			h.uplink(in, own)
		}
		w.nats, bits = append(w.nats, in.gateway), append(bits, 24)
	}
	w.simNode = newNode(h, id, bits...)
	return w
}

func (w *ways) record() (c []wire.Candidate) {
	for i, a := range w.addrs {
		c = append(c,
			wire.Candidate{Type: wire.Host, Addr: netip.AddrPortFrom(a, w.port)},
			wire.Candidate{Type: wire.ServerReflexive, Addr: netip.AddrPortFrom(w.nats[i].addr, w.port)})
	}
	return c
}

func meetWays(a, b *ways) {
	ab, ba := simPairs(a.key, b.key, 1)
	a.agent.SetPeer(a.net.now, Peer{Node: b.key, Pair: ab, Candidates: b.record()})
	b.agent.SetPeer(b.net.now, Peer{Node: a.key, Pair: ba, Candidates: a.record()})
	a.advance()
	b.advance()
}

// by is the uplink that the path to the other node leads over.
func (w *ways) by(other *ways) int {
	p, _ := w.agent.Path(other.key)
	return slices.Index(w.addrs, p.Base)
}

// twoUplinks returns a node with two and one with one; first tells which controls.
func twoUplinks(t *testing.T, first bool) (*simnet, *ways, *ways) {
	t.Helper()
	n := newSimnet(1)
	r, _ := internet(n)
	id := 1
	if !first {
		id = 3
	}
	a := newWays(r, id, "198.51.100.11", "203.0.113.11")
	b := newWays(r, 2, "198.51.100.12")
	meetWays(a, b)
	if !n.run(time.Second, bothSettled(a.simNode, b.simNode)) {
		t.Fatalf("no path: %v, %v", a.lost, b.lost)
	}
	samePair(t, a.simNode, b.simNode)
	measureFor(n, 5*time.Second, time.Second, a, b)
	return n, a, b
}

func bothRoles(t *testing.T, test func(t *testing.T, first bool)) {
	for _, first := range []bool{true, false} {
		t.Run(fmt.Sprintf("controls=%v", first), func(t *testing.T) { test(t, first) })
	}
}

// An uplink that goes dead is left for the other as soon as either side checks.
func TestDeadUplink(t *testing.T) {
	bothRoles(t, func(t *testing.T, first bool) {
		for _, asks := range []bool{true, false} {
			n, a, b := twoUplinks(t, first)
			n.run(time.Minute, nil)
			was := a.by(b)
			if was < 0 {
				t.Fatalf("path without a base: %v", a.selects)
			}
			a.nats[was].cut = true
			start := n.now
			moved := func() bool { return bothSettled(a.simNode, b.simNode)() && a.by(b) == 1-was }
			if asks {
				a.agent.CheckConsent(n.now, b.key)
				a.advance()
			} else {
				b.agent.CheckConsent(n.now, a.key)
				b.advance()
			}
			if !n.run(3*time.Second, moved) {
				t.Fatalf("not moved; %v, %v; lost %v, %v", a.selects, b.selects, a.lost, b.lost)
			}
			samePair(t, a.simNode, b.simNode)
			if took := n.now.Sub(start); took > time.Second {
				t.Errorf("moved after %v", took)
			}
		}
	})
}

// An uplink that the host has not any more is left without a question, and one
// that comes is used when the path is lost.
func TestUplinkVanishes(t *testing.T) {
	bothRoles(t, func(t *testing.T, first bool) {
		n, a, b := twoUplinks(t, first)
		uplinks, addrs, prefixes := a.uplinks, a.addrs, a.prefixes
		was := a.by(b)
		a.nats[was].cut = true
		keep := 1 - was
		a.uplinks, a.addrs, a.prefixes = uplinks[keep:keep+1], addrs[keep:keep+1], prefixes[keep:keep+1]
		a.setLocal()
		if !n.run(500*time.Millisecond, func() bool {
			p, _ := a.agent.Path(b.key)
			return bothSettled(a.simNode, b.simNode)() && p.Base == addrs[keep]
		}) {
			t.Fatalf("not moved; %v, %v", a.selects, b.selects)
		}
		samePair(t, a.simNode, b.simNode)

		a.uplinks, a.addrs, a.prefixes = uplinks, addrs, prefixes
		if keep == 1 { // the only one stays the best
			slices.Reverse(a.uplinks)
		}
		a.setLocal()
		n.run(time.Minute, nil)
		if p, _ := a.agent.Path(b.key); p.Base != addrs[keep] || len(a.lost) > 0 {
			t.Fatalf("path by %v, lost %v; want it where it was, at %v", p.Base, a.lost, addrs[keep])
		}
		samePair(t, a.simNode, b.simNode)
		a.nats[was].cut, a.nats[keep].cut = false, true
		a.agent.CheckConsent(n.now, b.key)
		a.advance()
		if !n.run(2*time.Second, func() bool { return bothSettled(a.simNode, b.simNode)() && a.by(b) == was }) {
			t.Fatalf("not back; %v, %v; lost %v, %v", a.selects, b.selects, a.lost, b.lost)
		}
		samePair(t, a.simNode, b.simNode)
	})
}

// measureFor is what control does while traffic flows.
func measureFor(n *simnet, d, every time.Duration, nodes ...*ways) {
	for end := n.now.Add(d); n.now.Before(end); {
		for _, w := range nodes {
			for node := range w.agent.peers {
				if p, ok := w.agent.Path(node); ok && p.Base.IsValid() {
					w.agent.Measure(n.now, node)
				}
			}
			w.advance()
		}
		n.run(every, nil)
	}
}

// One uplink is better, by its round trip or by what it loses: it is used within
// a minute, and both sides go there together.
func TestBetterUplink(t *testing.T) {
	worse := map[string]func(*simnet, *gateway){
		"slow": func(n *simnet, g *gateway) { n.slow = map[netip.Addr]time.Duration{g.addr: 15 * time.Millisecond} },
		"lossy": func(n *simnet, g *gateway) {
			g.blocks = func(simPacket) bool { return n.rng.Float64() < 0.08 }
		},
	}
	for name, make := range worse {
		t.Run(name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, first bool) {
				n, a, b := twoUplinks(t, first)
				was := a.by(b)
				make(n, a.nats[was])
				measureFor(n, 2*time.Minute, time.Second, a, b)
				if got := a.by(b); got != 1-was {
					t.Fatalf("still by uplink %d of %v", got, a.selects)
				}
				samePair(t, a.simNode, b.simNode)
				if len(a.selects) > 3 || len(a.lost)+len(b.lost) > 0 {
					t.Errorf("selected %v, lost %v, %v", a.selects, a.lost, b.lost)
				}
			})
		})
	}
}

// Uplinks that differ by noise, or lose something once in a while, are not changed
// for one another; nor does a silent one cost much.
func TestLikeUplinks(t *testing.T) {
	bothRoles(t, func(t *testing.T, first bool) {
		for _, every := range []time.Duration{time.Second, time.Minute} {
			n, a, b := twoUplinks(t, first)
			rng := rand.New(rand.NewPCG(7, 7))
			selects := len(a.selects)
			for range 60 {
				n.slow = map[netip.Addr]time.Duration{
					a.nats[0].addr: time.Duration(rng.IntN(4000)) * time.Microsecond,
					a.nats[1].addr: time.Duration(rng.IntN(4000)) * time.Microsecond,
				}
				measureFor(n, 10*every, every, a, b)
				lose := rng.IntN(2)
				a.nats[lose].blocks = func(simPacket) bool { a.nats[lose].blocks = nil; return true }
			}
			if len(a.selects) > selects {
				t.Errorf("measured each %v: moved %v", every, a.selects[selects:])
			}
			a.nats[1-a.by(b)].cut = true
			sent := a.sent
			measureFor(n, 1000*every, every, a)
			if got := a.sent - sent; got > 1000+150 {
				t.Errorf("measured each %v: %d datagrams", every, got)
			}
		}
	})
}

// Peers on the host's own links are reached where the routes lead, and a host
// with one uplink a family as ever.
func TestBasesOfRemotes(t *testing.T) {
	bases := []netip.Addr{netip.MustParseAddr("192.168.1.2"), netip.MustParseAddr("192.168.2.2")}
	s := newSite(Local{
		HasIPv4: true, HasIPv6: true, Bases: usefulBases(bases),
		Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.2/24"), netip.MustParsePrefix("198.51.100.2/24")},
	}, nil)
	for remote, want := range map[string][]netip.Addr{
		"203.0.113.1":  bases,
		"198.51.100.9": anyBase, // on-link
		"192.168.1.9":  anyBase,
		"10.1.2.3":     anyBase,
		"100.64.1.1":   anyBase,
		"2001:db8::9":  anyBase, // no uplinks of its own
	} {
		if got := s.bases(netip.MustParseAddr(remote)); !slices.Equal(got, want) {
			t.Errorf("bases for %s: %v, want %v", remote, got, want)
		}
	}
	many := slices.Concat(bases, bases, []netip.Addr{netip.MustParseAddr("192.168.3.2"), netip.MustParseAddr("192.168.4.2")})
	if got := usefulBases(many); len(got) != maxBases {
		t.Errorf("useful of %v: %v", many, got)
	}
}

// Uplinks of two nodes fail and come back at random: as long as one of each is
// left, both find it and agree, and what is spent stays in bounds.
func TestRandomUplinks(t *testing.T) {
	for seed := uint64(1); seed <= 150; seed++ {
		n := newSimnet(seed)
		r, _ := internet(n)
		outer := func(node int) (all []string) {
			for i := range 1 + n.rng.IntN(3) {
				all = append(all, fmt.Sprintf("198.51.%d.%d", 100+node, 11+i))
			}
			return all
		}
		a, b := newWays(r, 1, outer(0)...), newWays(r, 2, outer(1)...)
		for _, g := range slices.Concat(a.nats, b.nats) {
			g.filtering = EndpointIndependent + MappingBehavior(n.rng.IntN(3))
		}
		meetWays(a, b)
		for step := range 8 {
			for _, w := range []*ways{a, b} {
				for _, g := range w.nats {
					g.cut = n.rng.IntN(2) == 0
				}
				w.nats[n.rng.IntN(len(w.nats))].cut = false
			}
			a.agent.Restart(n.now, b.key, "test")
			b.agent.Restart(n.now, a.key, "test")
			a.advance()
			b.advance()
			sent := n.sent
			if !n.run(5*time.Second, bothSettled(a.simNode, b.simNode)) {
				t.Fatalf("seed %d, step %d: no path: lost %v, %v", seed, step, a.lost, b.lost)
			}
			samePair(t, a.simNode, b.simNode)
			measureFor(n, 10*time.Second, time.Second, a, b)
			samePair(t, a.simNode, b.simNode)
			if got := n.sent - sent; got > 2*(peerBurst+15*peerRate)+200 {
				t.Errorf("seed %d, step %d: %d datagrams", seed, step, got)
			}
		}
	}
}
