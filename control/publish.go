package control

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch"
)

const (
	// publishPause gathers changes that come together, such as the answers of
	// several STUN servers.
	publishPause = 500 * time.Millisecond
	// The first few records come sooner: others wait for what is found out at
	// the start.
	publishSoon  = 20 * time.Millisecond
	publishEarly = 4
	// publishAgain renews the record long before its lifetime of 24 h ends.
	publishAgain = 8 * time.Hour
	// reflexiveLife is how long an observed address counts without being seen
	// again. Checks and hellos of new peers renew it.
	reflexiveLife  = time.Hour
	maxReflexive   = 8
	recordLifetime = 24 * time.Hour
	// An ephemeral node is gone from everywhere so long after it was last heard
	// of, whatever became of it.
	ephemeralLifetime = time.Hour
	ephemeralAgain    = 20 * time.Minute
)

// publisher keeps this node's own record up to date.
type publisher struct {
	sequence  uint64
	signed    wire.SignedRecord
	record    wire.Record
	dirty     bool
	urgent    bool      // peers cannot reach this node without it
	at        time.Time // of the last one
	count     int
	hosts     []netip.Prefix
	reflexive []sighting
	mapped    []netip.AddrPort // forwarded to this node by a gateway
	ephemeral bool
	departed  bool // the last record says that this node has left
}

// lifetime is that of this node's records.
func (p *publisher) lifetime() time.Duration {
	if p.ephemeral {
		return ephemeralLifetime
	}
	return recordLifetime
}

// again is after how long the record is renewed.
func (p *publisher) again() time.Duration {
	if p.ephemeral {
		return ephemeralAgain
	}
	return publishAgain
}

// sighting is an address that somebody outside saw this node at.
type sighting struct {
	addr netip.AddrPort
	at   time.Time
}

// observed takes an address that a member or a STUN server saw, and tells
// whether it is new.
func (p *publisher) observed(now time.Time, addr netip.AddrPort) bool {
	for i, s := range p.reflexive {
		if s.addr == addr {
			p.reflexive[i].at = now
			return false
		}
	}
	if len(p.reflexive) == maxReflexive {
		slices.SortFunc(p.reflexive, func(a, b sighting) int { return b.at.Compare(a.at) })
		p.reflexive = p.reflexive[:maxReflexive-1]
	}
	p.reflexive = append(p.reflexive, sighting{addr, now})
	p.dirty = true
	return true
}

func (p *publisher) sees(addr netip.AddrPort) bool {
	return slices.ContainsFunc(p.reflexive, func(s sighting) bool { return s.addr == addr })
}

// due is when a record should be signed; the zero time where there is none yet
// and it should be at once.
func (p *publisher) due() time.Time {
	if p.at.IsZero() {
		return p.at
	}
	if p.dirty && !p.departed {
		if p.count <= publishEarly || p.urgent {
			return p.at.Add(publishSoon)
		}
		return p.at.Add(publishPause)
	}
	return p.at.Add(p.again())
}

// candidates are this node's, best first: what hosts on a link can use, then
// what others saw.
func (m *mesh) candidates(now time.Time) []wire.Candidate {
	var all []wire.Candidate
	add := func(t wire.CandidateType, a netip.AddrPort) {
		c := wire.Candidate{Type: t, Addr: a}
		if !slices.ContainsFunc(all, func(o wire.Candidate) bool { return o.Addr == a }) && len(all) < wire.MaxCandidates {
			all = append(all, c)
		}
	}
	for _, p := range m.publisher.hosts {
		if a := p.Addr(); !a.IsLinkLocalUnicast() {
			add(wire.Host, netip.AddrPortFrom(a, m.self.port))
		}
	}
	for _, a := range m.publisher.mapped {
		add(wire.ServerReflexive, a)
	}
	seen := slices.Clone(m.publisher.reflexive)
	slices.SortStableFunc(seen, func(a, b sighting) int { return b.at.Compare(a.at) })
	for _, s := range seen {
		if now.Sub(s.at) < reflexiveLife && isGlobal(s.addr.Addr()) {
			add(wire.ServerReflexive, s.addr)
		}
	}
	for _, v := range []*vantage{&m.vantage4, &m.vantage6} {
		if a, ok := v.dependent(now); ok && isGlobal(a.Addr()) {
			add(wire.ServerReflexive, a)
		}
	}
	return all
}

// publish signs a new record where something in it has changed, and sends it
// to whoever works. It reports whether it did.
func (m *mesh) publish(now, wall time.Time) bool {
	if now.Before(m.publisher.due()) {
		return false
	}
	m.tellLocal(now)
	return m.sign(now, wall)
}

// ownRecord is what this node wants known now.
func (m *mesh) ownRecord(now time.Time) wire.Record {
	if m.publisher.departed {
		return m.farewell()
	}
	r := wire.Record{
		Node:       m.self.public,
		WireGuard:  m.self.wireGuard,
		Probe:      m.self.probe.Public(),
		Name:       m.self.name,
		Lifetime:   m.publisher.lifetime(),
		Subnet:     m.subnet.wanted,
		Candidates: m.candidates(now),
		Relays:     m.relayRecords(),
		MaxVersion: wire.Version,
		Aliases:    m.self.aliases,
		Routes:     m.ownRoutes(),
	}
	r.Addresses = append(r.Addresses, wire.AddressClaim{Addr: keys.Address6(m.prefix6, m.self.public), Settled: true})
	for _, c := range m.addressing.own {
		r.Addresses = append(r.Addresses, wire.AddressClaim{Addr: c.addr, Settled: c.settled})
	}
	r.NAT4, r.NAT6 = m.behavior(now)
	r.NAT4 = m.withLifetime(r.NAT4)
	return r
}

// sign signs a new record and sends it to whoever works. It reports whether it
// did.
func (m *mesh) sign(now, wall time.Time) bool {
	p, r := &m.publisher, m.ownRecord(now)
	p.sequence = max(p.sequence+1, uint64(max(0, wall.UnixMilli())))
	r.Seq = p.sequence
	signed, cut, err := signFitting(&r, m.self.node)
	if err == nil {
		err = m.greeter.SetRecord(now, signed)
	}
	p.at, p.dirty, p.urgent = now, false, false
	p.count++
	if err != nil {
		m.notice("record", fmt.Sprintf("this node's record cannot be signed: %v", err))
		return false
	}
	m.notice("record", cut)
	p.record, p.signed = r, signed
	m.out.remember = true
	m.gossip.SetOwn(now, signed)
	m.register(now)
	return true
}

// hostChanged takes the host's own addresses.
func (m *mesh) hostChanged(now time.Time, hosts []netip.Prefix) {
	if slices.Equal(hosts, m.publisher.hosts) {
		return
	}
	first := m.publisher.hosts == nil
	m.publisher.hosts = hosts
	m.publisher.dirty = true
	m.publisher.reflexive, m.where.stun = nil, nil // seen through another uplink, perhaps
	m.measured = natpunch.NATStatus{}              // of another NAT, perhaps
	m.tellLocal(now)
	if m.stun != nil {
		var addrs []netip.Addr
		for _, p := range hosts {
			addrs = append(addrs, p.Addr())
		}
		m.stun.SetLocal(addrs, m.self.port)
		m.stun.Refresh(now)
	}
	if !first {
		m.lookAnew(now)
		m.event("source", "", "the host's addresses have changed: looking for the peers anew", false)
	}
}

// tellLocal lets the other machines know what this host is.
func (m *mesh) tellLocal(now time.Time) {
	local := natpunch.Local{Prefixes: m.publisher.hosts, Tunnelled: m.routes.choice.plan.subnets, Candidates: m.candidates(now), Bases: m.uplinks.bases}
	var own []netip.AddrPort
	for _, p := range m.publisher.hosts {
		local.HasIPv4 = local.HasIPv4 || p.Addr().Is4()
		local.HasIPv6 = local.HasIPv6 || p.Addr().Is6() && !p.Addr().IsLinkLocalUnicast()
		own = append(own, netip.AddrPortFrom(p.Addr(), m.self.port))
	}
	for _, c := range local.Candidates {
		own = append(own, c.Addr)
	}
	local.NAT4, _ = m.behavior(now)
	m.agent.SetLocal(now, local)
	m.greeter.SetOwnAddresses(own)
}

func (m *mesh) onLink(a netip.Addr) bool {
	return slices.ContainsFunc(m.publisher.hosts, func(p netip.Prefix) bool { return p.Contains(a) })
}

// isGlobal tells whether an address can be somebody's on the internet.
func isGlobal(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !cgnat.Contains(a)
}

// cgnat is the space between a carrier's NAT and its customers (RFC 6598).
var cgnat = netip.MustParsePrefix("100.64.0.0/10")
