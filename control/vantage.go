package control

import (
	"net/netip"
	"time"

	"github.com/credant/credant/discovery/wire"
)

// vantage compares where DHT nodes see this node, which they say in every
// answer, so a NAT is known for what it is without any STUN server.
type vantage struct {
	seen map[netip.Addr]sighting // by who saw
}

const (
	maxVantage   = 16
	vantageFresh = 10 * time.Minute
	enoughViews  = 3 // to call a NAT's mapping by a name
)

// see takes one view.
func (v *vantage) see(now time.Time, by netip.Addr, addr netip.AddrPort) {
	if v.seen == nil {
		v.seen = make(map[netip.Addr]sighting)
	}
	if _, known := v.seen[by]; !known && len(v.seen) == maxVantage {
		oldest := by
		for b, s := range v.seen {
			if oldest == by || s.at.Before(v.seen[oldest].at) {
				oldest = b
			}
		}
		delete(v.seen, oldest)
	}
	v.seen[by] = sighting{addr, now}
}

// moved forgets the views from before a change.
func (v *vantage) moved(to netip.AddrPort) {
	for b, s := range v.seen {
		if s.addr != to {
			delete(v.seen, b)
		}
	}
}

// behavior compares the views that are fresh: the zero one where too few are.
func (v *vantage) behavior(now time.Time, port uint16) wire.NATBehavior {
	ports, views := make(map[netip.AddrPort]bool), 0
	preserved := true
	for _, s := range v.seen {
		if now.Sub(s.at) < vantageFresh {
			ports[s.addr] = true
			preserved = preserved && s.addr.Port() == port
			views++
		}
	}
	switch {
	case views < enoughViews:
		return wire.NATBehavior{}
	case len(ports) == 1:
		return wire.NATBehavior{Mapping: wire.EndpointIndependent, PortPreserved: preserved}
	case len(ports) == views:
		return wire.NATBehavior{Mapping: wire.AddressDependent}
	default:
		return wire.NATBehavior{} // it is changing, or somebody lies
	}
}

func (m *mesh) vantage(a netip.Addr) *vantage {
	if a.Is4() {
		return &m.vantage4
	}
	return &m.vantage6
}

// seenBy takes where a DHT node sees this node.
func (m *mesh) seenBy(now time.Time, by, addr netip.AddrPort) {
	v := m.vantage(addr.Addr())
	_, before := v.dependent(now)
	v.see(now, by.Addr(), addr)
	if _, after := v.dependent(now); after != before {
		m.publisher.dirty = true
	}
}

// located takes an address on which several DHT nodes agree. When it was
// another before, the NAT has a new one, and nobody's packets come in.
func (m *mesh) located(now time.Time, addr netip.AddrPort, moved bool) {
	m.seenAt(now, addr)
	if moved {
		m.moved(now, addr)
	}
}

// address is the address of this node on which most of the fresh views agree;
// invalid where fewer than two do.
func (v *vantage) address(now time.Time) (most netip.Addr) {
	count := make(map[netip.Addr]int)
	for _, s := range v.seen {
		if now.Sub(s.at) < vantageFresh {
			count[s.addr.Addr()]++
		}
	}
	best := 1
	for a, n := range count {
		if n > best || n == best && most.IsValid() && a.Less(most) {
			most, best = a, n
		}
	}
	return most
}

// dependent returns the latest view of a node whose NAT takes another port for each
// destination: none is right for a peer, but the address is.
func (v *vantage) dependent(now time.Time) (latest netip.AddrPort, ok bool) {
	var at time.Time
	for _, s := range v.seen {
		if s.at.After(at) || s.at.Equal(at) && s.addr.Compare(latest) < 0 {
			latest, at = s.addr, s.at
		}
	}
	return latest, v.behavior(now, 0).Mapping == wire.AddressDependent
}
