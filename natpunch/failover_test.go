package natpunch

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// traffic does what control does while a peer is sent to: it measures each second,
// and checks the consent of a path on which nothing came back for half a second.
// Data goes through both ways every 20 ms, while the path carries it.
func traffic(n *simnet, a, b *simNode, working func() bool, end time.Time) (lastAnswer func() time.Time) {
	answered := n.now
	var tick func(i int)
	tick = func(i int) {
		if n.now.After(end) {
			return
		}
		if working() {
			answered = n.now
		}
		for _, x := range [][2]*simNode{{a, b}, {b, a}} {
			if i%50 == 0 {
				x[0].agent.Measure(n.now, x[1].key)
			}
			if quiet := n.now.Sub(answered); quiet >= 500*time.Millisecond && quiet%(5*time.Second) < 520*time.Millisecond {
				x[0].agent.CheckConsent(n.now, x[1].key)
			}
			x[0].advance()
		}
		n.after(20*time.Millisecond, func() { tick(i + 1) })
	}
	tick(0)
	return func() time.Time { return answered }
}

// on returns both nodes on the first relay, with the second one ready.
func onRelay(t *testing.T) (*simnet, *simNode, *simNode, [2]*simRelay) {
	t.Helper()
	n, a, b, relays := twoRelayed(t, unreachable)
	meet(a, b, 0, 0)
	relays[0].allocate(a, b, 0, 0)
	n.run(10*time.Second, nil)
	relays[1].allocate(a, b, 0, 0)
	n.run(70*time.Second, nil)
	samePair(t, a, b)
	if got := lastSelect(t, a).Path.Addr.Addr(); got != relays[0].host.addrs[0] {
		t.Fatalf("on %v", got)
	}
	return n, a, b, relays
}

// A relay dies under traffic, and another one is ready.
func TestRelayDies(t *testing.T) {
	var slowest time.Duration
	for i := range 20 {
		n, a, b, relays := onRelay(t)
		dead := n.now.Add(5*time.Second + time.Duration(i*97)*time.Millisecond)
		last := traffic(n, a, b, func() bool { return n.now.Before(dead) }, dead.Add(20*time.Second))
		n.at(dead, func() { relays[0].dead = true })
		n.run(dead.Sub(n.now), nil)
		from := last()
		count := [2]int{len(a.selects), len(b.selects)}
		if !n.run(10*time.Second, func() bool { return len(a.selects) > count[0] && len(b.selects) > count[1] }) {
			t.Fatal("no other path")
		}
		slowest = max(slowest, n.now.Sub(from))
		n.run(5*time.Second, nil)
		samePair(t, a, b)
		for _, x := range []*simNode{a, b} {
			if s := lastSelect(t, x); s.Path.Addr.Addr() != relays[1].host.addrs[0] || len(x.lost) > 0 || len(x.selects) != 2 {
				t.Fatalf("selected %v, lost %v", x.selects, x.lost)
			}
		}
	}
	t.Logf("slowest %v after the last answer", slowest)
	if slowest > 1200*time.Millisecond {
		t.Errorf("%v after the last answer", slowest)
	}
}

// A direct path fails, and a relay is ready: whichever side notices, both are on
// the relay soon, and back when the path is.
func TestDirectFailsOverToRelay(t *testing.T) {
	for name, tt := range map[string]struct{ a, b bool }{"controlling": {true, false}, "controlled": {false, true}, "both": {true, true}} {
		t.Run(name, func(t *testing.T) {
			n, a, b, relays := twoRelayed(t, home)
			meet(a, b, 0, 0)
			relays[0].allocate(a, b, 0, 0)
			n.run(time.Minute, nil)
			if s := lastSelect(t, a); s.Path.Kind != Direct {
				t.Fatalf("selected %v", s)
			}
			homes := []netip.Addr{a.realm.gateway.addr, b.realm.gateway.addr}
			a.realm.gateway.blocks = func(p simPacket) bool { return p.to.Addr() == homes[1] || p.from.Addr() == homes[1] }
			count := [2]int{len(a.selects), len(b.selects)}
			start := n.now
			if tt.a {
				a.agent.CheckConsent(n.now, b.key)
				a.advance()
			}
			if tt.b {
				b.agent.CheckConsent(n.now, a.key)
				b.advance()
			}
			moved := func() bool { return len(a.selects) > count[0] && len(b.selects) > count[1] }
			if !n.run(10*time.Second, moved) {
				t.Fatal("no other path")
			}
			took := n.now.Sub(start)
			t.Logf("on the relay after %v", took)
			if took > 700*time.Millisecond {
				t.Errorf("on the relay after %v", took)
			}
			if s := lastSelect(t, a); s.Path.Kind != Relay {
				t.Errorf("selected %v", s)
			}
			samePair(t, a, b)
			n.run(40*time.Second, nil)
			if got := a.agent.WhyNotDirect(b.key); !strings.HasPrefix(got, "no answer at ") {
				t.Errorf("why not direct: %q", got)
			}
			a.realm.gateway.blocks = nil
			n.run(2*time.Minute, nil)
			for _, x := range []*simNode{a, b} {
				if s := lastSelect(t, x); s.Path.Kind != Direct || len(x.lost) > 0 || len(x.selects) != count[0]+2 {
					t.Errorf("selected %v, lost %v", x.selects, x.lost)
				}
			}
			if got := a.agent.WhyNotDirect(b.key); got != "" {
				t.Errorf("why not direct: %q", got)
			}
		})
	}
}

// The relay takes the allocation back: another relay is selected, and without one
// the path is lost.
func TestSelectedRelayIsRemoved(t *testing.T) {
	for i := range 2 {
		n, a, b, relays := onRelay(t)
		x, y := a, b
		if i == 1 {
			x, y = b, a
		}
		count := [2]int{len(a.selects), len(b.selects)}
		start := n.now
		x.release(relays[0], y.key)
		n.run(time.Second, nil)
		for j, z := range []*simNode{a, b} {
			if s := lastSelect(t, z); len(z.selects) != count[j]+1 || s.Path.Addr.Addr() != relays[1].host.addrs[0] || z.at[len(z.at)-1].Sub(start) > 250*time.Millisecond {
				t.Errorf("selected %v after %v", s, z.at[len(z.at)-1].Sub(start))
			}
		}
		samePair(t, a, b)
		if got := x.agent.peers[y.key].find(netip.Addr{}, netip.AddrPortFrom(relays[0].host.addrs[0], 20000)); got != nil {
			t.Error("the pair is still there")
		}

		x.release(relays[1], y.key)
		n.run(10*time.Second, nil)
		if p, ok := x.agent.Path(y.key); ok || len(x.lost) != 1 || !strings.HasPrefix(x.lost[0].Reason, "the relay gave the path up: no answer at ") {
			t.Errorf("path %v, lost %v", p, x.lost)
		}
		if len(x.lost) > 0 && strings.Contains(x.lost[0].Reason, "198.51.100.10") {
			t.Errorf("the reason names a relay that is gone: %v", x.lost)
		}
		for _, p := range x.agent.peers[y.key].pairs {
			if p.remote.Addr() == relays[0].host.addrs[0] || p.remote.Addr() == relays[1].host.addrs[0] {
				t.Errorf("a relay's address was learnt as the peer's: %v", p)
			}
		}
	}
}

// Of two relays, the faster one is selected when it has been clearly faster for
// half a minute; one that is now and then, or a little, is not.
func TestFasterRelay(t *testing.T) {
	for name, tt := range map[string]struct {
		slower time.Duration
		noisy  bool
		every  time.Duration
		move   bool
	}{
		"clearly":           {slower: 20 * time.Millisecond, every: time.Second, move: true},
		"clearly, idle":     {slower: 20 * time.Millisecond, every: time.Minute, move: true},
		"a little":          {slower: 500 * time.Microsecond, every: time.Second},
		"from time to time": {slower: 20 * time.Millisecond, noisy: true, every: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			n, a, b, relays := onRelay(t)
			near := relays[0].host.addrs[0]
			n.slow[relays[1].host.addrs[0]] = 0
			n.slow[near] = tt.slower
			start := n.now
			for i := range int(10 * time.Minute / tt.every) {
				if tt.noisy {
					n.slow[near] = tt.slower * time.Duration(i/10%2)
				}
				for _, x := range [][2]*simNode{{a, b}, {b, a}} {
					x[0].agent.Measure(n.now, x[1].key)
					x[0].advance()
				}
				n.run(tt.every, nil)
			}
			for _, x := range []*simNode{a, b} {
				if moved := len(x.selects) > 1; moved != tt.move {
					t.Fatalf("selected %v", x.selects)
				}
				if !tt.move {
					continue
				}
				if took := x.at[1].Sub(start); took < betterFor || took > betterFor+2*tt.every+10*time.Second {
					t.Errorf("moved after %v", took)
				}
				if len(x.selects) != 2 || x.selects[1].Path.Addr.Addr() != relays[1].host.addrs[0] || len(x.lost) > 0 {
					t.Errorf("selected %v, lost %v", x.selects, x.lost)
				}
			}
			samePair(t, a, b)
		})
	}
}

// Traffic did not follow to a path that answers checks: neither side selects it
// before the time is over, whoever says so.
func TestAvoid(t *testing.T) {
	for i := range 2 {
		n, a, b, relays := twoRelayed(t, home)
		meet(a, b, 0, 0)
		relays[0].allocate(a, b, 0, 0)
		n.run(time.Minute, nil)
		x, y := a, b
		if i == 1 {
			x, y = b, a
		}
		direct := lastSelect(t, x).Path
		if direct.Kind != Direct {
			t.Fatalf("selected %v", direct)
		}
		start := n.now
		x.agent.Avoid(n.now, y.key, direct.Addr, 10*time.Minute)
		x.advance()
		n.run(9*time.Minute, nil)
		for _, z := range []*simNode{a, b} {
			last := len(z.at) - 1
			if s := z.selects[last]; s.Path.Kind != Relay || z.at[last].Sub(start) > time.Second || len(z.lost) > 0 {
				t.Errorf("node %d: selected %v, after %v; lost %v", i, z.selects, z.at[last].Sub(start), z.lost)
			}
		}
		samePair(t, a, b)
		if got := x.agent.WhyNotDirect(y.key); got != "checks of "+direct.Addr.String()+" are answered, but traffic did not follow there" {
			t.Errorf("why not direct: %q", got)
		}
		n.run(10*time.Minute, nil)
		if s := lastSelect(t, x); s.Path.Kind != Direct {
			t.Errorf("node %d: selected %v", i, x.selects)
		}
		samePair(t, a, b)
	}
}
