package control

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/natpunch"
	relaywire "github.com/credant/credant/relay/wire"
)

// relayedPair is two nodes behind NATs that only the relays join.
func relayedPair(t *testing.T, seed uint64, relays ...string) (*world, []*simRelay, *simHost, *simHost) {
	t.Helper()
	w := newWorld(t, seed)
	var all []*simRelay
	for _, addr := range relays {
		all = append(all, w.relay(addr))
	}
	a := w.host("a", "192.168.1.2:20001", dependentNAT("5.1.1.1"), canRedirect(true))
	b := w.host("b", "192.168.2.2:20002", dependentNAT("5.2.2.2"), canRedirect(true))
	for _, h := range w.hosts {
		for _, r := range all {
			h.knows(r)
		}
	}
	w.run(5*time.Second, nil)
	if !connected(a, b) {
		t.Fatalf("never connected%s%s", a.story(), b.story())
	}
	return w, all, a, b
}

// outage is how long after the moment at which packets began to get lost the last
// one was, of those that the host missed.
func (h *simHost) outage(every time.Duration, count, after int) time.Duration {
	missing := h.missing(count)
	if len(missing) == 0 {
		return 0
	}
	return time.Duration(missing[len(missing)-1]-after) * every
}

// reboot starts the daemon anew while the kernel's device goes on, as after a kill.
func (h *simHost) reboot(cached ...*peer) {
	device := h.device
	h.boot()
	h.device = device
	for _, p := range cached {
		h.mesh.recall(h.w.now, h.wallTime(), p.signed, time.Minute, p.lastAddr, device.states())
	}
	device.apply(h.mesh.desired())
	h.step()
}

// A daemon that is killed and started again under traffic through a relay adopts the
// session and its endpoint, and finds out what that is. Nothing is lost.
func TestAdoptionOfRelayedPeer(t *testing.T) {
	for seed := range uint64(5) {
		w, relays, a, b := relayedPair(t, seed, "5.9.9.9")
		w.run(30*time.Second, nil)
		const count = 4000
		a.traffic(b, 10*time.Millisecond, count)
		b.traffic(a, 10*time.Millisecond, count)
		w.run(2*time.Second, nil)
		a.reboot(a.mesh.peers[b.mesh.self.public])
		a.knows(relays[0])
		w.run(45*time.Second, nil)
		if lost := len(a.missing(count)) + len(b.missing(count)); lost > 0 {
			t.Errorf("seed %d: %d packets lost%s%s", seed, lost, a.story(), b.story())
		}
		if pathTo(a, b) != "relay" || pathTo(b, a) != "relay" || !connected(a, b) {
			t.Errorf("seed %d: paths %s and %s%s%s", seed, pathTo(a, b), pathTo(b, a), a.story(), b.story())
		}
		w.run(10*time.Minute, nil)
		if !connected(a, b) {
			t.Errorf("seed %d: lost within ten minutes%s%s", seed, a.story(), b.story())
		}
	}
}

// A host that is relayed and comes from another address is bound anew at once.
func TestRelayedHostRoams(t *testing.T) {
	for seed := range uint64(5) {
		w, _, a, b := relayedPair(t, seed, "5.9.9.9", "5.8.8.8")
		const count = 2000
		a.traffic(b, 10*time.Millisecond, count)
		b.traffic(a, 10*time.Millisecond, count)
		w.run(5*time.Second, nil)
		a.nat, a.inner = dependentNAT("5.3.3.3"), netip.MustParseAddrPort("192.168.7.2:20001")
		a.mesh.hostChanged(w.now, []netip.Prefix{netip.PrefixFrom(a.inner.Addr(), 24)})
		a.step()
		w.run(20*time.Second, nil)
		for _, h := range w.hosts {
			if out := h.outage(10*time.Millisecond, count, 500); out > time.Second {
				t.Errorf("seed %d: %s missed packets for %v%s%s", seed, h.name, out, a.story(), b.story())
			}
		}
		if !connected(a, b) || pathTo(a, b) != "relay" {
			t.Errorf("seed %d: %s%s", seed, pathTo(a, b), a.story())
		}
	}
}

// A NAT's mappings may change without that the host is told.
func TestRelayedHostsNATChanges(t *testing.T) {
	for seed := range uint64(5) {
		w, _, a, b := relayedPair(t, seed, "5.9.9.9")
		const count = 2000
		a.traffic(b, 10*time.Millisecond, count)
		b.traffic(a, 10*time.Millisecond, count)
		w.run(5*time.Second, nil)
		a.nat = dependentNAT("5.3.3.3")
		w.run(20*time.Second, nil)
		for _, h := range w.hosts {
			if out := h.outage(10*time.Millisecond, count, 500); out > 2*time.Second {
				t.Errorf("seed %d: %s missed packets for %v%s%s", seed, h.name, out, a.story(), b.story())
			}
		}
	}
}

// A peer that starts anew behind its relay, with other probe keys and no session, is
// back soon.
func TestRelayedPeerRestarts(t *testing.T) {
	for seed := range uint64(5) {
		w, relays, a, b := relayedPair(t, seed, "5.9.9.9")
		w.run(time.Minute, nil)
		b.boot(canRedirect(true))
		b.knows(relays[0])
		took, ok := w.run(30*time.Second, func() bool {
			p := a.mesh.peers[b.mesh.self.public]
			return connected(a, b) && p.record.Probe == b.mesh.self.probe.Public() && a.device.peers[b.mesh.self.wireGuard].session
		})
		if !ok || took > 2*time.Second {
			t.Errorf("seed %d: back %v after %v%s%s", seed, ok, took, a.story(), b.story())
		}
		w.run(5*time.Minute, nil)
		if !connected(a, b) || pathTo(a, b) != "relay" || pathTo(b, a) != "relay" {
			t.Errorf("seed %d: %s and %s%s%s", seed, pathTo(a, b), pathTo(b, a), a.story(), b.story())
		}
	}
}

// A laptop that sleeps for an hour is back soon after it wakes.
func TestRelayedHostSleeps(t *testing.T) {
	for seed := range uint64(3) {
		w, _, a, b := relayedPair(t, seed, "5.9.9.9", "5.8.8.8")
		w.run(time.Minute, nil)
		a.off = true
		w.run(time.Hour, nil)
		a.off = false
		a.nat = dependentNAT("5.3.3.3") // its mappings are gone
		a.steps = 0
		a.step()
		took, ok := w.run(time.Minute, func() bool { return connected(a, b) })
		if !ok || took > 5*time.Second {
			t.Errorf("seed %d: back %v after %v%s%s", seed, ok, took, a.story(), b.story())
		}
		w.run(5*time.Minute, nil)
		if !connected(a, b) || a.steps > 5000 {
			t.Errorf("seed %d: connected %v, %d steps%s", seed, connected(a, b), a.steps, a.story())
		}
	}
}

// Three nodes behind one NAT that cannot hear each other in there.
func TestThreeBehindOneNAT(t *testing.T) {
	w := newWorld(t, 1)
	r := w.relay("5.9.9.9")
	nat := dependentNAT("5.1.1.1")
	for i := range 3 {
		h := w.host(fmt.Sprintf("n%d", i), fmt.Sprintf("192.168.%d.2:2000%d", i+1, i), nat)
		h.knows(r)
	}
	if took, ok := w.run(10*time.Second, func() bool { return allConnected(w.hosts) }); !ok || took > 2*time.Second {
		t.Errorf("connected %v after %v%s", ok, took, w.hosts[0].story())
	}
	w.run(5*time.Minute, nil)
	for _, a := range w.hosts {
		for _, b := range w.hosts {
			if a != b && (!connected(a, b) || pathTo(a, b) != "relay") {
				t.Errorf("%s reaches %s: %s%s", a.name, b.name, pathTo(a, b), a.story())
			}
		}
	}
}

// A choice of path that comes during a swap, and a peer that is forgotten during
// one, leave no redirect and no peer behind.
func TestSwapsOverlap(t *testing.T) {
	w, relays, a, b := relayedPair(t, 1, "5.9.9.9", "5.8.8.8")
	_ = relays
	p := a.mesh.peers[b.mesh.self.public]
	first := p.path
	var other natpunch.Path
	for _, r := range p.relayed {
		if r.addr != first.Addr {
			other = natpunch.Path{Addr: r.addr, Kind: natpunch.Relay, RTT: first.RTT}
		}
	}
	if !other.Addr.IsValid() {
		t.Fatalf("one relay only: %v", p.relayed)
	}
	const count = 1000
	a.traffic(b, 10*time.Millisecond, count)
	b.traffic(a, 10*time.Millisecond, count)
	for i := range 8 {
		w.after(time.Duration(i)*7*time.Millisecond, func() {
			a.mesh.install(w.now, p, []natpunch.Path{other, first}[i%2])
			a.step()
		})
	}
	w.run(12*time.Second, nil)
	if p.move != nil || len(a.device.redirects) > 0 || len(a.mesh.redirects) > 0 {
		t.Errorf("left behind: %v, %v", p.move, a.device.redirects)
	}
	if lost := len(a.missing(count)) + len(b.missing(count)); lost > 0 {
		t.Errorf("%d packets lost%s", lost, a.story())
	}
	a.mesh.install(w.now, p, other)
	a.step()
	a.mesh.forget(w.now, p)
	a.step()
	if len(a.device.redirects) > 0 {
		t.Errorf("redirects of a peer that is gone: %v", a.device.redirects)
	}
	for _, s := range a.mesh.relays.all {
		if len(s.pairs) > 0 {
			t.Errorf("%s still relays for it", s.name())
		}
	}
}

// Both sides move to the relays that have become their home, under traffic, and
// leave the one that was.
func TestHomesChange(t *testing.T) {
	for seed := range uint64(5) {
		w := newWorld(t, seed)
		r1 := w.relay("5.9.9.9")
		r1.slow = 60 * time.Millisecond
		a := w.host("a", "192.168.1.2:20001", dependentNAT("5.1.1.1"), canRedirect(true))
		b := w.host("b", "192.168.2.2:20002", dependentNAT("5.2.2.2"), canRedirect(true))
		a.knows(r1)
		b.knows(r1)
		if _, ok := w.run(10*time.Second, func() bool { return connected(a, b) }); !ok {
			t.Fatalf("seed %d: never connected%s", seed, a.story())
		}
		const count = 4000
		a.traffic(b, 10*time.Millisecond, count)
		b.traffic(a, 10*time.Millisecond, count)
		w.run(time.Second, nil)
		for _, r := range []*simRelay{w.relay("5.8.8.8"), w.relay("5.7.7.7")} {
			a.knows(r)
			w.run(time.Duration(w.rng.IntN(3000))*time.Millisecond, nil)
			b.knows(r)
		}
		w.run(90*time.Second, nil)
		if lost := len(a.missing(count)) + len(b.missing(count)); lost > 0 {
			t.Errorf("seed %d: %d packets lost%s%s", seed, lost, a.story(), b.story())
		}
		pa, pb := a.mesh.peers[b.mesh.self.public], b.mesh.peers[a.mesh.self.public]
		if pa.path.Addr != pb.path.Addr || pa.path.Addr.Addr() == r1.addr || !pa.viaRelay() {
			t.Errorf("seed %d: paths %v and %v%s", seed, pa.path, pb.path, a.story())
		}
		if n := r1.server.Stats().Allocations; n > 0 {
			t.Errorf("seed %d: %d allocations left at the old home", seed, n)
		}
	}
}

// Of two nodes that have a relay each, both use both, and either is enough.
func TestRelayEach(t *testing.T) {
	for seed := range uint64(5) {
		w := newWorld(t, seed)
		r1, r2 := w.relay("5.9.9.9"), w.relay("5.8.8.8")
		hub := w.host("hub", "5.3.3.3:20003", nil)
		a := w.host("a", "192.168.1.2:20001", dependentNAT("5.1.1.1"), canRedirect(true))
		b := w.host("b", "192.168.2.2:20002", dependentNAT("5.2.2.2"), canRedirect(true))
		a.knows(r1)
		b.knows(r2)
		a.hint(hub.inner)
		b.hint(hub.inner)
		w.run(time.Minute, nil)
		for _, r := range w.relays {
			if n := r.server.Stats().Allocations; n != 1 {
				t.Errorf("seed %d: %d allocations at %v, want 1%s", seed, n, r.addr, a.story())
			}
		}
		if !allConnected(w.hosts) {
			t.Fatalf("seed %d: not connected%s%s", seed, a.story(), b.story())
		}
		pa, pb := a.mesh.peers[b.mesh.self.public], b.mesh.peers[a.mesh.self.public]
		if pa.path.Addr != pb.path.Addr {
			t.Errorf("seed %d: paths %v and %v", seed, pa.path, pb.path)
		}
		const count = 1000
		a.traffic(b, 10*time.Millisecond, count)
		b.traffic(a, 10*time.Millisecond, count)
		w.run(time.Second, nil)
		if dead := r1; pa.path.Addr.Addr() == r1.addr {
			dead.off = true
		} else {
			r2.off = true
		}
		w.run(20*time.Second, nil)
		for _, h := range []*simHost{a, b} {
			if out := h.outage(10*time.Millisecond, count, 100); out > 2*time.Second {
				t.Errorf("seed %d: %s missed packets for %v%s%s", seed, h.name, out, a.story(), b.story())
			}
		}
	}
}

// A node that has only IPv6 and one that has only IPv4 meet through a relay that has
// both, whichever address each was told.
func TestRelayJoinsFamilies(t *testing.T) {
	for seed := range uint64(4) {
		w := newWorld(t, seed)
		r := w.relay("5.9.9.9")
		r.addr6 = netip.MustParseAddr("2a01:9::9")
		identity := relaywire.GenerateServer()
		r.boot(identity)
		a := w.host("a", "[2a01:1::2]:20001", nil)
		b := w.host("b", "192.168.2.2:20002", dependentNAT("5.2.2.2"))
		key := []relaywire.ServerPublic{r.key, {}}[seed%2]
		for _, h := range w.hosts {
			for _, addr := range r.locals() {
				h.mesh.addRelay(w.now, ownRelay, key, netip.AddrPortFrom(addr, simFront))
			}
			h.step()
		}
		if took, ok := w.run(10*time.Second, func() bool { return connected(a, b) }); !ok || took > time.Second {
			t.Fatalf("seed %d: connected %v after %v%s%s", seed, ok, took, a.story(), b.story())
		}
		w.run(5*time.Minute, nil)
		if !connected(a, b) || pathTo(a, b) != "relay" || pathTo(b, a) != "relay" {
			t.Errorf("seed %d: %s, %s%s%s", seed, pathTo(a, b), pathTo(b, a), a.story(), b.story())
		}
		for _, h := range w.hosts {
			if got := h.mesh.statusRelays(); len(got) != 1 {
				t.Errorf("seed %d: %s has relays %+v", seed, h.name, got)
			}
		}
	}
}

// The only relay of a pair is stopped and started, as by a package upgrade, at once or
// after a while.
func TestOnlyRelayIsRestarted(t *testing.T) {
	for _, gap := range []time.Duration{200 * time.Millisecond, 20 * time.Second} {
		w := newWorld(t, 1)
		identity := relaywire.GenerateServer()
		r := w.relay("5.9.9.9")
		r.boot(identity)
		a := w.host("a", "192.168.1.2:20001", dependentNAT("5.1.1.1"), canRedirect(true))
		b := w.host("b", "192.168.2.2:20002", dependentNAT("5.2.2.2"), canRedirect(true))
		a.knows(r)
		b.knows(r)
		w.run(time.Minute, nil)
		const count = 6000
		a.traffic(b, 10*time.Millisecond, count)
		b.traffic(a, 10*time.Millisecond, count)
		r.server.Leave(w.now, 5*time.Second)
		r.step()
		w.run(5*time.Second, nil)
		r.off = true
		w.run(gap, nil)
		r.boot(identity)
		began := 500 + int(gap/(10*time.Millisecond))
		w.run(65*time.Second, nil)
		limit := 2 * time.Second
		if gap > time.Second { // it is asked every few seconds by then
			limit = 12 * time.Second
		}
		for _, h := range w.hosts {
			if out := h.outage(10*time.Millisecond, count, began); out > limit {
				t.Errorf("after %v: %s misses packets for %v after the relay is back, want %v%s%s", gap, h.name, out, limit, a.story(), b.story())
			}
		}
		if !connected(a, b) || len(a.mesh.relays.homes()) != 1 {
			t.Errorf("after %v: %s, homes %q%s", gap, pathTo(a, b), homesOf(a), a.story())
		}
	}
}
