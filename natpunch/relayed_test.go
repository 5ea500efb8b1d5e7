package natpunch

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/discovery/wire"
)

// unreachable is a NAT that maps each destination to another port and lets nobody
// else in: between two of them there is no direct path.
func unreachable(addr string) gateway {
	return gateway{addr: netip.MustParseAddr(addr), mapping: AddressAndPortDependent, filtering: AddressAndPortDependent}
}

// twoRelayed returns two nodes behind NATs of a kind, whose reflexive addresses are
// known, and two relays: the first 20 ms away from both, the other further.
func twoRelayed(t *testing.T, kind func(string) gateway) (*simnet, *simNode, *simNode, [2]*simRelay) {
	t.Helper()
	n := newSimnet(1)
	n.slow = map[netip.Addr]time.Duration{}
	r, servers := internet(n)
	r.delay = 5 * time.Millisecond
	near, far := r.relay("198.51.100.101"), r.relay("198.51.100.102")
	n.slow[far.host.addrs[0]] = 5 * time.Millisecond
	a := newNode(r.inner(kind("198.51.100.11")).host(41000, "192.168.1.10"), 1, 24)
	b := newNode(r.inner(kind("198.51.100.12")).host(42000, "192.168.2.10"), 2, 24)
	a.learnReflexive(servers)
	b.learnReflexive(servers)
	n.run(time.Second, nil)
	a.setLocal()
	b.setLocal()
	return n, a, b, [2]*simRelay{near, far}
}

// ready reports whether the node knows an allocation to be ready.
func (n *simNode) ready() bool {
	for _, b := range n.bindings {
		if b.ready {
			return true
		}
	}
	return false
}

func lastSelect(t *testing.T, n *simNode) Select {
	t.Helper()
	if len(n.selects) == 0 {
		t.Fatal("nothing was selected")
	}
	return n.selects[len(n.selects)-1]
}

// A relayed address that becomes ready is selected one round trip later where
// there is no path, and 50 ms after that at most where a direct one may yet come.
func TestRelayIsSelectedAtOnce(t *testing.T) {
	const rtt = 21 * time.Millisecond
	for name, tt := range map[string]struct {
		met    time.Duration // before the allocation
		delays [2]time.Duration
		limit  time.Duration
	}{
		"nothing else to hope for": {met: 10 * time.Second, limit: rtt},
		"together":                 {limit: rtt + nominationWindow},
		"one binds late":           {met: 10 * time.Second, delays: [2]time.Duration{0, time.Second}, limit: rtt},
		"the other binds late":     {met: 10 * time.Second, delays: [2]time.Duration{time.Second, 0}, limit: rtt},
	} {
		t.Run(name, func(t *testing.T) {
			n, a, b, relays := twoRelayed(t, unreachable)
			meet(a, b, 0, 0)
			n.run(tt.met, nil)
			relays[0].allocate(a, b, tt.delays[0], tt.delays[1])
			if !n.run(time.Minute, func() bool { return a.ready() && b.ready() }) {
				t.Fatal("not ready")
			}
			start := n.now
			if !n.run(time.Minute, func() bool { return len(a.selects) > 0 && len(b.selects) > 0 }) {
				t.Fatal("no path")
			}
			if took := n.now.Sub(start); took > tt.limit {
				t.Errorf("selected %v after it was ready, want %v", took, tt.limit)
			}
			if b.at[0].After(a.at[0]) || !a.selects[0].Initiate || b.selects[0].Initiate {
				t.Errorf("the controlling side starts the handshake, at %v; the other one selects at %v", a.at[0], b.at[0])
			}
			for _, x := range []*simNode{a, b} {
				if s := lastSelect(t, x); s.Path.Kind != Relay || s.Path.Addr.Addr() != relays[0].host.addrs[0] {
					t.Errorf("selected %v", s)
				}
			}
			samePair(t, a, b)
		})
	}
}

// Only one side knows that the relay is ready: its pings tell the other one.
func TestPingMakesReady(t *testing.T) {
	for i := range 2 {
		n, a, b, relays := twoRelayed(t, unreachable)
		meet(a, b, 0, 0)
		n.run(10*time.Second, nil)
		deaf := []*simNode{a, b}[i]
		take := deaf.receive
		deaf.receive = func(from netip.AddrPort, d []byte) {
			if string(d) != "bound both" {
				take(from, d)
			}
		}
		relays[0].allocate(a, b, 0, 0)
		n.run(200*time.Millisecond, nil)
		samePair(t, a, b)
		deaf.tellRelayed(map[*simNode]*simNode{a: b, b: a}[deaf].key) // it still does not know
		n.run(time.Minute, nil)
		samePair(t, a, b)
		if len(deaf.selects) != 1 || len(deaf.lost) != 1 {
			t.Errorf("selected %v, lost %v", deaf.selects, deaf.lost)
		}
	}
}

// Two NATs that filter by address and port open in one round that both sides make
// at one moment, because one calls for it through the relay.
func TestRelayThenDirect(t *testing.T) {
	n, a, b, relays := twoRelayed(t, home)
	homes := []netip.Addr{a.realm.gateway.addr, b.realm.gateway.addr}
	for i, x := range []*simNode{a, b} { // a firewall between the two
		x.realm.gateway.blocks = func(p simPacket) bool { return p.to.Addr() == homes[1-i] || p.from.Addr() == homes[1-i] }
	}
	meet(a, b, 0, 0)
	relays[0].allocate(a, b, 0, 0)
	n.run(time.Hour+time.Minute, nil)
	if len(a.selects) != 1 || a.selects[0].Path.Kind != Relay || len(b.selects) != 1 {
		t.Fatalf("selected %v, %v", a.selects, b.selects)
	}
	for _, x := range []*simNode{a, b} { // the firewalls are gone, and what the NATs knew
		x.realm.gateway.blocks, x.realm.gateway.mappings = nil, nil
		x.simHost.send(netip.AddrPortFrom(relays[0].host.addrs[0], 20000), keepalive)
	}
	// Something else wakes the search: one new candidate.
	pair, _ := simPairs(a.key, b.key, 1)
	more := append(b.candidates(), wire.Candidate{Type: wire.ServerReflexive, Addr: netip.MustParseAddrPort("203.0.113.99:9")})
	n.run(time.Second, nil)
	start := n.now
	var first [2]time.Time // when the first datagram of each arrives
	n.trace = func(p simPacket) {
		for i := range first {
			if first[i].IsZero() && p.from.Addr() == homes[i] && p.to.Addr().IsPrivate() {
				first[i] = n.now
			}
		}
	}
	a.agent.SetPeer(n.now, Peer{Node: b.key, Pair: pair, Candidates: more})
	a.advance()
	n.run(time.Minute, nil)
	if apart := first[0].Sub(first[1]).Abs(); apart > time.Millisecond {
		t.Errorf("the two sides began %v apart", apart)
	}
	for _, x := range []*simNode{a, b} {
		if s := lastSelect(t, x); s.Path.Kind != Direct || len(x.selects) != 2 || len(x.lost) > 0 {
			t.Errorf("selected %v, lost %v", x.selects, x.lost)
		}
	}
	// Half a round trip for the call, one for the check and the one that it meets,
	// one for the nomination.
	const rtt = 21 * time.Millisecond
	if took := a.at[1].Sub(start); took > 3*rtt+pace {
		t.Errorf("direct after %v", took)
	}
	samePair(t, a, b)
	sent := a.sent + b.sent
	n.run(10*time.Hour, nil)
	if a.sent+b.sent != sent {
		t.Errorf("%d datagrams while nothing happened on a direct path", a.sent+b.sent-sent)
	}
}

// While the path is a relay's, better ones are looked for less and less often.
func TestSearchGetsRare(t *testing.T) {
	n, a, b, relays := twoRelayed(t, unreachable)
	meet(a, b, 0, 0)
	relays[0].allocate(a, b, 0, 0)
	n.run(400*time.Second, nil)
	first := a.sent + b.sent
	n.run(10*time.Hour, nil)
	sent := a.sent + b.sent
	n.run(10*time.Hour, nil)
	t.Logf("%d datagrams in the first minutes, %d an hour each in the end", first, (a.sent+b.sent-sent)/20)
	if got := (a.sent + b.sent - sent) / 20; got == 0 || got > 30 {
		t.Errorf("%d datagrams an hour each", got)
	}
	if first > 400 {
		t.Errorf("%d datagrams in the first minutes", first)
	}
	if len(a.selects) != 1 || len(b.selects) != 1 {
		t.Errorf("selected %v, %v", a.selects, b.selects)
	}
	if got := a.agent.WhyNotDirect(b.key); !strings.HasPrefix(got, "no answer at any of the peer's 3 addresses (") {
		t.Errorf("why not direct: %q", got)
	}
}

// What a person is told about a pair that is not direct.
func TestWhyNotDirect(t *testing.T) {
	n, a, b, relays := twoRelayed(t, unreachable)
	why := func(want string) {
		t.Helper()
		if got := a.agent.WhyNotDirect(b.key); got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	why("")
	pair, _ := simPairs(a.key, b.key, 1)
	a.agent.SetPeer(n.now, Peer{Node: b.key, Pair: pair})
	why("the peer has not told an address yet")
	meet(a, b, 0, 0)
	relays[0].allocate(a, b, 0, 0)
	n.run(100*time.Millisecond, nil)
	why("looking for a direct path")
	n.run(2*time.Minute, nil)
	addrs := "198.51.100.12:37274, 198.51.100.12:37275, 198.51.100.12:37276"
	why("no answer at any of the peer's 3 addresses (" + addrs + ")")
	a.agent.SetLocal(n.now, Local{
		Candidates: a.candidates(), Prefixes: a.prefixes, HasIPv4: true,
		NAT4: wire.NATBehavior{Mapping: wire.AddressAndPortDependent},
	})
	a.agent.SetPeer(n.now, Peer{Node: b.key, Pair: pair, Candidates: b.candidates(), NAT4: wire.NATBehavior{Mapping: wire.AddressDependent}})
	why("no answer at any of the peer's 3 addresses (" + addrs + "): both NATs take another port for each destination, so neither side knows where to send")
	if s := lastSelect(t, a); s.Path.Kind.String() != "relay" || len(a.selects) != 1 {
		t.Errorf("selected %v", a.selects)
	}
}

// A direct check succeeds, and its nominations are lost: the relay is selected
// meanwhile, and the direct path when they arrive.
func TestStalledNomination(t *testing.T) {
	n, a, b, relays := twoRelayed(t, home)
	relays[0].allocate(a, b, 0, 0)
	take := b.receive
	stalled := true
	b.receive = func(from netip.AddrPort, d []byte) {
		if l := b.agent.peers[a.key]; l != nil && stalled && from.Addr() != relays[0].host.addrs[0] {
			if c, err := openTestCheck(&l.pair, d); err == nil && c.Nominated {
				return
			}
		}
		take(from, d)
	}
	meet(a, b, time.Second, time.Second)
	n.run(time.Second, nil)
	start := n.now
	a.tellRelayed(b.key)
	b.tellRelayed(a.key)
	n.run(20*time.Second, func() bool { return len(a.selects) > 0 && len(b.selects) > 0 })
	if took := n.now.Sub(start); took > 500*time.Millisecond || lastSelect(t, a).Path.Kind != Relay {
		t.Errorf("selected %v after %v", a.selects, took)
	}
	samePair(t, a, b)
	n.run(20*time.Second, nil)
	stalled = false
	n.run(20*time.Second, nil)
	if lastSelect(t, a).Path.Kind != Direct || lastSelect(t, b).Path.Kind != Direct {
		t.Errorf("selected %v, %v", a.selects, b.selects)
	}
	samePair(t, a, b)
}

// The call for a round is lost, or meets a measurement: it is sent again, and heard.
func TestCallIsHeard(t *testing.T) {
	for name, lose := range map[string]bool{"lost": true, "measured at the same time": false} {
		t.Run(name, func(t *testing.T) {
			n, a, b, relays := twoRelayed(t, unreachable)
			meet(a, b, 0, 0)
			relays[0].allocate(a, b, 0, 0)
			n.run(10*time.Minute, nil)
			calls, dropped := 0, 0
			take := b.receive
			b.receive = func(from netip.AddrPort, d []byte) {
				if c, err := openTestCheck(&b.agent.peers[a.key].pair, d); err == nil && c.Round {
					if lose && dropped < 2 {
						dropped++
						return
					}
					calls++
				}
				take(from, d)
			}
			l := a.agent.peers[b.key]
			l.relays.search.again(n.now)
			a.agent.Measure(n.now, b.key)
			a.agent.reschedule(l)
			a.advance()
			n.run(time.Second, nil)
			if calls != 1 {
				t.Errorf("%d calls were heard, %d lost", calls, dropped)
			}
			if len(a.selects) != 1 || len(b.selects) != 1 {
				t.Errorf("selected %v, %v", a.selects, b.selects)
			}
		})
	}
}

// The two sides disagree about which relay is the path: the controlling side's
// counts, as soon as either looks for something better.
func TestDisagreementEnds(t *testing.T) {
	for i := range 2 {
		n, a, b, relays := onRelay(t)
		x, y := a, b
		if i == 1 {
			x, y = b, a
		}
		l := x.agent.peers[y.key]
		other := l.find(netip.Addr{}, netip.AddrPortFrom(relays[1].host.addrs[0], 20000))
		l.selectPair(other, false)
		x.advance()
		n.run(3*time.Hour, nil)
		samePair(t, a, b)
	}
}

// A direct path that answers soon spares the pair the relay, and the move.
func TestDirectIsWaitedForAWhile(t *testing.T) {
	n, a, b, relays := twoRelayed(t, home)
	relays[0].allocate(a, b, 0, 0)
	n.run(time.Second, nil)
	meet(a, b, 0, 0)
	n.run(time.Millisecond, nil)
	a.tellRelayed(b.key)
	b.tellRelayed(a.key)
	n.run(time.Minute, nil)
	if len(a.selects) != 1 || len(b.selects) != 1 || a.selects[0].Path.Kind != Direct {
		t.Errorf("selected %v, %v", a.selects, b.selects)
	}
	samePair(t, a, b)
}
