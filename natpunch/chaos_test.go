package natpunch

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestChaos does to two nodes, at random moments, whatever may happen to them.
// When it is over and both sides were told to look again, they have the same
// path, and are silent; and at no time has an agent spent more than its budgets.
func TestChaos(t *testing.T) { runChaos(t, false) }

// TestChaosWithRelays does it with two relays, which may fail too. In the end there
// is a path in any case, and the best there is.
func TestChaosWithRelays(t *testing.T) { runChaos(t, true) }

func runChaos(t *testing.T, withRelays bool) {
	t.Helper()
	count := uint64(*topologyCount / 6)
	if testing.Short() {
		count = min(count, 50)
	}
	for seed := uint64(1); seed <= count; seed++ {
		if *topologySeed != 0 && seed != *topologySeed {
			continue
		}
		want := reference(seed)
		if want == 0 && !withRelays {
			continue
		}
		want = max(want, rankRelay)
		top := newTopology(seed)
		if strings.Contains(top.text, "mapping address") {
			continue // what a pair gets there is luck
		}
		n := top.net
		c := chaos{top: top, a: newNode(top.hosts[0], 1, top.bits[0]...), b: newNode(top.hosts[1], 2, top.bits[1]...), generation: 1}
		c.a.learnReflexive(top.servers)
		c.b.learnReflexive(top.servers)
		n.run(6*time.Second, nil)
		c.a.setLocal()
		c.b.setLocal()
		meet(c.a, c.b, 0, time.Duration(n.rng.IntN(300))*time.Millisecond)
		if withRelays {
			c.addRelays()
		}
		n.loss = float64(n.rng.IntN(3)) * 0.05
		start := n.now
		for range 5 + n.rng.IntN(30) {
			n.run(time.Duration(n.rng.ExpFloat64()*float64(time.Second)), nil)
			c.step()
		}
		c.end()
		seconds := int(n.now.Sub(start).Seconds())
		for _, x := range []*simNode{c.a, c.b} {
			if limit := peerBurst + pongBurst + seconds*(peerRate+pongRate); x.sent > limit {
				t.Errorf("%d datagrams in %d s", x.sent, seconds)
			}
		}

		if *topologySeed != 0 {
			t.Logf("%s\n%v\n%v", strings.Join(c.log, "\n"), c.a.selects, c.b.selects)
		}
		pathA, okA := c.a.agent.Path(c.b.key)
		_, okB := c.b.agent.Path(c.a.key)
		if !okA || !okB {
			t.Errorf("no path: %v, %v", c.a.lost, c.b.lost)
		} else if got := c.a.agent.peers[c.b.key].rankOf(pathA.Addr); got != want {
			t.Errorf("rank %d, and there is one of %d", got, want)
		} else {
			samePair(t, c.a, c.b)
		}
		sent := c.a.sent + c.b.sent
		n.run(time.Hour, nil)
		if want == rankRelay && c.a.sent+c.b.sent-sent > 500 {
			t.Errorf("%d datagrams in an hour of waiting for something better", c.a.sent+c.b.sent-sent)
		}
		if want > rankRelay && c.a.sent+c.b.sent != sent {
			t.Errorf("%d datagrams in an hour in which nothing happened", c.a.sent+c.b.sent-sent)
		}
		if t.Failed() {
			t.Fatalf("seed %d (-topology.seed=%d):\n%s%s", seed, seed, top.text, strings.Join(c.log, "\n"))
		}
	}
}

type chaos struct {
	top        *topology
	relays     []*simRelay
	a, b       *simNode
	generation int
	log        []string
}

func (c *chaos) note(format string, args ...any) {
	c.log = append(c.log, c.top.net.now.Format("04:05.000 ")+fmt.Sprintf(format, args...))
}

// gateways are all that stand between the two.
func (c *chaos) gateways() (g []*gateway) {
	for _, h := range c.top.hosts {
		for r := h.realm; r.gateway != nil; r = r.gateway.outside {
			g = append(g, r.gateway)
		}
	}
	return g
}

func (c *chaos) step() {
	n := c.top.net
	x, y := c.a, c.b
	if n.rng.IntN(2) == 0 {
		x, y = y, x
	}
	gateways := c.gateways()
	kinds := 8
	if len(c.relays) > 0 {
		kinds = 14
	}
	switch what := n.rng.IntN(kinds); {
	case what == 0 && len(gateways) > 0:
		g := gateways[n.rng.IntN(len(gateways))]
		g.cut = !g.cut
		c.note("gateway %v cut: %v", g.addr, g.cut)
	case what == 1 && len(gateways) > 0:
		g := gateways[n.rng.IntN(len(gateways))]
		g.mappings = nil
		g.nextPort += 100
		c.note("gateway %v rebooted", g.addr)
	case what == 2:
		x.agent.Restart(n.now, y.key, "chaos")
		c.note("node %v: restart", x.addrs)
	case what == 3:
		x.agent.CheckConsent(n.now, y.key)
		c.note("node %v: check consent", x.addrs)
	case what == 4:
		x.agent.RestartAll(n.now)
		c.note("node %v: restart all", x.addrs)
	case what == 5:
		x.stun.Refresh(n.now)
		x.setLocal()
		c.note("node %v: refresh", x.addrs)
	case what == 6:
		x.agent.RemovePeer(y.key)
		c.introduce(x, y)
		c.note("node %v: forgot and met", x.addrs)
	case what == 7:
		c.generation++
		x.agent.RemovePeer(y.key)
		c.introduce(x, y)
		n.run(time.Duration(n.rng.IntN(200))*time.Millisecond, nil)
		c.introduce(y, x)
		c.note("node %v: started anew", x.addrs)
	case what > 7:
		c.relayStep(what, x, y)
	}
	x.advance()
	y.advance()
}

func (c *chaos) relayStep(what int, x, y *simNode) {
	n := c.top.net
	relay := c.relays[n.rng.IntN(len(c.relays))]
	switch what {
	case 8, 9:
		relay.dead = !relay.dead
		c.note("relay %v dead: %v", relay.host.addrs, relay.dead)
	case 10:
		if slices.ContainsFunc(x.bindings, func(b *simBinding) bool { return b.relay == relay }) {
			x.release(relay, y.key)
			c.note("node %v: released %v", x.addrs, relay.host.addrs)
		} else {
			c.rebind(relay, x)
		}
	case 11:
		c.note("node %v: traffic", x.addrs)
		for range n.rng.IntN(60) {
			x.agent.Measure(n.now, y.key)
			x.advance()
			n.run(time.Second, nil)
		}
	case 12:
		if p, ok := x.agent.Path(y.key); ok {
			c.note("node %v: avoid %v", x.addrs, p)
			x.agent.Avoid(n.now, y.key, p.Addr, 5*time.Second)
		}
	case 13:
		n.slow[relay.host.addrs[0]] = time.Duration(n.rng.IntN(10)) * time.Millisecond
		c.note("relay %v: slow by %v", relay.host.addrs, n.slow[relay.host.addrs[0]])
	}
}

// addRelays gives the two nodes two relays, which have both families.
func (c *chaos) addRelays() {
	n := c.top.net
	n.slow = map[netip.Addr]time.Duration{}
	out := c.top.hosts[0].realm
	for out.gateway != nil {
		out = out.gateway.outside
	}
	for i := range 2 {
		relay := out.relay(fmt.Sprintf("203.0.113.%d", 101+i), fmt.Sprintf("2001:db8:0:%x::1", 101+i))
		c.relays = append(c.relays, relay)
		relay.allocate(c.a, c.b, time.Duration(n.rng.IntN(500))*time.Millisecond, time.Duration(n.rng.IntN(500))*time.Millisecond)
	}
}

// rebind has a node bind again to a relay that it has released.
func (c *chaos) rebind(relay *simRelay, x *simNode) {
	if slices.ContainsFunc(x.bindings, func(b *simBinding) bool { return b.relay == relay }) {
		return
	}
	side, peer := byte('0'), c.b.key
	if x == c.b {
		side, peer = '1', c.a.key
	}
	at := relay.addrFor(x, 20000)
	x.bind(&simBinding{relay: relay, peer: peer, side: side, addr: at})
	c.note("node %v: bound to %v", x.addrs, at)
}

func (c *chaos) introduce(x, y *simNode) {
	pair, _ := simPairs(x.key, y.key, c.generation)
	x.agent.SetPeer(x.net.now, Peer{Node: y.key, Pair: pair, Candidates: y.candidates()})
	x.tellRelayed(y.key)
	x.advance()
}

// end lets the network be well again, and both sides know what they would know:
// their own addresses, each other's record, and that something happened.
func (c *chaos) end() {
	n := c.top.net
	n.loss = 0
	for _, g := range c.gateways() {
		g.cut = false
	}
	for _, relay := range c.relays {
		relay.dead = false
		c.rebind(relay, c.a)
		c.rebind(relay, c.b)
	}
	n.run(10*time.Second, nil)
	c.a.stun.Refresh(n.now)
	c.b.stun.Refresh(n.now)
	c.a.advance()
	c.b.advance()
	n.run(10*time.Second, nil)
	c.a.setLocal()
	c.b.setLocal()
	c.introduce(c.a, c.b)
	c.introduce(c.b, c.a)
	c.a.agent.RestartAll(n.now)
	c.b.agent.RestartAll(n.now)
	c.a.advance()
	c.b.advance()
	c.note("the end of it")
	n.run(2*time.Minute, nil)
}
