package relay

import (
	"time"

	"github.com/credant/credant/relay/wire"
)

// bind lets datagrams of one side in from where the bind came from, and sends
// the other side's there. Cookie and seal have proved both by now.
func (s *Server) bind(c *call) string {
	n := c.node
	var a *allocation
	if peer := n.network.nodes[c.Bind.Peer]; peer != nil && peer != n {
		a = s.board.pairs[pairOf(n, peer)]
	}
	if a == nil || a.port != c.at.Port() {
		return s.refuse(c, wire.CodeUnknown, 0)
	}
	i := a.sideOf(n)
	side := &a.sides[i]
	if side.session == n.session && c.Number < side.number {
		return dropReplay // overtaken by a later one: its source is the old one
	}
	side.session, side.number = n.session, c.Number
	before := a.bound()
	s.place(c, a, i)
	side.used, a.touched = c.now, c.now
	s.answer(c, wire.Response{Bound: &wire.Bound{Peer: c.Bind.Peer, PeerBound: a.bound()}})
	if a.bound() && !before {
		s.pushBound(c.now, a, 1-i, true)
	}
	return ""
}

// place binds a side where the bind came from. Who was bound there before, the
// other side or another pair, no longer is: the address was theirs, and now is
// this node's.
func (s *Server) place(c *call, a *allocation, i int) {
	side := &a.sides[i]
	key := FlowKey{At: c.at, Source: c.from}
	if side.source != nil && side.key() == key {
		return
	}
	if other, taken := s.board.claims[key]; taken {
		s.displace(c.now, other.allocation, other.side)
	}
	old, rebind := side.key(), side.source != nil
	if rebind {
		delete(s.board.claims, old)
		side.source.held--
	}
	side.at, side.from, side.source = c.at, c.from, c.src
	c.src.held++
	s.board.claims[key] = claim{a, i}
	if !a.bound() {
		return
	}
	if !rebind {
		s.board.bound++
		a.sides[0].node.forwarding++
		a.sides[1].node.forwarding++
		a.settle()
	}
	// The other half first goes to the new place, then the old place is closed:
	// nothing is lost in between.
	s.install(a)
	if rebind {
		s.outbox.add(Remove{old})
	}
}

// install has both directions forwarded.
func (s *Server) install(a *allocation) {
	w := a.network()
	for i := range a.sides {
		here, there := &a.sides[i], &a.sides[1-i]
		s.outbox.add(Install{Flow{
			FlowKey: here.key(), From: there.at, To: there.from,
			Buckets: []*Bucket{a.pair, here.source.of[w.class].bytes, w.bytes},
		}})
	}
}

// displace unbinds a side whose address another has now; both nodes are told.
func (s *Server) displace(now int64, a *allocation, i int) {
	both := a.bound()
	s.unbind(a, i)
	if both {
		s.pushBound(now, a, 1-i, false)
	}
	a.touched = now
	s.timers.set(a, a.expires())
	a.wait(now)
}

// unbind ends a side's binding, and with it both flows.
func (s *Server) unbind(a *allocation, i int) {
	side := &a.sides[i]
	if side.source == nil {
		return
	}
	if a.bound() {
		s.board.bound--
		for k := range a.sides {
			a.sides[k].node.forwarding--
			s.outbox.add(Remove{a.sides[k].key()})
		}
	}
	delete(s.board.claims, side.key())
	side.source.held--
	side.source = nil
}

// Counted says how much a flow has forwarded since the last time: a flow that
// carries packets does not expire.
func (s *Server) Counted(now time.Time, key FlowKey, packets, bytes uint64) {
	t := s.clock.tick(now)
	if packets == 0 {
		return
	}
	s.stats.Packets += packets
	s.stats.Bytes += bytes
	if c, ok := s.board.claims[key]; ok {
		side := &c.sides[c.side]
		side.used, side.sent = t, t
	}
}

// expireAllocation looks at an allocation whose time has come. Packets move its
// end without moving its timer.
func (s *Server) expireAllocation(now int64, a *allocation) {
	if a.expires() > now {
		s.timers.set(a, a.expires())
		return
	}
	s.stats.Expired++
	s.remove(now, a, -1)
}

// PortFailed says that a relay port could not be opened. It is not used for ten
// minutes, and its allocations are lost.
func (s *Server) PortFailed(now time.Time, port uint16) {
	t := s.clock.tick(now)
	if !s.cfg.Ports.Contains(port) {
		return
	}
	for i := len(s.board.list) - 1; i >= 0; i-- {
		// Removing moves the last one here, which has been looked at.
		if a := s.board.list[i]; a.port == port {
			s.remove(t, a, -1)
		}
	}
	s.board.failPort(t, s.board.offset(port))
}
