package relay

import (
	"bytes"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

const (
	// registrationLifetime lets four refreshes be lost.
	registrationLifetime = int64(120 * time.Second)
	// sessionLifetime is how long a node is known that has nothing here.
	sessionLifetime = cookieLifetime
	// maxGone is how many nodes that left a network remembers.
	maxGone = 8
	// maxVain is how often all blobs are sent again in vain.
	maxVain = 4
)

// register keeps a node's blob and tells the others of it at once.
func (s *Server) register(c *call) string {
	n := c.node
	fresh := n.reg == nil
	changed := fresh || !bytes.Equal(n.reg.blob, c.Register.Blob)
	if changed && !blobsPerNode.take(&n.blobs, c.now, 1, 0) {
		return s.refuseQuota(c, "changes of one node's blob", 2*time.Second)
	}
	if fresh {
		if full := s.roomToRegister(c); full != "" {
			return s.refuseQuota(c, full, time.Minute)
		}
		s.enter(c)
	}
	r := n.reg
	r.expires = c.now + registrationLifetime
	s.moveRegistration(r, c.src)
	s.watch(n)
	if changed {
		s.setBlob(c.now, r, c.Register.Blob)
	}
	s.answer(c, wire.Response{Registered: &wire.Registered{
		Lifetime: time.Duration(registrationLifetime),
		Addrs:    s.cfg.endpoints(),
		First:    s.cfg.Ports.First,
		Last:     s.cfg.Ports.Last,
		Others:   len(n.network.registered) - 1,
	}})
	if changed {
		for _, other := range n.network.registered {
			if other != n {
				s.pushBlob(c.now, other, r)
			}
		}
	}
	s.reconcile(c.now, n, c.Register.Have)
	return ""
}

// refresh keeps a registration, and the session of a node without one.
func (s *Server) refresh(c *call) string {
	n := c.node
	if n.reg == nil {
		return s.refuse(c, wire.CodeUnknown, 0)
	}
	n.reg.expires = c.now + registrationLifetime
	s.answer(c, wire.Response{Refreshed: &wire.Refreshed{Others: len(n.network.registered) - 1}})
	s.reconcile(c.now, n, c.Refresh.Have)
	return ""
}

// reconcile sends a node all blobs of the others again where it holds something
// else.
func (s *Server) reconcile(now int64, n *node, have wire.Have) {
	want := n.network.sum
	want.Toggle(n.key, n.reg.blob)
	if have == want {
		n.vain = 0
		return
	}
	if n.resent != [2]wire.Have{have, want} {
		n.resent, n.vain = [2]wire.Have{have, want}, 0
	}
	// Who still holds the same after some resends holds what nobody knows here.
	if n.vain >= maxVain || !resendsPerNode.take(&n.resends, now, 1, 0) {
		return
	}
	n.vain++
	for _, key := range n.network.gone {
		s.push(now, n, wire.Push{Gone: &wire.Gone{Node: key}})
	}
	for _, other := range n.network.registered {
		if other != n {
			s.pushBlob(now, n, other.reg)
		}
	}
}

// roomToRegister makes room for another node of a network to register, or says
// what there are too many of. A network that is full forgets the node of a
// prefix that has more of them than the newcomer's, where it is not using the
// relay; and so does the server.
func (s *Server) roomToRegister(c *call) (full string) {
	w := c.node.network
	q := s.cfg.quota(w.class)
	if c.src.of[w.class].registrations >= q.Source.Registrations {
		return "nodes from one /24 or /48"
	}
	mine := c.src.of[w.class].registrations
	if len(w.registered) >= q.Network.Registrations {
		victim := heaviest(w.registered, w.class)
		if victim == nil || victim.reg.source.of[w.class].registrations <= mine+1 {
			return "nodes of one network"
		}
		s.evictRegistration(c.now, victim.reg)
	}
	if len(s.registered) < s.limits.registrations {
		return ""
	}
	victim, ok := s.registered.draw(s.rng,
		func(r *registration) bool { return !r.node.bound() && r.node.network.class <= w.class },
		func(a, b *registration) bool {
			if x, y := a.node.network.class, b.node.network.class; x != y {
				return x > y
			}
			return a.weight() < b.weight()
		})
	if !ok || victim.node.network.class == w.class && victim.weight() <= mine+1 {
		return "nodes of all networks"
	}
	s.evictRegistration(c.now, victim)
	return ""
}

// weight is how much the source prefix has that pays for the registration.
func (r *registration) weight() int { return r.source.of[r.node.network.class].registrations }

// heaviest is the registered node without a bound allocation whose prefix has
// the most.
func heaviest(registered []*node, of class) (victim *node) {
	for _, n := range registered {
		if !n.bound() && (victim == nil || n.reg.weight() > victim.reg.weight()) {
			victim = n
		}
	}
	return victim
}

func (s *Server) evictRegistration(now int64, r *registration) {
	s.stats.Evicted++
	s.unregister(now, r.node)
}

func (s *Server) enter(c *call) {
	n, w := c.node, c.node.network
	n.reg = &registration{node: n, source: c.src}
	n.vain = 0
	c.src.held++
	c.src.of[w.class].registrations++
	w.registered = append(w.registered, n)
	w.gone = slices.DeleteFunc(w.gone, func(k keys.NodePublic) bool { return k == n.key })
	s.registered.add(n.reg)
}

// moveRegistration lets the prefix pay for a registration from which it is
// renewed, where that can.
func (s *Server) moveRegistration(r *registration, src *source) {
	of := r.node.network.class
	if src == r.source || src.of[of].registrations >= s.cfg.quota(of).Source.Registrations {
		return
	}
	r.source.held--
	r.source.of[of].registrations--
	r.source = src
	src.held++
	src.of[of].registrations++
}

func (s *Server) setBlob(now int64, r *registration, blob []byte) {
	sum := &r.node.network.sum
	if r.blob != nil {
		sum.Toggle(r.node.key, r.blob)
	}
	r.blob, r.since = bytes.Clone(blob), now
	sum.Toggle(r.node.key, r.blob)
}

// unregister forgets a node's blob and tells the others.
func (s *Server) unregister(now int64, n *node) {
	r, w := n.reg, n.network
	w.sum.Toggle(n.key, r.blob)
	w.registered = slices.DeleteFunc(w.registered, func(o *node) bool { return o == n })
	s.registered.remove(r)
	r.source.held--
	r.source.of[w.class].registrations--
	n.reg = nil
	if w.gone = append(w.gone, n.key); len(w.gone) > maxGone {
		w.gone = w.gone[1:]
	}
	for _, other := range w.registered {
		s.push(now, other, wire.Push{Gone: &wire.Gone{Node: n.key}})
	}
	s.watch(n)
}

// leave forgets a node at its own wish. The answer comes first: it is sealed
// for the session.
func (s *Server) leave(c *call) string {
	n := c.node
	s.answer(c, wire.Response{Done: true})
	if n.reg != nil {
		s.unregister(c.now, n)
	}
	for len(n.held) > 0 {
		a := n.held[len(n.held)-1]
		s.remove(c.now, a, a.sideOf(n))
	}
	return ""
}

// node finds or makes a node.
func (s *Server) node(now int64, id keys.NetworkID, of class, key keys.NodePublic) *node {
	if n := s.find(id, key); n != nil {
		return n
	}
	n, made := s.add(now, id, of, key)
	if made != nil {
		made.bytes.SetRate(s.cfg.quota(of).Network.Bytes)
	}
	return n
}

// watch sets when a node is looked at: when its registration or its session may
// be over. One that has only allocations is looked at when they are gone.
func (s *Server) watch(n *node) {
	switch {
	case n.reg != nil:
		if n.due.place == 0 || n.due.at > n.reg.expires {
			s.timers.set(n, n.reg.expires)
		}
	case len(n.held) > 0:
		s.timers.remove(n)
	case n.session == nil:
		s.forget(n)
	default:
		s.timers.set(n, n.used+sessionLifetime)
	}
}

// expireNode looks at a node whose time has come.
func (s *Server) expireNode(now int64, n *node) {
	switch {
	case n.reg != nil && n.reg.expires > now:
		s.timers.set(n, n.reg.expires)
	case n.reg != nil:
		s.stats.Expired++
		s.unregister(now, n)
	case n.idle():
		s.forget(n)
	default:
		s.timers.remove(n)
	}
}
