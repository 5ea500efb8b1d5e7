package control

import (
	"time"

	"github.com/credant/credant/discovery/wire"
)

// Two nodes that have lost each other would search at times of their own, each
// in vain while the other's NAT is shut. A third node that both have a tunnel
// with carries a call: the caller's newest record, sealed for the one who is
// called. Both then check at the same time.

const (
	callFirst   = 5 * time.Second
	callLongest = 10 * time.Minute
	callVia     = 3               // carriers at most
	calledAgain = 3 * time.Second // the least between two checks that calls cause
	// A carrier takes this many calls of one peer at once, and one a second.
	forwardBurst = 16
)

// calling is this node's search for one peer through others.
type calling struct {
	next  time.Time // zero: no call is needed
	pause time.Duration
	heard time.Time // when a call of the peer was last heeded
}

// begin calls at once, unless calls are under way.
func (c *calling) begin(now time.Time) {
	if c.next.IsZero() {
		c.next, c.pause = now, callFirst
	}
}

// sendCalls calls the peers that are due, and reports whether it did.
func (m *mesh) sendCalls(now time.Time) bool {
	called := false
	for _, p := range m.peers {
		if p.call.next.IsZero() || now.Before(p.call.next) || m.publisher.signed.IsZero() {
			continue
		}
		if p.working() && !p.doubtful(now) { // packets come in again
			p.call = calling{}
			continue
		}
		p.call.next = now.Add(p.call.pause)
		p.call.pause = min(2*p.call.pause, callLongest)
		if m.sendCall(now, p) {
			m.agent.Restart(now, p.node, "calling through another member")
			called = true
		}
	}
	return called
}

// sendCall gives a call to some of the peers that work.
func (m *mesh) sendCall(now time.Time, p *peer) bool {
	return m.sendThrough(p, wire.Signal{Introduce: &wire.Introduce{Signed: m.publisher.signed, Age: now.Sub(m.publisher.at)}})
}

// sendThrough gives a signal for a peer to some of those that work, and reports
// whether there were any.
func (m *mesh) sendThrough(p *peer, s wire.Signal) bool {
	body, err := wire.SealForward(&p.pair, s)
	if err != nil {
		m.drops.count("letter-too-big")
		return false
	}
	sent := 0
	for _, via := range m.peers {
		if sent == callVia {
			break
		}
		if via == p || !via.working() || !via.met {
			continue
		}
		b, err := wire.SealSignal(&via.pair, wire.Signal{Forward: &wire.Forward{To: p.node, Body: body}})
		if err != nil {
			continue
		}
		m.send(via.path.Addr, b)
		sent++
	}
	return sent > 0
}

// forwardBudget bounds what one peer has carried.
type forwardBudget struct {
	used int
	at   time.Time
}

func (f *forwardBudget) take(now time.Time) bool {
	if spared := int(now.Sub(f.at) / time.Second); spared > 0 {
		f.used, f.at = max(0, f.used-spared), now
	}
	if f.used >= forwardBurst {
		return false
	}
	f.used++
	return true
}

// forward carries a call from one peer to another.
func (m *mesh) forward(now time.Time, from *peer, f wire.Forward) string {
	to := m.peers[f.To]
	switch {
	case to == nil || to == from || !to.working():
		return "forward-unreachable"
	case !from.forwards.take(now):
		return "forward-limit"
	}
	b, err := wire.SealSignal(&to.pair, wire.Signal{Forwarded: &wire.Forwarded{From: from.node, Body: f.Body}})
	if err != nil {
		return wire.DropReason(err)
	}
	m.send(to.path.Addr, b)
	return ""
}

// called heeds a call that another member carried. Only the seal of the pair
// says who called.
func (m *mesh) called(now, wall time.Time, f wire.Forwarded) string {
	caller := m.peers[f.From]
	if caller == nil {
		return "unknown-pair"
	}
	s, err := wire.OpenSignal(&caller.pair, f.Body)
	if err != nil {
		return wire.DropReason(err)
	}
	switch {
	case s.Tell != nil:
		return m.agent.Told(now, caller.node, s.Tell)
	case s.Introduce == nil:
		return "signal-unasked"
	}
	if reason := m.introduced(now, wall, caller, *s.Introduce); reason != "" {
		return reason
	}
	if now.Sub(caller.call.heard) < calledAgain {
		return ""
	}
	caller.call.heard = now
	if caller.working() {
		m.agent.CheckConsent(now, caller.node) // it says otherwise
	} else {
		m.agent.Restart(now, caller.node, "the peer calls through another member")
	}
	return ""
}
