package natpunch

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/discovery/wire"
)

// sprayTopology is a random network of two homes, perhaps behind carriers, with
// IPv4 alone and with any NATs.
type sprayTopology struct {
	*topology
	out   *realm
	kinds [2][]natKind // from the host outwards
}

var anyKinds = []natKind{
	strictIndependent, strictIndependent, strictIndependent,
	{name: "open", mapping: EndpointIndependent, filtering: EndpointIndependent},
	{name: "open by address", mapping: EndpointIndependent, filtering: AddressDependent},
	randomDependent, blockDependent, countingDependent, busyDependent, fallingDependent,
	{name: "random ports by address", mapping: AddressDependent, filtering: AddressAndPortDependent},
	{name: "dependent and open", mapping: AddressAndPortDependent, filtering: EndpointIndependent},
}

func newSprayTopology(seed uint64) *sprayTopology {
	t := &sprayTopology{topology: &topology{net: newSimnet(seed)}}
	n := t.net
	t.out, t.servers = internet(n)
	t.out.delay = time.Duration(5+n.rng.IntN(60)) * time.Millisecond
	for i := range t.hosts {
		r := t.out
		if n.rng.IntN(8) == 0 {
			t.place(i, r, "public", fmt.Sprintf("198.51.100.%d/32", 11+i))
			continue
		}
		addr := fmt.Sprintf("198.51.100.%d", 11+i)
		if n.rng.IntN(4) == 0 { // a carrier's NAT outside
			k := anyKinds[n.rng.IntN(len(anyKinds))]
			t.kinds[i] = append(t.kinds[i], k)
			r = r.inner(k.gateway(n.rng, addr))
			r.delay = 3 * time.Millisecond
			addr = fmt.Sprintf("100.64.1.%d", 11+i)
		}
		k := anyKinds[n.rng.IntN(len(anyKinds))]
		t.kinds[i] = append([]natKind{k}, t.kinds[i]...)
		text := "behind"
		for _, k := range t.kinds[i] {
			text += fmt.Sprintf(" %q %v/%v", k.name, k.mapping, k.filtering)
		}
		t.place(i, r.inner(k.gateway(n.rng, addr)), text, fmt.Sprintf("192.168.%d.10/24", i+1))
	}
	return t
}

// behavior is what the tests of RFC 5780 find: of several NATs the mapping that depends
// on most, and the ports of the outermost one, as far as it tells anything.
func (t *sprayTopology) behavior(i int) wire.NATBehavior {
	b := wire.NATBehavior{Mapping: EndpointIndependent, Filtering: EndpointIndependent}
	for _, k := range t.kinds[i] {
		b.Mapping, b.Filtering = max(b.Mapping, k.mapping), max(b.Filtering, k.filtering)
	}
	if len(t.kinds[i]) > 0 {
		outer := t.kinds[i][len(t.kinds[i])-1]
		b.Step, b.Low, b.High = int16(outer.step), outer.low, outer.high
	}
	return b
}

// sprayReference says whether there can be a path: it floods a network of the same
// topology, without budgets, from a few ports of each host to every port at which the other
// side's NAT has a mapping, which no real host could know.
func sprayReference(seed uint64) bool {
	t := newSprayTopology(seed)
	n := t.net
	met := false
	var outer [2]netip.Addr
	for i, h := range t.hosts {
		outer[i] = netip.MustParseAddr(fmt.Sprintf("198.51.100.%d", 11+i))
		h.extra = &simPorts{host: h}
	}
	send := func(i int, port uint16, to netip.AddrPort, b string) {
		h := t.hosts[i]
		h.realm.pass(simPacket{netip.AddrPortFrom(h.addrs[0], port), to, []byte(b)})
	}
	for i, h := range t.hosts {
		for p := range uint16(3) {
			h.extra.open = append(h.extra.open, 30000+p)
		}
		h.extra.receive = func(port int, from netip.AddrPort, b []byte) {
			if string(b) == "ping" {
				send(i, h.extra.open[port], from, "pong")
			} else if string(b) == "pong" {
				met = true
			}
		}
		h.receive = nil
	}
	// All mappings of the outermost NAT of a host that lead to the other's address.
	outside := func(i int) []uint16 {
		if len(t.kinds[i]) == 0 {
			return []uint16{30000, 30001, 30002}
		}
		g := t.hosts[i].realm.gateway
		for g.outside != t.out {
			g = g.outside.gateway
		}
		var ports []uint16
		for _, m := range g.mappings {
			ports = append(ports, m.outer.Port())
		}
		slices.Sort(ports)
		return slices.Compact(ports)
	}
	for i := range t.hosts {
		for p := range uint16(3) {
			send(i, 30000+p, netip.AddrPortFrom(outer[1-i], 9), "ping")
		}
	}
	n.run(time.Second, nil)
	for range 4 {
		known := [2][]uint16{outside(0), outside(1)}
		for i := range t.hosts {
			for p := range uint16(3) {
				for _, q := range known[1-i] {
					send(i, 30000+p, netip.AddrPortFrom(outer[1-i], q), "ping")
				}
			}
		}
		n.run(time.Second, nil)
		if met {
			return true
		}
	}
	return false
}

// TestSprayTopologies: where one side at most is dependent, every pair that can be is
// direct, most of them soon; and no path is found that the reference does not know.
func TestSprayTopologies(t *testing.T) {
	first, count := uint64(1), *topologyCount/4
	if *topologySeed != 0 {
		first, count = *topologySeed, 1
	}
	if testing.Short() {
		count = min(count, 60)
	}
	var direct, not, both, sprayed int
	var took []time.Duration
	for seed := first; seed < first+uint64(count); seed++ {
		can := sprayReference(seed)
		top := newSprayTopology(seed)
		n := top.net
		relay := top.out.relay("203.0.113.101")
		swap := n.rng.IntN(2)
		a := newNode(top.hosts[0], 1+swap, top.bits[0]...)
		b := newNode(top.hosts[1], 2-swap, top.bits[1]...)
		a.nat4, b.nat4 = top.behavior(0), top.behavior(1)
		a.learnReflexive(top.servers)
		b.learnReflexive(top.servers)
		n.run(6*time.Second, nil)
		a.setLocal()
		b.setLocal()
		if *topologySeed != 0 {
			t.Logf("%s%v\n%v", top.text, a.candidates(), b.candidates())
		}
		start := n.now
		meet(a, b, 0, 0)
		carry(a, b)
		if n.rng.IntN(2) == 0 {
			relay.allocate(a, b, 0, 0)
		}
		got := n.run(3*time.Hour, bothDirect(a, b))
		one := !dependent(a.nat4) || !dependent(b.nat4)
		fail := func(what string) {
			t.Fatalf("seed %d (-topology.seed=%d): %s\n%s%v\n%v\n%v %v", seed, seed, what, top.text, a.selects, b.selects, a.agent.Reason(b.key), b.agent.Reason(a.key))
		}
		switch {
		case got && !can && one:
			fail("a path that the reference does not know")
		case !got && can && one:
			fail("not direct")
		case got:
			direct++
			took = append(took, n.now.Sub(start))
			samePair(t, a, b)
		case !one:
			both++
		default:
			not++
		}
		for _, x := range []*simNode{a, b} {
			if x.extra != nil && x.extra.keeps_ > 0 {
				sprayed++
			}
			if x.agent.sprays.busy != nil {
				n.run(time.Minute, nil)
			}
			if x.agent.sprays.busy != nil || x.extra != nil && len(x.extra.open) > 0 {
				fail("an attempt does not end")
			}
		}
	}
	slices.Sort(took)
	t.Logf("%d direct, %d by many ports; %d not; %d between two dependent NATs not; half after %v, 95 of 100 after %v, the last after %v",
		direct, sprayed, not, both, took[len(took)/2], took[len(took)*95/100], took[len(took)-1])
	if *topologySeed == 0 && (took[len(took)/2] > 5*time.Second || took[len(took)*95/100] > 80*time.Second || sprayed < count/20 || both < count/50) {
		t.Errorf("too slow, or too few of one kind")
	}
}
