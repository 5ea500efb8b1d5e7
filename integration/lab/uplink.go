package lab

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
)

// An Uplink is the cable between a node and what it hangs on: the backbone, or the bridge of a LAN.
type Uplink struct {
	upper       *Node
	upperName   string // the interface at the upper end, named like the node below
	upperBridge string // the bridge it is a port of; empty on the backbone, where it has the gateway's address
	lower       *Node
	lowerName   string

	prefix4, prefix6 netip.Prefix // set by plug where router is; prefix6 invalid: no IPv6
	host             int          // the lower end's number in these prefixes
	router           *Router      // whose LAN this is, or nil
	noIPv4           bool         // at the lower end
	metric           int          // of the lower end's default routes; zero: the kernel's own
}

func (u *Uplink) address(p netip.Prefix) netip.Addr { return hostOf(p, u.host) }

// Address is the IPv4 address on the uplink's lower end, which a NAT's hosts are seen by.
func (u *Uplink) Address() netip.Addr { return u.address(u.prefix4) }

// Address6 is the same of IPv6; the zero one where the LAN has none.
func (u *Uplink) Address6() netip.Addr {
	if !u.prefix6.IsValid() {
		return netip.Addr{}
	}
	return u.address(u.prefix6)
}

// plug lays the cable and gives the lower end its addresses and default routes.
func (u *Uplink) plug() error {
	if u.router != nil {
		u.prefix4 = u.router.LAN
		if u.router.IPv6 {
			u.prefix6 = u.router.lan6()
		}
	}
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: u.upperName},
		PeerName:  u.lowerName, PeerNamespace: netlink.NsFd(u.lower.netns),
	}
	if err := u.upper.links.LinkAdd(veth); err != nil {
		return fmt.Errorf("add cable from %s to %s: %w", u.upper.Name, u.lower.Name, err)
	}
	if u.upperBridge != "" {
		if err := u.upper.enslave(u.upperName, u.upperBridge); err != nil {
			return err
		}
	}
	if err := u.upper.setUp(u.upperName); err != nil {
		return err
	}
	if err := u.lower.setUp(u.lowerName); err != nil {
		return err
	}
	if err := u.configureUpper(); err != nil {
		return err
	}
	return u.configureLower()
}

// configureUpper gives the backbone's end its gateway addresses and the routes to what lies behind the lower end.
// Taking the link down had removed both.
func (u *Uplink) configureUpper() error {
	if u.upperBridge != "" {
		return nil
	}
	link, err := u.upper.link(u.upperName)
	if err != nil {
		return err
	}
	for _, p := range []netip.Prefix{u.prefix4, u.prefix6} {
		if err := u.upper.addAddress(link, netip.PrefixFrom(hostOf(p, 1), p.Bits())); err != nil {
			return err
		}
	}
	// The whole site, 2a01:N::/32, goes to its first host: for further addresses, or a delegated LAN.
	site := netip.PrefixFrom(u.prefix6.Addr(), 32).Masked()
	return u.upper.addRoute(link, site, u.address(u.prefix6))
}

func (u *Uplink) configureLower() error {
	link, err := u.lower.link(u.lowerName)
	if err != nil {
		return err
	}
	for _, p := range []netip.Prefix{u.prefix4, u.prefix6} {
		if !p.IsValid() || u.noIPv4 && p.Addr().Is4() {
			continue
		}
		if err := u.lower.addAddress(link, netip.PrefixFrom(u.address(p), p.Bits())); err != nil {
			return err
		}
		everything := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if p.Addr().Is6() {
			everything = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		if err := u.lower.addRouteWith(link, everything, hostOf(p, 1), u.metric); err != nil {
			return err
		}
	}
	return nil
}

// extra4 is the nth further address of a public host, in a /24 of its own: 5.n.N.2.
func (u *Uplink) extra4(n int) netip.Addr {
	b := u.address(u.prefix4).As4()
	b[1] = byte(n)
	return netip.AddrFrom4(b)
}

// extra6 is the same in a /48 of its own: 2a01:N:n::2.
func (u *Uplink) extra6(n int) netip.Addr {
	b := u.address(u.prefix6).As16()
	b[5] = byte(n)
	return netip.AddrFrom16(b)
}

func (u *Uplink) addExtra(n int) error {
	lower, err := u.lower.link(u.lowerName)
	if err != nil {
		return err
	}
	upper, err := u.upper.link(u.upperName)
	if err != nil {
		return err
	}
	if err := u.lower.addAddress(lower, netip.PrefixFrom(u.extra4(n), 32)); err != nil {
		return err
	}
	if err := u.lower.addAddress(lower, netip.PrefixFrom(u.extra6(n), 128)); err != nil {
		return err
	}
	return u.upper.addRoute(upper, netip.PrefixFrom(u.extra4(n), 32), u.address(u.prefix4))
}

// Cut pulls the cable at the upper end: the lower end loses its carrier.
func (u *Uplink) Cut() error {
	link, err := u.upper.link(u.upperName)
	if err != nil {
		return err
	}
	if err := u.upper.links.LinkSetDown(link); err != nil {
		return fmt.Errorf("cut uplink of %s: %w", u.lower.Name, err)
	}
	return nil
}

// Restore plugs the cable in again and returns when it carries packets. A public host gets back its first addresses
// only.
func (u *Uplink) Restore() error {
	if err := u.upper.setUp(u.upperName); err != nil {
		return err
	}
	if err := u.configureUpper(); err != nil {
		return err
	}
	// The kernel looks at changes of carrier once a second.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		upper, err := u.upper.link(u.upperName)
		if err != nil {
			return err
		}
		lower, err := u.lower.link(u.lowerName)
		if err != nil {
			return err
		}
		if upper.Attrs().OperState == netlink.OperUp && lower.Attrs().OperState == netlink.OperUp {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("restore uplink of %s: no carrier", u.lower.Name)
		}
	}
}

// renumber gives the lower end the next IPv4 address in place of the one it has.
func (u *Uplink) renumber() error {
	link, err := u.lower.link(u.lowerName)
	if err != nil {
		return err
	}
	old := netip.PrefixFrom(u.address(u.prefix4), u.prefix4.Bits())
	if err := u.lower.links.AddrDel(link, &netlink.Addr{IPNet: ipNet(old)}); err != nil {
		return fmt.Errorf("remove address %v of %s: %w", old, u.lower.Name, err)
	}
	u.host++
	if err := u.lower.addAddress(link, netip.PrefixFrom(u.address(u.prefix4), u.prefix4.Bits())); err != nil {
		return err
	}
	return u.lower.addRoute(link, netip.PrefixFrom(netip.IPv4Unspecified(), 0), hostOf(u.prefix4, 1))
}
