package client

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

// A relay that gives ports that are not its to give gets no bind there.
func TestPortsThatAreNotTheRelays(t *testing.T) {
	for _, tt := range []struct {
		name     string
		port     uint16
		register bool // so that the range is known
	}{
		{"below the range", 19999, true},
		{"above the range", 21024, true},
		{"its own", 3478, true},
		{"its own, no range known", 3478, false},
		{"a well-known one, no range known", 53, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 1)
			a, b := w.add(main4), w.add(main4)
			w.relay.tamper = func(r *wire.Response) {
				for i := range r.Allocated {
					r.Allocated[i].Port = tt.port
				}
			}
			if tt.register {
				a.client.SetBlob(w.now, []byte("a"))
			}
			a.setPeers(b)
			w.run(10 * time.Minute)
			if len(told[Allocated](a)) != 0 || a.client.Status().LastError == "" {
				t.Errorf("told %+v", a.said)
			}
			if n := w.relay.requests["allocate"]; n > 11 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// One port for two peers would let the relay hand one peer's packets to the
// other.
func TestOnePortForTwoPeers(t *testing.T) {
	w := newWorld(t, 1)
	a, b, c := w.add(main4), w.add(main4), w.add(main4)
	w.relay.tamper = func(r *wire.Response) {
		for i := range r.Allocated {
			r.Allocated[i].Port = 20000
		}
	}
	a.setPeers(b, c)
	w.run(time.Minute)
	if got := told[Allocated](a); len(got) != 1 {
		t.Errorf("told %+v", got)
	}
}

// The range may become known after the allocation.
func TestRangeComesLater(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(main4), w.add(main4)
	a.setPeers(b)
	w.run(time.Second)
	w.relay.first, w.relay.last = 30000, 30010
	a.client.SetBlob(w.now, []byte("a"))
	w.run(time.Second)
	if lost := told[Lost](a); len(lost) != 1 || lost[0].Addr.Port() != 20000 {
		t.Errorf("told %+v", a.said)
	}
}

func TestFoundIsBounded(t *testing.T) {
	w := newWorld(t, 1)
	a, _ := pairUp(w, main4)
	a.forget()
	flood := func(n int) {
		for i := range n {
			w.relay.push(a.node.Public(), wire.Push{Blob: &wire.Blob{Node: keys.NodePublic{2, byte(i), byte(i >> 8)}, Data: []byte{byte(w.rng.Uint32())}}})
		}
		w.relay.push(a.node.Public(), wire.Push{Blob: &wire.Blob{Node: a.node.Public(), Data: []byte("yourself")}})
		w.run(time.Second)
	}
	flood(1000)
	if n := len(told[Found](a)); n != maxFound-1 || len(a.client.registration.found) != maxFound {
		t.Errorf("found %d, keeps %d", n, len(a.client.registration.found))
	}
	// What is not there any more goes within two refreshes.
	a.forget()
	w.run(2*refreshEvery + time.Second)
	if n := len(told[Gone](a)); n != maxFound-1 || len(a.client.registration.found) != 1 {
		t.Errorf("%d gone, keeps %d", n, len(a.client.registration.found))
	}
	// Without a blob of its own the node takes none of others.
	a.client.SetBlob(w.now, nil)
	a.forget()
	flood(10)
	if len(a.said) != 0 {
		t.Errorf("told %+v", a.said)
	}
}

// Word that was lost twice is made up for by the next refresh.
func TestLostPushes(t *testing.T) {
	w := newWorld(t, 1)
	a, b := pairUp(w, main4)
	a.forget()
	a.mute = true
	keep := a.v4
	a.v4 = netip.MustParseAddr("192.0.2.1") // nothing arrives
	b.client.SetBlob(w.now, []byte("new"))
	w.run(time.Second)
	a.mute, a.v4 = false, keep
	w.run(refreshEvery + time.Second)
	if found := told[Found](a); len(found) != 1 || string(found[0].Blob) != "new" {
		t.Errorf("told %+v", a.said)
	}
	a.forget()
	a.v4 = netip.MustParseAddr("192.0.2.1")
	b.client.SetBlob(w.now, nil)
	b.setPeers()
	w.run(time.Second)
	a.v4 = keep
	w.run(2*refreshEvery + 2*time.Second)
	if gone := told[Gone](a); len(gone) != 1 {
		t.Errorf("told %+v", a.said)
	}
}

// Only the challenge to the ask, from where the ask went, counts; and only once.
func TestForeignChallenges(t *testing.T) {
	w := newWorld(t, 1)
	w.relay.dead = true
	a := w.add(main4, main6)
	w.run(rtt)
	sent := a.sent[0].out.(Send)
	tx, err := wire.ParseAsk(sent.Data)
	if err != nil {
		t.Fatal(err)
	}
	good := w.relay.exchange.AppendChallenge(nil, tx, wire.Cookie{1}, a.source(sent.To))
	other := tx
	other[3] ^= 1
	bad := w.relay.exchange.AppendChallenge(nil, other, wire.Cookie{1}, a.source(sent.To))
	broken := append([]byte(nil), good...)
	broken[len(broken)-1] ^= 1
	for _, c := range []struct {
		from netip.AddrPort
		b    []byte
		want string
	}{
		{main4, good, "mismatch"}, // asked there with another id, or not yet
		{netip.MustParseAddrPort("203.0.113.6:3478"), good, "relay-source"},
		{sent.To, bad, "mismatch"},
		{sent.To, broken, "signature"},
		{sent.To, good[:len(good)-1], "size"},
		{sent.To, good, ""},
		{sent.To, good, "unasked"},
	} {
		if got := a.client.Receive(w.now, c.from, c.b); got != c.want {
			t.Errorf("from %v: %q, want %q", c.from, got, c.want)
		}
	}
	if len(told[Up](a)) != 0 {
		t.Error("told before Advance")
	}
	a.pump()
	if len(told[Up](a)) != 1 {
		t.Errorf("told %+v", a.said)
	}
}

// Everything that the relay said once, it says again, much later.
func TestReplays(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(main4), w.add(main4)
	var heard []struct {
		at netip.AddrPort
		b  []byte
	}
	w.tap = func(at, to netip.AddrPort, b []byte) {
		if to == a.source(at) {
			heard = append(heard, struct {
				at netip.AddrPort
				b  []byte
			}{at, b})
		}
	}
	a.client.SetBlob(w.now, []byte("a"))
	b.client.SetBlob(w.now, []byte("b"))
	a.setPeers(b)
	b.setPeers(a)
	w.run(2 * time.Minute)
	w.tap = nil
	a.forget()
	before := a.client.Status()
	for _, h := range heard {
		a.client.Receive(w.now, h.at, h.b)
		a.pump()
	}
	if len(a.said) != 0 || len(a.sent) != 0 || fmt.Sprint(before) != fmt.Sprint(a.client.Status()) {
		t.Errorf("%d replays: sent %v, told %+v", len(heard), a.kinds(), a.said)
	}
}

// hostile is a relay with a session that says whatever comes to its mind.
type hostile struct {
	*model
	rng *rand.Rand
}

func (m hostile) receive(at, from netip.AddrPort, b []byte) {
	if kind, _ := wire.ParseHeader(b); kind == wire.KindAsk || m.rng.IntN(4) == 0 {
		if m.rng.IntN(50) == 0 {
			m.exchange = wire.NewExchange(m.identity)
		}
		m.model.receive(at, from, b)
		return
	}
	_, key, err := wire.RequestHeader(b)
	if err != nil {
		m.w.t.Error(err)
		return
	}
	s, err := m.exchange.Session(key)
	if err != nil {
		m.w.t.Error(err)
		return
	}
	number := m.rng.Uint32N(100)
	node := keys.NodePublic{}
	if r, err := s.OpenRequest(b); err == nil {
		number = r.Number
		switch {
		case r.Allocate != nil:
			node = r.Allocate.Peers[m.rng.IntN(len(r.Allocate.Peers))]
		case r.Bind != nil:
			node = r.Bind.Peer
		}
	}
	for range m.rng.IntN(4) {
		m.say(s, at, from, number, node, b)
	}
}

func (m hostile) port() uint16 {
	if m.rng.IntN(4) == 0 {
		return uint16(m.rng.Uint32())
	}
	return 20000 + uint16(m.rng.IntN(4))
}

func (m hostile) say(s *wire.Session, at, from netip.AddrPort, number uint32, node keys.NodePublic, cause []byte) {
	if m.rng.IntN(4) == 0 {
		node = m.w.hosts[m.rng.IntN(len(m.w.hosts))].node.Public()
	}
	if m.rng.IntN(8) == 0 {
		node = keys.NodePublic{byte(m.rng.Uint32()), byte(m.rng.Uint32()), 1}
	}
	r := wire.Response{Number: number}
	_, _ = chaos{m.rng}.Read(r.Cookie[:])
	p := wire.Push{Number: m.rng.Uint32N(1 << m.rng.IntN(32))}
	push := false
	switch m.rng.IntN(12) {
	case 0:
		r.Registered = &wire.Registered{Lifetime: time.Duration(1+m.rng.Uint32N(1000)) * time.Second, First: m.port(), Last: 65535, Others: m.rng.IntN(65536)}
	case 1:
		for range 1 + m.rng.IntN(16) {
			r.Allocated = append(r.Allocated, wire.Allocated{Peer: node, Port: m.port()})
		}
	case 2:
		r.Bound = &wire.Bound{Peer: node, PeerBound: m.rng.IntN(2) == 0}
	case 3:
		r.Refreshed = &wire.Refreshed{Others: m.rng.IntN(3)}
	case 4:
		r.Done = true
	case 5, 6:
		r.Error = &wire.Error{Code: wire.Code(1 + m.rng.IntN(9)), RetryAfter: time.Duration(m.rng.IntN(3)) * time.Second}
	case 7:
		p.Blob, push = &wire.Blob{Node: node, Data: []byte{byte(m.rng.Uint32())}, Age: time.Hour}, true
	case 8:
		p.Gone, push = &wire.Gone{Node: node}, true
	case 9, 10:
		p.PeerBound, push = &wire.PeerBound{Peer: node, Port: m.port(), Bound: m.rng.IntN(3) > 0}, true
	case 11:
		m.send(at, from, wire.AppendReset(nil, cause))
		return
	}
	seal := func() ([]byte, error) { return s.SealResponse(r) }
	if push {
		seal = func() ([]byte, error) { return s.SealPush(p) }
	}
	if b, err := seal(); err == nil { // what cannot be said is for the codec's own tests
		m.send(at, from, b)
	}
}

// Whatever a relay says, a client keeps within its bounds, sends to the relay
// alone, and not more than it would anyway by much.
func TestHostile(t *testing.T) {
	for seed := range uint64(10) {
		runHostile(t, seed, 3*time.Minute)
	}
}

func runHostile(t *testing.T, seed uint64, d time.Duration) {
	w := newWorld(t, seed)
	w.jitter = 50 * time.Millisecond
	w.server = hostile{w.relay, rand.New(rand.NewPCG(seed, 2))}.receive
	hosts := []*host{w.add(main4, main6), w.add(main4), w.add(main6)}
	for i, h := range hosts {
		h.client.SetBlob(w.now, []byte{byte(i + 1)})
		h.setPeers(hosts...)
	}
	w.run(d)
	for _, h := range hosts {
		c := h.client
		if n := len(h.sent); n > int(d/time.Second)*20 {
			t.Errorf("seed %d: %s sent %d datagrams in %v", seed, h.name, n, d)
		}
		if len(c.registration.found) > maxFound || len(c.pairs.list) != 2 || len(c.calls.pending) > 4*(int(mainCalls)+2) || len(c.pairs.release) > maxPairs {
			t.Errorf("seed %d: %s keeps %d found, %d pairs, %d pending", seed, h.name, len(c.registration.found), len(c.pairs.list), len(c.calls.pending))
		}
	}
}

// Bytes choose what the hostile relay says.
func FuzzHostile(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { runHostile(t, seed, 20*time.Second) })
}

// Frames of any bytes change nothing.
func FuzzReceive(f *testing.F) {
	w := newWorld(f, 1)
	var frames [][]byte
	w.tap = func(at, to netip.AddrPort, b []byte) { frames = append(frames, b) }
	pairUp(w, main4)
	for _, b := range frames {
		f.Add(b, true)
	}
	f.Add([]byte{0xa1, 0x45}, false)
	f.Add([]byte{0xa2, 0x43}, true)
	w = newWorld(f, 2)
	a, b := pairUp(w, main4)
	a.forget()
	before := fmt.Sprint(a.client.Status())
	f.Fuzz(func(t *testing.T, frame []byte, front bool) {
		from := main4
		if !front {
			from = a.port4(b)
		}
		kind, _ := wire.ParseHeader(frame)
		drop := a.client.Receive(w.now, from, frame)
		if _, err := wire.ParseReset(frame); err == nil && kind == wire.KindReset && !front {
			return // a hint that is taken
		}
		if drop == "" || fmt.Sprint(a.client.Status()) != before {
			t.Errorf("%x from %v was taken: %q", frame, from, drop)
		}
	})
}
