package control

import (
	"time"

	"github.com/credant/credant/wgsetup"
)

// Where only the other side sends, this side is the only one that can notice
// that its NAT has another address or has forgotten the mapping: what it sends
// then tells the other side where it is. So a steady flow that stops is worth a
// check of the path and a packet.

const (
	// flowBegins is more than handshakes and keepalives make between two looks.
	flowBegins = 512
	// flowSteady is how long a flow must have gone on, without a pause of flowPause,
	// for its end to mean anything.
	flowSteady = time.Second
	flowPause  = time.Second
	// stalledAgain bounds what that costs with a flow that comes and goes.
	stalledAgain = 2 * time.Second
)

// inflow watches what comes in from a peer.
type inflow struct {
	rx      int64
	began   time.Time // of the flow; zero: there is none
	last    time.Time // when it was last seen to go on
	stalled time.Time
}

// looked takes what the device says, and tells that a steady flow has stopped.
func (f *inflow) looked(now time.Time, s wgsetup.PeerState, rtt time.Duration) bool {
	grown := s.RxBytes - f.rx
	f.rx = s.RxBytes
	switch {
	case f.began.IsZero():
		if grown > flowBegins {
			f.began, f.last = now, now
		}
		return false
	case grown > keepaliveSize:
		if now.Sub(f.last) > max(flowPause, 8*rtt) {
			f.began = now
		}
		f.last = now
		return false
	case now.Sub(f.last) < max(unansweredAfter, 4*rtt):
		return false
	}
	steady := f.last.Sub(f.began) >= flowSteady
	f.began = time.Time{}
	if !steady || now.Sub(f.stalled) < stalledAgain {
		return false
	}
	f.stalled = now
	return true
}

// flows tells whether there is a flow to watch.
func (f *inflow) flows() bool { return !f.began.IsZero() }
