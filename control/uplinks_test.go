package control

import (
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/wgsetup"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

var plainAddrs = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, wgtypes.Key{})

func ways(addrs ...string) (all []wgsetup.Uplink) {
	for i, a := range addrs {
		all = append(all, wgsetup.Uplink{Iface: "eth" + string(rune('0'+i)), Addr: netip.MustParseAddr(a), Metric: i})
	}
	return all
}

func addrsOf(all ...string) (addrs []netip.Addr) {
	for _, a := range all {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	return addrs
}

// Only a family of which there were several uplinks has bases, and it keeps them
// when all but one are gone.
func TestBasesOfUplinks(t *testing.T) {
	h := newWorld(t, 1).host("a", "192.168.1.2:20001", nil)
	m, now := h.mesh, h.w.now
	for _, step := range []struct {
		have        []wgsetup.Uplink
		want, other []netip.Addr
	}{
		{ways("192.168.1.2", "2001:db8::2"), nil, nil},
		{ways("192.168.1.2", "192.168.2.2", "2001:db8::2"), addrsOf("192.168.1.2", "192.168.2.2"), addrsOf("192.168.2.2")},
		{ways("192.168.2.2", "2001:db8::2"), addrsOf("192.168.2.2"), addrsOf("192.168.2.2")},
		{nil, nil, nil},
		{ways("192.168.1.2", "2001:db8::2", "2001:db8:1::2"), addrsOf("192.168.1.2", "2001:db8::2", "2001:db8:1::2"), addrsOf("192.168.1.2", "2001:db8:1::2")},
	} {
		m.uplinksChanged(now, step.have)
		if diff := cmp.Diff(step.want, m.uplinks.bases, plainAddrs); diff != "" {
			t.Errorf("bases of %v (-want +got):\n%s", step.have, diff)
		}
		if diff := cmp.Diff(step.other, m.uplinks.other(), plainAddrs); diff != "" {
			t.Errorf("other bases of %v (-want +got):\n%s", step.have, diff)
		}
	}
}

// WireGuard follows the path's base: a route to the endpoint, and the endpoint set
// again. During a move the old endpoint keeps its route.
func TestPathsBaseBecomesRoute(t *testing.T) {
	h := newWorld(t, 1).host("a", "192.168.1.2:20001", nil)
	m, now := h.mesh, h.w.now
	all := ways("192.168.1.2", "192.168.2.2")
	m.uplinksChanged(now, all)
	p := &peer{node: keys.GenerateNode().Public(), installed: true, alive: true}
	p.record.WireGuard = wgtypes.Key{1}
	m.peers[p.node] = p
	there, elsewhere := netip.MustParseAddrPort("203.0.113.1:1000"), netip.MustParseAddrPort("203.0.113.9:1000")
	path := func(to netip.AddrPort, by int) natpunch.Path { return natpunch.Path{Addr: to, Base: all[by].Addr} }
	route := func(to netip.AddrPort, by int) wgsetup.UnderlayRoute {
		return wgsetup.UnderlayRoute{To: to.Addr(), Uplink: all[by]}
	}
	expect := func(what string, want ...wgsetup.UnderlayRoute) {
		t.Helper()
		if diff := cmp.Diff(want, m.desired().Underlay, plainAddrs); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	m.install(now, p, path(there, 0))
	expect("installed", route(there, 0))

	p.move, m.out = nil, effects{}
	m.install(now.Add(time.Second), p, path(there, 1))
	expect("other uplink", route(there, 1))
	want := []endpointChange{{p.record.WireGuard, there}}
	if !m.out.apply || !cmp.Equal(want, m.out.endpoints, cmp.AllowUnexported(endpointChange{}), plainAddrs) || p.move != nil {
		t.Errorf("effects of another uplink: apply %v, endpoints %v", m.out.apply, m.out.endpoints)
	}

	m.install(now.Add(2*time.Second), p, path(elsewhere, 0))
	expect("on the move", route(there, 1), route(elsewhere, 0))
	p.move = nil
	expect("moved", route(elsewhere, 0))
	m.uplinksChanged(now.Add(3*time.Second), all[1:])
	expect("uplink gone")
	m.install(now.Add(4*time.Second), p, natpunch.Path{Addr: elsewhere, Kind: natpunch.Relay})
	expect("relayed")
}

// A host with one uplink a family has no routes to endpoints, and nothing else new.
func TestOneUplinkChangesNothing(t *testing.T) {
	h := newWorld(t, 1).host("a", "192.168.1.2:20001", nil)
	m := h.mesh
	m.advance(h.w.now, h.w.now)
	m.publisher.dirty = false
	m.uplinksChanged(h.w.now, ways("192.168.1.2", "2001:db8::2"))
	if m.publisher.dirty || m.out.apply || len(m.out.sends) > 0 || m.uplinks.stun != nil || m.desired().Underlay != nil {
		t.Errorf("one uplink: %+v", m.out)
	}
}
