package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/control"
	"github.com/credant/credant/control/localapi"
	"github.com/spf13/pflag"
)

// routeSettings are the settings about what is reached through nodes.
type routeSettings struct {
	advertise     []netip.Prefix
	advertiseExit bool
	accept        []string // each may be several, separated by commas
	exit          string
}

func (s *routeSettings) addTo(fs *pflag.FlagSet) {
	cli.Many(fs, "advertise-route", &s.advertise, "PREFIX", control.ParseRoute, "network behind this node that others may reach through it; repeatable")
	fs.BoolVar(&s.advertiseExit, "advertise-exit-node", false, "offer to carry all traffic of other nodes to the internet")
	cli.Many(fs, "accept-routes", &s.accept, "NODE,...", parseNodeRefs, "reach the networks behind these nodes through them; all: behind any")
	cli.One(fs, "exit-node", &s.exit, "NODE", "", parseNodeRef, "send all other traffic through this node, and none past it")
}

func (s *routeSettings) config() control.RouteConfig {
	c := control.RouteConfig{AdvertiseRoutes: s.advertise, AdvertiseExit: s.advertiseExit, ExitNode: s.exit}
	for _, words := range s.accept {
		c.AcceptRoutes = append(c.AcceptRoutes, strings.Split(words, ",")...)
	}
	return c
}

func parseNodeRef(s string) (string, error) {
	if control.ValidNodeName(s) != nil {
		return s, fmt.Errorf("%q is no node: give a name or an id, as \"credant status\" shows them", s)
	}
	return s, nil
}

func parseNodeRefs(s string) (string, error) {
	for word := range strings.SplitSeq(s, ",") {
		if _, err := parseNodeRef(word); err != nil {
			return s, err
		}
	}
	return s, nil
}

// routeFields say what this node offers, where it sends the rest, and whom it has
// shut out.
func routeFields(s localapi.Status) []field {
	var out []field
	if len(s.Self.Routes) > 0 {
		out = append(out, field{"offers", routeList(s.Self.Routes)})
	}
	if e := s.Self.ExitNode; e != nil {
		text := "all other traffic goes through " + e.Name
		if e.State != "working" {
			text += ", which is " + map[string]string{"away": "away", "unknown": "not known", "blocked": "blocked on this node", "not offered": "no exit node"}[e.State]
		}
		out = append(out, field{"exit node", text})
		if family := notCarried(s); e.State == "working" && family != "" {
			out = append(out, field{"no " + family, e.Name + " carries none, and none leaves otherwise"})
		}
	}
	if n := len(s.Blocked); n > 0 {
		out = append(out, field{"blocked", plural(n, "node", "nodes") + ": \"credant block\" lists them"})
	}
	return out
}

// notCarried is the family that the exit node does not take, as one without IPv6.
func notCarried(s localapi.Status) string {
	for _, p := range s.Peers {
		if p.ID != s.Self.ExitNode.ID {
			continue
		}
		takes := func(prefix string) bool {
			return slices.ContainsFunc(p.Routes, func(r localapi.Route) bool { return r.Prefix == prefix })
		}
		switch {
		case !takes("::/0"):
			return "IPv6"
		case !takes("0.0.0.0/0"):
			return "IPv4"
		}
	}
	return ""
}

// routeList writes prefixes for a person.
func routeList(routes []string) string {
	var words []string
	exit := false
	for _, r := range routes {
		if r == "0.0.0.0/0" || r == "::/0" {
			exit = true
			continue
		}
		words = append(words, r)
	}
	if exit {
		words = append(words, "to be an exit node")
	}
	return strings.Join(words, ", ")
}

// peerRoutes are lines on what is behind a peer.
func peerRoutes(p localapi.Peer) []string {
	var out []string
	var used, offered []string
	for _, r := range p.Routes {
		switch {
		case r.State == "offered":
			offered = append(offered, r.Prefix)
		case r.State == "accepted" && r.Reason == "":
			used = append(used, r.Prefix)
		default:
			out = append(out, fmt.Sprintf("route %s: %s: %s", r.Prefix, r.State, r.Reason))
		}
	}
	if len(offered) > 0 {
		out = append([]string{"offers " + routeList(offered)}, out...)
	}
	if len(used) > 0 {
		list := routeList(used)
		if list == "to be an exit node" {
			list = "the internet"
		}
		out = append([]string{"leads to " + strings.ReplaceAll(list, "to be an exit node", "the internet")}, out...)
	}
	return out
}
