package wgsetup

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// HostAddresses returns the addresses under which other hosts may reach this
// one, each with the prefix that is on its link, in a stable order. Loopback,
// link-local, tentative, deprecated and duplicate ones are left out, links that
// are down, devices of CredAnt's, and the links named in skip.
func HostAddresses(skip ...string) ([]netip.Prefix, error) {
	h, err := openHost()
	if err != nil {
		return nil, err
	}
	defer h.close()
	return h.usable(skip)
}

func (h *host) usable(skip []string) ([]netip.Prefix, error) {
	_, addrs, err := h.usableByLink(skip)
	return addrs, err
}

// usableByLink also returns the links, in order, that have the addresses.
func (h *host) usableByLink(skip []string) (indexes []int, _ []netip.Prefix, _ error) {
	links, err := h.links()
	if err != nil {
		return nil, nil, err
	}
	usable := make(map[int]bool, len(links))
	for _, l := range links {
		a := l.Attrs()
		// The carrier, not the operational state, which follows later.
		usable[a.Index] = a.RawFlags&unix.IFF_LOWER_UP != 0 && a.Flags&net.FlagLoopback == 0 &&
			!marked(a.Alias) && !slices.Contains(skip, a.Name)
	}
	list, err := dumped(func() ([]netlink.Addr, error) { return h.nl.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, nil, fmt.Errorf("list addresses: %w", err)
	}
	var found []hostAddress
	for _, a := range list {
		p, ok := prefixFrom(a.IPNet)
		if !ok || !usable[a.LinkIndex] || !reachable(p.Addr(), a.Flags) {
			continue
		}
		found = append(found, hostAddress{prefix: p, link: a.LinkIndex, temporary: a.Flags&unix.IFA_F_TEMPORARY != 0})
		indexes = append(indexes, a.LinkIndex)
	}
	slices.Sort(indexes)
	return slices.Compact(indexes), private(found), nil
}

type hostAddress struct {
	prefix    netip.Prefix
	link      int
	temporary bool // RFC 8981
}

// reachable judges one address by itself.
func reachable(a netip.Addr, flags int) bool {
	const unusable = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED
	if a.Is6() && flags&unusable != 0 && flags&unix.IFA_F_OPTIMISTIC == 0 {
		return false
	}
	return a.IsGlobalUnicast() && !a.IsLinkLocalUnicast()
}

// private sorts, and obeys RFC 8445, Section 5.1.1.1: beside a temporary
// address, one that gives the hardware address away is not told to others.
func private(found []hostAddress) []netip.Prefix {
	type network struct {
		link   int
		prefix netip.Prefix
	}
	temporary := make(map[network]bool)
	for _, a := range found {
		if a.temporary {
			temporary[network{a.link, a.prefix.Masked()}] = true
		}
	}
	slices.SortStableFunc(found, func(a, b hostAddress) int {
		return cmp.Or(cmp.Compare(a.link, b.link), comparePrefix(a.prefix, b.prefix))
	})
	var out []netip.Prefix
	for _, a := range found {
		if !a.temporary && hasEUI64(a.prefix.Addr()) && temporary[network{a.link, a.prefix.Masked()}] {
			continue
		}
		if !slices.Contains(out, a.prefix) {
			out = append(out, a.prefix)
		}
	}
	return out
}

// hasEUI64 recognises an interface identifier made of a hardware address (RFC
// 4291, Appendix A).
func hasEUI64(a netip.Addr) bool {
	b := a.As16()
	return a.Is6() && b[11] == 0xff && b[12] == 0xfe
}

// Clash returns what on this host overlaps p, an address or a route of another
// interface than ourIface. Default routes do not count, nor such that are so
// short that they stand for one, nor those that lead nowhere.
func Clash(p netip.Prefix, ourIface string) (string, bool) {
	h, err := openHost()
	if err != nil {
		return "", false
	}
	defer h.close()
	links, err := h.links()
	if err != nil {
		return "", false
	}
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	family := netlink.FAMILY_V6
	if p.Addr().Is4() {
		family = netlink.FAMILY_V4
	}
	addrs, err := dumped(func() ([]netlink.Addr, error) { return h.nl.AddrList(nil, family) })
	if err != nil {
		return "", false
	}
	for _, a := range addrs {
		name := names[a.LinkIndex]
		if x, ok := prefixFrom(a.IPNet); ok && name != ourIface && x.Overlaps(p) {
			return fmt.Sprintf("address %s of %s", x, name), true
		}
	}
	routes, err := dumped(func() ([]netlink.Route, error) {
		return h.nl.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return "", false
	}
	for _, r := range routes {
		x, ok := prefixFrom(r.Dst)
		if !ok || r.Type != unix.RTN_UNICAST || standsForDefault(x) || !x.Overlaps(p) {
			continue
		}
		indexes := []int{r.LinkIndex}
		for _, hop := range r.MultiPath {
			indexes = append(indexes, hop.LinkIndex)
		}
		if slices.ContainsFunc(indexes, func(i int) bool { return i != 0 && names[i] == ourIface }) {
			continue
		}
		return fmt.Sprintf("route %s by %s", x, names[indexes[len(indexes)-1]]), true
	}
	return "", false
}

// standsForDefault recognises default routes and what VPNs put in their place,
// such as 0.0.0.0/1 and 2000::/3. A longer prefix of ours beats them as it
// should.
func standsForDefault(x netip.Prefix) bool { return x.Bits() < 8 }

// outside are addresses on the internet in both halves of each family's space:
// a VPN may route the halves apart. Nothing is sent there.
var outside = []net.IP{
	net.IPv4(1, 1, 1, 1), net.IPv4(198, 41, 0, 4),
	net.ParseIP("2001:503:ba3e::2:30"), net.ParseIP("8000::1"),
}

// snapshot is a text that differs when the addresses of the host do, or the
// ways out of it: what decides on which paths lead to it. Asking for a few
// routes costs the same on a host with a million.
func (h *host) snapshot() string {
	var b strings.Builder
	links, addrs, err := h.usableByLink(nil)
	fmt.Fprintln(&b, addrs, err)
	// Ways out that are not the preferred one count, too.
	for _, index := range links {
		for _, ip := range outside[1:3] {
			routes, err := h.nl.RouteGetWithOptions(ip, &netlink.RouteGetOptions{OifIndex: index, Mark: Mark})
			fmt.Fprintln(&b, index, err)
			for _, r := range routes {
				fmt.Fprintln(&b, r.Gw, r.Src)
			}
		}
	}
	for _, ip := range outside {
		routes, err := h.nl.RouteGetWithOptions(ip, &netlink.RouteGetOptions{Mark: Mark}) // not the exit peer's
		fmt.Fprintln(&b, ip, err)
		for _, r := range routes {
			fmt.Fprintln(&b, r.Gw, r.LinkIndex, r.Src)
		}
	}
	h.secondWays(&b)
	return b.String()
}

// secondWays writes which links lead out though the host prefers another one.
func (h *host) secondWays(b *strings.Builder) {
	links, err := h.links()
	fmt.Fprintln(b, err)
	asked := 0
	for _, l := range links {
		a := l.Attrs()
		if a.Flags&net.FlagUp == 0 || a.Flags&net.FlagLoopback != 0 || a.MasterIndex != 0 || marked(a.Alias) || asked == maxUplinks {
			continue
		}
		asked++
		for _, ip := range []net.IP{outside[0], outside[2]} {
			routes, _ := h.nl.RouteGetWithOptions(ip, &netlink.RouteGetOptions{OifIndex: a.Index, Mark: Mark})
			for _, r := range routes {
				if r.Gw != nil { // else the kernel takes all for neighbours
					fmt.Fprintln(b, a.Index, r.Gw, r.Src, a.RawFlags&unix.IFF_LOWER_UP)
				}
			}
		}
	}
}
