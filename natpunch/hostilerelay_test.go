package natpunch

import (
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/discovery/wire"
)

// A relay keeps back what it forwards, and sends it on, twice, in another order,
// from wherever it likes, while the pair has a direct path: nobody moves.
func TestHostileRelayMovesNobody(t *testing.T) {
	n, a, b, relays := twoRelayed(t, home)
	relay := relays[0]
	var kept []simPacket
	relay.holds = func(p simPacket) bool {
		kept = append(kept, p)
		return n.rng.IntN(2) == 0
	}
	homes := []netip.Addr{a.realm.gateway.addr, b.realm.gateway.addr}
	a.realm.gateway.blocks = func(p simPacket) bool { return p.to.Addr() == homes[1] || p.from.Addr() == homes[1] }
	meet(a, b, 0, 0)
	relay.allocate(a, b, 0, 0)
	n.run(time.Minute, nil)
	a.agent.Restart(n.now, b.key, "test")
	b.agent.Restart(n.now, a.key, "test")
	a.advance()
	b.advance()
	n.run(time.Minute, nil)
	a.realm.gateway.blocks = nil
	n.run(2*time.Hour, nil)
	if lastSelect(t, a).Path.Kind != Direct || len(kept) < 20 {
		t.Fatalf("selected %v, kept %d datagrams", a.selects, len(kept))
	}
	samePair(t, a, b)

	count := [2]int{len(a.selects), len(b.selects)}
	a.lost, b.lost = nil, nil
	sent := a.sent + b.sent
	var ports []uint16
	for port := range relay.ports {
		ports = append(ports, port)
	}
	for i := range 2000 {
		p := kept[n.rng.IntN(len(kept))]
		to := relay.ports[ports[0]].ends[n.rng.IntN(2)]
		from := to.at
		if i%3 == 0 {
			from = netip.AddrPortFrom(from.Addr(), uint16(21000+n.rng.IntN(1000)))
		}
		relay.send(from, to.from, p.data)
		n.run(time.Duration(n.rng.IntN(100))*time.Millisecond, nil)
	}
	n.run(time.Minute, nil)
	if len(a.selects) != count[0] || len(b.selects) != count[1] || len(a.lost)+len(b.lost) > 0 {
		t.Errorf("selected %v, %v; lost %v, %v", a.selects[count[0]:], b.selects[count[1]:], a.lost, b.lost)
	}
	if got := a.sent + b.sent - sent; got > 200 {
		t.Errorf("%d datagrams sent for %d that were played back", got, 2000)
	}
	samePair(t, a, b)
}

// A nomination through the relay arrives after the pair has moved to a direct path:
// the relay kept it back to draw the traffic to itself.
func TestLateNominationIsNotFollowed(t *testing.T) {
	n, a, b, relays := twoRelayed(t, home)
	relay := relays[0]
	var kept []simPacket
	relay.holds = func(p simPacket) bool {
		kept = append(kept, p)
		return true
	}
	meet(a, b, time.Second, time.Second)
	relay.allocate(a, b, 0, 0)
	n.run(time.Second, nil)
	homes := []netip.Addr{a.realm.gateway.addr, b.realm.gateway.addr}
	a.realm.gateway.blocks = func(p simPacket) bool { return p.to.Addr() == homes[1] || p.from.Addr() == homes[1] }
	a.tellRelayed(b.key)
	b.tellRelayed(a.key)
	n.run(300*time.Millisecond, nil)
	a.realm.gateway.blocks = nil
	n.run(time.Minute, nil)
	if lastSelect(t, b).Path.Kind != Direct {
		t.Fatalf("selected %v", b.selects)
	}
	nominations := 0
	for _, p := range kept {
		if c, err := openTestCheck(&b.agent.peers[a.key].pair, p.data); err == nil && c.Nominated && c.Type == ping {
			nominations++
		}
		for _, e := range relay.ports[20000].ends {
			relay.send(e.at, e.from, p.data)
		}
	}
	n.run(time.Minute, nil)
	if nominations == 0 {
		t.Fatal("nothing was nominated through the relay")
	}
	if len(b.selects) != 1 || len(a.selects) != 1 {
		t.Errorf("selected %v, %v", a.selects, b.selects)
	}
}

// A relay forwards one way only: the side that is drawn to it notices, and neither
// is left with a path that does not work.
func TestOneWayRelay(t *testing.T) {
	for side := range 2 {
		n, a, b, relays := twoRelayed(t, unreachable)
		ab, ba := simPairs(a.key, b.key, 1) // without an address, nothing else is checked
		a.agent.SetPeer(n.now, Peer{Node: b.key, Pair: ab})
		b.agent.SetPeer(n.now, Peer{Node: a.key, Pair: ba})
		relays[0].holds = func(p simPacket) bool {
			return p.from.Addr() == []netip.Addr{a.realm.gateway.addr, b.realm.gateway.addr}[side]
		}
		relays[0].allocate(a, b, 0, 0)
		n.run(20*time.Second, nil)
		_, okA := a.agent.Path(b.key)
		_, okB := b.agent.Path(a.key)
		if okA || okB {
			t.Errorf("side %d: paths %v, %v; selected %v, %v", side, okA, okB, a.selects, b.selects)
		}
		relays[1].allocate(a, b, 0, 0)
		n.run(20*time.Second, nil)
		samePair(t, a, b)
		if s := lastSelect(t, b); s.Path.Addr.Addr() != relays[1].host.addrs[0] {
			t.Errorf("side %d: selected %v", side, s)
		}
	}
}

// A member on a relay that calls for rounds without end, and pings from ever new
// addresses, makes the victim send no more than its budgets, and its own checks of
// the relay still leave.
func TestHostileMemberOnRelay(t *testing.T) {
	for name, id := range map[string]int{"controlled": 9, "controlling": 0} {
		t.Run(name, func(t *testing.T) {
			n := newSimnet(1)
			r, _ := internet(n)
			a := newNode(r.host(41000, "198.51.100.11"), 5, 24)
			m := newMember(t, n, a, id)
			relayed := netip.MustParseAddrPort("198.51.100.101:20000")
			theirs, _ := simPairs(a.key, m.node, 1)
			var announced []wire.Candidate
			for i := range maxCandidates {
				announced = append(announced, wire.Candidate{Type: wire.ServerReflexive, Addr: netip.AddrPortFrom(netip.MustParseAddr("203.0.113.7"), uint16(i+1))})
			}
			a.agent.SetPeer(n.now, Peer{Node: m.node, Pair: theirs, Candidates: announced})
			a.agent.SetRelayed(n.now, m.node, []Relayed{{Addr: relayed, Ready: true}})
			a.agent.Validated(n.now, m.node, relayed, 20*time.Millisecond)
			const seconds = 120
			pings, measures, start := 0, 0, n.now
			var waits []time.Duration
			for i := range seconds * 100 {
				n.now = start.Add(time.Duration(i) * 10 * time.Millisecond)
				from := relayed
				if i%2 == 0 {
					from = netip.AddrPortFrom(netip.MustParseAddr("203.0.113.66"), uint16(1+i))
				}
				_ = a.agent.Receive(n.now, from, m.ping(func(c *check) { c.Round, c.Nominated = true, i%5 == 0 && from == relayed }))
				if i%100 == 0 {
					a.agent.Measure(n.now, m.node)
					measures++
				}
				for _, x := range a.agent.Advance(n.now) {
					s, ok := x.(Send)
					if !ok {
						continue
					}
					c, err := openTestCheck(&m.pair, s.Data)
					if err != nil {
						t.Fatal(err)
					}
					if c.Type == pong {
						continue
					}
					pings++
					if s.To == relayed { // the relay itself works
						if reason := a.agent.Receive(n.now, relayed, m.answer(s, func(p *check) { p.Nominated = c.Nominated })); reason == "" {
							waits = append(waits, n.now.Sub(start))
						}
					}
				}
				if got := len(a.agent.peers[m.node].pairs); got > maxCandidates+maxReflexive+maxRelayed {
					t.Fatalf("%d pairs", got)
				}
			}
			if limit := peerBurst + seconds*peerRate; pings > limit {
				t.Errorf("%d pings, want at most %d", pings, limit)
			}
			longest := time.Duration(0)
			for i := 1; i < len(waits); i++ {
				longest = max(longest, waits[i]-waits[i-1])
			}
			if longest > 5*time.Second {
				t.Errorf("the relay was not checked for %v", longest)
			}
			if p, ok := a.agent.Path(m.node); !ok || p.Kind != Relay {
				t.Errorf("path %v", p)
			}
			t.Logf("%d pings, the relay at least every %v", pings, longest)
		})
	}
}

// A peer calls for rounds all the time: they are not made more often than one that
// is sane would call for them.
func TestCallsAreBounded(t *testing.T) {
	n, a, _ := twoPublic(t)
	m := newMember(t, n, a, 0)
	relayed, own := netip.MustParseAddrPort("198.51.100.101:20000"), netip.MustParseAddrPort("203.0.113.7:7")
	theirs, _ := simPairs(a.key, m.node, 1)
	a.agent.SetPeer(n.now, Peer{Node: m.node, Pair: theirs, Candidates: []wire.Candidate{{Type: wire.Host, Addr: own}}})
	a.agent.SetRelayed(n.now, m.node, []Relayed{{Addr: relayed, Ready: true}})
	a.agent.Validated(n.now, m.node, relayed, 20*time.Millisecond)
	const seconds = 60
	pings := 0
	for range seconds * 10 {
		a.agent.Receive(n.now, relayed, m.ping(func(c *check) { c.Round = true }))
		for range 10 {
			n.now = n.now.Add(10 * time.Millisecond)
			for _, x := range a.agent.Advance(n.now) {
				if s, ok := x.(Send); ok && s.To == own {
					pings++
				}
			}
		}
	}
	if limit := len(pingGaps) * (1 + callBurst + seconds/10); pings > limit || pings == 0 {
		t.Errorf("%d pings, want at most %d", pings, limit)
	}
}

// A side that has a path follows to a relay only when its own check was answered.
func TestRelayNominationNeedsOwnCheck(t *testing.T) {
	n, a, b, relays := onRelay(t)
	relays[1].holds = func(p simPacket) bool { return p.from.Addr() == b.realm.gateway.addr }
	l := a.agent.peers[b.key]
	l.nominate(n.now, l.find(netip.Addr{}, netip.AddrPortFrom(relays[1].host.addrs[0], 20000)))
	a.agent.reschedule(l)
	a.advance()
	n.run(time.Minute, nil)
	if len(a.selects) != 1 || len(b.selects) != 1 || len(a.lost)+len(b.lost) > 0 {
		t.Errorf("selected %v, %v; lost %v, %v", a.selects, b.selects, a.lost, b.lost)
	}
	samePair(t, a, b)
}

// Measuring all of a full table costs no more than all else together may.
func TestMeasuringIsBounded(t *testing.T) {
	n, a, _ := twoPublic(t)
	for i := range MaxPeers {
		ours, _ := simPairs(a.key, simKey(1000+i), 1)
		node := simKey(1000 + i)
		var relayed []Relayed
		for j := range 10 {
			relayed = append(relayed, Relayed{netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(j)}), uint16(20000+i)), true})
		}
		a.agent.SetPeer(n.now, Peer{Node: node, Pair: ours})
		a.agent.SetRelayed(n.now, node, relayed)
		a.agent.Validated(n.now, node, relayed[0].Addr, 20*time.Millisecond)
		if got := len(a.agent.peers[node].pairs); got > maxRelayed {
			t.Fatalf("%d pairs", got)
		}
	}
	a.agent.Advance(n.now)
	start, sent := n.now, 0
	const seconds = 30
	for i := range seconds * 10 {
		n.now = start.Add(time.Duration(i) * 100 * time.Millisecond)
		for j := range MaxPeers {
			if i%10 == j%10 {
				a.agent.Measure(n.now, simKey(1000+j))
			}
		}
		if i == 0 && a.agent.pings.tokens < totalBurst/2 {
			t.Errorf("%v pings are left for what is urgent", a.agent.pings.tokens)
		}
		for _, x := range a.agent.Advance(n.now) {
			if _, ok := x.(Send); ok {
				sent++
			}
		}
	}
	if limit := totalBurst + seconds*totalRate + 1; sent > limit || sent < limit/3 {
		t.Errorf("%d datagrams in %d s", sent, seconds)
	}
	for j := range MaxPeers {
		a.agent.RemovePeer(simKey(1000 + j))
	}
	if len(a.agent.relayed) != 0 {
		t.Errorf("%d addresses are still known", len(a.agent.relayed))
	}
}

// Whatever else an older peer sends or leaves out, a refusal is only what answers a
// nomination without following it.
func TestRefusal(t *testing.T) {
	n, a, _ := twoPublic(t)
	m := newMember(t, n, a, 1<<30)
	from := netip.MustParseAddrPort("198.51.100.77:7000")
	relayed := netip.MustParseAddrPort("198.51.100.101:20000")
	a.agent.SetRelayed(n.now, m.node, []Relayed{{Addr: relayed, Ready: true}})
	a.agent.Receive(n.now, from, m.ping(nil))
	nominated := map[netip.AddrPort]int{}
	for range 100 {
		for _, x := range a.agent.Advance(n.now) {
			s, ok := x.(Send)
			if !ok {
				continue
			}
			c, err := openTestCheck(&m.pair, s.Data)
			if err != nil || c.Type == pong {
				continue
			}
			if c.Nominated {
				nominated[s.To]++
			}
			a.agent.Receive(n.now, s.To, m.answer(s, func(p *check) { p.Nominated = c.Nominated && s.To == relayed }))
		}
		n.now = n.now.Add(10 * time.Millisecond)
	}
	if p, _ := a.agent.Path(m.node); p.Addr != relayed {
		t.Errorf("path %v, nominated %v", p, nominated)
	}
	if nominated[from] != 1 {
		t.Errorf("nominated %v, want the refused one once", nominated)
	}
}
