package control

import (
	"testing"
	"time"

	"github.com/credant/credant/wgsetup"
)

func TestSessionOfTheStarter(t *testing.T) {
	rtt := 40 * time.Millisecond
	s := newSession(start, true, rtt, wgsetup.PeerState{})
	if !s.next.Equal(start) {
		t.Errorf("the starter waits until %v, want no wait", s.next.Sub(start))
	}
	if got := s.act(s.next); got != sessionNudge {
		t.Errorf("first act = %v, want a nudge", got)
	}
	// The other side's own try comes after 300 ms + RTT: it must be left alone.
	if wait := s.next.Sub(start); wait < 2*(sessionPatience+rtt) {
		t.Errorf("removes the peer after %v already", wait)
	}
	var waits []time.Duration
	for range 10 {
		at := s.next
		if got := s.act(at); got != sessionReset {
			t.Errorf("act = %v, want a reset", got)
		}
		waits = append(waits, s.next.Sub(at))
	}
	for i, w := range waits {
		if w > resetLongest || i > 0 && w < waits[i-1] {
			t.Fatalf("waits %v: want them to grow up to %v", waits, resetLongest)
		}
	}
}

func TestSessionOfTheOtherSide(t *testing.T) {
	s := newSession(start, false, 40*time.Millisecond, wgsetup.PeerState{})
	if got, want := s.next.Sub(start), 340*time.Millisecond; got != want {
		t.Errorf("starts by itself after %v, want %v", got, want)
	}
}

func TestSessionCarries(t *testing.T) {
	before := wgsetup.PeerState{LastHandshake: start, RxBytes: 1000}
	for name, tt := range map[string]struct {
		state wgsetup.PeerState
		want  bool
	}{
		"unchanged":               {before, false},
		"sent only":               {wgsetup.PeerState{LastHandshake: start, RxBytes: 1000, TxBytes: 148}, false},
		"new handshake":           {wgsetup.PeerState{LastHandshake: start.Add(time.Second), RxBytes: 1000}, true},
		"an initiation came":      {wgsetup.PeerState{LastHandshake: start, RxBytes: 1148}, false},
		"removed and added again": {wgsetup.PeerState{}, false},
	} {
		if got := newSession(start, false, 0, before).looked(start, tt.state); got != tt.want {
			t.Errorf("%s: carries = %v, want %v", name, got, tt.want)
		}
	}
}

// Both sides have sent an initiation at once, which WireGuard would notice after
// five seconds: the side that is to start does at once.
func TestSessionCrossed(t *testing.T) {
	rtt := 30 * time.Millisecond
	crossed := wgsetup.PeerState{RxBytes: 148}
	s := newSession(start, true, rtt, wgsetup.PeerState{})
	s.act(start)
	// It may come long after this side's own, which was lost then: its answer
	// must have time to become a session.
	heard := start.Add(320 * time.Millisecond)
	late := heard.Add(rtt + crossedAfter)
	if s.looked(heard, crossed); !s.next.After(late) {
		t.Error("the other side's first packet is not waited for")
	}
	if s.looked(late, crossed); !s.next.Equal(late) {
		t.Errorf("acts after %v, want %v", s.next.Sub(start), late.Sub(start))
	}
	if got := s.act(late); got != sessionReset {
		t.Errorf("act = %v, want a reset", got)
	}
	other := newSession(start, false, rtt, wgsetup.PeerState{})
	other.act(other.next)
	again := other.next
	if other.looked(late, crossed); !other.next.Equal(again) {
		t.Error("the other side resets as well: they cross again")
	}
}
