package control

import (
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch"
)

// A path that does not answer a check may be lost because this node, or the
// peer, has come to be elsewhere. While the next checks are made, this node
// finds out where it is, lets others know, and prepares a way around.

const (
	// doubtFor is how long an unanswered check makes a path doubtful.
	doubtFor = 10 * time.Second
	// whereAgain is the least between two questions of where this node is.
	whereAgain = 2 * time.Second
	// whereAsked is how many other members are asked.
	whereAsked = 3
	// movedAgain bounds what a NAT without an address of its own costs.
	movedAgain = 5 * time.Second
	// A peer that was in use is looked for with all means for insistFor, a round of
	// checks at a time.
	insistFor   = 2 * time.Minute
	insistEvery = time.Second
	// A move takes the peer 2 to 6 s, in the second half of which it wants to hear
	// this side.
	heardLeast = 2500 * time.Millisecond
	heardMost  = 7 * time.Second
	heardEvery = 300 * time.Millisecond
)

// recovery is a peer's part in that.
type recovery struct {
	doubtedAt  time.Time // when a check was last unanswered; zero: not since the path proved itself
	lostAt     time.Time // when the path was given up; zero: there is one
	insistedAt time.Time
	heardUntil time.Time // let the peer hear this side so long; zero: no need
	heardNext  time.Time
	idleLost   netip.AddrPort // the path, where it was lost after nothing had used it
}

// whereabouts is what this node has done to find out where it is.
type whereabouts struct {
	doubted time.Time // when a path was last doubted
	asked   time.Time
	moved   time.Time
	stun    []netip.AddrPort // what the STUN servers said last
	// unreachable is when an ICMP error last caused a check.
	unreachable time.Time
}

func (p *peer) doubtful(now time.Time) bool {
	return !p.doubtedAt.IsZero() && now.Sub(p.doubtedAt) < doubtFor
}

// wanted tells whether traffic went on until a short while ago.
func (p *peer) wanted(now time.Time) bool {
	used := func(t time.Time) bool { return !t.IsZero() && now.Sub(t) < insistFor }
	return used(p.activity.usedAt) || used(p.inflow.last)
}

// doubted is told that a check of the peer's path is not answered.
func (m *mesh) doubted(now time.Time, p *peer) {
	m.where.doubted = now
	if p.doubtedAt.IsZero() {
		m.relays.dirty = true // an allocation takes a moment
		m.idleBefore(p)
	}
	p.doubtedAt, p.heardAt = now, now
	p.call.begin(now)
	m.askWhere(now, p)
}

// proved is told that the peer's path works, and that it may wait for a packet.
func (m *mesh) proved(now time.Time, p *peer) {
	if !p.doubtedAt.IsZero() {
		m.relays.dirty = true
	}
	m.idleAfter(now, p)
	p.recovery = recovery{}
	m.beHeard(now, p)
}

// beHeard lets a peer hear this side that may be moving to where it is seen now.
// The peer goes back where nothing comes from there (package swap), and this side
// has neither to move nor, perhaps, anything to send.
func (m *mesh) beHeard(now time.Time, p *peer) {
	if p.alive && p.move == nil {
		p.heardNext = now
		p.heardUntil = now.Add(min(max(heardLeast, 10*p.path.RTT), heardMost))
	}
}

// stepHeard carries that out.
func (m *mesh) stepHeard(now time.Time) {
	for _, p := range m.peers {
		switch {
		case p.heardUntil.IsZero() || now.Before(p.heardNext):
		case now.After(p.heardUntil), p.move != nil, !p.alive:
			p.heardUntil = time.Time{}
		default:
			m.nudge(p)
			p.heardNext = now.Add(heardEvery)
		}
	}
}

// askWhere asks others where they see this node.
func (m *mesh) askWhere(now time.Time, except *peer) {
	if now.Sub(m.where.asked) < whereAgain {
		return
	}
	m.where.asked = now
	if m.stun != nil {
		m.stun.Refresh(now)
	}
	m.recheckRelays(now)
	asked := 0
	for _, p := range m.peers {
		if p != except && p.working() && p.met && !p.viaRelay() && asked < whereAsked {
			asked++
			m.agent.CheckConsent(now, p.node)
		}
	}
}

// seenAt takes where somebody sees this node. While a path is in doubt, an
// address that is new says why.
func (m *mesh) seenAt(now time.Time, addr netip.AddrPort) {
	if !m.publisher.observed(now, addr) || now.Sub(m.where.doubted) > doubtFor || m.where.doubted.IsZero() {
		return
	}
	nat4, nat6 := m.behavior(now)
	nat := nat4
	if addr.Addr().Is6() {
		nat = nat6
	}
	if nat.Mapping <= natpunch.EndpointIndependent && isGlobal(addr.Addr()) && !m.isOwn(addr) {
		m.moved(now, addr)
	}
}

// moved is told that this node's packets leave from another address than before:
// no mapping of before is left, and nobody's packets come in.
func (m *mesh) moved(now time.Time, to netip.AddrPort) {
	if now.Sub(m.where.moved) < movedAgain {
		return
	}
	m.where.moved = now
	m.publisher.reflexive = slices.DeleteFunc(m.publisher.reflexive, func(s sighting) bool {
		return s.addr != to && s.addr.Addr().Is4() == to.Addr().Is4()
	})
	m.publisher.dirty, m.publisher.urgent = true, true
	m.vantage(to.Addr()).moved(to)
	m.event("nat", "", "this node's address on the internet is "+to.String()+" now: looking for the peers anew", false)
	m.lookAnew(now)
}

// lookAnew checks all paths after a change of network, and shows the peers where
// this node is now.
func (m *mesh) lookAnew(now time.Time) {
	m.greeter.Kick(now)
	m.recheckRelays(now)
	m.agent.RestartAll(now)
	m.out.kick = true
	for _, p := range m.peers {
		if p.working() {
			m.nudge(p)
		}
		if p.call.next.After(now) {
			p.call.next = now // there is something new to say
		}
	}
}

// waysOutChanged is told that the host's routes to the internet are others, be it
// with the same addresses: a gateway is gone or a link is back.
func (m *mesh) waysOutChanged(now time.Time) {
	m.where.doubted, m.where.asked = now, time.Time{}
	m.askWhere(now, nil)
	for _, p := range m.peers {
		if p.working() {
			m.agent.CheckConsent(now, p.node)
		} else if !p.lostAt.IsZero() {
			m.agent.Restart(now, p.node, "the network changed")
		}
	}
}

// insist looks for a peer that was in use until its path was lost: an outage may
// end at any moment.
func (m *mesh) insist(now time.Time, p *peer) {
	if p.lostAt.IsZero() || now.Sub(p.lostAt) > insistFor || !p.wanted(now) || now.Sub(p.insistedAt) < insistEvery {
		return
	}
	p.insistedAt = now
	m.where.doubted = now
	m.agent.Restart(now, p.node, p.reason)
	m.askWhere(now, p)
}

// insists tells whether that goes on.
func (p *peer) insists(now time.Time) bool {
	return !p.lostAt.IsZero() && now.Sub(p.lostAt) <= insistFor && p.wanted(now)
}

// hasLeft tells whether a peer says that it is not any more where it is reached.
func (p *peer) hasLeft(before []wire.Candidate) bool {
	at := func(c wire.Candidate) bool { return c.Addr == p.path.Addr }
	return p.working() && !p.viaRelay() && slices.ContainsFunc(before, at) && !p.announces(p.path.Addr)
}
