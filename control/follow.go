package control

import (
	"fmt"
	"net/netip"
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
		was := p.working()
		if state.RxBytes > p.state.RxBytes {
			p.lost, p.lostAt = false, time.Time{} // whatever the checks say, packets come in
		}
		m.insist(now, p)
		m.reviewKeepalive(p)
		if p.expects && !state.LastHandshake.Equal(p.state.LastHandshake) {
			p.expects = false
			m.nudge(p) // it has started anew, and wants to hear this side
		}
		p.renew(now, wall, state)
		if p.session != nil && p.session.looked(now, state) && p.alive {
			p.deaf.begin(now, state.RxBytes-p.session.before.RxBytes, state)
			m.nudge(p) // the other side wants to hear this one
			p.session = nil
			m.book.Pin(p.node, true)
			if !p.keepalive {
				p.keepalive, m.out.apply = true, true
			}
		}
		switch {
		case p.working() && !was:
			p.reason = ""
			m.event("handshake", p.name(), "connected to "+p.name()+" ("+m.pathWord(p)+", "+p.path.Addr.String()+")", true)
			m.out.remember = true // an adopter needs to know it
		case was && !p.alive:
			p.reason = whySilent
			m.event("lost", p.name(), p.name()+" does not answer any more", false)
			m.seek(now, p)
		case p.activity.unanswered(now, state, p.path.RTT), !m.keeps(p) && p.activity.silent(now, p.every+keepaliveGap+10*time.Second):
			m.agent.CheckConsent(now, p.node)
			m.suspectRelay(now, p.relayOf())
		}
		if p.inflow.looked(now, state, p.path.RTT) && p.working() {
			m.agent.CheckConsent(now, p.node)
			m.suspectRelay(now, p.relayOf())
			m.beHeard(now, p)
		}
		if p.alive && m.outboundDue(p, now.Sub(p.activity.sent)) {
			m.nudge(p)
		}
		if p.session == nil && p.deaf.looked(now, state, p.path.RTT) {
			m.out.resets = append(m.out.resets, p.record.WireGuard)
			p.state, p.alive, p.handshake = wgsetup.PeerState{Endpoint: state.Endpoint}, false, time.Time{}
			p.session = newSession(now, true, p.path.RTT, p.state)
			continue
		}
		m.measure(now, p)
		if p.activity.grew >= muchSent {
			m.agent.Used(now, p.node)
		}
		if p.move != nil {
			p.move.looked(now, state)
		} else {
			m.followEndpoint(now, p)
		}
	}
}

// renew takes what the device says. The handshake's own time is by the wall
// clock, which may jump: it counts only for a session that was adopted.
func (p *peer) renew(now, wall time.Time, state wgsetup.PeerState) {
	switch {
	case state.LastHandshake.IsZero():
		p.handshake = time.Time{}
	case p.adopted:
		p.adopted = false
		p.handshake = now.Add(-max(0, wall.Sub(state.LastHandshake)))
	case !state.LastHandshake.Equal(p.state.LastHandshake):
		p.handshake = now
	}
	p.state = state
	p.alive = !p.handshake.IsZero() && now.Sub(p.handshake) < sessionLife
}

// seek looks for a peer that is gone with all means.
func (m *mesh) seek(now time.Time, p *peer) {
	m.relays.dirty = true
	m.agent.Restart(now, p.node, p.reason)
	m.greeter.Lost(p.node)
	m.hintCandidates(now, p)
	m.out.kick = true
}

// activity tells sent-and-unanswered from silence.
type activity struct {
	rx, tx    int64
	heard     time.Time // when rx last grew
	sent      time.Time // when tx last grew
	asked     time.Time // when tx first grew after rx did; zero: not since
	quiet     time.Time // when something last went either way before that
	suspected time.Time
	grew      int64     // tx, between the last two looks
	used      bool      // more than keepalives was sent at the last look
	usedAt    time.Time // when that was last so
}

const (
	// Nothing back for this long, or for four round trips, is worth a check of the
	// path, again and again while it lasts. Silence alone never gives a path up.
	unansweredAfter = 500 * time.Millisecond
	// usedFor is how long traffic counts as going on: much of it pauses for a second.
	usedFor       = 3 * time.Second
	keepaliveSize = 32 // of a packet that nobody answers
	// muchSent between two looks is more than handshakes and checks of the user's:
	// packets that may be too long for the path.
	muchSent = 1000
)

// busy tells whether something was sent that is not answered yet.
func (a *activity) busy() bool { return !a.asked.IsZero() }

// lately tells whether traffic goes on, as far as the last looks say.
func (a *activity) lately(now time.Time) bool {
	return a.busy() || !a.usedAt.IsZero() && now.Sub(a.usedAt) < usedFor
}

func (a *activity) unanswered(now time.Time, s wgsetup.PeerState, rtt time.Duration) bool {
	if s.RxBytes != a.rx || s.TxBytes < a.tx || a.heard.IsZero() {
		a.asked, a.heard = time.Time{}, now
	} else if s.TxBytes > a.tx+keepaliveSize && a.asked.IsZero() {
		a.asked, a.quiet = now, a.heard
		if a.sent.After(a.heard) {
			a.quiet = a.sent
		}
	}
	if s.TxBytes != a.tx || a.sent.IsZero() {
		a.sent = now
	}
	a.grew = s.TxBytes - a.tx
	a.used = s.TxBytes > a.tx+keepaliveSize
	if a.used {
		a.usedAt = now
	}
	a.rx, a.tx = s.RxBytes, s.TxBytes
	patience := max(unansweredAfter, 4*rtt)
	// One check is enough for what was sent before it.
	if a.asked.IsZero() || now.Sub(a.asked) < patience || now.Sub(a.suspected) < patience || a.sent.Before(a.suspected) {
		return false
	}
	a.suspected = now
	return true
}

// silent tells that not even the peer's keepalives come in.
func (a *activity) silent(now time.Time, after time.Duration) bool {
	if now.Sub(a.heard) < after || now.Sub(a.suspected) < after {
		return false
	}
	a.suspected = now
	return true
}

const (
	// strayTime is what a choice of path may take to reach this side after the
	// peer's first packets over it.
	strayTime = 500 * time.Millisecond
	// strayBack is how long a relay is not followed from a direct path.
	strayBack = 2 * time.Second
)

// followEndpoint settles a difference between the path that was chosen and the
// endpoint that WireGuard has: the peer has moved, or goes another way, and the
// checks find out where it is best reached.
func (m *mesh) followEndpoint(now time.Time, p *peer) {
	have := p.state.Endpoint
	if !p.working() || !have.IsValid() || have == p.path.Addr {
		p.strayed = sighting{}
		return
	}
	if p.strayed.addr != have {
		p.strayed = sighting{have, now}
	}
	if !p.viaRelay() && p.isRelayed(now, have) && now.Sub(p.strayed.at) < strayBack {
		// A relay may hold a packet back for long, and this is what comes of it. Or
		// the peer has lost the direct path, which a check finds out.
		m.out.endpoints = append(m.out.endpoints, endpointChange{p.record.WireGuard, p.path.Addr})
		m.agent.CheckConsent(now, p.node)
		return
	}
	if p.announces(have) && now.Sub(p.strayed.at) < strayTime {
		return // its packets may be ahead of the choice that both are making
	}
	before := p.path
	p.path, p.movedAt = natpunch.Path{Addr: have, Base: before.Base}, now
	m.relays.dirty = true
	if p.isRelayed(now, have) {
		p.path.Kind, p.path.Base = natpunch.Relay, netip.Addr{}
	} else {
		p.lastAddr = have
	}
	m.event("path", p.name(), fmt.Sprintf("%s comes from %s now", p.name(), have), true)
	m.agent.Restart(now, p.node, "the peer has moved")
	m.sayWhere(p)
}
