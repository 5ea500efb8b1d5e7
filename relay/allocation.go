package relay

import (
	"container/list"
	"math/rand/v2"
	"net/netip"
	"time"
)

const (
	// waitingLifetime is how long an allocation waits for its sides to bind.
	waitingLifetime = int64(30 * time.Second)
	// idleLifetime is how long a side stays bound that neither sends nor binds
	// again. It binds each 55 s while it lives.
	idleLifetime = int64(300 * time.Second)
)

// allocation is a relay port for a pair of nodes.
type allocation struct {
	port  uint16
	sides [2]side
	place int
	due   due
	// touched is when a side last asked for it or bound.
	touched int64
	// waited is since when it has not been bound on both sides.
	waited int64
	// source pays for it: where it was first asked for.
	source *source
	pair   *Bucket
	// waits are its places among those of its network and source that are not
	// bound on both sides.
	waits [2]*list.Element
}

func (a *allocation) position() *int    { return &a.place }
func (a *allocation) when() *due        { return &a.due }
func (a *allocation) network() *network { return a.sides[0].node.network }
func (a *allocation) bound() bool       { return a.sides[0].source != nil && a.sides[1].source != nil }

func (a *allocation) sideOf(n *node) int {
	if a.sides[0].node == n {
		return 0
	}
	return 1
}

// expires is when the allocation is over, unless something happens.
func (a *allocation) expires() int64 {
	if a.bound() {
		return min(a.sides[0].used, a.sides[1].used) + idleLifetime
	}
	return a.touched + waitingLifetime
}

// side is one node's half of an allocation.
type side struct {
	node *node
	slot int // in the node's list
	// source is the prefix of from; nil while the side is not bound.
	source *source
	// at is where the node reaches the relay, from where the relay reaches it.
	at, from netip.AddrPort
	// used is when the node last bound or sent, sent when it last sent.
	used, sent int64
	// session and number are of the latest bind.
	session *session
	number  uint32
}

func (s *side) key() FlowKey { return FlowKey{At: s.at, Source: s.from} }

// bound says that the relay forwards for the node.
func (n *node) bound() bool { return n.forwarding > 0 }

// claim is a side that is bound somewhere.
type claim struct {
	*allocation
	side int
}

// waiting lists allocations that are not bound on both sides, the oldest first.
type waiting struct{ list list.List }

func (w *waiting) oldest() *allocation {
	if e := w.list.Front(); e != nil {
		return e.Value.(*allocation)
	}
	return nil
}

// switchboard is which pairs have which ports, and who is bound there.
type switchboard struct {
	limit int
	rng   *rand.Rand
	pairs map[[2]*node]*allocation
	list  roster[*allocation]
	// claims are the bound sides by what their datagrams carry.
	claims map[FlowKey]claim
	bound  int // allocations
	portTable
}

func newSwitchboard(limit int, ports PortRange, rng *rand.Rand) *switchboard {
	return &switchboard{
		limit: limit, rng: rng,
		pairs:     make(map[[2]*node]*allocation),
		claims:    make(map[FlowKey]claim),
		portTable: portTable{ports: ports, state: make([]portState, ports.Len())},
	}
}

func pairOf(a, b *node) [2]*node {
	if a.key.Compare(b.key) > 0 {
		a, b = b, a
	}
	return [2]*node{a, b}
}
