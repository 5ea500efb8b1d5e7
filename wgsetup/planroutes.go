package wgsetup

import (
	"net/netip"
	"slices"
)

// subnetMetric is that of routes to networks behind peers. Other software gives
// a route of the host's less, down to the 1,024 that IPv6 has by itself, and so
// wins; only what stands in for a missing one, from 20,000 on, gives more.
const subnetMetric = 5202

// routes are those of the network, those to networks behind peers and, where a
// peer's path carries less than the device, those to its addresses.
func (t target) routes(keep func(netip.Prefix) bool) []route {
	var out []route
	hosts := make(map[netip.Prefix]bool)
	narrow := make(map[netip.Prefix]int)
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
			if p.MTU != 0 && mtu < t.mtu {
				narrow[x.Masked()] = mtu
			}
		}
	}
	for _, x := range normalize(t.desired.Routes, true, keep) {
		if !hosts[x] {
			out = append(out, route{prefix: x, ours: true})
			hosts[x] = true
		}
	}
	for _, x := range normalize(t.desired.Subnets, true, keep) {
		if !hosts[x] {
			out = append(out, route{prefix: x, ours: true, subnet: true, mtu: narrow[x]})
		}
	}
	slices.SortFunc(out, func(a, b route) int { return comparePrefix(a.prefix, b.prefix) })
	return out
}

// unwanted returns what of our routes is not wanted with any MTU.
func unwanted(have, want []route) []route {
	wanted := make(map[routeKey]bool, len(want))
	for _, r := range want {
		wanted[r.key()] = true
	}
	var out []route
	for _, r := range have {
		if r.ours && !wanted[r.key()] {
			out = append(out, r)
		}
	}
	return out
}

// routeKey tells routes apart: the kernel has both to one prefix.
type routeKey struct {
	prefix netip.Prefix
	subnet bool
}

func (r route) key() routeKey { return routeKey{r.prefix, r.subnet} }

func (p *planner) routes(want, have []route) {
	there := make(map[routeKey]route, len(have))
	for _, r := range have {
		if old, ok := there[r.key()]; !ok || !old.ours {
			there[r.key()] = r
		}
	}
	for _, w := range want {
		switch h, ok := there[w.key()]; {
		case !ok:
			p.add(Step{op: addRoute, prefix: w.prefix, value: w.mtu, subnet: w.subnet})
		case h.ours && h.mtu != w.mtu:
			p.add(Step{op: changeRoute, prefix: w.prefix, value: w.mtu, subnet: w.subnet})
		}
	}
}
