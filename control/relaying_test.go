package control

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	relaywire "github.com/credant/credant/relay/wire"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// knows has the host use the relay as with --relay.
func (h *simHost) knows(r *simRelay) { h.knowsAs(r, ownRelay, r.key) }

func (h *simHost) knowsAs(r *simRelay, class relayClass, key relaywire.ServerPublic) {
	h.mesh.addRelay(h.w.now, class, key, r.front())
	h.step()
}

// traffic sends count numbered packets to the other host.
func (h *simHost) traffic(to *simHost, every time.Duration, count int) {
	device, peer := h.device, to.device.public
	for i := range count {
		h.w.after(time.Duration(i)*every, func() { device.sendNumbered(peer, i+1) })
	}
}

func (d *simDevice) sendNumbered(peer wgtypes.Key, number int) {
	p := d.peers[peer]
	if p == nil || !p.session {
		return
	}
	p.state.TxBytes += 100
	p.traversal = d.host.w.now
	d.host.w.send(d.host, p.state.Endpoint, wgMessage{kind: "data", from: d.public, number: number})
}

// story is what the host's events said, a line each.
func (h *simHost) story() string {
	text := "\n" + h.name + ":"
	for _, e := range h.events {
		text += "\n  " + e.Time.Format("05.000") + " " + e.Kind + ": " + e.Text
	}
	return text
}

// missing are the numbers up to count that the host never heard.
func (h *simHost) missing(count int) (numbers []int) {
	for i := range count {
		if !h.device.heard[i+1] {
			numbers = append(numbers, i+1)
		}
	}
	return numbers
}

func pathTo(a, b *simHost) string {
	if p := a.mesh.peers[b.mesh.self.public]; p != nil {
		return a.mesh.statusPath(p)
	}
	return "unknown"
}

func dependentNAT(public string) *simNAT {
	n := newNAT(public)
	n.dependent = true
	return n
}

// Two nodes that no direct path can join meet through a relay that both know, and
// talk through it, after a few round trips.
func TestRelayedPair(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed)
		r := w.relay("5.9.9.9")
		a := w.host("a", "192.168.1.2:20001", dependentNAT("5.1.1.1"))
		a.knows(r)
		w.run(time.Duration(w.rng.IntN(5000))*time.Millisecond, nil)
		b := w.host("b", "192.168.2.2:20002", dependentNAT("5.2.2.2"))
		b.knows(r)
		took, ok := w.run(10*time.Second, func() bool { return connected(a, b) })
		if limit := 700 * time.Millisecond; !ok || took > limit {
			t.Fatalf("seed %d: connected %v after %v, want within %v%s%s", seed, ok, took, limit, a.story(), b.story())
		}
		if pathTo(a, b) != "relay" || pathTo(b, a) != "relay" {
			t.Errorf("seed %d: paths %s and %s, want relay", seed, pathTo(a, b), pathTo(b, a))
		}
		w.run(20*time.Second, nil)
		if !connected(a, b) || pathTo(a, b) != "relay" {
			t.Errorf("seed %d: after 20 s: %s", seed, pathTo(a, b))
		}
	}
}

// A pair that a direct path can join begins on the relay and moves without
// losing a packet.
func TestRelayToDirect(t *testing.T) {
	for _, redirects := range []bool{true, false} {
		t.Run(fmt.Sprintf("redirects=%t", redirects), func(t *testing.T) {
			for seed := range uint64(20) {
				w := newWorld(t, seed)
				r := w.relay("5.9.9.9")
				a := w.host("a", "192.168.1.2:20001", newNAT("5.1.1.1"), canRedirect(redirects))
				a.knows(r)
				w.run(time.Duration(w.rng.IntN(3000))*time.Millisecond, nil)
				b := w.host("b", "192.168.2.2:20002", newNAT("5.2.2.2"), canRedirect(redirects))
				b.knows(r)
				if _, ok := w.run(10*time.Second, func() bool { return connected(a, b) }); !ok {
					t.Fatalf("seed %d: never connected%s", seed, a.story())
				}
				const count = 4000
				a.traffic(b, 5*time.Millisecond, count)
				b.traffic(a, 5*time.Millisecond, count)
				took, ok := w.run(20*time.Second, func() bool { return pathTo(a, b) == "direct" && pathTo(b, a) == "direct" })
				if !ok || took > 3*time.Second {
					t.Errorf("seed %d: direct %v after %v, want 3 s%s%s", seed, ok, took, a.story(), b.story())
				}
				w.run(25*time.Second, nil)
				if lost := len(a.missing(count)) + len(b.missing(count)); lost > 0 {
					t.Errorf("seed %d: %d packets lost: %v %v", seed, lost, a.missing(count), b.missing(count))
				}
				for _, h := range w.hosts {
					for _, p := range h.device.peers {
						if p.state.Endpoint.Addr() == r.addr {
							t.Errorf("seed %d: WireGuard of %s is back on the relay", seed, h.name)
						}
					}
				}
			}
		})
	}
}

func canRedirect(can bool) hostOption {
	return func(c *meshConfig, _ *simHost) {
		c.canRedirect = func(_, _ netip.AddrPort) bool { return can }
	}
}

// A relay that dies under traffic is replaced by the other one that both know.
func TestRelayDies(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed)
		r1, r2 := w.relay("5.9.9.9"), w.relay("5.8.8.8")
		a := w.host("a", "192.168.1.2:20001", dependentNAT("5.1.1.1"), canRedirect(true))
		b := w.host("b", "192.168.2.2:20002", dependentNAT("5.2.2.2"), canRedirect(true))
		for _, h := range w.hosts {
			h.knows(r1)
			h.knows(r2)
		}
		w.run(5*time.Second, nil)
		if !connected(a, b) {
			t.Fatalf("seed %d: never connected%s", seed, a.story())
		}
		const count = 2000
		a.traffic(b, 10*time.Millisecond, count)
		b.traffic(a, 10*time.Millisecond, count)
		w.run(2*time.Second, nil)
		dead := r1
		if a.mesh.peers[b.mesh.self.public].path.Addr.Addr() == r2.addr {
			dead = r2
		}
		dead.off = true
		w.run(10*time.Second, nil)
		lost := append(a.missing(1180), b.missing(1180)...)
		var last time.Duration
		for _, n := range lost {
			last = max(last, time.Duration(n)*10*time.Millisecond-2*time.Second)
		}
		if !connected(a, b) || last > 2*time.Second {
			t.Errorf("seed %d: the last packet was lost %v after the relay's death, want 2 s%s", seed, last, a.story())
		}
	}
}

// The same with traffic that pauses for a second and that began after a quiet time.
func TestRelayDiesUnderSlowTraffic(t *testing.T) {
	for seed := range uint64(10) {
		w, _, a, b := relayedPair(t, seed, "5.9.9.9", "5.8.8.8")
		w.run(time.Minute+time.Duration(w.rng.IntN(5000))*time.Millisecond, nil)
		const every, count = 200 * time.Millisecond, 100
		for i := range count / 5 { // a packet a second, answered
			w.after(time.Duration(i)*time.Second, func() { a.device.sendNumbered(b.device.public, i+1) })
		}
		b.traffic(a, every, count)
		w.run(2500*time.Millisecond+time.Duration(w.rng.IntN(1000))*time.Millisecond, nil)
		path := a.mesh.peers[b.mesh.self.public].path.Addr.Addr()
		for _, r := range w.relays {
			r.off = r.addr == path
		}
		dead := w.now
		if took, ok := w.run(10*time.Second, func() bool {
			return a.mesh.peers[b.mesh.self.public].path.Addr.Addr() != path && b.mesh.peers[a.mesh.self.public].path.Addr.Addr() != path
		}); !ok || took > 2*time.Second {
			t.Errorf("seed %d: elsewhere %v after %v%s%s", seed, ok, w.now.Sub(dead), a.story(), b.story())
		}
	}
}

// A relay that says that it will stop is left without a packet lost.
func TestRelayLeaves(t *testing.T) {
	w := newWorld(t, 1)
	r1, r2 := w.relay("5.9.9.9"), w.relay("5.8.8.8")
	a := w.host("a", "192.168.1.2:20001", dependentNAT("5.1.1.1"), canRedirect(true))
	b := w.host("b", "192.168.2.2:20002", dependentNAT("5.2.2.2"), canRedirect(true))
	for _, h := range w.hosts {
		h.knows(r1)
		h.knows(r2)
	}
	w.run(5*time.Second, nil)
	if !connected(a, b) {
		t.Fatalf("never connected%s", a.story())
	}
	const count = 1000
	a.traffic(b, 10*time.Millisecond, count)
	b.traffic(a, 10*time.Millisecond, count)
	leaver := r1
	if a.mesh.peers[b.mesh.self.public].path.Addr.Addr() == r2.addr {
		leaver = r2
	}
	w.run(time.Second, nil)
	leaver.server.Leave(w.now, 5*time.Second)
	leaver.step()
	w.run(5*time.Second, nil)
	leaver.off = true
	w.run(20*time.Second, nil)
	if lost := len(a.missing(count)) + len(b.missing(count)); lost > 0 || !connected(a, b) {
		t.Errorf("%d packets lost (%v %v), connected %v%s", lost, a.missing(count), b.missing(count), connected(a, b), a.story())
	}
}

// A relay that starts anew and remembers nothing is used again at once.
func TestRelayRestarts(t *testing.T) {
	w := newWorld(t, 1)
	identity := relaywire.GenerateServer()
	r := w.relay("5.9.9.9")
	r.boot(identity)
	a := w.host("a", "192.168.1.2:20001", dependentNAT("5.1.1.1"))
	b := w.host("b", "192.168.2.2:20002", dependentNAT("5.2.2.2"))
	a.knows(r)
	b.knows(r)
	w.run(5*time.Second, nil)
	if !connected(a, b) {
		t.Fatalf("never connected%s", a.story())
	}
	const count = 1000
	a.traffic(b, 10*time.Millisecond, count)
	b.traffic(a, 10*time.Millisecond, count)
	w.run(time.Second, nil)
	r.boot(identity)
	w.run(20*time.Second, nil)
	lost := append(a.missing(count), b.missing(count)...)
	var last time.Duration
	for _, n := range lost {
		last = max(last, time.Duration(n)*10*time.Millisecond-time.Second)
	}
	if last > 1500*time.Millisecond || !connected(a, b) {
		t.Errorf("the last packet was lost %v after the restart, connected %v%s%s", last, connected(a, b), a.story(), b.story())
	}
}

// A stranger's relay is used after 3 s without another one.
func TestStrangersRelay(t *testing.T) {
	w := newWorld(t, 1)
	r := w.relay("5.9.9.9")
	a := w.host("a", "192.168.1.2:20001", dependentNAT("5.1.1.1"))
	b := w.host("b", "192.168.2.2:20002", dependentNAT("5.2.2.2"))
	a.knowsAs(r, strangerRelay, relaywire.ServerPublic{})
	b.knowsAs(r, strangerRelay, relaywire.ServerPublic{})
	w.run(strangerAfter-50*time.Millisecond, nil)
	for _, h := range w.hosts {
		if s := h.mesh.relays.all[0]; s.home || !s.up {
			t.Errorf("%s: after less than %v: home %v, up %v", h.name, strangerAfter, s.home, s.up)
		}
	}
	if took, ok := w.run(5*time.Second, func() bool { return connected(a, b) }); !ok || took > time.Second {
		t.Errorf("connected %v after %v more, want 1 s%s", ok, took, a.story())
	}
}

// A relay that one node has, another may use to reach it.
func TestMembersRelay(t *testing.T) {
	w := newWorld(t, 1)
	r := w.relay("5.9.9.9")
	hub := w.host("hub", "5.1.1.1:20001", nil)
	a := w.host("a", "192.168.1.2:20002", dependentNAT("5.2.2.2"))
	b := w.host("b", "192.168.2.2:20003", dependentNAT("5.3.3.3"))
	a.knows(r)
	a.hint(hub.inner)
	b.hint(hub.inner)
	took, ok := w.run(10*time.Second, func() bool { return allConnected(w.hosts) })
	if !ok || took > 2*time.Second {
		t.Errorf("connected %v after %v, want 2 s%s%s", ok, took, a.story(), b.story())
	}
	if pathTo(a, b) != "relay" || pathTo(a, hub) != "direct" {
		t.Errorf("a reaches b by %s and the hub by %s", pathTo(a, b), pathTo(a, hub))
	}
}

// A relay that drops, doubles, delays and holds packets back costs a pair with a
// direct path nothing that lasts, and one without it no more than packets.
func TestHostileRelay(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(t, seed)
		r := w.relay("5.9.9.9")
		var held []func()
		r.mischief = func(deliver func()) {
			if w.rng.Float64() < 0.1 {
				held = append(held, deliver)
				return
			}
			for range 1 + w.rng.IntN(3) {
				w.after(w.latency+time.Duration(w.rng.IntN(300))*time.Millisecond, deliver)
			}
		}
		a := w.host("a", "192.168.1.2:20001", newNAT("5.1.1.1"), canRedirect(true))
		b := w.host("b", "192.168.2.2:20002", newNAT("5.2.2.2"), canRedirect(true))
		c := w.host("c", "192.168.3.2:20003", dependentNAT("5.3.3.3"), canRedirect(true))
		for _, h := range w.hosts {
			h.knows(r)
		}
		if took, ok := w.run(60*time.Second, func() bool {
			return allConnected(w.hosts) && pathTo(a, b) == "direct" && pathTo(b, a) == "direct"
		}); !ok {
			t.Fatalf("seed %d: not connected after %v%s%s%s", seed, took, a.story(), b.story(), c.story())
		}
		w.run(10*time.Second, nil)
		const count = 3000
		a.traffic(b, 10*time.Millisecond, count)
		b.traffic(a, 10*time.Millisecond, count)
		for i := range 25 { // what was held back comes now, one by one
			w.after(time.Duration(i)*time.Second, func() {
				if len(held) > 0 {
					held[0]()
					held = held[1:]
				}
			})
		}
		w.run(40*time.Second, nil)
		if lost := len(a.missing(count)) + len(b.missing(count)); lost > count/50 {
			t.Errorf("seed %d: %d packets of a direct pair lost%s%s", seed, lost, a.story(), b.story())
		}
		if pathTo(a, b) != "direct" || pathTo(b, a) != "direct" || !connected(a, c) || !connected(b, c) {
			t.Errorf("seed %d: %s, %s, %s, %s%s", seed, pathTo(a, b), pathTo(b, a), pathTo(a, c), pathTo(b, c), a.story())
		}
	}
}
