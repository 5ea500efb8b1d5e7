package control

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/credant/credant/discovery/keys"
)

// routeView is what routes are decided by.
type routeView struct {
	members  []routeMember
	own      []netip.Prefix // that this node advertises
	overlay  []netip.Prefix
	host     []netip.Prefix       // that the host reaches without the network
	blocked  func(id string) bool // nil: nobody is
	underlay []underlayUse        // that this node sends to
	kept     []underlayName       // likewise, and no route may hold them; in their order, once reviewed
}

type routeMember struct {
	node    keys.NodePublic
	name    string   // for a person
	labels  []string // that it is found by on this host
	routes  []netip.Prefix
	at      []netip.Addr // where it is, outside of the network
	working bool
}

// underlayName is an address that this node sends to, and whose it is.
type underlayName struct {
	addr netip.Addr
	what string
}

// absent says why a node is not among the members, if that is this host's doing.
func (v routeView) absent(id string) string {
	if v.blocked != nil && v.blocked(id) {
		return blockedHere
	}
	return ""
}

// routeState says what became of a route that a node advertises.
type routeState string

const (
	routeOffered  routeState = "offered"  // the settings do not name the node
	routeAccepted routeState = "accepted" // it leads to that node
	routeStandby  routeState = "standby"  // it leads to another one, which comes first
	routeRefused  routeState = "refused"
)

type routeWord struct {
	prefix netip.Prefix
	state  routeState
	reason string
}

// routePlan is what a review came to.
type routePlan struct {
	allowed map[keys.NodePublic][]netip.Prefix
	subnets []netip.Prefix // what leads into the tunnel, default routes aside
	words   map[keys.NodePublic][]routeWord
	notices []string
	exit    exitPlan
}

// exitPlan says where all other traffic goes.
type exitPlan struct {
	node  keys.NodePublic // zero: no node has the name
	name  string          // as the user says it; empty: no exit node is asked for
	state string          // "working", "away", "unknown", "blocked", "not offered"
	text  string
}

func (p routePlan) equal(o routePlan) bool {
	return maps.EqualFunc(p.allowed, o.allowed, slices.Equal[[]netip.Prefix]) && slices.Equal(p.subnets, o.subnets)
}

// refuses says why a prefix cannot lead to a node on this host; empty: it can.
func (v routeView) refuses(p netip.Prefix, by *routeMember) string {
	if why := notRoutable(p); why != "" {
		return why
	}
	if slices.Contains(v.own, p) {
		return "this node advertises it itself"
	}
	for _, o := range v.overlay {
		if p.Overlaps(o) {
			return fmt.Sprintf("it overlaps %s, the network's own addresses", o)
		}
	}
	for _, h := range v.host {
		if h.Bits() <= p.Bits() && h.Contains(p.Addr()) {
			return fmt.Sprintf("this host reaches %s itself", h)
		}
	}
	if i := slices.IndexFunc(by.at, p.Contains); i >= 0 {
		return fmt.Sprintf("it holds %s, where %s is reached", by.at[i], by.name)
	}
	i, _ := slices.BinarySearchFunc(v.kept, p.Addr(), func(u underlayName, a netip.Addr) int { return u.addr.Compare(a) })
	if i < len(v.kept) && p.Contains(v.kept[i].addr) {
		return fmt.Sprintf("it holds %s, where %s is reached", v.kept[i].addr, v.kept[i].what)
	}
	return ""
}
