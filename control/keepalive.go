package control

import (
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch"
)

// A packet either way restarts both sides' keepalive timers, so of two equal
// intervals both fire at once or the same side always fires first. One side
// keeps the path open, at the interval that wg(8) recommends for NATs or at what
// the two NATs call for; the other's timer fires only when it has heard nothing
// for longer than that. Some NATs are refreshed by outbound packets alone (RFC
// 4787, REQ-6): for them the other side is made to send a packet now and then as
// well.
const (
	keepalive      = 25 * time.Second
	keepaliveGap   = 5 * time.Second // that the other side waits longer
	keepaliveOther = keepalive + keepaliveGap
	outboundAgain  = 55 * time.Second
	// keepaliveLeast is for the worst of NATs. RFC 8085, Section 3.5, asks for 15 s
	// or more where that does.
	keepaliveLeast = 10 * time.Second
	// keepaliveOpen is where neither side has a NAT or a firewall that forgets: only
	// the session is kept (see sessionLife), and the path is known to work.
	keepaliveOpen = 90 * time.Second
)

// keepaliveFor is the interval for mappings that live for so long unrefreshed;
// zero is unknown.
func keepaliveFor(lifetime time.Duration) time.Duration {
	if lifetime == 0 {
		return keepalive
	}
	margin := max(lifetime/5, 3*time.Second)
	return min(max(lifetime-margin, keepaliveLeast).Truncate(time.Second), keepalive)
}

// keepaliveOf is the interval at which the path to a peer has to be refreshed.
// Both sides work it out from both records, and so alike.
func (m *mesh) keepaliveOf(p *peer) time.Duration {
	own, theirs := m.publisher.record.NAT4, p.record.NAT4
	if p.path.Addr.Addr().Is6() {
		own, theirs = m.publisher.record.NAT6, p.record.NAT6
	}
	lifetime := own.Lifetime
	if lifetime == 0 || theirs.Lifetime > 0 && theirs.Lifetime < lifetime {
		lifetime = theirs.Lifetime
	}
	every := keepaliveFor(lifetime)
	if every == keepalive && !p.viaRelay() && lifetime == 0 &&
		m.open(own, m.publisher.record.Candidates, p.path.Addr.Addr().Is6()) && m.open(theirs, p.record.Candidates, p.path.Addr.Addr().Is6()) &&
		p.announcesHost(p.path.Addr) {
		return keepaliveOpen
	}
	return every
}

// open tells whether a node was seen to take unsolicited packets at an address of
// its own: without a NAT, and tested from outside.
func (m *mesh) open(nat wire.NATBehavior, candidates []wire.Candidate, six bool) bool {
	if nat.Mapping != natpunch.EndpointIndependent || nat.Filtering != natpunch.EndpointIndependent || !nat.PortPreserved {
		return false
	}
	own := false
	for _, c := range candidates {
		if c.Addr.Addr().Is6() != six || !isGlobal(c.Addr.Addr()) {
			continue
		}
		if c.Type != wire.Host {
			return false // seen elsewhere than where it is
		}
		own = true
	}
	return own
}

func (p *peer) announcesHost(addr netip.AddrPort) bool {
	return slices.Contains(p.record.Candidates, wire.Candidate{Type: wire.Host, Addr: addr})
}

// reviewKeepalive has the device follow when the interval has changed.
func (m *mesh) reviewKeepalive(p *peer) {
	if every := m.keepaliveOf(p); every != p.every {
		p.every = every
		m.out.apply = m.out.apply || p.keepalive
	}
}

// keeps tells which of the two keeps the path open.
func (m *mesh) keeps(p *peer) bool { return m.self.public.Compare(p.node) < 0 }

// keepaliveInterval is this side's.
func (m *mesh) keepaliveInterval(p *peer) time.Duration {
	every := p.every
	if every == 0 {
		every = keepalive
	}
	if m.keeps(p) {
		return every
	}
	return every + keepaliveGap
}

// outboundDue tells whether this side is to send a packet for its own NAT's sake,
// having sent nothing for so long. Where mappings are known to be short-lived, the
// peer's packets may be what keeps WireGuard's own timer from firing.
func (m *mesh) outboundDue(p *peer, since time.Duration) bool {
	switch {
	case p.every > keepalive:
		return false
	case p.every < keepalive:
		return since >= p.every
	}
	return !m.keeps(p) && since >= outboundAgain
}

// A mapping that was lost while nothing was sent is known by what follows: the
// first packet is not answered, nor are checks, and soon after the peer is where
// it was, or at another port of the same address.
const (
	idleLeast   = 8 * time.Second  // below any keepalive
	idleBack    = 10 * time.Second // longer is an outage
	idleProof   = 2                // times, for once may be chance
	idleWithin  = 3 * time.Hour
	maxNetworks = 16
)

// lifetimes remembers, by network, how long mappings live as far as experience
// goes.
type lifetimes struct {
	known  []networkLifetime // the latest last
	losses []time.Time
}

type networkLifetime struct {
	network  string
	lifetime time.Duration
}

// experience are the lifetimes that lead to 20, 15 and 10 s.
var experience = []time.Duration{25 * time.Second, 19 * time.Second, 13 * time.Second}

// of is the lifetime in a network; zero is unknown.
func (l *lifetimes) of(network string) time.Duration {
	for _, k := range l.known {
		if k.network == network {
			return k.lifetime
		}
	}
	return 0
}

// lost is told that a mapping was lost in idle, and tells whether that changes
// what is known.
func (l *lifetimes) lost(now time.Time, network string) bool {
	l.losses = append(slices.DeleteFunc(l.losses, func(t time.Time) bool { return now.Sub(t) > idleWithin }), now)
	if len(l.losses) < idleProof {
		return false
	}
	l.losses = nil
	before := l.of(network)
	for _, lifetime := range experience {
		if before == 0 || lifetime < before {
			l.known = slices.DeleteFunc(l.known, func(k networkLifetime) bool { return k.network == network })
			l.known = append(l.known, networkLifetime{network, lifetime})
			l.known = l.known[max(0, len(l.known)-maxNetworks):]
			return true
		}
	}
	return false
}

// network names where this host is: by its links, which are the same each time.
func (m *mesh) networkName() string {
	var name string
	for _, p := range m.publisher.hosts {
		if p.Addr().Is4() {
			name += p.Masked().String() + " "
		}
	}
	return name
}

// withLifetime adds what experience says of the NAT.
func (m *mesh) withLifetime(nat wire.NATBehavior) wire.NATBehavior {
	if seen := m.lifetimes.of(m.networkName()); seen > 0 && (nat.Lifetime == 0 || seen < nat.Lifetime) {
		nat.Lifetime = seen
	}
	return nat
}

// idleBefore notes how long nothing had gone either way when what was sent was
// not answered.
func (m *mesh) idleBefore(p *peer) {
	a := &p.activity
	if idle := a.asked.Sub(a.quiet); !p.viaRelay() && !a.asked.IsZero() && idle >= idleLeast && idle < m.keepaliveInterval(p)+idleLeast {
		p.idleLost = p.path.Addr
	}
}

// idleAfter judges that once the path is there again.
func (m *mesh) idleAfter(now time.Time, p *peer) {
	lost := p.idleLost
	if !lost.IsValid() || p.doubtedAt.IsZero() || now.Sub(p.doubtedAt) > idleBack {
		return
	}
	if lost.Addr() == p.path.Addr.Addr() && lost.Addr().Is4() && m.lifetimes.lost(now, m.networkName()) {
		m.publisher.dirty = true
		m.event("nat", "", "a NAT on the way to "+p.name()+" forgets what is idle: keeping paths open more often", false)
	}
}
