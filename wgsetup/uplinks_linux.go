package wgsetup

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Uplink is a way out of this host: a default route of the main table.
type Uplink struct {
	Iface string
	Index int // of the link
	// Addr is the address that packets leave from. Its family is the route's.
	Addr netip.Addr
	// Gateway is the next hop; zero on a link that needs none, such as a
	// point-to-point one. An IPv6 link-local one has the link as its zone, and
	// an IPv4 route can have an IPv6 gateway (RFC 8950).
	Gateway netip.Addr
	Metric  int // the kernel prefers the lowest of a family
}

// maxUplinks bounds what Uplinks returns; a host with more is a router that
// knows its ways better than we do.
const maxUplinks = 16

// Uplinks returns the host's ways out of both families, IPv4 first and the
// preferred ones first. Left out are such without an address that other hosts
// could answer to, links that are down, and devices of CredAnt's.
func Uplinks() ([]Uplink, error) {
	h, err := openHost()
	if err != nil {
		return nil, err
	}
	defer h.close()
	return h.uplinks()
}

// TunnelOf returns the interface of CredAnt's that has the address, or "".
func TunnelOf(addr netip.Addr) (string, error) {
	h, err := openHost()
	if err != nil {
		return "", err
	}
	defer h.close()
	links, err := h.links()
	if err != nil {
		return "", err
	}
	addrs, err := dumped(func() ([]netlink.Addr, error) { return h.nl.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return "", fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); !ok || ip.Unmap() != addr {
			continue
		}
		for _, l := range links {
			if l.Attrs().Index == a.LinkIndex && marked(l.Attrs().Alias) {
				return l.Attrs().Name, nil
			}
		}
	}
	return "", nil
}

func (h *host) uplinks() ([]Uplink, error) {
	links, err := h.links()
	if err != nil {
		return nil, err
	}
	names := make(map[int]string, len(links))
	for _, l := range links {
		a := l.Attrs()
		if a.RawFlags&unix.IFF_LOWER_UP != 0 && a.Flags&net.FlagLoopback == 0 && !marked(a.Alias) {
			names[a.Index] = a.Name
		}
	}
	addrs, err := dumped(func() ([]netlink.Addr, error) { return h.nl.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var all []Uplink
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := h.defaultRoutes(family)
		if err != nil {
			return nil, err
		}
		for _, u := range routes {
			u.Iface = names[u.Index]
			if u.Iface == "" {
				continue
			}
			if u.Gateway.Is6() && u.Gateway.IsLinkLocalUnicast() {
				u.Gateway = u.Gateway.WithZone(u.Iface)
			}
			if u.Addr = h.leavesFrom(u, family, addrs); u.Addr.IsValid() {
				all = append(all, u)
			}
		}
	}
	return sortUplinks(all), nil
}

// sortUplinks also removes doubles: one way with two metrics is one way.
func sortUplinks(all []Uplink) []Uplink {
	slices.SortStableFunc(all, func(a, b Uplink) int {
		return cmp.Or(
			cmp.Compare(a.Addr.BitLen(), b.Addr.BitLen()),
			cmp.Compare(a.Metric, b.Metric),
			cmp.Compare(a.Index, b.Index),
			a.Gateway.Compare(b.Gateway),
		)
	})
	type way struct {
		index   int
		gateway netip.Addr
		ipv4    bool
	}
	seen := make(map[way]bool, len(all))
	all = slices.DeleteFunc(all, func(u Uplink) bool {
		w := way{u.Index, u.Gateway, u.Addr.Is4()}
		double := seen[w]
		seen[w] = true
		return double
	})
	return all[:min(len(all), maxUplinks)]
}

// defaultRoutes returns them with what the route says: Addr is its preferred
// source, if it has one.
func (h *host) defaultRoutes(family int) ([]Uplink, error) {
	return dumped(func() ([]Uplink, error) {
		var out []Uplink
		err := h.nl.RouteListFilteredIter(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE,
			func(r netlink.Route) bool {
				if dst, ok := prefixFrom(r.Dst); (ok && dst.Bits() > 0) || r.Type != unix.RTN_UNICAST || r.Flags&unix.RTM_F_CLONED != 0 {
					return true
				}
				source, _ := netip.AddrFromSlice(r.Src)
				u := Uplink{Index: r.LinkIndex, Addr: source.Unmap(), Gateway: nextHop(r.Gw, r.Via), Metric: r.Priority}
				if len(r.MultiPath) == 0 {
					out = append(out, u)
				}
				for _, hop := range r.MultiPath {
					u.Index, u.Gateway = hop.LinkIndex, nextHop(hop.Gw, hop.Via)
					out = append(out, u)
				}
				return len(out) < 4*maxUplinks
			})
		if err != nil && !ipv6Disabled(err) {
			return out, fmt.Errorf("list default routes: %w", err)
		}
		return out, nil
	})
}

func nextHop(gateway net.IP, via netlink.Destination) netip.Addr {
	if v, ok := via.(*netlink.Via); ok && gateway == nil {
		gateway = v.Addr
	}
	a, _ := netip.AddrFromSlice(gateway)
	if a = a.Unmap(); a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// leavesFrom returns the address of u's link that packets leave from: the
// route's own, else what the kernel would choose, else the first that is fit.
func (h *host) leavesFrom(u Uplink, family int, addrs []netlink.Addr) netip.Addr {
	var fit []netip.Addr
	for _, a := range addrs {
		p, ok := prefixFrom(a.IPNet)
		if ok && a.LinkIndex == u.Index && p.Addr().Is4() == (family == netlink.FAMILY_V4) && reachable(p.Addr(), a.Flags) {
			fit = append(fit, p.Addr())
		}
	}
	if u.Addr.IsValid() {
		// It may be of another link, such as a router's loopback.
		return u.Addr
	}
	for _, ip := range outside {
		if (ip.To4() != nil) != (family == netlink.FAMILY_V4) {
			continue
		}
		routes, err := h.nl.RouteGetWithOptions(ip, &netlink.RouteGetOptions{OifIndex: u.Index, Mark: Mark})
		if err != nil || len(routes) == 0 {
			continue
		}
		source, _ := netip.AddrFromSlice(routes[0].Src)
		if source = source.Unmap(); slices.Contains(fit, source) {
			return source
		}
	}
	if len(fit) == 0 {
		return netip.Addr{}
	}
	return fit[0]
}
