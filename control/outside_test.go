package control

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/wgsetup"
	"github.com/google/go-cmp/cmp"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// What lies in no subnet needs no way of its own, nor does what the host itself has a
// longer route to; what is in use comes before what is only said.
func TestAddressesOutside(t *testing.T) {
	v := routeView{host: pfxs("203.0.113.128/26", "198.51.100.0/24")}
	use := func(rank underlayRank, addrs ...string) {
		for _, a := range addrsOf(addrs...) {
			v.underlay = append(v.underlay, underlayUse{a, rank})
		}
	}
	use(underSaid, "203.0.113.7", "203.0.113.9", "203.0.113.140", "8.8.8.8", "2001:db8::5")
	use(underInUse, "203.0.113.9", "198.51.100.3")
	subnets := pfxs("203.0.113.0/24", "203.0.113.128/25", "2001:db8::/64")
	if diff := cmp.Diff(addrsOf("203.0.113.7", "203.0.113.9", "2001:db8::5"), v.outside(subnets), plainAddrs); diff != "" {
		t.Error(diff)
	}
	if got := v.outside(nil); got != nil {
		t.Errorf("without subnets: %v", got)
	}
	// A crowd of made-up nodes.
	for i := range 3 * maxOutside {
		v.underlay = append(v.underlay, underlayUse{netip.AddrFrom4([4]byte{100, 1, byte(i >> 8), byte(i)}), underSaid})
	}
	use(underLikely, "100.1.200.1")
	use(underInUse, "100.1.200.2")
	got := v.outside(pfxs("100.0.0.0/8"))
	if len(got) != maxOutside || !slices.Contains(got, netip.MustParseAddr("100.1.200.1")) || !slices.Contains(got, netip.MustParseAddr("100.1.200.2")) {
		t.Errorf("%d addresses, with those in use: %v", len(got), got[len(got)-2:])
	}
}

// No member takes a route from others, be it by what it says or by where it is: the
// underlay goes past the tunnel there. Only whom the route leads to can be in it itself.
func TestRouteAroundMembers(t *testing.T) {
	h := newWorld(t, 1).host("a", "192.168.1.2:20001", nil)
	m, now := h.mesh, h.w.now
	m.uplinksChanged(now, ways("192.168.1.2"))
	m.routes.choice.accept = []string{"all"}
	m.addressing.prefix, m.addressing.own = pfx("10.77.0.0/16"), []claim{{node: m.self.public, addr: netip.MustParseAddr("10.77.1.1"), settled: true}}
	office := pfx("203.0.113.0/24")
	member := func(i byte, name, at string) *peer {
		p := &peer{node: routeNode(i), installed: true, alive: true}
		p.record.Node, p.record.Name, p.record.WireGuard = p.node, name, wgtypes.Key{i}
		p.path = natpunch.Path{Addr: netip.MustParseAddrPort(at), Kind: natpunch.Direct}
		p.lastAddr = p.path.Addr
		m.peers[p.node] = p
		return p
	}
	gate := member(9, "gate", "198.51.100.7:1000")
	gate.record.Routes = []netip.Prefix{office}
	// Whoever sees the gate may tell it that it is there.
	gate.record.Candidates = []wire.Candidate{{Type: wire.PeerReflexive, Addr: netip.MustParseAddrPort("203.0.113.77:1")}}
	there := member(5, "there", "203.0.113.9:1000")
	liar := member(1, "liar", "198.51.100.9:1000")
	liar.record.Candidates = []wire.Candidate{{Type: wire.Host, Addr: netip.MustParseAddrPort("203.0.113.66:1")}}
	liar.record.Subnet = pfx("192.168.7.0/24")
	lan := pfx("192.168.7.0/24")
	gate.record.Routes = append(gate.record.Routes, lan)
	m.hint(now, discovery.SourceStatic, netip.MustParseAddrPort("203.0.113.88:1"))
	review := func() {
		t.Helper()
		m.subnetChanged(now)
		m.routes.changed = true
		now = now.Add(time.Minute)
		m.out = effects{}
		m.reviewRoutes(now)
	}
	review()
	if diff := cmp.Diff([]netip.Prefix{lan, office}, m.desired().Subnets, plainAddrs, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("%s\n%v", diff, m.notices)
	}
	if !m.out.apply {
		t.Error("nothing is applied")
	}
	var want []wgsetup.UnderlayRoute
	for _, a := range addrsOf("203.0.113.9", "203.0.113.66", "203.0.113.77", "203.0.113.88") {
		want = append(want, wgsetup.UnderlayRoute{To: a, Uplink: ways("192.168.1.2")[0]})
	}
	if diff := cmp.Diff(want, m.desired().Underlay, plainAddrs); diff != "" {
		t.Errorf("underlay: %s", diff)
	}
	leaves := func(to string) bool {
		m.out.sends = nil
		m.send(netip.MustParseAddrPort(to), nil)
		return len(m.out.sends) == 1
	}
	if !leaves("203.0.113.66:1") || !leaves("203.0.113.9:1000") || leaves("203.0.113.10:1") || !leaves("203.0.114.1:1") {
		t.Error("what goes into the tunnel and what past it is mixed up")
	}

	there.path.Addr = netip.MustParseAddrPort("203.0.113.10:1000")
	review()
	if !m.out.apply || !leaves("203.0.113.10:1000") {
		t.Error("a path that moved is not followed")
	}
	m.uplinksChanged(now, ways("2001:db8::2"))
	if leaves("203.0.113.10:1000") || len(m.desired().Underlay) != 0 {
		t.Errorf("past the tunnel without an uplink: %v", m.desired().Underlay)
	}
	m.uplinksChanged(now, ways("192.168.1.2"))

	gate.lastAddr = netip.MustParseAddrPort("203.0.113.1:1000")
	review()
	if got := m.desired().Subnets; slices.Contains(got, office) || !slices.Contains(got, lan) {
		t.Errorf("subnets: %v", got)
	}
	if w := m.routes.choice.plan.words[gate.node]; len(w) != 2 || w[0].state != routeRefused {
		t.Errorf("%+v", w)
	}
	delete(m.peers, gate.node)
	review()
	if len(m.desired().Underlay) != 0 {
		t.Errorf("ways are left: %v", m.desired().Underlay)
	}
}
