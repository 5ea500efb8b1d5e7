package scenario

import (
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/integration/lab"
)

// backAgain is how soon packets must flow again after what stopped them has passed, or after an address has changed.
const backAgain = 1500 * time.Millisecond

// A mid is a pair in mid-flow: alice, behind a NAT, only receives; bob only sends.
type mid struct {
	*world
	home   *lab.Router
	office *lab.Router // nil: bob has a public address
	a, b   *node
}

// A midway is what may be between two nodes that reach each other directly, and how they may hear of each other once they
// do not any more.
type midway struct {
	name     string
	filtered bool // bob is behind a NAT that lets nobody in whom he has not sent to
	relay    bool
	member   bool // a third one, whom all can reach
	dht      bool
}

var midways = []midway{
	{name: "public"},
	{name: "public and relay", relay: true},
	{name: "filtered and relay", filtered: true, relay: true},
	{name: "filtered and member", filtered: true, member: true},
	{name: "filtered and DHT", filtered: true, dht: true},
}

// eachMidway measures how soon a flow is back in each of them.
func eachMidway(t *testing.T, back func(*mid) time.Duration) {
	t.Parallel()
	for _, c := range midways {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			soon(t, backAgain, "back", func() time.Duration {
				m := newMid(t, c)
				took := back(m)
				m.end()
				return took
			})
		})
	}
}

// newMid returns when the pair's path is direct.
func newMid(t *testing.T, c midway) *mid {
	t.Helper()
	m := &mid{world: newWorld(t, "embedded")}
	m.home = m.NAT("home", lab.PortRestricted.HidePort())
	m.a = m.join(m.home.Host("alice"))
	var dht *lab.Host
	if c.dht {
		dht = m.addDHT()
	}
	bob := m.Lab.Host
	if c.filtered {
		m.office = m.NAT("office", lab.PortRestricted.HidePort())
		bob = m.office.Host
	}
	m.b = m.join(bob("bob"))
	carol := m.b
	if c.member {
		carol = m.join(m.Host("carol"))
	}
	relay := m.relay(m.Host("vps"), "--no-dht")
	m.build()
	m.flags = onlyRelay
	switch {
	case c.dht:
		m.flags = []string{"--no-stun", "--no-lan"}
		m.startDHT(dht)
	case c.relay:
		m.startRelay(relay)
		m.flags = append(onlyRelay, "--relay", relay.Address())
	}
	if c.member || !c.filtered {
		const port = "23456"
		carol.up("--port", port)
		m.flags = append(m.flags, "--bootstrap", netip.AddrPortFrom(carol.Host.IPv4()[0], 23456).String())
	}
	m.a.up()
	if carol != m.b {
		m.a.reach(carol, patience)
	}
	if c.filtered {
		m.b.up()
	}
	m.b.reach(m.a, patience)
	m.eventually(patience, "the path is direct", func() bool {
		there, _ := m.a.peer(m.b)
		back, _ := m.b.peer(m.a)
		return there.Path == "direct" && back.Path == "direct"
	})
	return m
}

// flow is a stream from bob to alice that has run for a while.
func (m *mid) flow() *lab.Stream {
	m.t.Helper()
	s, err := lab.StartStream(m.b.Host.Node, m.b.overlay(), m.a.Host.Node, m.a.overlay(), 100)
	m.must(err)
	time.Sleep(4 * time.Second)
	return s
}

// backAfter ends the stream and returns when the last packet of the last gap was sent, counted from at.
func (m *mid) backAfter(s *lab.Stream, at time.Duration) time.Duration {
	m.t.Helper()
	sent, gaps, err := s.Stop()
	m.must(err)
	if len(gaps) == 0 {
		m.t.Fatal("nothing was lost: was it the right cable?")
	}
	last := gaps[len(gaps)-1]
	back := last.Until - at
	m.t.Logf("%d sent, %d lost: %v; back after %v", sent, lab.Lost(gaps), gaps, back.Round(time.Millisecond))
	return back
}

// The address of the receiver's NAT changes in mid-flow, and it has nothing to send: the flow is back soon.
func TestAddressChangeInMidFlow(t *testing.T) {
	eachMidway(t, func(m *mid) time.Duration {
		s := m.flow()
		at := s.Elapsed()
		m.must(m.home.ChangeAddress())
		time.Sleep(10 * time.Second)
		return m.backAfter(s, at)
	})
}

// The receiver's uplink is cut for 20 s in mid-flow: the flow is back soon after.
func TestOutage(t *testing.T) {
	eachMidway(t, func(m *mid) time.Duration {
		s := m.flow()
		m.must(m.home.Uplink.Cut())
		time.Sleep(20 * time.Second)
		at := s.Elapsed()
		m.must(m.home.Uplink.Restore())
		time.Sleep(8 * time.Second)
		return m.backAfter(s, at)
	})
}

// After the outage the receiver's NAT has another address, and has forgotten every mapping.
func TestOutageWithNewAddress(t *testing.T) {
	eachMidway(t, func(m *mid) time.Duration {
		s := m.flow()
		m.must(m.home.Uplink.Cut())
		time.Sleep(20 * time.Second)
		m.must(m.home.Uplink.Restore())
		at := s.Elapsed()
		m.must(m.home.ChangeAddress())
		time.Sleep(10 * time.Second)
		return m.backAfter(s, at)
	})
}

// A pair that only a relay joins is back soon after an outage too, whoever was cut off, and whoever sends.
func TestOutageOfRelayedPair(t *testing.T) {
	t.Parallel() // most of it is waiting
	w := newWorld(t, "embedded")
	home, office := w.NAT("home", lab.Symmetric), w.NAT("office", lab.Symmetric)
	a, b := w.join(home.Host("alice")), w.join(office.Host("bob"))
	vps := w.relay(w.Host("vps"), "--no-dht")
	w.build()
	w.startRelay(vps)
	w.flags = append(onlyRelay, "--relay", vps.Address())
	a.up()
	b.up()
	b.reach(a, 5*time.Second)
	for _, cut := range []*lab.Router{home, office} {
		m := &mid{world: w, a: a, b: b}
		soon(t, backAgain, cut.Name+" cut off: back", func() time.Duration {
			s := m.flow()
			w.must(cut.Uplink.Cut())
			time.Sleep(20 * time.Second)
			at := s.Elapsed()
			w.must(cut.Uplink.Restore())
			time.Sleep(8 * time.Second)
			return m.backAfter(s, at)
		})
	}
}
