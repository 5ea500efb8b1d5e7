package client

import (
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/relay/wire"
)

func TestDualStack(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add(main4, main6)
	w.run(rtt)
	if up := told[Up](a); len(up) != 1 || up[0].Addr != main6 || up[0].Observed != a.source(main6) || len(a.sent) != 1 {
		t.Errorf("told %+v, sent %d", a.said, len(a.sent))
	}

	w = newWorld(t, 1)
	w.dead[main6.Addr()] = true
	a = w.add(main4, main6)
	w.run(preferIPv6 + rtt)
	if up := told[Up](a); len(up) != 1 || up[0].Addr != main4 || a.said[0].at != preferIPv6+rtt {
		t.Errorf("without IPv6: told %+v", a.said)
	}
}

// One family goes away under a bound pair: the other one is taken, and every
// allocation moves.
func TestFamilyChange(t *testing.T) {
	w := newWorld(t, 1)
	a, b := pairUp(w, main6, main4)
	old := a.port4(b)
	if !old.Addr().Is6() {
		t.Fatalf("allocation at %v", old)
	}
	a.forget()
	w.dead[main6.Addr()] = true
	w.run(30 * time.Second)
	if !a.ready(b) || !b.ready(a) || a.port4(b).Addr() != main4.Addr() {
		t.Fatalf("told %+v", a.said)
	}
	if len(told[Lost](a)) != 1 || len(told[Allocated](a)) != 1 || !a.client.Status().Registered {
		t.Errorf("told %+v", a.said)
	}
	// It stays there while that works.
	a.forget()
	w.dead[main6.Addr()] = false
	a.client.Recheck(w.now)
	w.run(10 * time.Second)
	if len(told[Up](a)) != 0 || a.port4(b).Addr() != main4.Addr() {
		t.Errorf("after IPv6 came back: told %+v", a.said)
	}
	// The host knows better than to wait for silence.
	a.forget()
	w.dead[main4.Addr()] = true
	a.client.Recheck(w.now)
	w.run(preferKept + 3*rtt)
	if al, i := w.relay.alloc(a.node.Public(), b.node.Public()); al.from[i].Addr() != a.v6 || a.port4(b).Addr() != main6.Addr() || !a.ready(b) {
		t.Errorf("bound at %v, told %+v", al.from[i], a.said)
	}
}

// The session of a client that had nothing at the relay for long is not gone on
// with: a relay that has forgotten it may count its pushes from 1 again.
func TestIdleSession(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(main4), w.add(main4)
	for i := range byte(10) {
		for _, h := range w.hosts {
			h.client.SetBlob(w.now, []byte{i})
		}
		w.run(2 * time.Second)
	}
	a.client.SetBlob(w.now, nil)
	w.run(10 * time.Minute)
	maps.DeleteFunc(w.relay.sessions, func(_ [32]byte, s *served) bool { return s.node == a.node.Public() })
	a.forget()
	a.client.SetBlob(w.now, []byte("again"))
	w.run(time.Second)
	b.client.SetBlob(w.now, []byte("new"))
	w.run(time.Second)
	if found := told[Found](a); len(found) != 2 || string(found[1].Blob) != "new" {
		t.Errorf("told %+v", a.said)
	}
}

// A relay that stops right behind its challenge is down like any other.
func TestDiesEarly(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(main4), w.add(main4)
	a.client.SetBlob(w.now, []byte("a"))
	a.setPeers(b)
	w.run(rtt)
	w.relay.dead = true
	w.run(10 * time.Second)
	if len(told[Up](a)) != 1 || len(told[Down](a)) != 1 {
		t.Errorf("told %+v", a.said)
	}
}

func TestRTTFollows(t *testing.T) {
	w := newWorld(t, 1)
	a, _ := pairUp(w, main4)
	w.delay = 50 * time.Millisecond
	w.run(30 * refreshEvery)
	if got := a.client.Status().RTT; got < 95*time.Millisecond || got > 100*time.Millisecond {
		t.Errorf("RTT is %v", got)
	}
}

// Another network: all is asked and bound anew at once, in parallel.
func TestRecheck(t *testing.T) {
	w := newWorld(t, 1)
	a, b := pairUp(w, main4)
	w.run(10 * time.Second)
	a.forget()
	a.v4 = netip.MustParseAddr("198.51.100.99")
	a.client.Recheck(w.now)
	from := w.now
	w.run(2 * rtt)
	if al, i := w.relay.alloc(a.node.Public(), b.node.Public()); al.from[i] != a.source(main4) || !a.ready(b) {
		t.Errorf("bound at %v, told %+v", al.from[i], a.said)
	}
	if up := told[Up](a); len(up) != 1 || up[0].Observed != a.source(main4) || a.said[0].at != from.Add(rtt).Sub(epoch) {
		t.Errorf("told %+v", a.said)
	}
	if s := w.relay.of(a.node.Public()); s.from != a.source(main4) {
		t.Errorf("pushes go to %v", s.from)
	}
	if len(told[Lost](a)) != 0 || len(told[Down](a)) != 0 || len(told[Registered](a)) != 0 {
		t.Errorf("told %+v", a.said)
	}
}

// A relay that does not answer is down, however often somebody suspects it.
func TestSuspectedAgainAndAgain(t *testing.T) {
	w := newWorld(t, 1)
	a, _ := pairUp(w, main4)
	w.run(10 * time.Second)
	a.forget()
	w.relay.dead = true
	for range 5 {
		a.client.Recheck(w.now)
		w.run(2 * time.Second)
	}
	if down := told[Down](a); len(down) != 1 {
		t.Errorf("told %+v", a.said)
	}
}

// The NAT maps the port to another one, and nobody says so: the first packet
// that the relay does not know brings a reset, and the pair is bound again two
// round trips later.
func TestMappingChange(t *testing.T) {
	w := newWorld(t, 1)
	a, b := pairUp(w, main4)
	a.forget()
	a.port = 50001
	at := a.port4(b)
	packet := append([]byte{4, 0, 0, 0}, make([]byte, 60)...)
	w.carry(func() { w.server(at, a.source(at), packet) })
	w.run(3 * rtt)
	if al, i := w.relay.alloc(a.node.Public(), b.node.Public()); al.from[i] != a.source(at) {
		t.Errorf("bound at %v", al.from[i])
	}
	// The refresh finds out for the main port.
	w.run(refreshEvery + time.Second)
	if up := told[Up](a); len(up) != 1 || up[0].Observed != a.source(main4) {
		t.Errorf("told %+v", a.said)
	}
	if s := w.relay.of(a.node.Public()); s.from != a.source(main4) {
		t.Errorf("pushes go to %v", s.from)
	}
	if len(told[Down](a)) != 0 || len(told[Lost](a)) != 0 || !a.ready(b) {
		t.Errorf("told %+v", a.said)
	}
}

// A flood of resets makes one bind a second.
func TestResetRate(t *testing.T) {
	w := newWorld(t, 1)
	a, b := pairUp(w, main4)
	a.forget()
	reset := wire.AppendReset(nil, append([]byte{4, 0, 0, 0}, make([]byte, 28)...))
	for range 1000 {
		a.client.Receive(w.now, a.port4(b), reset)
		a.client.Receive(w.now, main4, reset)
		w.run(5 * time.Millisecond)
	}
	if n := a.kinds(); n[wire.KindAsk] > 6 || n[wire.KindRequest] > 7 || len(a.said) != 0 || !a.ready(b) {
		t.Errorf("sent %v in 5 s, told %+v", n, a.said)
	}
	if a.drops["reset-rate"]+a.drops["reset-unknown"] != 0 {
		t.Errorf("drops %v", a.drops) // Receive was called directly
	}
}

// The relay restarts: it has forgotten all, and everything is there again after
// the next refresh.
func TestRelayRestarts(t *testing.T) {
	w := newWorld(t, 1)
	a, b := pairUp(w, main4)
	a.forget()
	w.relay.restart()
	w.run(refreshEvery + 8*rtt + time.Second)
	if !a.ready(b) || !b.ready(a) || !a.client.Status().Registered || len(w.relay.blobs) != 2 {
		t.Fatalf("told %+v", a.said)
	}
	if len(told[Lost](a)) != 0 || len(told[Down](a)) != 0 || len(told[Registered](a)) != 1 {
		t.Errorf("told %+v", a.said)
	}
	var ready []bool
	for _, o := range told[Bound](a) {
		ready = append(ready, o.Ready)
	}
	if len(ready) == 0 || ready[0] || !ready[len(ready)-1] {
		t.Errorf("ready went %v", ready)
	}
	w.run(time.Minute)
	if len(told[Gone](a)) != 0 {
		t.Errorf("told %+v", a.said)
	}
}

func TestRelayGoesAndComesBack(t *testing.T) {
	for _, restart := range []bool{false, true} {
		for _, away := range []time.Duration{40 * time.Second, 4 * time.Minute, time.Hour} {
			w := newWorld(t, 1)
			a, b := pairUp(w, main4)
			a.forget()
			w.relay.dead = true
			gone := w.now
			w.until(refreshEvery+4*time.Second, "down", func() bool { return len(told[Down](a)) == 1 })
			w.run(gone.Add(away).Sub(w.now))
			if lost := len(told[Lost](a)) == 1; lost != (away > boundLifetime) {
				t.Errorf("away for %v: told %+v", away, a.said)
			}
			if restart {
				w.relay.restart()
			}
			w.relay.dead = false
			w.until(time.Minute+10*rtt, "bound again", func() bool { return a.client.Status().Registered && a.ready(b) && b.ready(a) })
			if len(told[Down](a)) != 1 || len(told[Up](a)) != 1 {
				t.Errorf("away for %v, restart %t: told %+v", away, restart, a.said)
			}
		}
	}
}

// A relay that is replaced by a newer one says so, and is found as soon as the
// new one is there.
func TestRelayIsReplaced(t *testing.T) {
	w := newWorld(t, 1)
	a, b := pairUp(w, main4)
	a.forget()
	w.relay.leaving(5 * time.Second)
	w.run(5 * time.Second)
	w.relay.restart()
	w.run(time.Second + 8*rtt)
	al, _ := w.relay.alloc(a.node.Public(), b.node.Public())
	if len(w.relay.blobs) != 2 || al == nil || al.bound != [2]bool{true, true} || !a.ready(b) || len(told[Down](a)) != 0 {
		t.Errorf("the relay has %d blobs and %+v, told %+v", len(w.relay.blobs), al, a.said)
	}
}

// The host has slept: everything is as old as can be, and there again soon.
func TestSleep(t *testing.T) {
	for _, real := range []bool{false, true} {
		w := newWorld(t, 1)
		var e *engine
		if real {
			e = w.runEngine()
		}
		a, b := pairUp(w, main4)
		a.forget()
		a.asleep = true
		w.run(time.Hour)
		a.asleep = false
		all := func() bool {
			if real {
				s := e.Stats()
				return s.Registrations == 2 && s.Bound == 1
			}
			al, _ := w.relay.alloc(a.node.Public(), b.node.Public())
			return len(w.relay.blobs) == 2 && al != nil && al.bound == [2]bool{true, true}
		}
		if all() {
			t.Error("the relay has kept what nobody refreshed")
		}
		w.until(5*rtt, "bound again", func() bool { return all() && a.ready(b) && b.ready(a) })
	}
}
