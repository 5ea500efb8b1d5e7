package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func (n *Node) link(name string) (netlink.Link, error) {
	link, err := n.links.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find interface %s of %s: %w", name, n.Name, err)
	}
	return link, nil
}

func (n *Node) setUp(name string) error {
	link, err := n.link(name)
	if err != nil {
		return err
	}
	if err := n.links.LinkSetUp(link); err != nil {
		return fmt.Errorf("set interface %s of %s up: %w", name, n.Name, err)
	}
	return nil
}

func (n *Node) addBridge(name string) (netlink.Link, error) {
	// A home switch does not snoop; a bridge that does loses multicast for minutes where nobody queries.
	snooping := false
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}, MulticastSnooping: &snooping}
	if err := n.links.LinkAdd(bridge); err != nil {
		return nil, fmt.Errorf("add bridge %s to %s: %w", name, n.Name, err)
	}
	if err := n.setUp(name); err != nil {
		return nil, err
	}
	return n.link(name)
}

func (n *Node) enslave(port, bridge string) error {
	link, err := n.link(port)
	if err != nil {
		return err
	}
	master, err := n.link(bridge)
	if err != nil {
		return err
	}
	if err := n.links.LinkSetMaster(link, master); err != nil {
		return fmt.Errorf("add %s to bridge %s of %s: %w", port, bridge, n.Name, err)
	}
	return nil
}

// addAddress adds an address that may be there already.
func (n *Node) addAddress(link netlink.Link, p netip.Prefix) error {
	a := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD // without it the address is of no use until the kernel's worker has run
	}
	if err := n.links.AddrReplace(link, a); err != nil {
		return fmt.Errorf("add address %v to %s: %w", p, n.Name, err)
	}
	return nil
}

func (n *Node) addRoute(link netlink.Link, to netip.Prefix, via netip.Addr) error {
	return n.addRouteWith(link, to, via, 0)
}

func (n *Node) addRouteWith(link netlink.Link, to netip.Prefix, via netip.Addr, metric int) error {
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(to), Gw: via.AsSlice(), Priority: metric}
	if err := n.links.RouteReplace(route); err != nil {
		return fmt.Errorf("add route to %v to %s: %w", to, n.Name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
