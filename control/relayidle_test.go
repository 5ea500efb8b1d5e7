package control

import (
	"testing"
	"time"
)

// Two nodes with a direct path that are registered with two relays stay within
// what an idle node may cost, with room for the DHT.
func TestIdleWithRelays(t *testing.T) {
	w := newWorld(t, 1)
	r1, r2 := w.relay("5.9.9.9"), w.relay("5.8.8.8")
	a := w.host("a", "192.168.1.2:20001", newNAT("5.1.1.1"), canRedirect(true))
	b := w.host("b", "192.168.2.2:20002", newNAT("5.2.2.2"), canRedirect(true))
	for _, h := range w.hosts {
		h.knows(r1)
		h.knows(r2)
	}
	if _, ok := w.run(20*time.Second, func() bool { return pathTo(a, b) == "direct" && pathTo(b, a) == "direct" }); !ok {
		t.Fatalf("no direct path%s%s", a.story(), b.story())
	}
	w.run(3*time.Minute, nil)
	if n := len(a.mesh.relays.all[0].pairs) + len(a.mesh.relays.all[1].pairs); n > 0 {
		t.Errorf("a direct pair keeps %d allocations", n)
	}
	w.sent = 0
	const minutes = 60
	w.run(minutes*time.Minute, nil)
	perNode := float64(w.sent) / 2 / minutes
	t.Logf("%.1f datagrams a minute from each node, without answers", perNode)
	if perNode > 4 {
		t.Errorf("%.1f datagrams a minute from each node, want 4", perNode)
	}
}

// A pair that is relayed costs little while it is idle, too.
func TestIdleRelayedPair(t *testing.T) {
	w := newWorld(t, 1)
	r1, r2 := w.relay("5.9.9.9"), w.relay("5.8.8.8")
	a := w.host("a", "192.168.1.2:20001", dependentNAT("5.1.1.1"), canRedirect(true))
	b := w.host("b", "192.168.2.2:20002", dependentNAT("5.2.2.2"), canRedirect(true))
	for _, h := range w.hosts {
		h.knows(r1)
		h.knows(r2)
	}
	w.run(3*time.Hour, nil)
	if !connected(a, b) || pathTo(a, b) != "relay" {
		t.Fatalf("after three idle hours: %s%s", pathTo(a, b), a.story())
	}
	w.sent = 0
	const minutes = 60
	w.run(minutes*time.Minute, nil)
	perNode := float64(w.sent) / 2 / minutes
	t.Logf("%.1f datagrams a minute from each node, without answers", perNode)
	if perNode > 14 {
		t.Errorf("%.1f datagrams a minute from each node, want 14", perNode)
	}
	if !connected(a, b) {
		t.Errorf("not connected any more%s", a.story())
	}
}
