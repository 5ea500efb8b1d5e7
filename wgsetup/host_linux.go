package wgsetup

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// host is what netlink says and does about links, addresses and routes.
type host struct {
	nl     *netlink.Handle
	routes *routeDump
	// namespace is that of the sockets, nil without /proc.
	namespace *os.File
}

func openHost() (*host, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	routes, err := newRouteDump()
	if err != nil {
		nl.Close()
		return nil, err
	}
	h := &host{nl: nl, routes: routes}
	if h.namespace, err = os.Open(ownNamespace); err != nil {
		h.namespace = nil
	}
	return h, nil
}

func (h *host) close() {
	h.nl.Close()
	_ = h.routes.close()
	if h.namespace != nil {
		_ = h.namespace.Close()
	}
}

// dumped repeats a dump that changed under the reader. Under constant change
// the last answer has to do.
func dumped[T any](dump func() (T, error)) (T, error) {
	for range 4 {
		if list, err := dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return list, err
		}
	}
	list, err := dump()
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		err = nil
	}
	return list, err
}

// links returns all links of the host.
func (h *host) links() ([]netlink.Link, error) {
	links, err := dumped(h.nl.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return links, nil
}

// sourceFor returns the address that packets with a mark leave from to remote;
// invalid without a route.
func (h *host) sourceFor(remote netip.Addr, mark uint32) netip.Addr {
	routes, err := h.nl.RouteGetWithOptions(remote.AsSlice(), &netlink.RouteGetOptions{Mark: mark})
	if err != nil || len(routes) == 0 {
		return netip.Addr{}
	}
	source, _ := netip.AddrFromSlice(routes[0].Src)
	return source.Unmap()
}

// link returns a link by its name; without one, the error is os.ErrNotExist.
func (h *host) link(name string) (netlink.Link, error) {
	l, err := h.nl.LinkByName(name)
	if _, ok := errors.AsType[netlink.LinkNotFoundError](err); ok {
		err = os.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("get link %s: %w", name, err)
	}
	return l, nil
}

// read fills in what of a device netlink knows.
func (h *host) read(name string, a *actual) error {
	l, err := h.link(name)
	if errors.Is(err, os.ErrNotExist) {
		*a = actual{}
		return nil
	}
	if err != nil {
		return err
	}
	attrs := l.Attrs()
	a.exists = true
	a.index = attrs.Index
	a.alias = attrs.Alias
	a.mtu = attrs.MTU
	a.up = attrs.Flags&net.FlagUp != 0
	if a.addresses, err = h.addresses(l); err != nil {
		return err
	}
	a.routes, err = h.routes.of(attrs.Index)
	return err
}

// addresses returns a link's addresses without the link-local ones of IPv6,
// which the kernel makes.
func (h *host) addresses(l netlink.Link) ([]netip.Prefix, error) {
	list, err := dumped(func() ([]netlink.Addr, error) { return h.nl.AddrList(l, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", l.Attrs().Name, err)
	}
	var out []netip.Prefix
	for _, a := range list {
		if p, ok := prefixFrom(a.IPNet); ok && !(p.Addr().Is6() && p.Addr().IsLinkLocalUnicast()) {
			out = append(out, p)
		}
	}
	return normalize(out, false, nil), nil
}

// do carries out one step that netlink carries out.
func (h *host) do(s Step) error {
	l, err := h.link(s.iface)
	if err != nil {
		return err
	}
	switch s.op {
	case setAlias:
		return h.nl.LinkSetAlias(l, s.alias)
	case setMTU:
		return h.nl.LinkSetMTU(l, s.value)
	case linkUp:
		return h.nl.LinkSetUp(l)
	case addAddress:
		return h.nl.AddrAdd(l, address(s.prefix))
	case removeAddress:
		return h.nl.AddrDel(l, address(s.prefix))
	case addRoute:
		return h.nl.RouteAdd(deviceRoute(l, s))
	case changeRoute:
		return h.nl.RouteReplace(deviceRoute(l, s))
	case removeRoute:
		return h.nl.RouteDel(deviceRoute(l, s))
	}
	return fmt.Errorf("not a step of the host's: %s", s)
}

// remove deletes a link; that it is gone already is no error.
func (h *host) remove(name string) error {
	l, err := h.link(name)
	if err == nil {
		err = h.nl.LinkDel(l)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

func address(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		// Nobody else on the device can have it: the key behind it is ours.
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

func deviceRoute(l netlink.Link, s Step) *netlink.Route {
	r := &netlink.Route{
		LinkIndex: l.Attrs().Index,
		Dst:       ipNet(s.prefix),
		Protocol:  routeProtocol,
		Table:     unix.RT_TABLE_MAIN,
		MTU:       s.value,
	}
	if s.subnet {
		r.Priority = subnetMetric
	}
	if s.prefix.Addr().Is4() {
		r.Scope = netlink.SCOPE_LINK
	}
	return r
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// prefixFrom returns the zero prefix, false for nil, which is how netlink
// writes some default routes.
func prefixFrom(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	addr = addr.Unmap()
	if bits == 128 && addr.Is4() {
		ones -= 96
	}
	return netip.PrefixFrom(addr, ones), true
}
