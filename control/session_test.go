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
		"unchanged":          {before, false},
		"sent only":          {wgsetup.PeerState{LastHandshake: start, RxBytes: 1000, TxBytes: 148}, false},
		"new handshake":      {wgsetup.PeerState{LastHandshake: start.Add(time.Second), RxBytes: 1000}, true},
		"received something": {wgsetup.PeerState{LastHandshake: start, RxBytes: 1032}, true},
	} {
		if got := newSession(start, true, 0, before).carries(tt.state); got != tt.want {
			t.Errorf("%s: carries = %v, want %v", name, got, tt.want)
		}
	}
	s := newSession(start, true, 0, before)
	s.act(start)
	s.act(s.next) // the peer was added again: its counters are at zero
	if !s.carries(wgsetup.PeerState{LastHandshake: start, RxBytes: 92}) {
		t.Error("after a reset, the first received bytes do not count")
	}
}
