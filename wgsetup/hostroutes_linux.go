package wgsetup

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// maxHostRoutes bounds HostRoutes: a router with more has them from others, and
// its own networks come first.
const maxHostRoutes = 4096

// HostRoutes returns the host's own networks, masked and sorted: those of its
// links' addresses and of routes that do not stand for a default one. A peer's
// subnet is not to hide them. Those of this device are left out, and so is
// loopback. What another network of CredAnt's has is among them: its members,
// and the subnets that it was first to take. Once asked for, Changes tells when
// they differ.
func (d *Device) HostRoutes() ([]netip.Prefix, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	routes, err := d.host.ownNetworks(alias(d.config.Network))
	if err == nil {
		d.routesTold = slices.Clone(routes)
		d.routesAsked = true
	}
	return routes, err
}

// routesDiffer says whether HostRoutes would tell something new.
func (d *Device) routesDiffer() bool {
	if !d.routesAsked {
		return false
	}
	routes, err := d.host.ownNetworks(alias(d.config.Network))
	return err == nil && !slices.Equal(routes, d.routesTold)
}

func (h *host) ownNetworks(own string) ([]netip.Prefix, error) {
	links, err := h.links()
	if err != nil {
		return nil, err
	}
	skip, other := make(map[int]bool), make(map[int]bool)
	for _, l := range links {
		a := l.Attrs()
		skip[a.Index] = a.Name == "lo" || a.Alias == own
		other[a.Index] = marked(a.Alias) && a.Alias != own
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
		routes, err := dumped(func() ([]netip.Prefix, error) { return h.routesElsewhere(family, skip, other) })
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
// to, in whichever table. Routes with our mark count where another network's
// device has them: the rest are ways to the underlay.
func (h *host) routesElsewhere(family int, skip, other map[int]bool) (all []netip.Prefix, err error) {
	err = h.nl.RouteListFilteredIter(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE,
		func(r netlink.Route) bool {
			x, ok := prefixFrom(r.Dst)
			if !ok || r.Type != unix.RTN_UNICAST || r.Table == unix.RT_TABLE_LOCAL || r.Flags&unix.RTM_F_CLONED != 0 ||
				r.Protocol == routeProtocol && !other[r.LinkIndex] {
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
