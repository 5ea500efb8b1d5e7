package relay

import (
	"time"

	"github.com/credant/credant/relay/wire"
)

// frontLifetime is how long pushes go to where a node was last heard: six
// refreshes. Later a NAT may have given the port to another.
const frontLifetime = int64(150 * time.Second)

// push tells a node something unasked, twice, where it was heard of late.
func (s *Server) push(now int64, n *node, p wire.Push) {
	if n.session == nil || !n.front.IsValid() || now-n.frontUsed > frontLifetime || s.outbox.full() {
		return
	}
	n.pushes = max(n.pushes+1, 1)
	p.Number = n.pushes
	data, err := n.keys.SealPush(p)
	if err != nil {
		panic("relay: " + err.Error()) // the bounds of what it holds are ours, so it is a defect
	}
	s.outbox.sendTwice(now, n.at, n.front, data)
}

// pushBlob tells n of what another node has registered.
func (s *Server) pushBlob(now int64, n *node, r *registration) {
	age := time.Duration(now - r.since)
	s.push(now, n, wire.Push{Blob: &wire.Blob{Node: r.node.key, Data: r.blob, Age: age}})
}

// pushBound tells one side of an allocation whether the other is bound.
func (s *Server) pushBound(now int64, a *allocation, to int, bound bool) {
	s.push(now, a.sides[to].node, wire.Push{PeerBound: &wire.PeerBound{
		Peer: a.sides[1-to].node.key, Port: a.port, Bound: bound,
	}})
}

// Leave tells every node that the relay will be gone after grace. From now on
// nothing new is given out; what is bound stays.
func (s *Server) Leave(now time.Time, grace time.Duration) {
	t := s.clock.tick(now)
	s.leaving = true
	for _, n := range s.nodes {
		s.push(t, n, wire.Push{Leaving: &wire.Leaving{Grace: grace}})
	}
}
