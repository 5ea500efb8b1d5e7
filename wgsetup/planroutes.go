package wgsetup

import (
	"net/netip"
	"slices"
)

// routes are those of the network and, where a peer's path carries less than
// the device, those to its addresses.
func (t target) routes(keep func(netip.Prefix) bool) []route {
	var out []route
	hosts := make(map[netip.Prefix]bool)
	for _, p := range t.desired.Peers {
		for _, x := range p.AllowedIPs {
			mtu := p.MTU
			if x.Addr().Is6() {
				mtu = max(mtu, MinMTU)
			}
			if p.MTU != 0 && mtu < t.mtu && x.IsSingleIP() && keep(x) && !hosts[x] {
				out = append(out, route{prefix: x, mtu: mtu, ours: true})
				hosts[x] = true
			}
		}
	}
	for _, x := range normalize(t.desired.Routes, true, keep) {
		if !hosts[x] {
			out = append(out, route{prefix: x, ours: true})
		}
	}
	slices.SortFunc(out, func(a, b route) int { return comparePrefix(a.prefix, b.prefix) })
	return out
}

// unwanted returns what of our routes is not wanted with any MTU.
func unwanted(have, want []route) []netip.Prefix {
	wanted := make(map[netip.Prefix]bool, len(want))
	for _, r := range want {
		wanted[r.prefix] = true
	}
	var out []netip.Prefix
	for _, r := range have {
		if r.ours && !wanted[r.prefix] {
			out = append(out, r.prefix)
		}
	}
	return out
}

func (p *planner) routes(want, have []route) {
	there := make(map[netip.Prefix]route, len(have))
	for _, r := range have {
		if old, ok := there[r.prefix]; !ok || !old.ours {
			there[r.prefix] = r
		}
	}
	for _, w := range want {
		switch h, ok := there[w.prefix]; {
		case !ok:
			p.add(Step{op: addRoute, prefix: w.prefix, value: w.mtu})
		case h.ours && h.mtu != w.mtu:
			p.add(Step{op: changeRoute, prefix: w.prefix, value: w.mtu})
		}
	}
}
