package wgsetup

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
)

// UnderlayRoute is the way of WireGuard's datagrams, and the side port's, to a
// host outside of the network. It lies in a routing table of the network's own
// to which rules lead that match our UDP ports: other programs' datagrams to
// that host go where they went.
//
// While the uplink is down, or has lost its address, the host's own routes
// apply. An IPv6 peer's endpoint is to be set after its route changed: until
// then the kernel's WireGuard keeps the address of the old uplink.
type UnderlayRoute struct {
	To netip.Addr
	// Uplink's Iface, Gateway and Addr are the way. The zero Uplink is
	// wherever the host routes, which is followed.
	Uplink Uplink
	// MTU is the longest outer packet: WireGuard's datagrams that are longer
	// leave in fragments. Zero is the link's.
	MTU int
}

const (
	// minRouteMTU is what IPv4 hosts reassemble (RFC 1122, Section 3.3.2).
	minRouteMTU = 576
	// maxUnderlay bounds the table.
	maxUnderlay = 1024
)

// rulePriority comes before the main table's 32766 and what VPNs put right
// before that, and after the 1000 of VRFs.
const rulePriority = 5202

// tableOf returns the routing table of a network. Clean knows no more than the
// name, so the number is made of it: outside of the 255 that have names, and
// within 31 bits, which netlink.Route has on small machines.
func tableOf(network string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(network))
	return 0x4a000000 | int(h.Sum32()&0xffffff)
}

// underlay is what there is, or should be, of the routing table and its rules.
type underlay struct {
	routes []underlayRoute
	rules  []portRule
}

type underlayRoute struct {
	to      netip.Addr
	link    int
	gateway netip.Addr // without zone
	source  netip.Addr
	mtu     int
}

func (r underlayRoute) String() string {
	s := fmt.Sprintf("%s by link %d", r.to, r.link)
	if r.gateway.IsValid() {
		s += " via " + r.gateway.String()
	}
	if r.source.IsValid() {
		s += " from " + r.source.String()
	}
	if r.mtu != 0 {
		s += fmt.Sprint(" with MTU ", r.mtu)
	}
	return s
}

// portRule leads what leaves from a UDP port to our table. A mark in its place
// would not do: strict rp_filter looks for the way back without one, and most
// devices have none.
type portRule struct {
	ipv6 bool
	port uint16
}

func (r portRule) String() string {
	if r.ipv6 {
		return fmt.Sprint("IPv6 UDP port ", r.port)
	}
	return fmt.Sprint("IPv4 UDP port ", r.port)
}

// rulesFor returns the rules that routes take: for the families that they are
// of, all our ports.
func rulesFor(routes []underlayRoute, ports []uint16) []portRule {
	var rules []portRule
	for _, ipv6 := range []bool{false, true} {
		if !slices.ContainsFunc(routes, func(r underlayRoute) bool { return r.to.Is6() == ipv6 }) {
			continue
		}
		for _, port := range ports {
			rules = append(rules, portRule{ipv6, port})
		}
	}
	return rules
}

// underlay lets no datagram look into a table that is being filled.
func (p *planner) underlay(want, have underlay) {
	for _, r := range have.rules {
		if !slices.Contains(want.rules, r) {
			p.add(Step{op: removeRule, rule: r})
		}
	}
	for _, r := range sortUnderlay(have.routes) {
		if !slices.ContainsFunc(want.routes, func(w underlayRoute) bool { return w.to == r.to }) {
			p.add(Step{op: removeUnderlay, under: r})
		}
	}
	there := make(map[underlayRoute]bool, len(have.routes))
	for _, r := range have.routes {
		there[r] = true
	}
	for _, r := range sortUnderlay(want.routes) {
		if !there[r] {
			p.add(Step{op: addUnderlay, under: r})
		}
	}
	for _, r := range want.rules {
		if !slices.Contains(have.rules, r) {
			p.add(Step{op: addRule, rule: r})
		}
	}
}

func sortUnderlay(routes []underlayRoute) []underlayRoute {
	return slices.SortedFunc(slices.Values(routes), func(a, b underlayRoute) int {
		return cmp.Or(a.to.Compare(b.to), cmp.Compare(a.link, b.link), a.gateway.Compare(b.gateway))
	})
}

func checkUnderlay(routes []UnderlayRoute) error {
	if len(routes) > maxUnderlay {
		return fmt.Errorf("apply: %d underlay routes: at most %d", len(routes), maxUnderlay)
	}
	seen := make(map[netip.Addr]bool, len(routes))
	for _, r := range routes {
		switch {
		case !r.To.IsValid() || r.To.Is4In6() || r.To.Zone() != "" || !r.To.IsGlobalUnicast():
			return fmt.Errorf("apply: bad underlay route to %s", r.To)
		case seen[r.To]:
			return fmt.Errorf("apply: underlay route to %s twice", r.To)
		case r.MTU != 0 && (r.MTU < minRouteMTU || r.MTU > 65535):
			return fmt.Errorf("apply: underlay route to %s: MTU %d is not from %d to 65535", r.To, r.MTU, minRouteMTU)
		case r.Uplink.Iface != "" && r.Uplink.Addr.IsValid() && r.Uplink.Addr.Is4() != r.To.Is4():
			return fmt.Errorf("apply: underlay route to %s from %s: two families", r.To, r.Uplink.Addr)
		}
		seen[r.To] = true
	}
	return nil
}
