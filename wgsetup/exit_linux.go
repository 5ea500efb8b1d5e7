package wgsetup

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// MarkSocket is a Control function for net.Dialer and net.ListenConfig. Sockets
// made with it reach the outside past an exit peer: those of the daemon itself.
// It takes CAP_NET_ADMIN.
func MarkSocket(_, _ string, c syscall.RawConn) error {
	var err error
	if controlErr := c.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt SO_MARK", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, Mark))
	}); controlErr != nil {
		return controlErr
	}
	return err
}

// readExit reads what there is of an exit. Most devices have none, and are
// asked once.
func (d *Device) readExit(a *actual) error {
	wanted := d.target.desired.Exit != nil
	if !wanted && d.noExit {
		return nil
	}
	var err error
	if a.exit, err = d.host.exit(exitTableOf(d.config.Network), a.index); err != nil {
		return err
	}
	d.noExit = !wanted && len(a.exit.rules) == 0 && len(a.exit.routes) == 0
	return nil
}

// exit returns what there is of a network's exit. The rules that lead to the
// main table do not name the network: they are its own while its table, which
// they outlive in no order of steps, has something.
func (h *host) exit(table, device int) (s exitState, err error) {
	if s.routes, err = h.routes.exit(table, device); err != nil {
		return s, err
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := dumped(func() ([]netlink.Rule, error) { return h.nl.RuleList(family) })
		if err != nil && !ipv6Disabled(err) {
			return s, fmt.Errorf("list routing rules: %w", err)
		}
		for _, r := range rules {
			x := exitRule{priority: r.Priority, ipv6: family == netlink.FAMILY_V6}
			if to, ok := prefixFrom(r.Dst); ok && r.Priority == exitAllowPriority {
				x.to = to
			}
			if r.Protocol != ruleProtocol || !sameRule(r, *ruleOf(x, table)) {
				continue
			}
			if r.Table == table || len(s.routes) > 0 {
				s.rules = append(s.rules, x)
			}
		}
	}
	return s, nil
}

func sameRule(a, b netlink.Rule) bool {
	return a.Priority == b.Priority && a.Table == b.Table && a.Mark == b.Mark && a.Invert == b.Invert &&
		a.SuppressPrefixlen == b.SuppressPrefixlen
}

func (h *host) doExit(s Step, table, device int) error {
	var err error
	switch s.op {
	case addExitRule:
		err = h.nl.RuleAdd(ruleOf(s.exit, table))
		if errors.Is(err, unix.EEXIST) {
			err = nil
		}
	case removeExitRule:
		err = h.nl.RuleDel(ruleOf(s.exit, table))
	case addExitRoute:
		err = h.nl.RouteReplace(exitRouteOf(s.way, table, device))
	case removeExitRoute:
		err = h.nl.RouteDel(exitRouteOf(s.way, table, 0))
	}
	switch {
	case wasGone(err) && (s.op == removeExitRule || s.op == removeExitRoute):
		err = nil
	case ipv6Disabled(err) && (s.exit.ipv6 || s.way.ipv6 && s.way.unreachable):
		err = nil // a kernel without IPv6 lets none out
	}
	return err
}

func ruleOf(r exitRule, table int) *netlink.Rule {
	rule := netlink.NewRule()
	rule.Family = netlink.FAMILY_V4
	longest := longestDefault4
	if r.ipv6 {
		rule.Family, longest = netlink.FAMILY_V6, longestDefault6
	}
	rule.Table, rule.Priority, rule.Protocol = unix.RT_TABLE_MAIN, r.priority, ruleProtocol
	switch r.priority {
	case exitAllowPriority:
		if r.to.IsValid() {
			rule.Dst = ipNet(r.to)
		}
	case exitMainPriority:
		rule.SuppressPrefixlen = longest
	default:
		rule.Table, rule.Mark, rule.Invert = table, Mark, true
	}
	return rule
}

func exitRouteOf(r exitRoute, table, device int) *netlink.Route {
	route := &netlink.Route{
		Family:    netlink.FAMILY_V4,
		Dst:       &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
		LinkIndex: device,
		Protocol:  routeProtocol,
		Table:     table,
		Priority:  exitDeviceMetric,
		MTU:       r.mtu,
	}
	if r.ipv6 {
		route.Family = netlink.FAMILY_V6
		route.Dst = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	if r.unreachable {
		route.Type, route.Priority, route.LinkIndex = unix.RTN_UNREACHABLE, exitUnreachableMetric, 0
		route.Protocol = ruleProtocol
		return route
	}
	if r.source.IsValid() {
		route.Src = r.source.AsSlice()
	}
	if !r.ipv6 {
		route.Scope = netlink.SCOPE_LINK
	}
	return route
}

// cleanExit removes a network's exit, and says what it removed.
func (h *host) cleanExit(table int) (removed []string, err error) {
	there, err := h.exit(table, 0)
	if err != nil {
		return nil, err
	}
	var p planner
	p.exit(exitState{}, there)
	var errs []error
	for _, s := range p.steps {
		if err := h.doExit(s, table, 0); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s, err))
			continue
		}
		switch s.op {
		case removeExitRule:
			removed = append(removed, "exit rule "+s.exit.String())
		default:
			removed = append(removed, "exit route "+s.way.String())
		}
	}
	return removed, errors.Join(errs...)
}
