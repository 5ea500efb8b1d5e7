package natpunch

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch/demux"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// twoPublic returns two nodes on the internet itself, which know each other and
// have not exchanged anything yet.
func twoPublic(t *testing.T) (*simnet, *simNode, *simNode) {
	t.Helper()
	n := newSimnet(1)
	r, _ := internet(n)
	return n, newNode(r.host(41000, "198.51.100.11"), 1, 24), newNode(r.host(42000, "198.51.100.12"), 2, 24)
}

func addr(n *simNode) netip.AddrPort { return netip.AddrPortFrom(n.addrs[0], n.port) }

func TestTwoNATs(t *testing.T) {
	n, a, b := twoHomes(t)
	if got := a.stun.Result().IPv4; got.Mapping != EndpointIndependent ||
		!slices.Equal(got.Reflexive, []netip.AddrPort{netip.MustParseAddrPort("198.51.100.11:41000")}) {
		t.Fatalf("STUN says %+v", got)
	}
	start := n.now
	meet(a, b, 0, 0)
	if !n.run(time.Minute, bothSettled(a, b)) {
		t.Fatalf("no path; lost %v, %v; drops %v, %v", a.lost, b.lost, a.drops, b.drops)
	}
	// One round trip for the checks, one for the nomination.
	rtt := 41 * time.Millisecond
	if took := n.now.Sub(start); took > 2*rtt {
		t.Errorf("direct after %v, want two round trips of %v", took, rtt)
	}
	samePair(t, a, b)
	if !a.selects[0].Initiate || b.selects[0].Initiate {
		t.Errorf("Initiate is %v at the controlling side and %v at the controlled one", a.selects[0].Initiate, b.selects[0].Initiate)
	}
}

// The controlled side must have installed the path when the controlling side
// starts the handshake, and before it answers.
func TestControlledSideSelectsFirst(t *testing.T) {
	n, a, b := twoHomes(t)
	meet(a, b, 0, 0)
	n.run(time.Minute, func() bool { return len(a.selects) > 0 })
	if len(b.selects) != 1 || !b.at[0].Before(a.at[0]) {
		t.Errorf("controlled at %v, controlling at %v", b.at, a.at)
	}
}

func TestSameLAN(t *testing.T) {
	for name, hairpinning := range map[string]bool{"hairpinning": true, "no hairpinning": false} {
		t.Run(name, func(t *testing.T) {
			n := newSimnet(1)
			r, servers := internet(n)
			g := home("198.51.100.11")
			g.hairpinning, g.prefix6 = hairpinning, netip.MustParsePrefix("2001:db8:100::/48")
			lan := r.inner(g)
			a := newNode(lan.host(41000, "192.168.1.10", "2001:db8:100:1::10"), 1, 24, 64)
			b := newNode(lan.host(42000, "192.168.1.11", "2001:db8:100:1::11"), 2, 24, 64)
			a.learnReflexive(servers)
			b.learnReflexive(servers)
			n.run(time.Second, nil)
			a.setLocal()
			b.setLocal()
			meet(a, b, 0, 0)
			start := n.now
			n.run(time.Minute, nil)
			p, _ := a.agent.Path(b.key)
			if p.Kind != LAN || len(a.selects) != 1 || len(b.selects) != 1 {
				t.Fatalf("selected %v and %v, want one LAN path", a.selects, b.selects)
			}
			if took := a.at[0].Sub(start); took > 3*time.Millisecond {
				t.Errorf("took %v on a LAN", took)
			}
			samePair(t, a, b)
		})
	}
}

// A hello exchange proved the path: it is used at once, and when nothing better
// can exist, not a datagram is spent.
func TestValidatedIsUsedAtOnce(t *testing.T) {
	n, a, b := twoPublic(t)
	ab, _ := simPairs(a.key, b.key, 1)
	a.agent.SetPeer(n.now, Peer{Node: b.key, Pair: ab, Candidates: b.candidates()})
	a.agent.Validated(n.now, b.key, addr(b), 40*time.Millisecond)
	got := a.agent.Advance(n.now)
	want := []Action{Select{Node: b.key, Path: Path{Addr: addr(b), RTT: 40 * time.Millisecond}}}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{}, netip.Addr{})); diff != "" {
		t.Fatalf("actions (-want +got):\n%s", diff)
	}
	if at, ok := a.agent.Next(); ok {
		t.Errorf("something is due in %v", at.Sub(n.now))
	}
}

// A path over the internet was proved first: the LAN is found all the same.
func TestValidatedThenLAN(t *testing.T) {
	n := newSimnet(1)
	r, servers := internet(n)
	g := home("198.51.100.11")
	g.hairpinning = true
	lan := r.inner(g)
	a, b := newNode(lan.host(41000, "192.168.1.10"), 1, 24), newNode(lan.host(42000, "192.168.1.11"), 2, 24)
	a.learnReflexive(servers)
	b.learnReflexive(servers)
	n.run(time.Second, nil)
	ab, ba := simPairs(a.key, b.key, 1)
	a.agent.SetPeer(n.now, Peer{Node: b.key, Pair: ab, Candidates: b.candidates()})
	b.agent.SetPeer(n.now, Peer{Node: a.key, Pair: ba, Candidates: a.candidates()})
	a.agent.Validated(n.now, b.key, b.stun.Result().Reflexive()[0], 0)
	b.agent.Validated(n.now, a.key, a.stun.Result().Reflexive()[0], 0)
	a.advance()
	b.advance()
	n.run(time.Minute, nil)
	kinds := func(s []Select) (k []PathKind) {
		for _, x := range s {
			k = append(k, x.Path.Kind)
		}
		return k
	}
	want := []PathKind{Direct, LAN}
	if got := kinds(a.selects); !slices.Equal(got, want) {
		t.Errorf("controlling side: %v, want %v", got, want)
	}
	if got := kinds(b.selects); !slices.Equal(got, want) {
		t.Errorf("controlled side: %v, want %v", got, want)
	}
	samePair(t, a, b)
}

// Several hello exchanges crossed, and the two sides saw them end in another
// order: they still agree in the end.
func TestCrossedHelloExchanges(t *testing.T) {
	n := newSimnet(1)
	r, _ := internet(n)
	a := newNode(r.host(41000, "198.51.100.11", "2001:db8::11"), 1, 24, 64)
	b := newNode(r.host(42000, "198.51.100.12", "2001:db8:1::12"), 2, 24, 64)
	for _, order := range [][4]int{{0, 1, 1, 0}, {1, 0, 0, 1}, {0, 1, 0, 1}} {
		ab, ba := simPairs(a.key, b.key, 1)
		a.agent.RemovePeer(b.key)
		b.agent.RemovePeer(a.key)
		a.agent.SetPeer(n.now, Peer{Node: b.key, Pair: ab, Candidates: b.candidates()})
		b.agent.SetPeer(n.now, Peer{Node: a.key, Pair: ba, Candidates: a.candidates()})
		for _, i := range order[:2] {
			a.agent.Validated(n.now, b.key, []netip.AddrPort{addr(b), second(b)}[i], 0)
			a.advance()
		}
		for _, i := range order[2:] {
			b.agent.Validated(n.now, a.key, []netip.AddrPort{addr(a), second(a)}[i], 0)
			b.advance()
		}
		n.run(time.Minute, nil)
		samePair(t, a, b)
		if p, _ := a.agent.Path(b.key); p.Addr != second(b) {
			t.Errorf("order %v: IPv4 is selected, and IPv6 works", order)
		}
	}
}

// A faster path of the same kind is no reason to leave one that works.
func TestWorkingPathIsKept(t *testing.T) {
	n, a, b := twoHomes(t)
	meet(a, b, 0, 0)
	n.run(time.Minute, nil)
	before, _ := a.agent.Path(b.key)

	b.addrs = append(b.addrs, netip.MustParseAddr("198.51.100.99"))
	ab, _ := simPairs(a.key, b.key, 1)
	sent := a.sent
	a.agent.SetPeer(n.now, Peer{Node: b.key, Pair: ab, Candidates: b.candidates()})
	a.agent.Validated(n.now, b.key, netip.MustParseAddrPort("198.51.100.99:42000"), time.Millisecond)
	a.advance()
	n.run(time.Minute, nil)
	if after, _ := a.agent.Path(b.key); after.Addr != before.Addr || len(a.selects) != 1 {
		t.Errorf("moved from %v to %v", before, after)
	}
	// One nomination, so that the peer too comes back from what it heard.
	if a.sent != sent+1 {
		t.Errorf("%d datagrams, want one nominating ping", a.sent-sent)
	}
	samePair(t, a, b)
}

// The selected path dies, another of a lower kind works: both move to it. It is
// back: nobody moves until there is a reason.
func TestRestartFindsAnotherPath(t *testing.T) {
	n := newSimnet(1)
	r, servers := internet(n)
	g6 := home("198.51.100.11")
	g6.prefix6 = netip.MustParsePrefix("2001:db8:100::/48")
	a := newNode(r.inner(g6).host(41000, "192.168.1.10", "2001:db8:100:1::10"), 1, 24, 64)
	g6.addr, g6.prefix6 = netip.MustParseAddr("198.51.100.12"), netip.MustParsePrefix("2001:db8:200::/48")
	b := newNode(r.inner(g6).host(42000, "192.168.2.10", "2001:db8:200:1::10"), 2, 24, 64)
	a.learnReflexive(servers)
	b.learnReflexive(servers)
	n.run(time.Second, nil)
	a.setLocal()
	b.setLocal()
	meet(a, b, 0, 0)
	n.run(time.Minute, nil)
	if p, _ := a.agent.Path(b.key); !p.Addr.Addr().Is6() {
		t.Fatalf("selected %v, want IPv6", p)
	}

	for _, suspects := range []*simNode{a, b} {
		other := a
		if suspects == a {
			other = b
		}
		ipv6 := r.gateways[0].prefix6
		r.gateways[0].prefix6 = netip.Prefix{} // IPv6 is gone at a's home
		start := n.now
		suspects.agent.Restart(n.now, other.key, "no answer")
		suspects.advance()
		n.run(10*time.Second, nil)
		p, _ := a.agent.Path(b.key)
		if !p.Addr.Addr().Is4() {
			t.Fatalf("still at %v", p)
		}
		if took := latest(a.at[len(a.at)-1], b.at[len(b.at)-1]).Sub(start); took > 400*time.Millisecond {
			t.Errorf("back after %v", took)
		}
		samePair(t, a, b)

		r.gateways[0].prefix6 = ipv6
		changes := len(a.selects)
		n.run(time.Hour, nil)
		if len(a.selects) != changes {
			t.Error("moved without a reason")
		}
		a.agent.RestartAll(n.now)
		a.advance()
		n.run(10*time.Second, nil)
		if p, _ := a.agent.Path(b.key); !p.Addr.Addr().Is6() {
			t.Fatalf("IPv6 is back, and the path is %v", p)
		}
		samePair(t, a, b)
	}
}

// A suspect path that answers is kept, and its owner told.
func TestRestartKeepsWhatWorks(t *testing.T) {
	for i := range 2 {
		n, a, b := twoHomes(t)
		meet(a, b, 0, 0)
		n.run(time.Minute, nil)
		x, y := a, b
		if i == 1 {
			x, y = b, a
		}
		before := x.selects[0].Path.Addr
		x.agent.Restart(n.now, y.key, "no answer")
		x.advance()
		n.run(10*time.Second, nil)
		if len(x.selects) != 2 || x.selects[1].Path.Addr != before || len(x.lost) > 0 {
			t.Errorf("node %d: selects %v, lost %v", i, x.selects, x.lost)
		}
		if len(y.selects) != 1 || len(y.lost) > 0 {
			t.Errorf("the other side was told %v, %v", y.selects, y.lost)
		}
		if y.confirms == 0 {
			t.Errorf("node %d: the other side does not know that it may be waited for", i)
		}
		samePair(t, a, b)
	}
}

// The owner hears of a check that is not answered before the path is given up, and
// nothing of one that is.
func TestDoubtComesBeforeLoss(t *testing.T) {
	n, a, b := twoHomes(t)
	meet(a, b, 0, 0)
	n.run(time.Minute, nil)
	check := func() {
		a.agent.CheckConsent(n.now, b.key)
		a.advance()
	}
	check()
	n.run(time.Second, nil)
	if a.doubts > 0 {
		t.Error("a path that works is doubted")
	}
	b.realm.gateway.cut = true
	check()
	cut := n.now
	n.run(time.Second, func() bool { return a.doubts > 0 })
	if took := n.now.Sub(cut); a.doubts != 1 || took > 150*time.Millisecond || len(a.lost) > 0 {
		t.Errorf("%d doubts after %v, lost %v", a.doubts, took, a.lost)
	}
}

func TestLostAndFoundAgain(t *testing.T) {
	n, a, b := twoHomes(t)
	meet(a, b, 0, 0)
	n.run(time.Minute, nil)

	home := a.realm.gateway
	home.cut = true
	cut := n.now
	a.agent.CheckConsent(n.now, b.key)
	b.agent.CheckConsent(n.now, a.key)
	a.advance()
	b.advance()
	n.run(5*time.Minute, nil)
	for _, x := range []*simNode{a, b} {
		if len(x.lost) != 1 || !strings.HasPrefix(x.lost[0].Reason, "three checks of the path were lost: no answer at the peer's only address, ") {
			t.Fatalf("lost: %v", x.lost)
		}
		if p, ok := x.agent.Path(map[*simNode]*simNode{a: b, b: a}[x].key); ok {
			t.Fatalf("still has the path %v", p)
		}
	}
	// Back-off: the sum of what one pair costs in rounds at 0, 1, 31, 91, 211 s.
	if a.sent > 50 {
		t.Errorf("%d datagrams in 5 minutes", a.sent)
	}

	home.cut = false
	n.run(2*time.Hour, bothSettled(a, b))
	samePair(t, a, b)
	t.Logf("cut for 5 minutes, back %v after that", n.now.Sub(cut)-5*time.Minute)
}

// The peer restarts: a new pair. The path is likely to be the same, and is asked.
func TestPeerStartsAnew(t *testing.T) {
	n, a, b := twoHomes(t)
	meet(a, b, 0, 0)
	n.run(time.Minute, nil)
	ab, ba := simPairs(a.key, b.key, 2)
	b.agent.RemovePeer(a.key)
	b.selects = nil
	b.agent.SetPeer(n.now, Peer{Node: a.key, Pair: ba, Candidates: a.candidates()})
	b.advance()
	n.run(50*time.Millisecond, nil)
	a.agent.SetPeer(n.now, Peer{Node: b.key, Pair: ab, Candidates: b.candidates()})
	a.advance()
	if !n.run(10*time.Second, bothSettled(a, b)) {
		t.Fatal("no path")
	}
	samePair(t, a, b)
	if len(a.lost)+len(b.lost) > 0 || a.drops["unknown-peer"] == 0 {
		t.Errorf("lost %v, %v; drops %v", a.lost, b.lost, a.drops)
	}
}

// One side forgets the peer and learns of it again: its pings are not taken for
// replays.
func TestRemovedAndAddedAgain(t *testing.T) {
	for i := range 2 {
		n, a, b := twoHomes(t)
		meet(a, b, 0, 0)
		n.run(time.Minute, nil)
		x, y := a, b
		if i == 1 {
			x, y = b, a
		}
		x.agent.RemovePeer(y.key)
		x.advance()
		pair, _ := simPairs(x.key, y.key, 1)
		x.agent.SetPeer(n.now, Peer{Node: y.key, Pair: pair, Candidates: y.candidates()})
		x.advance()
		if !n.run(10*time.Second, bothSettled(a, b)) {
			t.Fatalf("node %d: no path; drops %v, %v", i, a.drops, b.drops)
		}
		samePair(t, a, b)
		if len(y.selects) != 1 || len(y.lost) > 0 {
			t.Errorf("node %d: the other side was told %v, %v", i, y.selects, y.lost)
		}
		if y.drops[demux.DropReplayed] > 0 {
			t.Errorf("node %d: pings were dropped: %v", i, y.drops)
		}
	}
}

// What comes to be known later, addresses and NATs, changes what a person is told.
func TestReasonChanges(t *testing.T) {
	n, a, b := twoPublic(t)
	ab, _ := simPairs(a.key, b.key, 1)
	peer := Peer{Node: b.key, Pair: ab, Candidates: []wire.Candidate{{Type: wire.Host, Addr: netip.MustParseAddrPort("10.9.9.9:1000")}}}
	a.agent.SetPeer(n.now, peer)
	a.advance()
	n.run(time.Minute, nil)
	peer.Candidates = append(peer.Candidates, wire.Candidate{Type: wire.ServerReflexive, Addr: netip.MustParseAddrPort("198.51.100.9:1000")})
	a.agent.SetPeer(n.now, peer)
	a.advance()
	n.run(time.Minute, nil)
	peer.NAT4.Mapping = wire.AddressDependent
	a.agent.SetPeer(n.now, peer)
	a.advance()
	n.run(10*time.Minute, nil)
	var got []string
	for _, l := range a.lost {
		got = append(got, l.Reason)
	}
	const none = "no answer at the peer's only address, 198.51.100.9:1000"
	want := []string{
		"the peer knows only addresses inside another private network",
		none,
		none + ": the peer's NAT takes another port for each destination, so the peer is not where it says",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// Without a server, peers tell each other where they are seen.
func TestReflexiveFromPeers(t *testing.T) {
	n := newSimnet(1)
	r, _ := internet(n)
	a := newNode(r.host(41000, "198.51.100.11"), 1, 24)
	b := newNode(r.inner(home("198.51.100.12")).host(42000, "192.168.2.10"), 2, 24)
	meet(a, b, 0, 0)
	n.run(time.Minute, nil)
	samePair(t, a, b)
	want := []Reflexive{{Node: a.key, Addr: netip.MustParseAddrPort("198.51.100.12:42000")}}
	if !slices.Equal(b.seen, want) || len(a.seen) > 0 {
		t.Errorf("seen %v and %v, want %v and none", b.seen, a.seen, want)
	}
	b.agent.RestartAll(n.now)
	b.advance()
	n.run(time.Minute, nil)
	if len(b.seen) != 1 {
		t.Errorf("told again: %v", b.seen)
	}
}

func TestReasons(t *testing.T) {
	cand := func(s string) wire.Candidate {
		return wire.Candidate{Type: wire.Host, Addr: netip.MustParseAddrPort(s)}
	}
	srflx := func(s string) wire.Candidate {
		return wire.Candidate{Type: wire.ServerReflexive, Addr: netip.MustParseAddrPort(s)}
	}
	var none [2]wire.Behavior
	const independent, dependent = wire.EndpointIndependent, wire.AddressDependent
	nine := []wire.Candidate{srflx("198.51.100.9:1000")}
	tests := map[string]struct {
		offline bool
		peer    []wire.Candidate
		want    string
		nats    [2]wire.Behavior // own, the peer's
	}{
		"nothing told": {false, nil, "the peer has not told an address yet", none},
		"other family": {false, []wire.Candidate{cand("[2001:db8::1]:1000")}, "the peer has only IPv6 addresses, and this host has no IPv6", none},
		"private":      {false, []wire.Candidate{cand("10.9.9.9:1000")}, "the peer knows only addresses inside another private network", none},
		"offline":      {true, []wire.Candidate{cand("198.51.100.9:1000")}, "this host has no network", none},
		"one":          {false, []wire.Candidate{cand("198.51.100.9:1000")}, "no answer at the peer's only address, 198.51.100.9:1000", none},
		"two":          {false, []wire.Candidate{srflx("198.51.100.9:1000"), cand("198.51.100.8:1000")}, "no answer at any of the peer's 2 addresses (198.51.100.8:1000, 198.51.100.9:1000)", none},
		"four": {
			false,
			[]wire.Candidate{cand("198.51.100.6:1000"), cand("198.51.100.7:1000"), cand("198.51.100.8:1000"), cand("198.51.100.9:1000")},
			"no answer at any of the peer's 4 addresses (198.51.100.6:1000, 198.51.100.7:1000, 198.51.100.8:1000 and 1 more)", none,
		},
		"both NATs dependent": {false, nine, "no answer at the peer's only address, 198.51.100.9:1000: both NATs take another port for each destination, so neither side knows where to send", [2]wire.Behavior{dependent, dependent}},
		"own NAT dependent":   {false, nine, "no answer at the peer's only address, 198.51.100.9:1000: this host's NAT takes another port for each destination, which a NAT at the other end seldom lets in", [2]wire.Behavior{dependent, independent}},
		"its NAT dependent":   {false, nine, "no answer at the peer's only address, 198.51.100.9:1000: the peer's NAT takes another port for each destination, so the peer is not where it says", [2]wire.Behavior{0, dependent}},
		"only our overlay":    {false, []wire.Candidate{cand("10.77.1.1:1000")}, "the peer has not told an address yet", none},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n, a, b := twoPublic(t)
			a.agent.SetLocal(n.now, Local{
				Candidates: a.candidates(), Prefixes: a.prefixes, HasIPv4: true, NAT4: wire.NATBehavior{Mapping: tt.nats[0]},
			})
			if tt.offline {
				a.addrs, a.prefixes = nil, nil
				a.setLocal()
			}
			ab, _ := simPairs(a.key, b.key, 1)
			a.agent.SetPeer(n.now, Peer{Node: b.key, Pair: ab, Candidates: tt.peer, NAT4: wire.NATBehavior{Mapping: tt.nats[1]}})
			a.advance()
			n.run(10*time.Minute, nil)
			if len(a.lost) == 0 || a.lost[0].Reason != tt.want {
				t.Fatalf("told %v, want first %q", a.lost, tt.want)
			}
			// What came of asking for many ports is said once more, and nothing else is.
			asked := tt.nats == [2]wire.Behavior{dependent, independent}
			if more := a.lost[1:]; len(more) > 1 || (len(more) == 1) != asked || asked && !strings.HasPrefix(more[0].Reason, tt.want+"; ") {
				t.Errorf("told %v too, asked for many ports: %v", more, asked)
			}
		})
	}
}
