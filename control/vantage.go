package control

import (
	"net/netip"
	"time"

	"github.com/credant/credant/discovery/wire"
)

// vantage compares where others on the internet see this node: DHT nodes say
// it in every answer, so a NAT is known, and a new address noticed, without any
// STUN server. One may lie, so nothing is made of what fewer than two say.
type vantage struct {
	seen map[netip.Addr]sighting // by who saw
	addr netip.AddrPort          // that two agreed on last
}

const (
	maxVantage   = 16
	vantageFresh = 10 * time.Minute
	enoughViews  = 3 // to call a NAT's mapping by a name
)

// see takes one view. It returns an address that two agree on and that is not
// the one they agreed on before; invalid where there is none.
func (v *vantage) see(now time.Time, by netip.Addr, addr netip.AddrPort) netip.AddrPort {
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
	if addr == v.addr {
		return netip.AddrPort{}
	}
	for b, s := range v.seen {
		if b != by && s.addr == addr && now.Sub(s.at) < vantageFresh {
			v.forget(addr) // views from before the change
			v.addr = addr
			return addr
		}
	}
	return netip.AddrPort{}
}

func (v *vantage) forget(but netip.AddrPort) {
	for b, s := range v.seen {
		if s.addr != but {
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

// seenBy takes where a DHT node sees this node.
func (m *mesh) seenBy(now time.Time, by, addr netip.AddrPort) {
	v := &m.vantage6
	if addr.Addr().Is4() {
		v = &m.vantage4
	}
	before := v.addr
	agreed := v.see(now, by.Addr(), addr)
	if !agreed.IsValid() {
		return
	}
	m.publisher.observed(now, agreed)
	if before.IsValid() {
		m.event("nat", "", "this node's address on the internet is "+agreed.String()+" now: looking for the peers anew", false)
		m.greeter.Kick(now)
		m.agent.RestartAll(now)
		m.out.kick = true
	}
}
