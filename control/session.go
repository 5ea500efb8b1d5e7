package control

import (
	"time"

	"github.com/credant/credant/wgsetup"
)

// WireGuard sends a lost handshake initiation again only after 5 s, and
// setting its endpoint, keepalive or key again does not hurry it. So the start
// of a session is driven from here: the side that knows first that both have
// the other as a peer starts; without a session in 300 ms and a round trip the
// other side starts too; after that, peers are removed and added again, which
// makes the kernel forget when it last tried.

const (
	sessionPatience = 300 * time.Millisecond
	resetFirst      = time.Second
	// crossedAfter is what the other side's first packet may take beyond the round
	// trip, after its initiation has come.
	crossedAfter = 40 * time.Millisecond
	resetLongest = 30 * time.Second
	// sessionLife is when a peer counts as gone. A WireGuard session carries
	// data for 180 s (REJECT_AFTER_TIME in the WireGuard paper, Section 6.1).
	// An idle one is renewed by a keepalive: sent after 120 s by its initiator,
	// received after 165 s by it, or the first one after 180 s otherwise.
	sessionLife = 180*time.Second + keepaliveOther + 10*time.Second
)

// sessionAction is what is to be done with a peer now.
type sessionAction uint8

const (
	sessionNudge sessionAction = iota // send one packet, which starts a handshake
	sessionReset                      // remove, add again, and send one packet
)

// session is the start of one peer's WireGuard session. It is a state machine;
// its owner calls act when the time next has come, and looked whenever the device
// was looked at.
type session struct {
	before wgsetup.PeerState // when both sides had the peer
	starts bool              // this side is the one to start
	rtt    time.Duration
	next   time.Time
	heard  time.Time // when the other side's first packet since then was seen
	pause  time.Duration
	nudged bool
}

// newSession starts now, on the side that is to send first or on the other one.
func newSession(now time.Time, starts bool, rtt time.Duration, before wgsetup.PeerState) *session {
	s := &session{before: before, starts: starts, rtt: rtt, next: now, pause: sessionPatience + rtt}
	if !starts {
		s.next = now.Add(s.pause)
	}
	return s
}

// hurry makes this side the one to start, if nobody has.
func (s *session) hurry(now time.Time) {
	if !s.nudged {
		s.starts, s.next = true, now
	}
}

// looked takes what the device says, and reports whether the session carries
// packets: whether a handshake was completed since the start.
func (s *session) looked(now time.Time, state wgsetup.PeerState) (carries bool) {
	if !state.LastHandshake.IsZero() && !state.LastHandshake.Equal(s.before.LastHandshake) {
		return true
	}
	// A packet of the user's makes the other side start as well. Initiations that
	// cross undo each other: each is answered, and neither answer is understood.
	switch {
	case !s.starts || !s.nudged || state.RxBytes <= s.before.RxBytes:
	case s.heard.IsZero():
		s.heard = now
	case now.Sub(s.heard) >= s.rtt+crossedAfter && s.next.After(now):
		s.next = now
	}
	return false
}

// act says what to do at the time next, and sets the time after it.
func (s *session) act(now time.Time) sessionAction {
	s.heard = time.Time{}
	if !s.nudged {
		s.nudged = true
		// Leave the other side its own try before removing anything.
		s.next = now.Add(2*s.pause + resetFirst)
		s.pause = resetFirst
		return sessionNudge
	}
	s.before.RxBytes = 0 // counts anew with the peer
	s.pause = min(2*s.pause, resetLongest)
	s.next = now.Add(s.pause)
	return sessionReset
}
