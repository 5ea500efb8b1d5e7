package control

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/natpunch/netcheck"
)

// natView is what is known of the NATs in front of this node.
type natView struct {
	stun        *natpunch.STUN // nil: switched off
	stunServers []netip.AddrPort
	natDetail   string             // what was said of the NAT last
	measured    natpunch.NATStatus // from ports besides the node's own

	vantage4, vantage6 vantage // what DHT nodes see
}

// maxSTUNServers bounds the addresses that names resolve to.
const maxSTUNServers = 16

// addSTUN takes the address of a STUN server that was resolved.
func (m *mesh) addSTUN(addr netip.AddrPort) {
	if slices.Contains(m.stunServers, addr) || len(m.stunServers) >= maxSTUNServers {
		return
	}
	m.stunServers = append(m.stunServers, addr)
	m.stun.SetServers(m.stunServers)
	for _, s := range m.uplinks.stun {
		s.SetServers(m.stunServers)
	}
}

// stunChanged takes over what the STUN servers say.
func (m *mesh) stunChanged(now time.Time) {
	status := m.stun.Result()
	reflexive := status.Reflexive()
	for _, addr := range reflexive {
		// What was said before this node moved is not said again.
		if !slices.Contains(m.where.stun, addr) || m.publisher.sees(addr) {
			m.seenAt(now, addr)
		}
	}
	m.where.stun = reflexive
	if status.IPv4.Mapping == natpunch.UnknownBehavior {
		return
	}
	if detail := status.IPv4.Detail; detail != m.natDetail {
		m.natDetail = detail
		m.event("nat", "", detail, false)
	}
	// The others take from the record who of two punches how.
	if p := &m.publisher; p.count > 0 && p.record.NAT4.Mapping != status.IPv4.Mapping {
		p.dirty = true
	}
}

// behavior is what is known of the NAT, for one family: from STUN servers or
// else from DHT nodes.
func (m *mesh) behavior(now time.Time) (nat4, nat6 wire.NATBehavior) {
	nat4, nat6 = m.vantage4.behavior(now, m.self.port), m.vantage6.behavior(now, m.self.port)
	if m.stun == nil {
		return nat4, nat6
	}
	status := m.stun.Result()
	if status.IPv4.Mapping != natpunch.UnknownBehavior {
		nat4 = status.IPv4.Record()
	}
	if status.IPv6.Mapping != natpunch.UnknownBehavior {
		nat6 = status.IPv6.Record()
	}
	return withMeasured(nat4, m.measured.IPv4.Record()), withMeasured(nat6, m.measured.IPv6.Record())
}

// withMeasured adds what was measured from ports besides the node's own, whose own
// mapping is known best by itself.
func withMeasured(own, measured wire.NATBehavior) wire.NATBehavior {
	if own.Mapping != natpunch.UnknownBehavior {
		measured.Mapping, measured.PortPreserved = own.Mapping, own.PortPreserved
	}
	return measured
}

// natMeasured takes a measurement of the NATs.
func (m *mesh) natMeasured(now time.Time, s natpunch.NATStatus) {
	m.measured = s
	if r := m.publisher.record; m.publisher.count > 0 {
		nat4, nat6 := m.behavior(now)
		m.publisher.dirty = m.publisher.dirty || nat4 != r.NAT4 || nat6 != r.NAT6
	}
}

// natCheck measures how NATs behave towards ports besides the node's own.
type natCheck struct {
	runner  *netcheck.Runner // nil: no STUN
	results chan natpunch.NATStatus
	servers atomic.Pointer[[]netip.AddrPort] // STUN servers that are known
}

// newChecker measures what takes ports besides the node's own.
func (d *daemon) newChecker() *netcheck.Runner {
	return netcheck.NewRunner(netcheck.RunnerConfig{
		Servers: func() []netip.AddrPort {
			if known := d.check.servers.Load(); known != nil {
				return *known
			}
			return nil
		},
		Mark:     d.probeMark(),
		Lifetime: netcheck.RunnerLifetime,
		Done: func(s natpunch.NATStatus) {
			select {
			case d.check.results <- s:
			default: // several wait already
			}
		},
		Log: d.log,
	})
}

// serversChanged lets the checker know of STUN servers.
func (d *daemon) serversChanged() {
	before := d.check.servers.Load()
	if d.check.runner == nil || len(d.mesh.stunServers) == 0 || before != nil && len(*before) == len(d.mesh.stunServers) {
		return // they only ever become more
	}
	known := slices.Clone(d.mesh.stunServers)
	d.check.servers.Store(&known)
	d.check.runner.ServersChanged()
}

// nat says what is known of the NAT before this node: what the STUN servers
// found out, and what members see.
func (m *mesh) nat(now time.Time) localapi.NAT {
	var nat localapi.NAT
	if m.stun != nil {
		status := m.stun.Result()
		nat = localapi.NAT{IPv4: natFamily(withProbe(status.IPv4, m.measured.IPv4)), IPv6: natFamily(withProbe(status.IPv6, m.measured.IPv6))}
	}
	nat4, nat6 := m.behavior(now)
	m.natFromMembers(now, &nat.IPv4, nat4, netip.Addr.Is4)
	m.natFromMembers(now, &nat.IPv6, nat6, netip.Addr.Is6)
	return nat
}

// withProbe is withMeasured for people.
func withProbe(own, measured natpunch.FamilyStatus) natpunch.FamilyStatus {
	own.Filtering, own.Hairpin, own.Lifetime = measured.Filtering, measured.Hairpin, measured.Lifetime
	own.Step, own.Low, own.High = measured.Step, measured.Low, measured.High
	return own
}

func natFamily(s natpunch.FamilyStatus) localapi.NATFamily {
	f := localapi.NATFamily{
		PortPreserved: s.PortPreserved, Detail: s.Detail, Hairpin: s.Hairpin, Step: s.Step,
		LowPort: s.Low, HighPort: s.High, Lifetime: int(s.Lifetime / time.Second),
	}
	if s.Translated != nil && !*s.Translated {
		f.Mapping = "none"
	} else if s.Mapping != natpunch.UnknownBehavior {
		f.Mapping = s.Mapping.String()
	}
	if s.Filtering != natpunch.UnknownBehavior {
		f.Filtering = s.Filtering.String()
	}
	for _, a := range s.Reflexive {
		f.Reflexive = append(f.Reflexive, a.String())
	}
	return f
}

// natFromMembers adds what members and DHT nodes saw. Where all see the host's
// own address, there is no NAT.
func (m *mesh) natFromMembers(now time.Time, f *localapi.NATFamily, known wire.NATBehavior, family func(netip.Addr) bool) {
	translated, seen := false, false
	for _, s := range m.publisher.reflexive {
		if !family(s.addr.Addr()) || now.Sub(s.at) >= reflexiveLife || !isGlobal(s.addr.Addr()) {
			continue
		}
		seen = true
		translated = translated || !m.isOwn(s.addr)
		if addr := s.addr.String(); !slices.Contains(f.Reflexive, addr) {
			f.Reflexive = append(f.Reflexive, addr)
		}
	}
	switch {
	case f.Mapping != "":
	case seen && !translated:
		f.Mapping = "none"
	case known.Mapping != natpunch.UnknownBehavior:
		f.Mapping = known.Mapping.String()
		f.PortPreserved = &known.PortPreserved
	}
}

// isOwn tells whether the address is one of this host's interfaces' with the
// node's port.
func (m *mesh) isOwn(a netip.AddrPort) bool {
	return a.Port() == m.self.port && slices.ContainsFunc(m.publisher.hosts, func(p netip.Prefix) bool { return p.Addr() == a.Addr() })
}
