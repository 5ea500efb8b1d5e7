package natpunch

import (
	"crypto/rand"
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch/demux"
)

// member is a hostile member: it holds the right keys for its own pair, and
// sends what it likes.
type member struct {
	t      *testing.T
	n      *simnet
	victim *simNode
	pair   keys.Pair
	node   keys.NodePublic
	number uint64
}

// newMember makes a member known to the victim, without an address. The key's
// order decides the role.
func newMember(t *testing.T, n *simnet, victim *simNode, id int) *member {
	t.Helper()
	m := &member{t: t, n: n, victim: victim, node: simKey(id)}
	var theirs keys.Pair
	theirs, m.pair = simPairs(victim.key, m.node, 1)
	victim.agent.SetPeer(n.now, Peer{Node: m.node, Pair: theirs})
	victim.advance()
	return m
}

func (m *member) ping(edit func(*check)) []byte {
	m.t.Helper()
	m.number++
	c := check{Type: ping, Number: m.number}
	_, _ = rand.Read(c.ID[:])
	if edit != nil {
		edit(&c)
	}
	b, err := sealCheck(&m.pair, c)
	if err != nil {
		m.t.Fatal(err)
	}
	return b
}

// sends returns what an agent sends for one datagram, within d.
func (n *simNode) sends(from netip.AddrPort, b []byte) (reason string, out []Send) {
	reason = n.agent.Receive(n.net.now, from, b)
	for _, a := range n.agent.Advance(n.net.now) {
		if s, ok := a.(Send); ok {
			out = append(out, s)
		}
	}
	return reason, out
}

func TestDropReasons(t *testing.T) {
	n, a, _ := twoPublic(t)
	m := newMember(t, n, a, 9)
	other := newMember(t, n, a, 8)
	from := netip.MustParseAddrPort("198.51.100.77:7000")
	good := m.ping(nil)
	flipped := m.ping(nil)
	flipped[60] ^= 1
	otherTag := m.ping(nil)
	copy(otherTag[2:10], other.ping(nil)[2:10]) // a member that speaks for another
	version := m.ping(nil)
	version[0]++
	long, err := wire.SealPair(wire.KindCheck, &m.pair, []byte{0xa0}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	body, err := wire.SealPair(wire.KindCheck, &m.pair, []byte("not CBOR"), 0)
	if err != nil {
		t.Fatal(err)
	}
	signal, err := wire.SealPair(wire.KindSignal, &m.pair, []byte{0xa0}, wire.CheckSize)
	if err != nil {
		t.Fatal(err)
	}
	pongOf := func(from string) []byte {
		return m.ping(func(c *check) { c.Type, c.Number, c.Observed = pong, 0, netip.MustParseAddrPort(from) })
	}

	for _, tt := range []struct {
		name string
		from netip.AddrPort
		in   []byte
		want string
	}{
		{"ping", from, good, ""},
		{"the same again", from, good, demux.DropReplayed},
		{"the same from elsewhere", netip.MustParseAddrPort("203.0.113.66:1"), good, demux.DropReplayed},
		{"flipped bit", from, flipped, "seal"},
		{"another member's tag", from, otherTag, "seal"},
		{"another version", from, version, "version"},
		{"unknown tag", from, make([]byte, wire.CheckSize), demux.DropUnknownPeer},
		{"empty", from, nil, "size"},
		{"cut", from, good[:100], "size"},
		{"too long", from, long, "encoding"},
		{"no check inside", from, body, "encoding"},
		{"another kind", from, signal, "kind"},
		{"pong to nothing", from, pongOf("198.51.100.11:41000"), demux.DropUnsolicited},
		{"from our own address", addr(a), m.ping(nil), DropSource},
		{"from the overlay", netip.MustParseAddrPort("10.77.1.1:7"), m.ping(nil), DropSource},
		{"from loopback", netip.MustParseAddrPort("127.0.0.1:7"), m.ping(nil), DropSource},
		{"from multicast", netip.MustParseAddrPort("239.1.1.1:7"), m.ping(nil), DropSource},
		{"from port 0", netip.MustParseAddrPort("198.51.100.77:0"), m.ping(nil), DropSource},
	} {
		if got, _ := a.sends(tt.from, tt.in); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A ping that somebody recorded does nothing when played back, from anywhere.
func TestReplayLeavesNoState(t *testing.T) {
	n, a, b := twoHomes(t)
	var recorded [][]byte
	take := b.receive
	b.receive = func(from netip.AddrPort, d []byte) {
		if demux.Classify(d) == demux.CredAnt {
			recorded = append(recorded, d)
		}
		take(from, d)
	}
	meet(a, b, 0, 0)
	n.run(time.Minute, nil)
	if len(recorded) < 3 {
		t.Fatalf("recorded %d datagrams", len(recorded))
	}
	pairs := len(b.agent.peers[a.key].pairs)
	for i, d := range recorded {
		from := netip.AddrPortFrom(netip.MustParseAddr("203.0.113.99"), uint16(1000+i))
		if reason, out := b.sends(from, d); reason == "" || len(out) > 0 {
			t.Errorf("a replay is answered: %q, %v", reason, out)
		}
	}
	if got := len(b.agent.peers[a.key].pairs); got != pairs {
		t.Errorf("%d pairs, %d before", got, pairs)
	}
}

// Whoever carries a fresh nomination to us from another address does not move
// us there: that address has to answer first.
func TestNominationNeedsOwnCheck(t *testing.T) {
	n, a, b := twoPublic(t)
	meet(a, b, 0, 0)
	n.run(time.Minute, nil)
	a.agent.Restart(n.now, b.key, "test")
	forged := netip.MustParseAddrPort("203.0.113.66:4444")
	c := a.agent.peers[b.key]
	body, err := sealCheck(&c.pair, check{Type: ping, Number: c.link.number + 10, ID: transactionID{1}, Nominated: true})
	if err != nil {
		t.Fatal(err)
	}
	reason, out := b.sends(forged, body)
	if reason != "" || len(out) != 1 || len(out[0].Data) != len(body) {
		t.Fatalf("dropped %q, sent %d datagrams, want one ping", reason, len(out))
	}
	b.advance()
	n.run(20*time.Second, nil)
	if p, _ := b.agent.Path(a.key); p.Addr == forged {
		t.Error("moved to an address that never answered")
	}
	samePair(t, a, b)
}

// A member that pings from ever new addresses, seeking and nominating, makes the
// victim send a bounded number of datagrams and keep a bounded number of pairs.
func TestHostileMemberIsBounded(t *testing.T) {
	for name, id := range map[string]int{"controlled": 9, "controlling": 0} {
		t.Run(name, func(t *testing.T) {
			n := newSimnet(1)
			r, _ := internet(n)
			a := newNode(r.host(41000, "198.51.100.11"), 5, 24)
			m := newMember(t, n, a, id)
			var announced []wire.Candidate
			for i := range 100 {
				announced = append(announced, wire.Candidate{Type: wire.ServerReflexive, Addr: netip.AddrPortFrom(netip.MustParseAddr("203.0.113.7"), uint16(i+1))})
			}
			theirs, _ := simPairs(a.key, m.node, 1)
			pings, pongs, received := 0, 0, 0
			start := n.now
			const seconds = 60
			for i := range seconds * 1000 {
				n.now = start.Add(time.Duration(i) * time.Millisecond)
				from := netip.AddrPortFrom(netip.MustParseAddr("203.0.113.66"), uint16(1+i))
				_ = a.agent.Receive(n.now, from, m.ping(func(c *check) { c.Seeking, c.Nominated = i%2 == 0, i%3 == 0 }))
				received++
				if i%1000 == 0 {
					a.agent.SetPeer(n.now, Peer{Node: m.node, Pair: theirs, Candidates: announced[i/1000:]})
				}
				for _, x := range a.agent.Advance(n.now) {
					s, ok := x.(Send)
					if !ok {
						continue
					}
					if len(s.Data) != wire.CheckSize {
						t.Fatalf("sent %d bytes", len(s.Data))
					}
					if s.To == from {
						pongs++
					} else {
						pings++
					}
				}
				if got := len(a.agent.peers[m.node].pairs); got > maxCandidates+maxReflexive {
					t.Fatalf("%d pairs", got)
				}
			}
			if limit := peerBurst + seconds*peerRate; pings > limit {
				t.Errorf("%d pings, want at most %d", pings, limit)
			}
			if limit := pongBurst + seconds*(pongRate+peerRate); pongs > limit {
				t.Errorf("%d answers, want at most %d", pongs, limit)
			}
			t.Logf("%d received: %d pings, %d answers", received, pings, pongs)
		})
	}
}

// Two peers behind NATs that both map per destination see every check come from
// a new address. They must not keep each other awake.
func TestDependentMappingOnBothSidesGivesUp(t *testing.T) {
	n := newSimnet(1)
	r, servers := internet(n)
	g := home("198.51.100.11")
	g.mapping, g.filtering = AddressAndPortDependent, EndpointIndependent
	a := newNode(r.inner(g).host(41000, "192.168.1.10"), 1, 24)
	g.addr = netip.MustParseAddr("198.51.100.12")
	b := newNode(r.inner(g).host(42000, "192.168.2.10"), 2, 24)
	a.learnReflexive(servers)
	b.learnReflexive(servers)
	n.run(time.Second, nil)
	a.setLocal()
	b.setLocal()
	meet(a, b, 0, 0)
	n.run(10*time.Second, nil)
	if len(a.lost) != 1 || len(b.lost) != 1 {
		t.Fatalf("lost: %v, %v", a.lost, b.lost)
	}
	if a.sent > 250 || b.sent > 250 {
		t.Errorf("%d and %d datagrams until they gave up", a.sent, b.sent)
	}
	n.run(time.Hour, nil)
	sent := a.sent + b.sent
	n.run(10*time.Hour, nil)
	t.Logf("%d datagrams an hour each", (a.sent+b.sent-sent)/20)
	if got := (a.sent + b.sent - sent) / 20; got > 60 {
		t.Errorf("%d datagrams an hour each, for nothing", got)
	}
}

// A change of network with a full table: the checks are spread out, and end.
func TestStormIsBounded(t *testing.T) {
	n, a, _ := twoPublic(t)
	for i := range MaxPeers + 10 {
		ours, _ := simPairs(a.key, simKey(1000+i), 1)
		remote := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 5000)
		ok := a.agent.SetPeer(n.now, Peer{
			Node: simKey(1000 + i), Pair: ours,
			Candidates: []wire.Candidate{{Type: wire.Host, Addr: remote}},
		})
		if ok != (i < MaxPeers) {
			t.Fatalf("peer %d: %v", i, ok)
		}
		if i%2 == 0 {
			a.agent.Validated(n.now, simKey(1000+i), remote, 0)
		}
	}
	a.agent.Advance(n.now)
	a.agent.RestartAll(n.now)
	start, sent, calls, lost := n.now, 0, 0, 0
	perSecond := map[int]int{}
	var firstHalf time.Time
	for {
		next, ok := a.agent.Next()
		if !ok || next.Sub(start) > time.Minute {
			break
		}
		n.now = latest(n.now, next)
		calls++
		for _, x := range a.agent.Advance(n.now) {
			switch x.(type) {
			case Send:
				sent++
				perSecond[int(n.now.Sub(start)/time.Second)]++
				if sent == MaxPeers/2 {
					firstHalf = n.now
				}
			case Lost:
				lost++
			}
		}
	}
	for s, got := range perSecond {
		if got > totalBurst+totalRate+1 {
			t.Errorf("%d datagrams in second %d", got, s)
		}
	}
	if sent < 50*totalRate || calls > 3*sent+3*MaxPeers {
		t.Errorf("%d datagrams and %d calls in a minute", sent, calls)
	}
	if d := firstHalf.Sub(start); d > time.Duration(MaxPeers/2/totalRate+2)*time.Second {
		t.Errorf("those with a path to lose were checked within %v", d)
	}
	t.Logf("%d datagrams, %d calls, %d lost in a minute", sent, calls, lost)
}
