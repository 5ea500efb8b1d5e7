package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
)

// A Lab is one internet. The zero value is of no use.
type Lab struct {
	// Delay is how long the backbone holds back each packet that it forwards: half of a round trip.
	Delay time.Duration

	backbone *Node // a router that every public address hangs on
	routers  []*Router
	hosts    []*Host
	delay    *delay
}

// New returns an internet with nothing but its backbone, which Build will make.
func New() *Lab {
	return &Lab{backbone: newNode("backbone")}
}

// Host adds a host with a public IPv4 and IPv6 address.
func (l *Lab) Host(name string) *Host {
	h := &Host{Node: newNode(name), Addresses: 1}
	h.Uplink = l.publicUplink(h.Node, "eth0")
	l.hosts = append(l.hosts, h)
	return h
}

// NAT adds a router whose outer side is on the backbone.
func (l *Lab) NAT(name string, nat NAT) *Router {
	r := l.newRouter(name, nat)
	r.Uplink = l.publicUplink(r.Node, "wan")
	return r
}

func (l *Lab) newRouter(name string, nat NAT) *Router {
	site := len(l.routers) + 1
	r := &Router{
		Node: newNode(name), lab: l, NAT: nat,
		LAN: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(site), 0}), 24),
	}
	l.routers = append(l.routers, r)
	return r
}

// publicUplink hands out the next addresses of the backbone: site N is 5.0.N.0/24 and 2a01:N::/64.
func (l *Lab) publicUplink(n *Node, iface string) *Uplink {
	l.backbone.sites++
	site := l.backbone.sites
	return &Uplink{
		upper: l.backbone, upperName: n.Name, lower: n, lowerName: iface,
		prefix4: netip.PrefixFrom(netip.AddrFrom4([4]byte{5, 0, byte(site), 0}), 24),
		prefix6: netip.PrefixFrom(netip.AddrFrom16([16]byte{0x2a, 0x01, 0, byte(site)}), 64),
		host:    2,
	}
}

// Build makes all that was described. After an error what was made so far is taken away again.
func (l *Lab) Build() (err error) {
	defer func() {
		if err != nil {
			_ = l.Close()
		}
	}()
	if err := sweep(); err != nil {
		return err
	}
	if err := l.backbone.open(); err != nil {
		return err
	}
	if err := l.backbone.forward(); err != nil {
		return err
	}
	for _, r := range l.routers {
		if err := r.build(); err != nil {
			return fmt.Errorf("build router %s: %w", r.Name, err)
		}
	}
	for _, h := range l.hosts {
		if err := h.build(); err != nil {
			return fmt.Errorf("build host %s: %w", h.Name, err)
		}
	}
	if l.Delay > 0 {
		l.delay, err = l.backbone.startDelay(l.Delay)
	}
	return err
}

// Sever makes the backbone drop what two public IPv4 addresses send each other. Nobody is told.
func (l *Lab) Sever(a, b netip.Addr) error {
	return l.backbone.loadRules(fmt.Sprintf(`table ip severed {
  chain forward { type filter hook forward priority filter;
    ip saddr %[1]s ip daddr %[2]s drop
    ip saddr %[2]s ip daddr %[1]s drop
  }
}
`, a, b))
}

// Close ends every program in the lab and removes its nodes. It may be called twice.
func (l *Lab) Close() error {
	nodes := []*Node{l.backbone}
	for _, r := range l.routers {
		nodes = append(nodes, r.Node)
	}
	for _, h := range l.hosts {
		nodes = append(nodes, h.Node)
	}
	err := killStrays(nodes)
	if l.delay != nil {
		l.delay.close()
		l.delay = nil
	}
	for _, n := range nodes {
		err = errors.Join(err, n.close())
	}
	return err
}

// A Host is an end node. Its interface is eth0, and eth1 and so on where it has several uplinks.
type Host struct {
	*Node
	Uplink *Uplink
	others []*Uplink

	// Addresses is how many public addresses of each family it has (a public host only). More than one are in
	// different /24 and /64 prefixes, as different machines would be.
	Addresses int
	// NoIPv4 leaves a public host without any IPv4.
	NoIPv4 bool
	// Firewall drops what the host did not ask for, as a default ufw or firewalld does.
	Firewall bool
}

const hostFirewall = `table inet firewall {
  chain input { type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname "lo" accept
    meta l4proto { icmp, icmpv6 } accept
  }
}
`

func (h *Host) build() error {
	if err := h.open(); err != nil {
		return err
	}
	h.Uplink.noIPv4 = h.NoIPv4
	if err := h.Uplink.plug(); err != nil {
		return err
	}
	for _, u := range h.others {
		if err := u.plug(); err != nil {
			return err
		}
	}
	for i := 1; i < h.Addresses; i++ {
		if err := h.Uplink.addExtra(i); err != nil {
			return err
		}
	}
	if h.Firewall {
		return h.loadRules(hostFirewall)
	}
	return nil
}

// AddUplink hangs the host on a further router's LAN. Its routes prefer the uplinks that it had before.
func (h *Host) AddUplink(r *Router) *Uplink {
	n := len(h.others) + 1
	u := r.lanUplink(h.Node, fmt.Sprintf("eth%d", n))
	u.metric = 100 * n
	h.others = append(h.others, u)
	return u
}

// IPv4 returns the host's addresses of that family: public ones, or the one on its LAN.
func (h *Host) IPv4() []netip.Addr {
	if h.NoIPv4 {
		return nil
	}
	addresses := []netip.Addr{h.Uplink.address(h.Uplink.prefix4)}
	for i := 1; i < h.Addresses; i++ {
		addresses = append(addresses, h.Uplink.extra4(i))
	}
	return addresses
}

// IPv6 returns the host's addresses of that family, none where its router has no IPv6.
func (h *Host) IPv6() []netip.Addr {
	if !h.Uplink.prefix6.IsValid() {
		return nil
	}
	addresses := []netip.Addr{h.Uplink.address(h.Uplink.prefix6)}
	for i := 1; i < h.Addresses; i++ {
		addresses = append(addresses, h.Uplink.extra6(i))
	}
	return addresses
}

// A Router is a NAT with one uplink, whose interface is wan, and one LAN, whose bridge is lan.
type Router struct {
	*Node
	Uplink *Uplink
	NAT    NAT
	// LAN is the IPv4 prefix behind the router, which has the first address: 192.168.N.0/24 unless set before Build.
	LAN netip.Prefix
	// IPv6 gives the LAN public IPv6 addresses, not translated but firewalled: what came from outside unasked is
	// dropped. Only for a router on the backbone.
	IPv6 bool
	// Gateway makes room in the router's rules for StartGateway. Its NAT must filter by address and port.
	Gateway bool

	lab *Lab
}

// Host adds a host on the router's LAN.
func (r *Router) Host(name string) *Host {
	h := &Host{Node: newNode(name), Addresses: 1}
	h.Uplink = r.lanUplink(h.Node, "eth0")
	r.lab.hosts = append(r.lab.hosts, h)
	return h
}

// Router adds a router whose outer side is on this one's LAN: double NAT.
func (r *Router) Router(name string, nat NAT) *Router {
	inner := r.lab.newRouter(name, nat)
	inner.Uplink = r.lanUplink(inner.Node, "wan")
	return inner
}

func (r *Router) lanUplink(n *Node, iface string) *Uplink {
	r.sites++
	return &Uplink{
		upper: r.Node, upperName: n.Name, upperBridge: "lan", lower: n, lowerName: iface,
		router: r, host: r.sites + 1,
	}
}

func (r *Router) build() error {
	if err := r.open(); err != nil {
		return err
	}
	if err := r.forward(); err != nil {
		return err
	}
	if err := r.setLifetime(); err != nil {
		return err
	}
	if err := r.Uplink.plug(); err != nil {
		return err
	}
	bridge, err := r.addBridge("lan")
	if err != nil {
		return err
	}
	if err := r.addAddress(bridge, netip.PrefixFrom(hostOf(r.LAN, 1), r.LAN.Bits())); err != nil {
		return err
	}
	if r.IPv6 {
		if err := r.addAddress(bridge, netip.PrefixFrom(hostOf(r.lan6(), 1), 64)); err != nil {
			return err
		}
	}
	return r.loadNAT()
}

// lan6 is the prefix delegated to the LAN: 2a01:N:1::/64 on site N.
func (r *Router) lan6() netip.Prefix {
	b := r.Uplink.prefix6.Addr().As16()
	b[5] = 1
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}

// PublicIPv4 returns the address of the router's outer side.
func (r *Router) PublicIPv4() netip.Addr { return r.Uplink.address(r.Uplink.prefix4) }

// ChangeAddress gives the outer side another address, as a provider does at night: all mappings are gone.
func (r *Router) ChangeAddress() error {
	if err := r.Uplink.renumber(); err != nil {
		return err
	}
	if err := r.loadNAT(); err != nil {
		return err
	}
	return r.Reboot()
}

// Reboot forgets every mapping.
func (r *Router) Reboot() error {
	return r.Do(func() error {
		if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
			return fmt.Errorf("forget mappings of %s: %w", r.Name, err)
		}
		return nil
	})
}

// Reset forgets every mapping and what was learned of the sockets behind them, as if the router had just been bought.
func (r *Router) Reset() error {
	if err := r.loadNAT(); err != nil {
		return err
	}
	return r.Reboot()
}

func (r *Router) loadNAT() error {
	rules, err := r.NAT.ruleset(r.PublicIPv4(), r.LAN, r.Gateway)
	if err != nil {
		return err
	}
	return r.loadRules("flush ruleset\n" + rules)
}

// hostOf returns the nth address of a prefix.
func hostOf(p netip.Prefix, n int) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	b[len(b)-1] += byte(n)
	a, _ := netip.AddrFromSlice(b)
	return a
}
