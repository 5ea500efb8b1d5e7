package natpunch

import (
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	topologySeed  = flag.Uint64("topology.seed", 0, "run this random topology alone, and log it")
	topologyCount = flag.Int("topology.count", 2000, "random topologies to run")
)

// topology is where two nodes are. It is made from its seed alone, so that the
// reference gets a network of its own.
type topology struct {
	net     *simnet
	hosts   [2]*simHost
	bits    [2][]int
	servers []netip.AddrPort
	text    string
}

func newTopology(seed uint64) *topology {
	t := &topology{net: newSimnet(seed)}
	n := t.net
	out, servers := internet(n)
	out.delay = time.Duration(5+n.rng.IntN(100)) * time.Millisecond
	t.servers = servers
	var homes [2]*realm
	var carrier *realm
	sharedCarrier := n.rng.IntN(4) == 0
	for i := range t.hosts {
		ipv4 := n.rng.IntN(12) > 0
		ipv6 := !ipv4 || n.rng.IntN(3) == 0
		id := 11 + i
		switch place := n.rng.IntN(8); {
		case place == 0: // on the internet itself
			t.place(i, out, "public", choose(ipv4, fmt.Sprintf("198.51.100.%d/24", id)), choose(ipv6, fmt.Sprintf("2001:db8:0:%x::1/64", id)))
		case i == 1 && homes[0] != nil && place <= 3: // with the other one
			subnet := 1 + n.rng.IntN(2)
			t.place(i, homes[0], fmt.Sprintf("in the other's network, link %d", subnet),
				fmt.Sprintf("192.168.%d.20/24", subnet), choose(ipv6, fmt.Sprintf("2001:db8:100:%x::20/64", subnet)))
		case place <= 5:
			homes[i] = out.inner(t.randomNAT(fmt.Sprintf("198.51.100.%d", id), 0x100*(i+1)))
			subnet := 1 + n.rng.IntN(2)
			t.place(i, homes[i], "at home, "+homes[i].gateway.String(),
				choose(ipv4, fmt.Sprintf("192.168.%d.10/24", subnet)), choose(ipv6, fmt.Sprintf("2001:db8:%x:%x::10/64", 0x100*(i+1), subnet)))
		default:
			if carrier == nil || !sharedCarrier {
				carrier = out.inner(t.randomNAT(fmt.Sprintf("203.0.113.%d", id), 0))
				carrier.delay = 3 * time.Millisecond
			}
			if place == 6 {
				t.place(i, carrier, "at a carrier, "+carrier.gateway.String(), fmt.Sprintf("100.64.0.%d/24", id))
				continue
			}
			homes[i] = carrier.inner(t.randomNAT(fmt.Sprintf("100.64.1.%d", id), 0))
			t.place(i, homes[i], fmt.Sprintf("at home, %v, at a carrier, %v", homes[i].gateway, carrier.gateway), "192.168.1.10/24")
		}
	}
	return t
}

func choose(yes bool, s string) string {
	if yes {
		return s
	}
	return ""
}

func (t *topology) place(i int, r *realm, text string, addrs ...string) {
	var plain []string
	for _, a := range addrs {
		if a != "" {
			p := netip.MustParsePrefix(a)
			plain = append(plain, p.Addr().String())
			t.bits[i] = append(t.bits[i], p.Bits())
		}
	}
	t.hosts[i] = r.host(41641, plain...)
	t.text += fmt.Sprintf("node %d %v %s\n", i, addrs, text)
}

func (t *topology) randomNAT(addr string, prefix6 int) gateway {
	rng := t.net.rng
	behavior := func(independent float64) MappingBehavior {
		if rng.Float64() < independent {
			return EndpointIndependent
		}
		return AddressDependent + MappingBehavior(rng.IntN(2))
	}
	g := gateway{
		addr: netip.MustParseAddr(addr), mapping: behavior(0.75), filtering: behavior(0.3),
		hairpinning: rng.IntN(2) == 0, preserves: rng.IntN(2) == 0, open6: rng.IntN(4) == 0,
	}
	if prefix6 > 0 {
		g.prefix6 = netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x::/48", prefix6))
	}
	return g
}

func (g *gateway) String() string {
	return fmt.Sprintf("NAT %v mapping %v, filtering %v, hairpinning %v", g.addr, g.mapping, g.filtering, g.hairpinning)
}

// reference floods a network of the same topology: both nodes send to every
// address of the other that anyone knows, again and again, without loss, budgets
// or choice. It returns the best rank at which an answer came back, 0 for none.
func reference(seed uint64) rank {
	t := newTopology(seed)
	var known, proved [2]map[netip.AddrPort]bool
	for i := range t.hosts {
		known[i], proved[i] = map[netip.AddrPort]bool{}, map[netip.AddrPort]bool{}
	}
	for i, h := range t.hosts {
		other := 1 - i
		for _, a := range h.addrs {
			known[other][netip.AddrPortFrom(a, h.port)] = true
		}
		h.receive = func(from netip.AddrPort, b []byte) {
			if addr, err := netip.ParseAddrPort(string(b)); err == nil { // a server
				known[other][addr] = true
				return
			}
			known[i][from] = true
			if target, ok := strings.CutPrefix(string(b), "ping "); ok {
				h.send(from, []byte("pong "+target))
			} else if string(b) == "pong "+from.String() {
				proved[i][from] = true
			}
		}
	}
	for _, s := range t.servers { // they answer with what they see
		for _, r := range t.net.serversOf(t.hosts[0].realm) {
			if h := r.hosts[s.Addr()]; h != nil {
				h.receive = func(from netip.AddrPort, _ []byte) { h.send(from, []byte(from.String())) }
			}
		}
		for _, h := range t.hosts {
			h.send(s, []byte("where"))
		}
	}
	t.net.run(time.Second, nil)
	for range 6 {
		for i, h := range t.hosts {
			for a := range known[i] {
				if !slices.Contains(h.addrs, a.Addr()) {
					h.send(a, []byte("ping "+a.String()))
				}
			}
		}
		t.net.run(2*time.Second, nil)
	}
	var best rank
	for a := range proved[0] {
		r := rankIPv4
		for i, own := range t.hosts[0].addrs {
			onLink := netip.PrefixFrom(own, t.bits[0][i]).Contains(a.Addr())
			if a.Addr().IsPrivate() || onLink && a.Addr().Is6() {
				r = rankLAN
			}
		}
		if r < rankLAN && a.Addr().Is6() {
			r = rankIPv6
		}
		best = max(best, r)
	}
	return best
}

// serversOf returns the realms from r outwards.
func (n *simnet) serversOf(r *realm) (realms []*realm) {
	for {
		realms = append(realms, r)
		if r.gateway == nil {
			return realms
		}
		r = r.gateway.outside
	}
}

// TestRandomTopologies: a pair gets a direct path exactly when there is one, of
// the best kind there is, in a few round trips, both sides the same; and then is
// silent.
func TestRandomTopologies(t *testing.T) {
	first, count := uint64(1), *topologyCount
	if *topologySeed != 0 {
		first, count = *topologySeed, 1
	}
	if testing.Short() {
		count = min(count, 300)
	}
	var direct, none int
	var slowest, total time.Duration
	for seed := first; seed < first+uint64(count); seed++ {
		want := reference(seed)
		took, ok := runTopology(t, seed, want)
		if t.Failed() {
			return
		}
		if ok {
			direct++
			total += took
			slowest = max(slowest, took)
		} else {
			none++
		}
	}
	t.Logf("%d direct, %d not; mean %v, slowest %v", direct, none, total/time.Duration(max(direct, 1)), slowest)
	if *topologySeed == 0 && (direct < count/3 || none < count/20) {
		t.Errorf("too few of one kind to mean anything")
	}
}

func runTopology(t *testing.T, seed uint64, want rank) (took time.Duration, direct bool) {
	t.Helper()
	top := newTopology(seed)
	n := top.net
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("seed %d (-topology.seed=%d):\n%s%s", seed, seed, top.text, fmt.Sprintf(format, args...))
	}
	swap := n.rng.IntN(2) // which one controls
	a := newNode(top.hosts[0], 1+swap, top.bits[0]...)
	b := newNode(top.hosts[1], 2-swap, top.bits[1]...)
	a.learnReflexive(top.servers)
	b.learnReflexive(top.servers)
	n.run(6*time.Second, nil)
	a.setLocal()
	b.setLocal()
	if *topologySeed != 0 {
		t.Logf("%s%v\n%v", top.text, a.candidates(), b.candidates())
		n.trace = func(p simPacket) { t.Logf("%v %v -> %v", n.now.Format("05.000"), p.from, p.to) }
	}

	late := time.Duration(n.rng.IntN(2)*n.rng.IntN(300)) * time.Millisecond
	meet(a, b, late*time.Duration(swap), late*time.Duration(1-swap))
	start := n.now.Add(late)
	n.run(2*time.Minute, nil)

	pathA, okA := a.agent.Path(b.key)
	pathB, okB := b.agent.Path(a.key)
	switch {
	case okA != okB:
		fail("one side has a path: %v, %v", pathA, pathB)
		return 0, false
	case !okA && want > 0:
		fail("no path, and there is one of rank %d; lost: %v, %v", want, a.lost, b.lost)
		return 0, false
	case !okA:
		if len(a.lost) != 1 || len(b.lost) != 1 || a.lost[0].Reason == "" {
			fail("no path, and that told as %v and %v", a.lost, b.lost)
		}
		return 0, false
	case want == 0:
		fail("a path that the reference does not know: %v, %v", pathA, pathB)
		return 0, false
	}
	if got := a.agent.site.rank(pathA.Addr); got != want {
		fail("path %v has rank %d, and there is one of %d", pathA, got, want)
	}
	samePair(t, a, b)

	first := latest(a.selectedAt(0), b.selectedAt(0))
	took = max(first.Sub(start), 0)
	rtt := max(pathA.RTT, a.selects[0].Path.RTT)
	// Half a round trip until the later one's ping is there, one for the check
	// that it triggers, one for the nomination; the pings before it in line.
	limit := 3*rtt + nominationWindow + 10*pace
	if late > 0 { // where only the early one's pings arrive, its next has to be waited for
		limit += pingGaps[1]
	}
	if took > limit {
		fail("direct after %v, more than %v at a round trip of %v", took, limit, rtt)
	}
	if len(a.selects) > 3 || len(b.selects) > 3 {
		fail("more changes than there are kinds: %v, %v", a.selects, b.selects)
	}

	sent := a.sent + b.sent
	n.run(time.Hour, nil)
	if a.sent+b.sent != sent {
		fail("%d datagrams in an hour in which nothing happened", a.sent+b.sent-sent)
	}
	return took, true
}

func (n *simNode) selectedAt(i int) time.Time {
	if i >= len(n.at) {
		return time.Time{}
	}
	return n.at[i]
}

// TestLossyTopologies: one datagram of twenty is lost on each of two to six
// links. Nearly all get their path soon, all of them in the end, and whoever has one agrees with the other side.
func TestLossyTopologies(t *testing.T) {
	count := *topologyCount / 3
	if testing.Short() {
		count = min(count, 100)
	}
	possible, direct, agreed := 0, 0, 0
	for seed := uint64(1); seed <= uint64(count); seed++ {
		want := reference(seed)
		if want == 0 {
			continue
		}
		possible++
		top := newTopology(seed)
		n := top.net
		a := newNode(top.hosts[0], 1, top.bits[0]...)
		b := newNode(top.hosts[1], 2, top.bits[1]...)
		a.learnReflexive(top.servers)
		b.learnReflexive(top.servers)
		n.run(10*time.Second, nil)
		a.setLocal()
		b.setLocal()
		n.loss = 0.05
		meet(a, b, 0, 0)
		if n.run(3*time.Second, bothSettled(a, b)) {
			direct++
		}
		n.run(10*time.Minute, nil)
		pathA, okA := a.agent.Path(b.key)
		pathB, okB := b.agent.Path(a.key)
		if okA && okB {
			agreed++
			samePair(t, a, b)
		}
		if t.Failed() {
			t.Fatalf("seed %d:\n%s%v, %v", seed, top.text, pathA, pathB)
		}
		sent := a.sent + b.sent
		n.run(time.Hour, nil)
		if okA && okB && a.sent+b.sent > sent {
			t.Fatalf("seed %d: %d datagrams in an hour in which nothing happened", seed, a.sent+b.sent-sent)
		}
	}
	t.Logf("of %d: direct within 3 s %d, in the end %d", possible, direct, agreed)
	if direct < possible*95/100 || agreed < possible*99/100 {
		t.Errorf("of %d: direct within 3 s %d, in the end %d", possible, direct, agreed)
	}
}
