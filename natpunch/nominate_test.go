package natpunch

import (
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/natpunch/demux"
)

// dualStack returns two public nodes with both families.
func dualStack(t *testing.T) (*simnet, *simNode, *simNode) {
	t.Helper()
	n := newSimnet(1)
	n.slow = map[netip.Addr]time.Duration{}
	r, _ := internet(n)
	return n, newNode(r.host(41000, "198.51.100.11", "2001:db8::11"), 1, 24, 64),
		newNode(r.host(42000, "198.51.100.12", "2001:db8:1::12"), 2, 24, 64)
}

func second(n *simNode) netip.AddrPort { return netip.AddrPortFrom(n.addrs[1], n.port) }

// IPv6 is a little slower than IPv4: it is waited for, and nobody has to move.
// Much slower, it is not; then both move to it once it has answered.
func TestBetterKindIsWaitedForAWhile(t *testing.T) {
	for _, tt := range []struct {
		slower  time.Duration
		changes int
	}{{20 * time.Millisecond, 1}, {100 * time.Millisecond, 2}} {
		n, a, b := dualStack(t)
		n.slow[b.addrs[1]] = tt.slower
		meet(a, b, 0, 0)
		n.run(time.Minute, nil)
		if p, _ := a.agent.Path(b.key); p.Addr != second(b) {
			t.Errorf("selected %v, want IPv6", p)
		}
		if len(a.selects) != tt.changes || len(b.selects) != tt.changes {
			t.Errorf("IPv6 is %v slower: %v, %v; want %d", tt.slower, a.selects, b.selects, tt.changes)
		}
		samePair(t, a, b)
	}
}

// The peer gets an address of a better kind: both move to it. Of the same kind,
// nobody does.
func TestNewCandidates(t *testing.T) {
	for name, tt := range map[string]struct {
		addr string
		want int
	}{"better": {"2001:db8:1::12", 2}, "the same kind": {"198.51.100.13", 1}} {
		t.Run(name, func(t *testing.T) {
			n, a, b := dualStack(t)
			b.addrs = b.addrs[:1]
			meet(a, b, 0, 0)
			n.run(time.Minute, nil)
			sent := a.sent + b.sent

			extra := netip.MustParseAddr(tt.addr)
			b.realm.hosts[extra] = b.simHost
			b.addrs = append(b.addrs, extra)
			b.prefixes = append(b.prefixes, netip.PrefixFrom(extra, extra.BitLen()-8))
			ab, _ := simPairs(a.key, b.key, 1)
			a.agent.SetPeer(n.now, Peer{Node: b.key, Pair: ab, Candidates: b.candidates()})
			a.advance()
			if got := a.sent + b.sent - sent; got != tt.want-1 {
				t.Errorf("%d pings at once, want %d", got, tt.want-1)
			}
			b.setLocal()
			n.run(time.Minute, nil)
			if len(a.selects) != tt.want || len(b.selects) != tt.want {
				t.Errorf("%v, %v; want %d", a.selects, b.selects, tt.want)
			}
			if tt.want == 1 && a.sent+b.sent != sent {
				t.Errorf("%d datagrams for nothing", a.sent+b.sent-sent)
			}
			samePair(t, a, b)
		})
	}
}

// A suspect path that proves itself is kept, though another of its kind answered
// first.
func TestSuspectPathIsPreferred(t *testing.T) {
	n, a, b := dualStack(t)
	fast := netip.MustParseAddr("198.51.100.13")
	b.realm.hosts[fast] = b.simHost
	b.addrs = []netip.Addr{b.addrs[0], fast}
	b.asked = map[netip.AddrPort]netip.Addr{}
	n.slow[b.addrs[0]] = 30 * time.Millisecond
	ab, ba := simPairs(a.key, b.key, 1)
	a.agent.SetPeer(n.now, Peer{Node: b.key, Pair: ab, Candidates: b.candidates()})
	b.agent.SetPeer(n.now, Peer{Node: a.key, Pair: ba, Candidates: a.candidates()})
	a.agent.Validated(n.now, b.key, addr(b), 0)
	b.agent.Validated(n.now, a.key, addr(a), 0)
	a.advance()
	b.advance()
	n.run(time.Second, nil)
	a.agent.Restart(n.now, b.key, "test")
	a.advance()
	n.run(time.Minute, nil)
	if p, _ := a.agent.Path(b.key); p.Addr != addr(b) || len(a.selects) != 2 {
		t.Errorf("selects %v, want %v twice", a.selects, addr(b))
	}
	samePair(t, a, b)
}

// The controlled side followed a nomination, and the controlling side never
// heard of it: it makes the other come back to what it has.
func TestNominationThatIsNotHeard(t *testing.T) {
	n, a, b := dualStack(t)
	ab, ba := simPairs(a.key, b.key, 1)
	a.agent.SetPeer(n.now, Peer{Node: b.key, Pair: ab, Candidates: b.candidates()})
	b.agent.SetPeer(n.now, Peer{Node: a.key, Pair: ba, Candidates: a.candidates()})
	a.agent.Validated(n.now, b.key, addr(b), 0)
	b.agent.Validated(n.now, a.key, addr(a), 0)
	take := a.receive
	a.receive = func(from netip.AddrPort, d []byte) {
		if from == second(b) && len(b.selects) > 1 {
			return // IPv6 to a is gone from the moment at which b followed
		}
		take(from, d)
	}
	a.advance()
	b.advance()
	n.run(time.Minute, nil)
	if len(b.selects) != 3 || b.selects[1].Path.Addr != second(a) || b.selects[2].Path.Addr != addr(a) {
		t.Errorf("controlled side: %v", b.selects)
	}
	if len(a.selects) != 1 || len(a.lost)+len(b.lost) > 0 {
		t.Errorf("controlling side: %v; lost %v, %v", a.selects, a.lost, b.lost)
	}
	samePair(t, a, b)
}

// answer makes the pong to a ping of the victim, as the test wants it.
func (m *member) answer(s Send, edit func(*check)) []byte {
	m.t.Helper()
	return m.ping(func(c *check) {
		body, err := openTestCheck(&m.pair, s.Data)
		if err != nil {
			m.t.Fatal(err)
		}
		*c = check{Type: pong, ID: body.ID, Observed: addr(m.victim)}
		if edit != nil {
			edit(c)
		}
	})
}

// A pong that does not follow a nomination selects nothing.
func TestNominationNeedsItsAnswer(t *testing.T) {
	n, a, _ := twoPublic(t)
	m := newMember(t, n, a, 9)
	from := netip.MustParseAddrPort("198.51.100.77:7000")
	_, out := a.sends(from, m.ping(nil))
	nominations := 0
	for range 200 {
		for _, s := range out {
			c, err := openTestCheck(&m.pair, s.Data)
			if err != nil {
				t.Fatal(err)
			}
			if c.Type == ping {
				if c.Nominated {
					nominations++
				}
				if reason := a.agent.Receive(n.now, from, m.answer(s, nil)); reason != "" {
					t.Fatalf("pong dropped: %s", reason)
				}
			}
		}
		n.now = n.now.Add(50 * time.Millisecond)
		out = nil
		for _, x := range a.agent.Advance(n.now) {
			switch x := x.(type) {
			case Send:
				out = append(out, x)
			case Select:
				t.Fatalf("selected %v", x)
			}
		}
	}
	if nominations == 0 {
		t.Error("nothing was nominated")
	}
}

// A pong counts once, from where its ping was sent, and not for ever.
func TestPongs(t *testing.T) {
	ask := func() (*simnet, *simNode, *member, Send, netip.AddrPort) {
		n, a, _ := twoPublic(t)
		m := newMember(t, n, a, 1<<30) // a controls, and the member is not asked to follow
		from := netip.MustParseAddrPort("198.51.100.77:7000")
		_, out := a.sends(from, m.ping(nil))
		for _, s := range out {
			if c, err := openTestCheck(&m.pair, s.Data); err == nil && c.Type == ping {
				return n, a, m, s, from
			}
		}
		t.Fatal("no check back")
		return nil, nil, nil, Send{}, netip.AddrPort{}
	}

	n, a, m, s, from := ask()
	b := m.answer(s, nil)
	if got := a.agent.Receive(n.now, netip.MustParseAddrPort("198.51.100.77:7001"), b); got != demux.DropUnsolicited {
		t.Errorf("from another port: %q", got)
	}
	if got := a.agent.Receive(n.now, from, b); got != "" {
		t.Errorf("the answer: %q", got)
	}
	if got := a.agent.Receive(n.now, from, b); got != demux.DropUnsolicited {
		t.Errorf("the same again: %q", got)
	}

	n, a, m, s, from = ask()
	if got := a.agent.Receive(n.now.Add(time.Minute), from, m.answer(s, nil)); got != demux.DropUnsolicited {
		t.Errorf("after a minute: %q", got)
	}
}

// An address that answered long ago has to answer again before a nomination
// moves us there: it may be another's by now.
func TestNominationOfAnOldSuccess(t *testing.T) {
	n, a, b := dualStack(t)
	meet(a, b, 0, 0)
	n.run(time.Minute, nil)
	four := b.agent.peers[a.key].find(netip.Addr{}, addr(a))
	if four == nil {
		t.Fatal("no IPv4 pair")
	}
	four.state, four.validAt = succeeded, n.now.Add(-time.Minute)
	c := a.agent.peers[b.key]
	d, err := sealCheck(&c.pair, check{Type: ping, Number: c.link.number + 1, ID: transactionID{9}, Nominated: true})
	if err != nil {
		t.Fatal(err)
	}
	if reason, _ := b.sends(addr(a), d); reason != "" {
		t.Fatal(reason)
	}
	if p, _ := b.agent.Path(a.key); p.Addr == addr(a) {
		t.Error("moved without a check")
	}
}
