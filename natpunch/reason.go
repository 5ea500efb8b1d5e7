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
	c, ok := a.peers[node]
	if !ok || c.selected != nil && !c.selected.relayed() {
		return ""
	}
	return c.whyNotDirect()
}

func (l *checkList) whyNotDirect() string {
	var tried []*candidatePair
	for _, p := range l.pairs {
		switch {
		case p.relayed():
		case l.avoids(l.agent.now, p.base, p.remote):
			return "checks of " + p.remote.String() + " are answered, but traffic did not follow there"
		case p.pending(), p == l.exchange.pair, !l.relays.search.begin.IsZero():
			return "looking for a direct path"
		case p.state == succeeded:
			return "a direct path was found, and the peer has yet to follow"
		default:
			tried = append(tried, p)
		}
	}
	if len(tried) == 0 {
		return l.nothingToCheck()
	}
	return l.unanswered(tried)
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
		s = l.nothingToCheck()
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
	if len(names) > namedAddresses {
		names = append(names[:namedAddresses], "…")
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
	return "no answer " + where + l.likelyCause()
}

// likelyCause names what the NATs have to do with it, as far as they are known.
func (l *checkList) likelyCause() string {
	own, its := dependent(l.agent.site.NAT4), dependent(l.nat4)
	switch {
	case own && its:
		return ": both NATs take another port for each destination, so neither side knows where to send"
	case own:
		return ": this host's NAT takes another port for each destination, which a NAT at the other end seldom lets in"
	case its:
		return ": the peer's NAT takes another port for each destination, so the peer is not where it says"
	default:
		return ""
	}
}

func dependent(n wire.NATBehavior) bool { return n.Mapping > wire.EndpointIndependent }

func (l *checkList) nothingToCheck() string {
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
		return "this host has no network"
	case ipv6 && !hidden:
		return "the peer has only IPv6 addresses, and this host has no IPv6"
	case ipv4 && !hidden:
		return "the peer has only IPv4 addresses, and this host has no IPv4"
	case hidden:
		return "the peer knows only addresses inside another private network"
	default:
		return "the peer has not told an address yet"
	}
}
