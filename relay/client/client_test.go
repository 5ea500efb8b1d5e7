package client

import (
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
)

const rtt = 40 * time.Millisecond

// A fresh client is registered after two round trips and bound after two more.
func TestRoundTrips(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(main4), w.add(main4)
	a.client.SetBlob(w.now, []byte("a"))
	a.client.SetPeers(w.now, []keys.NodePublic{b.node.Public()})
	w.run(time.Second)
	got := map[string]time.Duration{}
	for _, s := range a.said {
		switch s.out.(type) {
		case Up:
			got["up"] = s.at
		case Registered:
			got["registered"] = s.at
		case Allocated:
			got["allocated"] = s.at
		case Bound:
			got["bound"] = s.at
		}
	}
	for what, want := range map[string]time.Duration{"up": rtt, "registered": 2 * rtt, "allocated": 2 * rtt, "bound": 4 * rtt} {
		if got[what] != want {
			t.Errorf("%s after %v, want %v", what, got[what], want)
		}
	}
	if t.Failed() {
		t.Logf("%+v", a.said)
	}
	_ = b
}
