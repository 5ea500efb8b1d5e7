package control

import (
	"testing"
	"time"

	"github.com/credant/credant/wgsetup"
)

func TestOnlyHandshakes(t *testing.T) {
	for bytes, want := range map[int64]bool{
		0: true, 92: true, 148: true, 240: true, 184: true, 388: true,
		32: false, 124: false, 180: false, 212: false, 272: false,
	} {
		if got := onlyHandshakes(bytes); got != want {
			t.Errorf("%d bytes: %v, want %v", bytes, got, want)
		}
	}
}

// A side that hears handshakes alone begins anew, once in a while.
func TestDeafness(t *testing.T) {
	var d deafness
	deaf := wgsetup.PeerState{RxBytes: 240}
	d.begin(start, 240, deaf)
	if d.looked(start.Add(deafAfter), deaf, 40*time.Millisecond) {
		t.Error("two round trips are not waited for")
	}
	at := start.Add(deafAfter + 80*time.Millisecond)
	if !d.looked(at, deaf, 40*time.Millisecond) {
		t.Error("hears nothing, and does nothing")
	}
	if d.looked(at.Add(time.Second), deaf, 0) {
		t.Error("acts twice on one session")
	}
	if d.begin(at.Add(time.Second), 240, deaf); d.waits() {
		t.Error("acts again within a second")
	}
	if d.begin(at.Add(deafAgain), 240, deaf); !d.waits() {
		t.Error("never acts again")
	}
	if d.looked(at.Add(2*deafAgain), wgsetup.PeerState{RxBytes: 272}, 0) || d.waits() {
		t.Error("a packet is not heard")
	}
	if d.begin(at.Add(3*deafAgain), 272, deaf); d.waits() {
		t.Error("a packet that came before the look does not count")
	}
}
