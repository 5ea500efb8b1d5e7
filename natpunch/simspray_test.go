package natpunch

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/credant/credant/discovery/keys"
)

// simPorts are the ports of a host besides its one port.
type simPorts struct {
	host    *simHost
	open    []uint16
	kept    map[netip.AddrPort]uint16
	receive func(port int, from netip.AddrPort, b []byte)
	refuses bool // to keep

	// What was asked of the host.
	opened, sent, keeps_, released int
}

// towards is the port from which what the host sends to an address leaves.
func (s *simPorts) towards(to netip.AddrPort, own uint16) uint16 {
	if s != nil {
		if port, ok := s.kept[to]; ok {
			return port
		}
	}
	return own
}

// keeps reports whether a datagram to another port is the one port's.
func (s *simPorts) keeps(p simPacket) bool {
	return s != nil && s.kept[p.from] == p.to.Port()
}

// take receives what comes to a short-lived port.
func (s *simPorts) take(p simPacket) bool {
	if s == nil || s.keeps(p) {
		return false
	}
	for i, port := range s.open {
		if port == p.to.Port() && port != 0 {
			s.receive(i, p.from, p.data)
			return true
		}
	}
	return false
}

// sprayed does what control and wgsetup do.
func (n *simNode) sprayed(a Action) {
	if n.extra == nil {
		n.extra = &simPorts{host: n.simHost, kept: map[netip.AddrPort]uint16{}}
	}
	x := n.extra
	switch a := a.(type) {
	case OpenPorts:
		x.opened += a.N
		x.open = nil
		for range a.N {
			x.open = append(x.open, uint16(10000+n.net.rng.IntN(20000)))
		}
		x.receive = func(port int, from netip.AddrPort, b []byte) {
			n.drops[n.agent.ReceiveAt(n.net.now, a.Node, port, from, b)]++
			n.advance()
		}
		n.net.after(10*time.Millisecond, func() {
			n.agent.PortsOpened(n.net.now, a.Node, a.N)
			n.advance()
		})
	case SendFrom:
		if a.Port >= len(x.open) {
			return
		}
		x.sent++
		n.net.sent++
		for _, addr := range n.addrs {
			if addr.Is4() {
				n.realm.pass(simPacket{netip.AddrPortFrom(addr, x.open[a.Port]), a.To, a.Data})
			}
		}
	case Keep:
		x.keeps_++
		n.net.after(5*time.Millisecond, func() {
			if !x.refuses {
				x.kept[a.Remote] = x.open[a.Port]
			}
			n.agent.Kept(n.net.now, a.Node, a.Remote, !x.refuses)
			n.advance()
		})
	case ClosePorts:
		x.open = nil
	case Release:
		x.released++
		delete(x.kept, a.Remote)
	case Tell:
		other := n.others[a.Node]
		if other == nil {
			return
		}
		n.net.after(80*time.Millisecond, func() {
			if n.net.rng.Float64() < n.net.loss {
				return
			}
			n.drops[other.agent.Told(n.net.now, n.key, a.Data)]++
			other.advance()
		})
	}
}

// carry lets a third member carry signals between two nodes.
func carry(a, b *simNode) {
	a.others, b.others = map[keys.NodePublic]*simNode{b.key: b}, map[keys.NodePublic]*simNode{a.key: a}
}

// The ways in which NATs choose the port of a mapping.

func randomPorts(rng *rand.Rand, low, high uint16) func(uint16, func(uint16) bool) uint16 {
	return randomIn(rng, low, high)
}

// countingPorts also count what others behind the NAT do.
func countingPorts(rng *rand.Rand, step, others int) func(uint16, func(uint16) bool) uint16 {
	next := 2000 + rng.IntN(60000)
	return func(_ uint16, taken func(uint16) bool) uint16 {
		for {
			next += step * (1 + rng.IntN(others+1))
			if next > 65535 {
				next = 1024 + next%2
			} else if next < 1024 {
				next = 65535 - next%2
			}
			if !taken(uint16(next)) {
				return uint16(next)
			}
		}
	}
}
