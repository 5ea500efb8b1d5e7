package lan

import (
	"net"
	"net/netip"
	"slices"
	"strings"
)

// maxLinks bounds the interfaces: Linux lets one socket join 20 IPv4 groups.
const maxLinks = 16

// A link is an interface that beacons go over.
type link struct {
	net.Interface
	prefixes []netip.Prefix // on-link, with the own address in each
}

// scanLinks lists the interfaces that are up and can do multicast, save for
// loopback, those that skip names, and those without an address.
func scanLinks(skip func(string) bool) ([]link, error) {
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var links []link
	for _, ifi := range ifaces {
		const needed = net.FlagUp | net.FlagMulticast
		if ifi.Flags&needed != needed || ifi.Flags&net.FlagLoopback != 0 || skip != nil && skip(ifi.Name) {
			continue
		}
		addrs, err := ifi.Addrs()
		if err != nil {
			continue // gone in between
		}
		l := link{Interface: ifi}
		for _, a := range addrs {
			if ipnet, ok := a.(*net.IPNet); ok {
				ip, _ := netip.AddrFromSlice(ipnet.IP)
				bits, _ := ipnet.Mask.Size()
				l.prefixes = append(l.prefixes, netip.PrefixFrom(ip.Unmap(), bits))
			}
		}
		if len(l.prefixes) > 0 && len(links) < maxLinks {
			links = append(links, l)
		}
	}
	return links, nil
}

// has reports whether the link has an address of the family.
func (l *link) has(s scope) bool {
	return slices.ContainsFunc(l.prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() == (s == onIPv4) })
}

// source6 returns the address that IPv6 beacons leave from: one that a hello can be
// sent to without a zone, where the link has one. Invalid: the kernel chooses, which
// is the link-local one.
func (l *link) source6() netip.Addr {
	for _, p := range l.prefixes {
		if a := p.Addr(); a.Is6() && a.IsGlobalUnicast() {
			return a
		}
	}
	return netip.Addr{}
}

// onLink reports whether a neighbour on the link can have the address.
func (l *link) onLink(a netip.Addr) bool {
	if a.Is6() && a.IsLinkLocalUnicast() {
		return true
	}
	return slices.ContainsFunc(l.prefixes, func(p netip.Prefix) bool { return p.Contains(a) && !a.IsMulticast() })
}

func names(links []link) string {
	var all []string
	for _, l := range links {
		all = append(all, l.Name)
	}
	return strings.Join(all, ", ")
}
