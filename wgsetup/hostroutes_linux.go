package wgsetup

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// maxHostRoutes bounds HostRoutes: a router with more has them from others, and
// its own networks come first.
const maxHostRoutes = 4096

// HostRoutes returns the host's own networks, masked and sorted: those of its
// links' addresses and of routes that do not stand for a default one. A peer's
// subnet is not to hide them. Those of CredAnt's devices are left out, and so
// is loopback.
func (d *Device) HostRoutes() ([]netip.Prefix, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	return d.host.ownNetworks()
}

func (h *host) ownNetworks() ([]netip.Prefix, error) {
	links, err := h.links()
	if err != nil {
		return nil, err
	}
	skip := make(map[int]bool)
	for _, l := range links {
		a := l.Attrs()
		skip[a.Index] = a.Name == "lo" || marked(a.Alias)
	}
	addrs, err := dumped(func() ([]netlink.Addr, error) { return h.nl.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var all []netip.Prefix
	add := func(x netip.Prefix) {
		if !x.Addr().IsLinkLocalUnicast() && !x.Addr().IsMulticast() && !x.Addr().IsLoopback() && !standsForDefault(x) {
			all = append(all, x)
		}
	}
	for _, a := range addrs {
		if x, ok := prefixFrom(a.IPNet); ok && !skip[a.LinkIndex] {
			add(x)
		}
		// The other end of a point-to-point link.
		if x, ok := prefixFrom(a.Peer); ok && !skip[a.LinkIndex] {
			add(x)
		}
	}
	all = normalize(all, true, nil)
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := dumped(func() ([]netip.Prefix, error) { return h.routesElsewhere(family, skip) })
		if err != nil && !ipv6Disabled(err) {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, x := range routes {
			add(x)
		}
	}
	return normalize(all[:min(len(all), maxHostRoutes)], true, nil), nil
}

// routesElsewhere returns what routes by other links than those to skip lead
// to, in whichever table.
func (h *host) routesElsewhere(family int, skip map[int]bool) (all []netip.Prefix, err error) {
	err = h.nl.RouteListFilteredIter(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE,
		func(r netlink.Route) bool {
			x, ok := prefixFrom(r.Dst)
			if !ok || r.Type != unix.RTN_UNICAST || r.Table == unix.RT_TABLE_LOCAL || r.Protocol == routeProtocol || r.Flags&unix.RTM_F_CLONED != 0 {
				return true
			}
			if len(r.MultiPath) == 0 && !skip[r.LinkIndex] {
				all = append(all, x)
			}
			for _, hop := range r.MultiPath {
				if !skip[hop.LinkIndex] {
					all = append(all, x)
					break
				}
			}
			return len(all) < maxHostRoutes
		})
	return all, err
}
