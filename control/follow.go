package control

import (
	"time"

	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/wgsetup"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// looked takes what the device says of its peers.
func (m *mesh) looked(now, wall time.Time, states map[wgtypes.Key]wgsetup.PeerState) {
	m.lookedAt = now
	for _, p := range m.peers {
		state, ok := states[p.record.WireGuard]
		if !ok || !p.installed {
			continue
		}
		was := p.alive
		p.state, p.alive = state, alive(wall, state)
		if p.session != nil && p.session.carries(state) {
			p.session = nil
			p.alive = true
			m.book.Pin(p.node, true)
			if !p.keepalive {
				p.keepalive, m.out.apply = true, true
			}
		}
		switch {
		case p.alive && !was:
			p.reason = ""
			m.event("handshake", p.name(), "connected to "+p.name()+" ("+m.pathWord(p)+", "+p.path.Addr.String()+")", true)
			m.out.remember = true // an adopter needs to know it
			m.introduce(now, p)
		case was && !p.alive:
			p.reason = "no answer for 3 minutes"
			m.event("lost", p.name(), p.name()+" does not answer any more", false)
			m.lost(now, p)
		case p.activity.unanswered(now, state, p.path.RTT):
			m.agent.CheckConsent(now, p.node)
		}
		m.followEndpoint(now, p)
	}
}

// lost looks for the peer with all means.
func (m *mesh) lost(now time.Time, p *peer) {
	m.agent.Restart(now, p.node, p.reason)
	m.greeter.Lost(p.node)
	m.hintCandidates(now, p)
	m.out.kick = true
}

// activity tells sent-and-unanswered from silence.
type activity struct {
	rx, tx    int64
	asked     time.Time // when tx first grew after rx did; zero: not since
	suspected time.Time
}

const (
	// Nothing back for this long, or for four round trips, is worth three
	// checks of the path. Silence alone never gives a path up.
	unansweredAfter = 500 * time.Millisecond
	suspectAgain    = 5 * time.Second
	keepaliveSize   = 32 // of a packet that nobody answers
)

// busy tells whether something was sent that is not answered yet.
func (a *activity) busy() bool { return !a.asked.IsZero() }

func (a *activity) unanswered(now time.Time, s wgsetup.PeerState, rtt time.Duration) bool {
	if s.RxBytes != a.rx || s.TxBytes < a.tx {
		a.asked = time.Time{}
	} else if s.TxBytes > a.tx+keepaliveSize && a.asked.IsZero() {
		a.asked = now
	}
	a.rx, a.tx = s.RxBytes, s.TxBytes
	if a.asked.IsZero() || now.Sub(a.asked) < max(unansweredAfter, 4*rtt) || now.Sub(a.suspected) < suspectAgain {
		return false
	}
	a.suspected = now
	return true
}

// followEndpoint settles a difference between the endpoint that was chosen and
// the one that WireGuard has. Authenticated packets that were still on the old
// path move WireGuard back: for a moment after a change, the choice is repeated.
// Later it is the peer that has moved, and the checks find out where it is best
// reached.
func (m *mesh) followEndpoint(now time.Time, p *peer) {
	have := p.state.Endpoint
	switch {
	case !p.working() || !have.IsValid() || have == p.path.Addr:
	case now.Sub(p.movedAt) < moveTime:
		m.out.endpoints = append(m.out.endpoints, endpointChange{p.record.WireGuard, p.path.Addr})
	default:
		m.event("path", p.name(), p.name()+" has moved to "+have.String(), true)
		p.path, p.lastAddr, p.movedAt = natpunch.Path{Addr: have}, have, now
		m.agent.Restart(now, p.node, "the peer has moved")
	}
}

// moveTime is how long an endpoint may take to stay where it was put.
const moveTime = 2 * time.Second
