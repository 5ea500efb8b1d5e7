package control

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/credant/credant/discovery/wire"
)

// What a route may be, whoever tells of it.

var everything4, everything6 = netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")

// neverRouted mean something on each host or link by itself, or on none.
var neverRouted = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "addresses that no host has"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback addresses"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local addresses"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast addresses"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved addresses"},
	{netip.MustParsePrefix("::/127"), "loopback addresses"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4 addresses in IPv6's form"},
	{netip.MustParsePrefix("fe80::/10"), "link-local addresses"},
	{netip.MustParsePrefix("ff00::/8"), "multicast addresses"},
}

// notRoutable says what is wrong with a prefix on every host; empty: nothing.
func notRoutable(p netip.Prefix) string {
	for _, n := range neverRouted {
		if p.Overlaps(n.prefix) {
			return "it holds " + n.what
		}
	}
	return ""
}

// isEverything tells a default route.
func isEverything(p netip.Prefix) bool { return p.Bits() == 0 }

const (
	// wideRoute is the shortest prefix that is taken without a word: a wider one is
	// a good part of the internet.
	wideRoute = 8
	// maxAdvertised leaves room in a record for the two default routes.
	maxAdvertised = wire.MaxRoutes - 2
	// maxAccepted bounds what is taken from all others together.
	maxAccepted = 256
	maxNamed    = 64 // nodes named by settings
)

// acceptAll is the word for all nodes.
const acceptAll = "all"

// ParseRoute reads a prefix that a node may advertise.
func ParseRoute(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, fmt.Errorf("%q is not a prefix: give one such as 192.168.7.0/24", s)
	case p.Addr().Is4In6():
		return p, fmt.Errorf("%s is IPv4 in IPv6's form: write it as IPv4", s)
	case p != p.Masked():
		return p, fmt.Errorf("%s has bits set behind the prefix: say %s", s, p.Masked())
	case isEverything(p):
		return p, fmt.Errorf("%s is a default route: offer it with --advertise-exit-node", s)
	}
	if why := notRoutable(p); why != "" {
		return p, fmt.Errorf("%s cannot be a route: %s: give the prefix of a network behind this node", s, why)
	}
	return p, nil
}

// RouteConfig is what `credant up` was told about routes.
type RouteConfig struct {
	AdvertiseRoutes []netip.Prefix // networks behind this node
	AdvertiseExit   bool           // offer to carry all traffic of others
	AcceptRoutes    []string       // names or ids of nodes, the preferred first; "all"
	ExitNode        string         // name or id; empty: none
}

// checkRoutes refuses settings that make no sense, alone or together.
func (c RouteConfig) checkRoutes(subnet netip.Prefix) error {
	if len(c.AdvertiseRoutes) > maxAdvertised {
		return fmt.Errorf("%d routes are advertised, at most %d fit: combine neighbours into wider ones", len(c.AdvertiseRoutes), maxAdvertised)
	}
	for i, p := range c.AdvertiseRoutes {
		if _, err := ParseRoute(p.String()); err != nil {
			return err
		}
		if slices.Contains(c.AdvertiseRoutes[:i], p) {
			return fmt.Errorf("route %s is advertised twice: name it once", p)
		}
		if subnet.IsValid() && p.Overlaps(subnet) {
			return fmt.Errorf("route %s overlaps --subnet %s, the network's own addresses: choose another subnet", p, subnet)
		}
	}
	if len(c.AcceptRoutes) > maxNamed {
		return fmt.Errorf("routes of %d nodes are accepted, at most %d can be named: say all, if all are meant", len(c.AcceptRoutes), maxNamed)
	}
	for _, n := range c.AcceptRoutes {
		if err := validNodeRef(n); err != nil {
			return err
		}
	}
	switch {
	case c.ExitNode == "":
		return nil
	case c.ExitNode == acceptAll:
		return errors.New("--exit-node all: one node is needed: give its name or id")
	case c.AdvertiseExit:
		return errors.New("--exit-node and --advertise-exit-node exclude each other: this node can send all of its traffic to another one, or take in that of others")
	}
	return validNodeRef(c.ExitNode)
}

// exitElsewhere refuses this node as its own exit, which would let nothing out and
// wait for ever. A name that is pinned means another node that had it.
func (c RouteConfig) exitElsewhere(name, id string, pins map[string]string) error {
	if c.ExitNode != id && (c.ExitNode != name || pins[name] != "") {
		return nil
	}
	return fmt.Errorf("--exit-node %s is this node itself: name the one that is to carry its traffic, by its id if the two have one name", c.ExitNode)
}

// validNodeRef accepts what may name a node: its name, NAME-xxxx or its id.
func validNodeRef(s string) error {
	if ValidNodeName(s) != nil {
		return fmt.Errorf("%q is no node: give a name or an id, as \"credant status\" shows them", s)
	}
	return nil
}

func comparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}
