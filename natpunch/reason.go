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
	switch {
	case answered:
		return fmt.Sprintf("the peer answered at one of %s, but chose no path", list)
	case len(l.pairs) == 1:
		return "no answer at the peer's only address, " + list
	default:
		return fmt.Sprintf("no answer at any of the peer's %d addresses (%s)", len(l.pairs), list)
	}
}

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
