package control

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/wire"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// poll hints each host at the others' public addresses once a second, as the
// DHT does after a start.
func poll(w *world, hosts ...*simHost) {
	for _, h := range hosts {
		for _, o := range hosts {
			if o != h && !h.off && !o.off {
				h.hint(o.public())
			}
		}
	}
	w.after(time.Second, func() { poll(w, hosts...) })
}

// Two nodes behind two NATs that filter by address and port meet within a poll
// and a few round trips.
func TestTwoNATs(t *testing.T) {
	for seed := range uint64(50) {
		w := newWorld(t, seed)
		w.loss = float64(seed%5) * 0.02
		a := w.host("a", "192.168.1.2:20001", newNAT("5.1.1.1"))
		w.run(time.Duration(w.rng.IntN(5000))*time.Millisecond, nil)
		b := w.host("b", "192.168.2.2:20002", newNAT("5.2.2.2"))
		w.after(time.Duration(w.rng.IntN(1000))*time.Millisecond, func() { poll(w, a, b) })
		took, ok := w.run(20*time.Second, func() bool { return connected(a, b) })
		limit := 2500 * time.Millisecond
		if w.loss > 0 {
			limit = 8 * time.Second
		}
		if !ok || took > limit {
			t.Errorf("seed %d, loss %.2f: connected %v after %v, want within %v\na: %v\nb: %v", seed, w.loss, ok, took, limit, a.events, b.events)
		}
	}
}

// A member that can be reached answers a first hello: the session is up after
// four round trips, with nothing waiting for a timer.
func TestReachableMember(t *testing.T) {
	w := newWorld(t, 1)
	a := w.host("a", "5.1.1.1:20001", nil)
	b := w.host("b", "192.168.2.2:20002", newNAT("5.2.2.2"))
	b.hint(a.inner)
	took, ok := w.run(5*time.Second, func() bool { return connected(a, b) })
	if limit := 4*2*w.latency + 2*lookSoon; !ok || took > limit {
		t.Errorf("connected %v after %v, want within %v", ok, took, limit)
	}
}

// One contact leads to the whole network: nodes that only know one member meet
// all others through it, NATs between them or not.
func TestIntroductions(t *testing.T) {
	w := newWorld(t, 2)
	hub := w.host("hub", "5.1.1.1:20001", nil)
	all := []*simHost{hub}
	for i := range 6 {
		h := w.host(fmt.Sprintf("n%d", i), fmt.Sprintf("192.168.%d.2:%d", i+1, 20002+i), newNAT(fmt.Sprintf("5.2.2.%d", i+1)))
		h.hint(hub.inner)
		all = append(all, h)
	}
	took, ok := w.run(20*time.Second, func() bool { return allConnected(all) })
	if !ok || took > 3*time.Second {
		t.Fatalf("everybody connected: %v after %v", ok, took)
	}
	late := w.host("late", "192.168.99.2:20099", newNAT("5.2.3.1"))
	late.hint(all[3].public()) // behind a NAT that never heard of it: no use
	late.hint(hub.inner)
	all = append(all, late)
	took, ok = w.run(20*time.Second, func() bool { return allConnected(all) })
	if !ok || took > 1500*time.Millisecond {
		t.Errorf("the latecomer knows everybody: %v after %v, want 1.5 s", ok, took)
	}
}

func allConnected(hosts []*simHost) bool {
	for i, a := range hosts {
		for _, b := range hosts[i+1:] {
			if !connected(a, b) {
				return false
			}
		}
	}
	return true
}

// Two machines on one switch find the path that does not leave it, even where
// they met through their NAT's outer addresses' DHT entries.
func TestSameLAN(t *testing.T) {
	w := newWorld(t, 3)
	nat := newNAT("5.1.1.1")
	a := w.host("a", "192.168.1.2:20001", nat)
	b := w.host("b", "192.168.1.3:20002", nat)
	a.mesh.hint(w.now, discovery.SourceLAN, b.inner)
	a.step()
	took, ok := w.run(5*time.Second, func() bool { return connected(a, b) })
	if !ok || took > 100*time.Millisecond {
		t.Errorf("connected %v after %v, want 100 ms", ok, took)
	}
	for _, h := range w.hosts {
		for _, p := range h.mesh.peers {
			if got := h.mesh.statusPath(p); got != "lan" {
				t.Errorf("%s calls the path %q, want lan", h.name, got)
			}
		}
	}
}

// A node that starts again with fresh probe keys and no session is back at
// once, whichever side finds the other.
func TestRestart(t *testing.T) {
	for _, finder := range []string{"restarted", "other"} {
		w := newWorld(t, 4)
		a := w.host("a", "5.1.1.1:20001", nil)
		b := w.host("b", "5.2.2.2:20002", nil)
		b.hint(a.inner)
		if _, ok := w.run(5*time.Second, func() bool { return connected(a, b) }); !ok {
			t.Fatal("never connected")
		}
		w.run(10*time.Minute, nil)
		b.boot()
		if finder == "restarted" {
			b.hint(a.inner)
		} else {
			a.mesh.greeter.Lost(b.mesh.self.public)
			a.mesh.greeter.Hint(w.now, discovery.SourceDHT, b.inner)
			a.step()
		}
		took, ok := w.run(20*time.Second, func() bool { return connected(a, b) })
		if !ok || took > 1500*time.Millisecond {
			t.Errorf("the %s side looks: connected %v after %v, want 1.5 s", finder, ok, took)
		}
	}
}

// Two nodes that greet each other at the same moment do not wait for each other
// to start.
func TestBothGreetAtOnce(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed)
		a := w.host("a", "5.1.1.1:20001", nil)
		b := w.host("b", "5.2.2.2:20002", nil)
		a.hint(b.inner)
		w.run(time.Duration(w.rng.Int64N(int64(2*w.latency))), nil)
		b.hint(a.inner)
		took, ok := w.run(5*time.Second, func() bool { return connected(a, b) })
		if limit := 5*2*w.latency + 2*lookSoon; !ok || took > limit {
			t.Errorf("seed %d: connected %v after %v, want within %v", seed, ok, took, limit)
		}
	}
}

// Another passphrase: neither learns that the other is there.
func TestOtherPassphrase(t *testing.T) {
	w := newWorld(t, 5)
	a := w.host("a", "5.1.1.1:20001", nil)
	other := testNetworkKey(t, "two")
	b := w.host("b", "5.2.2.2:20002", nil, func(c *meshConfig, _ *simHost) { c.network = other })
	poll(w, a, b)
	w.run(time.Minute, nil)
	if len(a.mesh.peers)+len(b.mesh.peers) != 0 {
		t.Error("nodes of different networks know each other")
	}
	if a.mesh.drops.snapshot()["seal"] == 0 {
		t.Errorf("drops %v: the strangers' hellos are not counted", a.mesh.drops.snapshot())
	}
	if b.device.sends+a.device.sends != 0 {
		t.Error("WireGuard sent something")
	}
}

// A settled pair costs WireGuard's keepalives, and of ours a digest each five
// minutes from either side.
func TestIdleIsSilent(t *testing.T) {
	w := newWorld(t, 6)
	a := w.host("a", "192.168.1.2:20001", newNAT("5.1.1.1"))
	b := w.host("b", "5.2.2.2:20002", nil)
	a.hint(b.inner)
	if _, ok := w.run(5*time.Second, func() bool { return connected(a, b) }); !ok {
		t.Fatal("never connected")
	}
	w.run(time.Minute, nil) // addresses settle, records are exchanged
	w.sent = 0
	w.run(time.Hour, nil)
	if w.sent > 4+2*13 {
		t.Errorf("%d datagrams in an idle hour", w.sent)
	}
	if !connected(a, b) {
		t.Error("the session is gone after an idle hour")
	}
}

// A clock that is years off hinders nobody, and is told to its owner.
func TestWrongClock(t *testing.T) {
	w := newWorld(t, 7)
	a := w.host("a", "5.1.1.1:20001", nil)
	b := w.host("b", "5.2.2.2:20002", nil, func(_ *meshConfig, h *simHost) { h.wall = -9 * 365 * 24 * time.Hour })
	b.hint(a.inner)
	if took, ok := w.run(5*time.Second, func() bool { return connected(a, b) }); !ok {
		t.Fatalf("not connected after %v", took)
	}
	if n := b.mesh.clock.notice(b.wallTime()); n == "" {
		t.Error("nothing is said about the wrong clock")
	}
}

// Of two nodes that fixed one address, the one that has it keeps it and the
// other is told who that is.
func TestTakenAddress(t *testing.T) {
	w := newWorld(t, 8)
	addr := netip.AddrFrom4([4]byte{w.network.Prefix4().Addr().As4()[0], w.network.Prefix4().Addr().As4()[1], 0, 7})
	fix := func(c *meshConfig, _ *simHost) { c.fixed = []netip.Addr{addr} }
	a := w.host("holder", "5.1.1.1:20001", nil, fix)
	w.run(time.Minute, nil)
	b := w.host("late", "5.2.2.2:20002", nil, fix)
	b.hint(a.inner)
	w.run(5*time.Second, func() bool { return connected(a, b) })
	w.run(time.Second, nil)
	if got := a.mesh.addressing.own; len(got) != 1 || got[0].addr != addr {
		t.Errorf("the holder has %v", got)
	}
	if got := b.mesh.addressing.own; len(got) != 0 {
		t.Errorf("the late one has %v", got)
	}
	if _, to, err := b.mesh.find("holder"); err != nil || to.Is4() {
		t.Errorf("the late one, without an IPv4 address, is to ask %v (%v)", to, err)
	}
	said := false
	for _, e := range b.events {
		said = said || e.Kind == "notice"
	}
	if !said {
		t.Errorf("the late one is not told: %v", b.events)
	}
}

// After a crash the kernel's device goes on. The next process adopts it: no
// peer is taken out, no session starts anew, and the path is known again.
func TestAdoption(t *testing.T) {
	w := newWorld(t, 9)
	a := w.host("a", "192.168.1.2:20001", newNAT("5.1.1.1"))
	b := w.host("b", "5.2.2.2:20002", nil)
	a.hint(b.inner)
	if _, ok := w.run(5*time.Second, func() bool { return connected(a, b) }); !ok {
		t.Fatal("never connected")
	}
	w.run(time.Minute, nil)
	before, device := a.mesh, a.device
	cached := before.peers[b.mesh.self.public]
	handshake := device.states()[cached.record.WireGuard].LastHandshake

	a.boot()
	a.device = device
	a.mesh.recall(w.now, a.wallTime(), cached.signed, time.Minute, cached.lastAddr, device.states())
	device.apply(a.mesh.desired())
	a.mesh.hint(w.now, discovery.SourceCache, cached.lastAddr)
	a.step()
	if len(device.peers) != 1 {
		t.Fatalf("the device has %d peers after the restart", len(device.peers))
	}
	took, ok := w.run(5*time.Second, func() bool {
		p := b.mesh.peers[a.mesh.self.public]
		return connected(a, b) && p.record.Probe == a.mesh.self.probe.Public()
	})
	if !ok || took > time.Second {
		t.Errorf("the other side knows the new process: %v after %v", ok, took)
	}
	if got := device.states()[cached.record.WireGuard].LastHandshake; !got.Equal(handshake) {
		t.Error("the session began anew")
	}
}

// A peer that moves is followed: its authenticated packets move WireGuard, and
// the checks confirm where it is.
func TestPeerMoves(t *testing.T) {
	w := newWorld(t, 10)
	a := w.host("a", "192.168.1.2:20001", newNAT("5.1.1.1"))
	b := w.host("b", "5.2.2.2:20002", nil)
	a.hint(b.inner)
	if _, ok := w.run(5*time.Second, func() bool { return connected(a, b) }); !ok {
		t.Fatal("never connected")
	}
	w.run(time.Minute, nil)
	a.nat = newNAT("5.3.3.3") // the provider's new address
	took, ok := w.run(time.Minute, func() bool {
		p := b.mesh.peers[a.mesh.self.public]
		return p.path.Addr.Addr() == a.nat.public && b.device.peers[a.mesh.self.wireGuard].state.Endpoint == p.path.Addr
	})
	if !ok || took > keepaliveOther+5*time.Second {
		t.Errorf("followed: %v after %v", ok, took)
	}
	w.run(5*time.Minute, nil)
	if !connected(a, b) {
		t.Error("not connected any more")
	}
}

// Two nodes lose each other because both their NATs got new addresses. A third
// that both still reach brings them together; nothing else names an address.
func TestCallsThroughAThird(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, 100+seed)
		hub := w.host("hub", "5.9.9.9:20009", nil)
		a := w.host("a", "192.168.1.2:20001", newNAT("5.1.1.1"))
		b := w.host("b", "192.168.2.2:20002", newNAT("5.2.2.2"))
		a.hint(hub.inner)
		b.hint(hub.inner)
		all := []*simHost{hub, a, b}
		if _, ok := w.run(10*time.Second, func() bool { return allConnected(all) }); !ok {
			t.Fatalf("seed %d: never connected", seed)
		}
		w.run(time.Minute+time.Duration(w.rng.IntN(30000))*time.Millisecond, nil)
		a.nat, b.nat = newNAT("5.3.3.3"), newNAT("5.4.4.4")
		there := func() bool {
			pa, pb := a.mesh.peers[b.mesh.self.public], b.mesh.peers[a.mesh.self.public]
			return pa.path.Addr.Addr() == b.nat.public && pb.path.Addr.Addr() == a.nat.public
		}
		took, ok := w.run(10*time.Minute, there)
		// Up to a keepalive's interval until the hub hears of it, and the
		// session's life until both notice where nothing is sent.
		if !ok || took > sessionLife+keepaliveOther+10*time.Second {
			t.Fatalf("seed %d: found again: %v after %v\na: %v\nb: %v", seed, ok, took, a.events, b.events)
		}
	}
}

// What one member has carried is bounded, and goes only to peers that work.
func TestForwardsAreBounded(t *testing.T) {
	w := newWorld(t, 11)
	hub := w.host("hub", "5.9.9.9:20009", nil)
	a := w.host("a", "5.1.1.1:20001", nil)
	b := w.host("b", "5.2.2.2:20002", nil)
	a.hint(hub.inner)
	b.hint(hub.inner)
	if _, ok := w.run(10*time.Second, func() bool { return allConnected(w.hosts) }); !ok {
		t.Fatal("never connected")
	}
	via, to := a.mesh.peers[hub.mesh.self.public], a.mesh.peers[b.mesh.self.public]
	body := []byte("not sealed for anybody")
	for range 100 {
		sealed, err := wire.SealSignal(&via.pair, wire.Signal{Forward: &wire.Forward{To: to.node, Body: body}})
		if err != nil {
			t.Fatal(err)
		}
		w.send(a, via.path.Addr, sealed)
	}
	w.run(500*time.Millisecond, nil)
	if got := hub.mesh.drops.snapshot()["forward-limit"]; got != 100-forwardBurst {
		t.Errorf("%d forwards were refused, want %d", got, 100-forwardBurst)
	}
	if got := b.mesh.drops.snapshot()["version"]; got != forwardBurst {
		t.Errorf("%d came through, want %d, all refused for what they are: %v", got, forwardBurst, b.mesh.drops.snapshot())
	}
}

// A member that shows another node's WireGuard key, or this node's, as its own
// is refused, and leaves nothing behind.
func TestBorrowedWireGuardKey(t *testing.T) {
	w := newWorld(t, 13)
	a := w.host("a", "5.1.1.1:20001", nil)
	b := w.host("b", "5.2.2.2:20002", nil)
	b.hint(a.inner)
	if _, ok := w.run(5*time.Second, func() bool { return connected(a, b) }); !ok {
		t.Fatal("never connected")
	}
	for i, key := range []wgtypes.Key{a.mesh.self.wireGuard, b.mesh.self.wireGuard} {
		thief := w.host("thief", fmt.Sprintf("5.3.3.%d:20003", i+1), nil, func(c *meshConfig, _ *simHost) { c.self.wireGuard = key })
		thief.hint(a.inner)
		w.run(10*time.Second, nil)
	}
	if len(a.mesh.peers) != 1 || len(a.mesh.byTag) != 1 || len(a.mesh.desired().Peers) != 1 {
		t.Errorf("%d peers, %d of them in the device", len(a.mesh.peers), len(a.mesh.desired().Peers))
	}
	if a.mesh.drops.snapshot()["wireguard-key"] == 0 || !connected(a, b) {
		t.Errorf("drops %v, connected %v", a.mesh.drops.snapshot(), connected(a, b))
	}
}
