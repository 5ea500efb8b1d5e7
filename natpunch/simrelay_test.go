package natpunch

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/credant/credant/discovery/keys"
)

// simRelay forwards between two ends that have bound to one of its ports. It keeps
// what it heard of an end until that binds from elsewhere.
type simRelay struct {
	host  *simHost
	ports map[uint16]*simAllocation
	dead  bool
	// holds takes a datagram out of the relay's hands, if this is not nil.
	holds     func(p simPacket) bool
	forwarded int
}

type simAllocation struct{ ends [2]simEnd }

// simEnd is one side of an allocation: where its datagrams come from, and which of
// the relay's addresses they come to.
type simEnd struct{ from, at netip.AddrPort }

// relay puts a relay into a realm.
func (r *realm) relay(addrs ...string) *simRelay {
	return r.host(0, addrs...).serve()
}

// serve makes a host a relay too.
func (h *simHost) serve() *simRelay {
	h.relay = &simRelay{host: h, ports: map[uint16]*simAllocation{}}
	return h.relay
}

func (x *simRelay) take(p simPacket) {
	a := x.ports[p.to.Port()]
	if x.dead || a == nil {
		return
	}
	if side, ok := strings.CutPrefix(string(p.data), "bind "); ok {
		x.bind(a, int(side[0]-'0'), simEnd{p.from, p.to})
		return
	}
	i := slices.IndexFunc(a.ends[:], func(e simEnd) bool { return e.from == p.from })
	if i < 0 {
		x.send(p.to, p.from, []byte("reset"))
		return
	}
	if to := a.ends[1-i]; to.from.IsValid() && (x.holds == nil || !x.holds(p)) {
		x.forwarded++
		x.send(to.at, to.from, p.data)
	}
}

func (x *simRelay) bind(a *simAllocation, side int, e simEnd) {
	a.ends[side] = e
	if !a.ends[1-side].from.IsValid() {
		x.send(e.at, e.from, []byte("bound"))
		return
	}
	for range 2 { // a push is sent twice
		for _, e := range a.ends {
			x.send(e.at, e.from, []byte("bound both"))
		}
	}
}

func (x *simRelay) send(at, to netip.AddrPort, b []byte) {
	x.host.realm.pass(simPacket{at, to, b})
}

// simBinding is a node's half of an allocation.
type simBinding struct {
	relay        *simRelay
	peer         keys.NodePublic
	side         byte
	addr         netip.AddrPort
	heard, ready bool
	over         bool
}

// allocate gives two nodes a port at a relay, and lets each bind after a delay of
// its own. A node uses the relay's first address of a family that it has.
func (x *simRelay) allocate(a, b *simNode, delayA, delayB time.Duration) {
	port := uint16(20000 + len(x.ports))
	x.ports[port] = &simAllocation{}
	for i, n := range []*simNode{a, b} {
		peer, delay := b, delayA
		if i == 1 {
			peer, delay = a, delayB
		}
		n.net.after(delay, func() {
			n.bind(&simBinding{relay: x, peer: peer.key, side: '0' + byte(i), addr: x.addrFor(n, port)})
		})
	}
}

func (x *simRelay) addrFor(n *simNode, port uint16) netip.AddrPort {
	i := slices.IndexFunc(x.host.addrs, func(r netip.Addr) bool {
		return slices.ContainsFunc(n.addrs, func(h netip.Addr) bool { return h.Is4() == r.Is4() && (h.Is4() || !h.IsPrivate()) })
	})
	return netip.AddrPortFrom(x.host.addrs[i], port)
}

// release gives up what a node has with a peer at a relay.
func (n *simNode) release(x *simRelay, peer keys.NodePublic) {
	n.bindings = slices.DeleteFunc(n.bindings, func(b *simBinding) bool {
		b.over = b.over || b.relay == x && b.peer == peer
		return b.over
	})
	n.tellRelayed(peer)
}

func (n *simNode) bind(b *simBinding) {
	n.bindings = append(n.bindings, b)
	n.tellRelayed(b.peer)
	n.rebind(b)
}

// rebind binds until it is answered, and then each 55 s.
func (n *simNode) rebind(b *simBinding) {
	if b.over {
		return
	}
	b.heard = false
	n.simHost.send(b.addr, []byte{'b', 'i', 'n', 'd', ' ', b.side})
	n.net.after(500*time.Millisecond, func() {
		if !b.heard {
			n.rebind(b)
			return
		}
		n.net.after(55*time.Second, func() { n.rebind(b) })
	})
}

// heardRelay takes what a relay itself has to say.
func (n *simNode) heardRelay(from netip.AddrPort, d []byte) bool {
	i := slices.IndexFunc(n.bindings, func(b *simBinding) bool { return b.addr == from })
	if i < 0 {
		return false
	}
	b := n.bindings[i]
	switch string(d) {
	case "bound":
		b.heard = true
	case "bound both":
		b.heard = true
		if !b.ready {
			b.ready = true
			n.tellRelayed(b.peer)
		}
	case "reset":
		n.simHost.send(b.addr, []byte{'b', 'i', 'n', 'd', ' ', b.side})
	default:
		return false
	}
	return true
}

func (n *simNode) tellRelayed(peer keys.NodePublic) {
	var relayed []Relayed
	for _, b := range n.bindings {
		if b.peer == peer {
			relayed = append(relayed, Relayed{Addr: b.addr, Ready: b.ready})
		}
	}
	n.agent.SetRelayed(n.net.now, peer, relayed)
	n.advance()
}
