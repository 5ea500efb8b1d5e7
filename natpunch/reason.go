package natpunch

import (
	"fmt"
	"strings"

	"github.com/credant/credant/discovery/wire"
)

// namedAddresses is how many addresses a reason names.
const namedAddresses = 3

// reason says in plain words why there is no path.
func (l *checkList) reason() string {
	s := l.missing()
	if why := l.round.why; why != "" && l.selected != nil {
		s = why + ": " + s
	}
	return s
}

func (l *checkList) missing() string {
	if len(l.pairs) == 0 {
		return l.nothingToCheck()
	}
	var names []string
	answered := false
	for _, p := range l.pairs {
		names = append(names, p.remote.String())
		answered = answered || p.state == succeeded
	}
	if len(names) > namedAddresses {
		names = append(names[:namedAddresses], "…")
	}
	list := strings.Join(names, ", ")
	if answered {
		return "the peer answered at one of its addresses (" + list + "), but chose no path"
	}
	where := "at the peer's only address, " + list
	if len(l.pairs) > 1 {
		where = fmt.Sprintf("at any of the peer's %d addresses (%s)", len(l.pairs), list)
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
