package relay

import (
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

// allocate gives a node a port for each of some peers: the one that the pair
// has, or the lowest that both nodes have free.
func (s *Server) allocate(c *call) string {
	list := make([]wire.Allocated, 0, len(c.Allocate.Peers))
	served := false
	for _, key := range c.Allocate.Peers {
		answer := wire.Allocated{Peer: key}
		if a, code := s.allocatePair(c, key); code != 0 {
			answer.Code = code
			s.stats.Refused[code.String()]++
		} else {
			answer.Port, served = a.port, true
		}
		list = append(list, answer)
	}
	s.answer(c, wire.Response{Allocated: list})
	if !served {
		return refused[list[0].Code]
	}
	return ""
}

func (s *Server) allocatePair(c *call, key keys.NodePublic) (*allocation, wire.Code) {
	n := c.node
	if key == n.key {
		return nil, wire.CodeUnsupported
	}
	if peer := n.network.nodes[key]; peer != nil {
		if a := s.board.pairs[pairOf(n, peer)]; a != nil {
			a.touched = c.now
			return a, 0
		}
	}
	if code := s.roomToAllocate(c); code != 0 {
		return nil, code
	}
	offset, ok := s.freeOffset(c.now, n, n.network.nodes[key])
	if !ok {
		return nil, wire.CodeFull
	}
	peer := s.node(c.now, n.network.id, n.network.class, key)
	if peer == nil {
		return nil, wire.CodeFull
	}
	return s.connect(c, peer, offset), 0
}

// bindWithin is how long an allocation has to be bound before it gives way to
// others of its quota: three tries of both sides. Without it those who ask for
// more than they may have would take it from each other for ever.
const bindWithin = int64(3 * time.Second)

// roomToAllocate makes room within each quota: who waits longest to be bound
// gives way, among those that the quota is of. What both sides have bound stays.
func (s *Server) roomToAllocate(c *call) wire.Code {
	w := c.node.network
	q := s.cfg.quota(w.class)
	if c.src.of[w.class].allocations >= q.Source.Allocations && !s.evictOldest(c.now, &c.src.of[w.class].waiting) {
		return wire.CodeQuota
	}
	if w.allocations >= q.Network.Allocations && !s.evictOldest(c.now, &w.waiting) {
		return wire.CodeQuota
	}
	if len(s.board.list) >= s.board.limit && !s.evictAny(c) {
		return wire.CodeFull
	}
	return 0
}

func (s *Server) evictOldest(now int64, w *waiting) bool {
	a := w.oldest()
	if a == nil || now < a.waited+bindWithin {
		return false
	}
	s.evictAllocation(now, a)
	return true
}

func (s *Server) evictAllocation(now int64, a *allocation) {
	s.stats.Evicted++
	s.remove(now, a, -1)
}

// usedLately is how long a pair counts as using what it has bound. WireGuard
// says something every two minutes where anything is said at all.
const usedLately = int64(150 * time.Second)

// evictAny makes room in the whole table. What waits goes first, strangers'
// before members', then that of the source prefix with the most. Of what is
// bound only the unused may go, and only for a prefix that has less.
func (s *Server) evictAny(c *call) bool {
	of := c.node.network.class
	mine := c.src.of[of].allocations
	rank := func(a *allocation) (rank int) {
		switch {
		case !a.bound():
			rank = 2
		case c.now-max(a.sides[0].sent, a.sides[1].sent) > usedLately && a.weight() > mine+1:
			rank = 1
		default:
			return 0
		}
		if a.network().class < of {
			rank += 2
		}
		return rank
	}
	a, ok := s.board.list.draw(s.rng,
		func(a *allocation) bool { return rank(a) > 0 && a.network().class <= of },
		func(a, b *allocation) bool {
			if ra, rb := rank(a), rank(b); ra != rb {
				return ra < rb
			}
			if wa, wb := a.weight(), b.weight(); wa != wb {
				return wa < wb
			}
			return a.touched > b.touched
		})
	if ok {
		s.evictAllocation(c.now, a)
	}
	return ok
}

// weight is how much the source prefix has that pays for the allocation.
func (a *allocation) weight() int { return a.source.of[a.network().class].allocations }

// freeOffset is the lowest port that is free for both; peer may not be known
// yet. Where none is, the oldest half-bound allocation in the way gives way.
func (s *Server) freeOffset(now int64, n, peer *node) (offset int, ok bool) {
	if peer == nil {
		peer = new(node)
	}
	total := s.board.ports.Len()
	if offset, ok = lowestFree(total, n.ports, peer.ports, s.board.failed); ok {
		return offset, true
	}
	var oldest *allocation
	for _, pair := range [][2]*node{{n, peer}, {peer, n}} {
		for _, a := range pair[0].held {
			free := !pair[1].ports.has(s.board.offset(a.port))
			if free && !a.bound() && (oldest == nil || a.touched < oldest.touched) {
				oldest = a
			}
		}
	}
	if oldest == nil {
		return 0, false
	}
	s.evictAllocation(now, oldest)
	return lowestFree(total, n.ports, peer.ports, s.board.failed)
}

// connect makes the allocation of a pair.
func (s *Server) connect(c *call, peer *node, offset int) *allocation {
	n := c.node
	pair := pairOf(n, peer)
	a := &allocation{
		port: s.board.ports.First + uint16(offset), touched: c.now, source: c.src,
		pair: NewBucket(s.cfg.quota(n.network.class).PairBytes),
	}
	for i, side := range pair {
		a.sides[i].node, a.sides[i].slot = side, len(side.held)
		side.held = append(side.held, a)
		side.ports.add(offset)
		s.watch(side)
	}
	s.charge(a, 1)
	s.board.pairs[pair] = a
	s.board.list.add(a)
	s.board.usePort(offset, &s.outbox)
	a.wait(c.now)
	s.timers.set(a, a.expires())
	return a
}

// charge counts the allocation with those who pay for it, or no longer.
func (s *Server) charge(a *allocation, n int) {
	w := a.network()
	w.allocations += n
	a.source.held += n
	a.source.of[w.class].allocations += n
}

// wait lists an allocation among those that give way.
func (a *allocation) wait(now int64) {
	w := a.network()
	a.waited = now
	for i, list := range []*waiting{&w.waiting, &a.source.of[w.class].waiting} {
		if a.waits[i] == nil {
			a.waits[i] = list.list.PushBack(a)
		}
	}
}

// settle takes it off the lists.
func (a *allocation) settle() {
	w := a.network()
	for i, list := range []*waiting{&w.waiting, &a.source.of[w.class].waiting} {
		if a.waits[i] != nil {
			list.list.Remove(a.waits[i])
			a.waits[i] = nil
		}
	}
}

// release gives allocations back.
func (s *Server) release(c *call) string {
	for _, key := range c.Release.Peers {
		peer := c.node.network.nodes[key]
		if peer == nil || peer == c.node {
			continue
		}
		if a := s.board.pairs[pairOf(c.node, peer)]; a != nil {
			s.remove(c.now, a, a.sideOf(c.node))
		}
	}
	s.answer(c, wire.Response{Done: true})
	return ""
}

// remove ends an allocation. Its nodes are told, but the side that wished it.
func (s *Server) remove(now int64, a *allocation, wished int) {
	pair := [2]*node{a.sides[0].node, a.sides[1].node}
	both := a.bound()
	for i := range a.sides {
		if i != wished && (both || a.sides[i].source != nil) {
			s.pushBound(now, a, i, false)
		}
		s.unbind(a, i)
	}
	offset := s.board.offset(a.port)
	a.settle()
	s.charge(a, -1)
	s.timers.remove(a)
	s.board.list.remove(a)
	delete(s.board.pairs, pair)
	s.board.freePort(now, offset)
	for i, n := range pair {
		n.ports.remove(offset)
		last := len(n.held) - 1
		moved := n.held[last]
		n.held[a.sides[i].slot] = moved
		moved.sides[moved.sideOf(n)].slot = a.sides[i].slot
		n.held[last] = nil
		n.held = n.held[:last]
		s.watch(n)
	}
}
