package wgsetup

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ruleProtocol is the kernel's: what has any other, and no device of ours,
// systemd-networkd takes away whenever it starts, unless it is its own. Rules
// are known by priority and table, and routes by table.
const ruleProtocol = unix.RTPROT_KERNEL

// readUnderlay brings the target up to the host's present state and reads what
// is there. Most devices have neither, and are asked once.
func (d *Device) readUnderlay(a *actual) error {
	want := d.target.desired.Underlay
	d.target.under = underlay{}
	if len(want) == 0 && d.noUnder {
		return nil
	}
	mark := d.target.mark
	if mark == 0 {
		mark = a.mark
	}
	var err error
	if d.target.under.routes, err = d.host.ways(want, d.target.iface, mark); err != nil {
		return err
	}
	d.target.under.rules = rulesFor(d.target.under.routes, d.backend.routedPorts())
	if a.under, err = d.host.underlay(tableOf(d.config.Network)); err != nil {
		return err
	}
	d.noUnder = len(want) == 0 && len(a.under.routes) == 0 && len(a.under.rules) == 0
	return nil
}

// ways returns the routes that the host can have now: a route over a link
// without carrier, or from an address that is gone, would lose all that it
// gets.
func (h *host) ways(want []UnderlayRoute, iface string, mark int) ([]underlayRoute, error) {
	if len(want) == 0 {
		return nil, nil
	}
	links, err := h.links()
	if err != nil {
		return nil, err
	}
	up := make(map[string]int, len(links))
	for _, l := range links {
		if a := l.Attrs(); a.Flags&net.FlagUp != 0 && a.RawFlags&unix.IFF_LOWER_UP != 0 && a.Name != iface {
			up[a.Name] = a.Index
		}
	}
	list, err := dumped(func() ([]netlink.Addr, error) { return h.nl.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	local := make(map[netip.Addr]bool, len(list))
	for _, a := range list {
		if p, ok := prefixFrom(a.IPNet); ok && a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 {
			local[p.Addr()] = true
		}
	}
	var out []underlayRoute
	for _, w := range want {
		var r underlayRoute
		if w.Uplink.Iface == "" {
			r = h.present(w.To, mark)
			for _, index := range up {
				if r.link == index {
					r.to = w.To // and not a tunnel of ours
				}
			}
		} else {
			r = underlayRoute{to: w.To, link: up[w.Uplink.Iface], gateway: w.Uplink.Gateway.WithZone(""), source: w.Uplink.Addr.Unmap()}
		}
		if r.mtu = w.MTU; r.mtu != 0 && w.To.Is6() {
			r.mtu = max(r.mtu, MinMTU)
		}
		if r.to.IsValid() && r.link != 0 && (!r.source.IsValid() || local[r.source]) {
			out = append(out, r)
		}
	}
	return out, nil
}

// present returns the way that the host itself has to a host, without its
// address.
func (h *host) present(to netip.Addr, mark int) underlayRoute {
	routes, err := h.nl.RouteGetWithOptions(to.AsSlice(), &netlink.RouteGetOptions{Mark: uint32(mark)})
	if err != nil || len(routes) == 0 || routes[0].Type != unix.RTN_UNICAST {
		return underlayRoute{}
	}
	source, _ := netip.AddrFromSlice(routes[0].Src)
	return underlayRoute{link: routes[0].LinkIndex, gateway: nextHop(routes[0].Gw, routes[0].Via), source: source.Unmap()}
}

// underlay returns what there is of a table and the rules to it.
func (h *host) underlay(table int) (u underlay, err error) {
	if u.routes, err = h.routes.underlay(table); err != nil {
		return u, err
	}
	rules, err := h.rules(table)
	for _, r := range rules {
		rule := portRule{ipv6: r.Family == netlink.FAMILY_V6}
		if r.Sport != nil && r.Sport.Start == r.Sport.End {
			rule.port = r.Sport.Start
		}
		u.rules = append(u.rules, rule)
	}
	return u, err
}

// rules returns our rules to a table. A kernel may have no rules.
func (h *host) rules(table int) ([]netlink.Rule, error) {
	var out []netlink.Rule
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := dumped(func() ([]netlink.Rule, error) {
			return h.nl.RuleListFiltered(family, &netlink.Rule{Table: table, Priority: rulePriority}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PRIORITY)
		})
		if err != nil && !ipv6Disabled(err) {
			return nil, fmt.Errorf("list routing rules: %w", err)
		}
		for _, r := range rules {
			r.Family = family
			out = append(out, r)
		}
	}
	return out, nil
}

func (h *host) doUnderlay(s Step, table int) error {
	var err error
	switch s.op {
	case addRule:
		err = h.nl.RuleAdd(tableRule(s.rule, table))
		if errors.Is(err, unix.EEXIST) {
			err = nil
		}
	case removeRule:
		err = h.nl.RuleDel(tableRule(s.rule, table))
	case addUnderlay:
		err = h.nl.RouteReplace(tableRoute(s.under, table))
	case removeUnderlay:
		err = h.nl.RouteDel(tableRoute(s.under, table))
	}
	if wasGone(err) && (s.op == removeRule || s.op == removeUnderlay) {
		err = nil
	}
	return err
}

func wasGone(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)
}

func tableRule(r portRule, table int) *netlink.Rule {
	rule := netlink.NewRule()
	rule.Family = netlink.FAMILY_V4
	if r.ipv6 {
		rule.Family = netlink.FAMILY_V6
	}
	rule.Table, rule.Priority, rule.Protocol = table, rulePriority, ruleProtocol
	if r.port != 0 {
		rule.IPProto, rule.Sport = unix.IPPROTO_UDP, netlink.NewRulePortRange(r.port, r.port)
	}
	return rule
}

func tableRoute(r underlayRoute, table int) *netlink.Route {
	route := &netlink.Route{
		LinkIndex: r.link,
		Dst:       ipNet(netip.PrefixFrom(r.to, r.to.BitLen())),
		Protocol:  routeProtocol,
		Table:     table,
		MTU:       r.mtu,
	}
	if r.source.IsValid() {
		route.Src = r.source.AsSlice()
	}
	switch {
	case !r.gateway.IsValid():
		if r.to.Is4() {
			route.Scope = netlink.SCOPE_LINK
		}
	case r.gateway.Is4() == r.to.Is4():
		// The kernel would look for the way to the gateway by the rules of
		// this host, which may lead into a tunnel.
		route.Gw, route.Flags = r.gateway.AsSlice(), int(netlink.FLAG_ONLINK)
	default:
		route.Via = &netlink.Via{AddrFamily: unix.AF_INET6, Addr: r.gateway.AsSlice()}
		route.Flags = int(netlink.FLAG_ONLINK)
	}
	return route
}

// cleanUnderlay removes our rules to a table and our routes in it, and says
// what it removed.
func (h *host) cleanUnderlay(table int) (removed []string, err error) {
	there, err := h.underlay(table)
	if err != nil {
		return nil, err
	}
	var p planner
	p.underlay(underlay{}, there)
	var errs []error
	for _, s := range p.steps {
		if err := h.doUnderlay(s, table); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s, err))
			continue
		}
		switch s.op {
		case removeRule:
			removed = append(removed, "rule for "+s.rule.String())
		default:
			removed = append(removed, "underlay route "+s.under.String())
		}
	}
	return removed, errors.Join(errs...)
}
