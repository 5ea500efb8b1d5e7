package natpunch

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// namedAddresses is how many addresses a reason names.
const namedAddresses = 3

// WhyNotDirect says in plain words why the peer is not reached directly. It is
// empty when it is, and for a peer that is not set.
func (a *Agent) WhyNotDirect(node keys.NodePublic) string {
	return a.Reason(node).Text
}

func (l *checkList) whyNotDirect() Reason {
	if state := l.spray.attempt.state; state > asking {
		return Reason{Code: ReasonPunching, Text: "trying many ports, because one NAT takes another port for each destination"}
	}
	var tried []*candidatePair
	for _, p := range l.pairs {
		switch {
		case p.relayed():
		case l.avoids(l.agent.now, p.base, p.remote):
			return Reason{Code: ReasonNoTraffic, Text: "checks of " + p.remote.String() + " are answered, but traffic did not follow there"}
		case p.pending(), p == l.exchange.pair, !l.relays.search.begin.IsZero():
			return Reason{Code: ReasonSearching, Text: "looking for a direct path"}
		case p.state == succeeded:
			return Reason{Code: ReasonNominating, Text: "a direct path was found, and the peer has yet to follow"}
		default:
			tried = append(tried, p)
		}
	}
	if len(tried) == 0 {
		return l.nothingToCheck()
	}
	r := l.mapping()
	r.Text = l.unanswered(tried)
	return r
}

// reason says in plain words why there is no path.
func (l *checkList) reason() string {
	s := l.missing()
	if why := l.round.why; why != "" && l.selected != nil {
		s = why + ": " + s
	}
	return s
}

func (l *checkList) missing() string {
	var direct, relayed []*candidatePair
	for _, p := range l.pairs {
		switch {
		case !p.relayed():
			direct = append(direct, p)
		case !p.gone:
			relayed = append(relayed, p)
		}
	}
	answered := func(p *candidatePair) bool { return p.state == succeeded }
	var s string
	switch {
	case slices.ContainsFunc(direct, answered):
		return "the peer answered at one of its addresses (" + list(direct) + "), but chose no path"
	case slices.ContainsFunc(relayed, answered):
		return "the peer answered through a relay (" + list(relayed) + "), but chose no path"
	case len(direct) == 0:
		s = l.nothingToCheck().Text
	default:
		s = l.unanswered(direct)
	}
	if len(relayed) > 0 {
		s += "; nor does it answer through a relay (" + list(relayed) + ")"
	}
	return s
}

func list(pairs []*candidatePair) string {
	var names []string
	for _, addr := range remotes(pairs) {
		names = append(names, addr.String())
	}
	if more := len(names) - namedAddresses; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:namedAddresses], ", "), more)
	}
	return strings.Join(names, ", ")
}

// remotes are the addresses of pairs, each once.
func remotes(pairs []*candidatePair) (all []netip.AddrPort) {
	for _, p := range pairs {
		if !slices.Contains(all, p.remote) {
			all = append(all, p.remote)
		}
	}
	return all
}

// unanswered says that none of the peer's own addresses answered, and why perhaps.
func (l *checkList) unanswered(direct []*candidatePair) string {
	where := "at the peer's only address, " + list(direct)
	if n := len(remotes(direct)); n > 1 {
		where = fmt.Sprintf("at any of the peer's %d addresses (%s)", n, list(direct))
	}
	return "no answer " + where + l.mapping().Text
}

func dependent(n wire.NATBehavior) bool { return n.Mapping > wire.EndpointIndependent }

func (l *checkList) nothingToCheck() Reason {
	s := &l.agent.site
	var ipv4, ipv6, hidden bool
	for _, c := range l.announced {
		ip := c.Addr.Addr().Unmap()
		switch {
		case c.Type == wire.Relayed, within(s.overlay, ip):
		case ip.Is6() && !s.HasIPv6:
			ipv6 = true
		case ip.Is4() && !s.HasIPv4:
			ipv4 = true
		case private(ip):
			hidden = true
		}
	}
	switch {
	case !s.HasIPv4 && !s.HasIPv6:
		return Reason{Code: ReasonNoNetwork, Text: "this host has no network"}
	case ipv6 && !hidden:
		return Reason{Code: ReasonNoIPv6, Text: "the peer has only IPv6 addresses, and this host has no IPv6", Mend: "IPv6 on this host, or IPv4 on the peer, would make it direct"}
	case ipv4 && !hidden:
		return Reason{Code: ReasonNoIPv4, Text: "the peer has only IPv4 addresses, and this host has no IPv4", Mend: "IPv4 on this host, or IPv6 on the peer, would make it direct"}
	case hidden:
		return Reason{Code: ReasonOtherNetwork, Text: "the peer knows only addresses inside another private network", Mend: "a STUN server that the peer can reach, or another member, would tell it where it is"}
	default:
		return Reason{Code: ReasonNoAddress, Text: "the peer has not told an address yet"}
	}
}
