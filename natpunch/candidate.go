package natpunch

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/credant/credant/discovery/wire"
)

// Local is what this host is on the network, as far as paths care.
type Local struct {
	// Candidates are what this node tells its peers about itself.
	Candidates []wire.Candidate
	// Prefixes are the on-link prefixes of this host; an unmasked one counts
	// its address as the host's own.
	Prefixes []netip.Prefix
	// Tunnelled are reached through a peer: no path leads there.
	Tunnelled []netip.Prefix
	// HasIPv4 and HasIPv6 say which families reach beyond the host's own links.
	// Without either, only neighbours are checked.
	HasIPv4, HasIPv6 bool
	// Bases are the addresses of a family's uplinks, best first, where there are
	// several. Each of the first maxBases is paired with every remote candidate
	// beyond the host's own links. In a family without, the host's routes choose.
	Bases []netip.Addr
	// NAT4 is what is known of the NAT in front of this host. It changes no
	// choice, only what is said about a path that there is not.
	NAT4 wire.NATBehavior
}

// rank orders kinds of paths: a higher one is worth leaving a working path for,
// a better round trip within one is not.
type rank uint8

const (
	rankRelay rank = iota + 1
	rankIPv4
	rankIPv6
	rankLAN
)

// kind is what people call a path of the rank.
func (r rank) kind() PathKind {
	switch r {
	case rankLAN:
		return LAN
	case rankRelay:
		return Relay
	default:
		return Direct
	}
}

// sharedSpace is RFC 6598's, inside carrier-grade NATs.
var (
	sharedSpace = netip.MustParsePrefix("100.64.0.0/10")
	reserved4   = netip.MustParsePrefix("240.0.0.0/4")
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
)

// private reports whether a means different hosts in different places.
func private(a netip.Addr) bool { return a.IsPrivate() || sharedSpace.Contains(a) }

// plain is the form in which addresses are compared.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// site is Local in the form in which candidates are judged by it.
type site struct {
	Local
	overlay   []netip.Prefix
	own       []netip.Addr     // of this host's interfaces
	reflexive []netip.AddrPort // how others see this host
}

func newSite(l Local, overlay []netip.Prefix) site {
	s := site{Local: l, overlay: slices.Concat(overlay, l.Tunnelled)}
	for _, c := range l.Candidates {
		if c.Type == wire.Host {
			s.own = append(s.own, c.Addr.Addr())
		} else {
			s.reflexive = append(s.reflexive, c.Addr)
		}
	}
	for _, p := range l.Prefixes {
		if p != p.Masked() || p.IsSingleIP() {
			s.own = append(s.own, p.Addr())
		}
	}
	return s
}

// usable reports whether datagrams may be sent to a peer at a, whoever wants it.
func (s *site) usable(a netip.AddrPort) bool {
	return s.reachable(a) && !slices.Contains(s.own, a.Addr()) && !slices.Contains(s.reflexive, a)
}

// reachable is usable for what may be on this host too: a relay.
func (s *site) reachable(a netip.AddrPort) bool {
	ip := a.Addr()
	switch {
	case !ip.IsValid(), a.Port() == 0, ip.Is4In6(), ip.Zone() != "":
		return false
	case ip.IsUnspecified(), ip.IsLoopback(), ip.IsMulticast(), thisNetwork.Contains(ip), reserved4.Contains(ip):
		return false
	case ip.IsLinkLocalUnicast():
		// WireGuard's endpoint could not be set to it: wgctrl writes no scope.
		return false
	case ip.Is4() && !s.HasIPv4 && !s.onLink(ip), ip.Is6() && !s.HasIPv6 && !s.onLink(ip) && !s.sameULA(ip):
		return false
	}
	return !within(s.overlay, ip) && !s.isBroadcast(ip)
}

func (s *site) isBroadcast(ip netip.Addr) bool {
	for _, p := range s.Prefixes {
		if !ip.Is4() || p.Bits() > 30 || !p.Contains(ip) {
			continue
		}
		host := ^uint32(0) >> p.Bits()
		b := ip.As4()
		if n := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]); n&host == host || n&host == 0 {
			return true
		}
	}
	return false
}

func (s *site) onLink(ip netip.Addr) bool { return within(s.Prefixes, ip) }

func within(prefixes []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// lost4 reports whether an IPv4 address of this host is not among its own in l.
func (s *site) lost4(l Local) bool {
	now := newSite(l, s.overlay)
	return slices.ContainsFunc(s.own, func(a netip.Addr) bool { return a.Is4() && !slices.Contains(now.own, a) })
}

// rank is that of a path to a peer's own address a. A private address that answers under a pair's key is inside the
// same site. An on-link public IPv4 address is not: its owner may well be the
// NAT of another.
func (s *site) rank(a netip.AddrPort) rank {
	ip := a.Addr()
	switch {
	case ip.IsPrivate(), ip.Is6() && s.onLink(ip):
		return rankLAN
	case ip.Is6():
		return rankIPv6
	default:
		return rankIPv4
	}
}

// candidates returns which of a peer's candidates are worth a check, best
// first: no more than maxCandidates, and of those in private address space only
// what is on our own links, or (a few) what can be behind our own NAT. Anything
// else would be sent to a stranger's machine of the same address.
func (s *site) candidates(announced []wire.Candidate) []wire.Candidate {
	shared := s.behindSameNAT(announced)
	nearby := 0
	var chosen []wire.Candidate
	for _, c := range announced {
		c.Addr = plain(c.Addr)
		ip := c.Addr.Addr()
		if c.Type == wire.Relayed || !s.usable(c.Addr) ||
			slices.ContainsFunc(chosen, func(o wire.Candidate) bool { return o.Addr == c.Addr }) {
			continue
		}
		if private(ip) && !s.onLink(ip) {
			if nearby == maxSite || !(shared || s.sameULA(ip)) {
				continue
			}
			nearby++
		}
		chosen = append(chosen, c)
	}
	slices.SortStableFunc(chosen, func(a, b wire.Candidate) int {
		return cmp.Or(-cmp.Compare(s.rank(a.Addr), s.rank(b.Addr)), cmp.Compare(a.Type, b.Type))
	})
	return chosen[:min(len(chosen), maxCandidates)]
}

// behindSameNAT reports whether the peer is seen at an address at which this
// host is seen too.
func (s *site) behindSameNAT(announced []wire.Candidate) bool {
	return slices.ContainsFunc(announced, func(c wire.Candidate) bool {
		return c.Type != wire.Host && slices.ContainsFunc(s.reflexive, func(own netip.AddrPort) bool {
			return own.Addr() == c.Addr.Addr().Unmap()
		})
	})
}

// sameULA reports whether ip is in the /48 of one of our own unique local
// addresses (RFC 4193): one site's, on another link.
func (s *site) sameULA(ip netip.Addr) bool {
	if !ip.Is6() {
		return false
	}
	return slices.ContainsFunc(s.Prefixes, func(p netip.Prefix) bool {
		return p.Addr().Is6() && p.Addr().IsPrivate() && netip.PrefixFrom(p.Addr(), 48).Masked().Contains(ip)
	})
}

// isReflexive reports whether a can be an address of this host in front of a
// NAT that it does not know of yet.
func (s *site) isReflexive(a netip.AddrPort) bool {
	ip := a.Addr()
	return ip.IsGlobalUnicast() && a.Port() != 0 && !slices.Contains(s.own, ip) &&
		!slices.Contains(s.reflexive, a) && !within(s.overlay, ip)
}
