package wgsetup

import (
	"fmt"
	"net/netip"
	"slices"
)

// Rules of an exit come after those of the underlay, whose ports have ways of
// their own, and before those of other software, which would let packets out.
//
//	5203: to ALLOWED lookup main
//	5204: lookup main suppress_prefixlength 7 (IPv6: 6)
//	5205: not fwmark Mark lookup the network's exit table
//
// The exit table has a default route by the device and an unreachable one for
// when there is no device.
const (
	exitAllowPriority = rulePriority + 1 + iota
	exitMainPriority
	exitRestPriority
)

// In the exit table.
const (
	exitDeviceMetric      = 1
	exitUnreachableMetric = 1 << 30
)

// Routes up to this length stand for a default one, as 0.0.0.0/1 and 2000::/3
// do. fc00::/7 is a network of somebody's own.
const (
	longestDefault4 = 7
	longestDefault6 = 6
)

// exitTableOf returns the exit table of a network, beside its other one.
func exitTableOf(network string) int { return tableOf(network) | 1<<24 }

// exitState is what there is, or should be, of an exit.
type exitState struct {
	rules  []exitRule
	routes []exitRoute
}

type exitRule struct {
	priority int
	ipv6     bool
	to       netip.Prefix // of an allowed network
}

func (r exitRule) String() string {
	switch r.priority {
	case exitAllowPriority:
		return "for " + r.to.String()
	case exitMainPriority:
		return "for the host's own networks, " + familyName(r.ipv6)
	default:
		return "for all else, " + familyName(r.ipv6)
	}
}

func familyName(ipv6 bool) string {
	if ipv6 {
		return "IPv6"
	}
	return "IPv4"
}

type exitRoute struct {
	ipv6        bool
	unreachable bool
	elsewhere   bool       // not by our device: never wanted
	source      netip.Addr // zero: none is preferred
	mtu         int        // zero: the device's
}

func (r exitRoute) String() string {
	s := "of " + familyName(r.ipv6)
	if r.unreachable {
		return s + ", unreachable"
	}
	if r.source.IsValid() {
		s += " from " + r.source.String()
	}
	if r.mtu != 0 {
		s += fmt.Sprint(" with MTU ", r.mtu)
	}
	return s
}

// exit returns what Exit takes. A host that refuses the device IPv6 may have it
// elsewhere: there it ends.
func (t target) exit() (want exitState) {
	e := t.desired.Exit
	if e == nil {
		return want
	}
	for _, ipv6 := range []bool{false, true} {
		if ipv6 && !e.V6 || !ipv6 && !e.V4 {
			continue
		}
		want.routes = append(want.routes, exitRoute{ipv6: ipv6, unreachable: true})
		if !ipv6 || !t.noIPv6 {
			want.routes = append(want.routes, exitRoute{ipv6: ipv6, source: t.exitSource(ipv6), mtu: t.exitMTU(ipv6)})
		}
		for _, x := range normalize(e.Allow, true, func(x netip.Prefix) bool { return x.Addr().Is6() == ipv6 }) {
			want.rules = append(want.rules, exitRule{exitAllowPriority, ipv6, x})
		}
		want.rules = append(want.rules,
			exitRule{priority: exitMainPriority, ipv6: ipv6},
			exitRule{priority: exitRestPriority, ipv6: ipv6})
	}
	return want
}

// exitSource is the address that the exit peer knows this node by. IPv6 would
// take another link's, whose scope is the destination's.
func (t target) exitSource(ipv6 bool) netip.Addr {
	for _, a := range t.desired.Addresses {
		if a.Addr().Is6() == ipv6 {
			return a.Addr()
		}
	}
	return netip.Addr{}
}

func (t target) exitMTU(ipv6 bool) int {
	for _, p := range t.desired.Peers {
		if p.MTU == 0 {
			continue
		}
		for _, x := range p.AllowedIPs {
			mtu := p.MTU
			if ipv6 {
				mtu = max(mtu, MinMTU)
			}
			if x.Bits() == 0 && x.Addr().Is6() == ipv6 && mtu < t.mtu {
				return mtu
			}
		}
	}
	return 0
}

// exit fills the table before packets are sent there, and empties it when none
// are any more.
func (p *planner) exit(want, have exitState) {
	for _, r := range slices.Backward(sortExit(have.rules)) {
		if !slices.Contains(want.rules, r) {
			p.add(Step{op: removeExitRule, exit: r})
		}
	}
	for _, r := range have.routes {
		replaced := slices.ContainsFunc(want.routes, func(w exitRoute) bool {
			return w.ipv6 == r.ipv6 && w.unreachable == r.unreachable
		})
		if !replaced || r.elsewhere {
			p.add(Step{op: removeExitRoute, way: r})
		}
	}
	for _, r := range want.routes {
		if !slices.Contains(have.routes, r) {
			p.add(Step{op: addExitRoute, way: r})
		}
	}
	for _, r := range sortExit(want.rules) {
		if !slices.Contains(have.rules, r) {
			p.add(Step{op: addExitRule, exit: r})
		}
	}
}

func sortExit(rules []exitRule) []exitRule {
	return slices.SortedFunc(slices.Values(rules), func(a, b exitRule) int { return a.priority - b.priority })
}
