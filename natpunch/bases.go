package natpunch

import (
	"net/netip"
	"slices"
	"time"
)

// A host with several uplinks has a path for each of them to every remote
// candidate: the pair's base says from which one its datagrams leave. What is on
// the host's own links, or inside its site, is reached where the routes lead.

// anyBase is that of a host with one uplink a family: its routes choose.
var anyBase = []netip.Addr{{}}

// usefulBases are no more than maxBases of each family.
func usefulBases(bases []netip.Addr) (useful []netip.Addr) {
	for _, four := range []bool{true, false} {
		var family []netip.Addr
		for _, b := range bases {
			b = b.Unmap()
			if b.IsValid() && b.Is4() == four && !slices.Contains(family, b) && len(family) < maxBases {
				family = append(family, b)
			}
		}
		useful = append(useful, family...)
	}
	return useful
}

// bases are those from which remote is worth a check, best first; never none.
func (s *site) bases(remote netip.Addr) (bases []netip.Addr) {
	if len(s.Bases) == 0 || private(remote) || s.onLink(remote) {
		return anyBase
	}
	for _, b := range s.Bases {
		if b.Is4() == remote.Is4() {
			bases = append(bases, b)
		}
	}
	if len(bases) == 0 {
		return anyBase
	}
	return bases
}

// bases is the site's, save that a relayed address is reached where the routes lead.
func (l *checkList) bases(remote netip.AddrPort) []netip.Addr {
	if l.relay(remote) != nil {
		return anyBase
	}
	return l.agent.site.bases(remote.Addr())
}

// baseOf is the base of the pair on which a datagram from remote came to the
// address local of this host; zero is unknown, or any.
func (l *checkList) baseOf(local netip.Addr, remote netip.AddrPort) netip.Addr {
	if local = local.Unmap(); slices.Contains(l.bases(remote), local) {
		return local
	}
	return netip.Addr{}
}

// wanted are the pairs that the candidates make. All are checked from the best
// base; what room is left is for the others.
func (l *checkList) wanted() (pairs []candidatePair) {
	candidates := l.agent.site.candidates(l.direct())
	for i := range maxBases {
		for _, c := range candidates {
			if bases := l.bases(c.Addr); i < len(bases) && len(pairs) < maxCandidates {
				pairs = append(pairs, candidatePair{base: bases[i], remote: c.Addr, typ: c.Type})
			}
		}
	}
	return pairs
}

// rebase makes the bases of pairs fit those that the host has now. A path that
// the routes chose was the best uplink's; others are gone with their uplink.
func (l *checkList) rebase() {
	for _, p := range l.pairs {
		if p.relayed() {
			p.base = netip.Addr{}
			continue
		}
		bases := l.bases(p.remote)
		if slices.Contains(bases, p.base) {
			p.gone = false
			continue
		}
		to := bases[0]
		other := func(o *candidatePair) bool { return o != p && o.remote == p.remote && o.base == to }
		if p.base.IsValid() || slices.ContainsFunc(l.pairs, other) {
			p.gone = true
			p.stop()
			continue
		}
		p.base = to
	}
}

// answered finds the pair whose ping a pong answers.
func (l *checkList) answered(now time.Time, base netip.Addr, from netip.AddrPort, id transactionID) (*candidatePair, transaction, bool) {
	for _, p := range l.pairs {
		if p.remote != from || base.IsValid() && p.base != base {
			continue
		}
		if t, ok := p.answered(now, id); ok {
			return p, t, true
		}
	}
	return nil, transaction{}, false
}

// reflexive is where a peer last saw this node's pings from a base.
type reflexive struct {
	base netip.Addr
	addr netip.AddrPort
}

// observed notes where the peer saw this node, and reports whether that is news.
func (l *link) observed(base netip.Addr, addr netip.AddrPort) bool {
	for i, r := range l.reflexive {
		if r.base == base && r.addr.Addr().Is4() == addr.Addr().Is4() {
			l.reflexive[i].addr = addr
			return r.addr != addr
		}
	}
	if len(l.reflexive) == 2*(maxBases+1) {
		l.reflexive = slices.Delete(l.reflexive, 0, 1) // of uplinks that come and go
	}
	l.reflexive = append(l.reflexive, reflexive{base, addr})
	return true
}
