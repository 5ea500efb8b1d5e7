package relay

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

// addr4 is an address whose prefix is given by a number.
func addr4(prefix uint32, host byte) netip.AddrPort {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 11<<24+prefix<<8)
	b[3] = host
	return netip.AddrPortFrom(netip.AddrFrom4(b), 5000)
}

// Asks leave nothing behind, however many there are and wherever from, and they
// cost no more than the limits say.
func TestAskFlood(t *testing.T) {
	w := newWorld(t, 1)
	office := w.network()
	known := w.join(office, "198.51.100.1:5001")
	known.mustRegister("known")
	before := heapBytes()
	answered, newcomers := 0, 0
	const seconds = 10
	for i := range seconds * 50000 {
		from := addr4(uint32(w.rng.IntN(1<<20)), byte(i))
		if w.s.Receive(w.now, front4, from, wire.AppendAsk(nil, wire.TransactionID{})) == "" {
			answered++
		}
		w.now = w.now.Add(20 * time.Microsecond)
		if i%1000 == 0 {
			w.s.Advance(w.now)
		}
		if i%50000 == 0 {
			w.s.Advance(w.now)
			if known.ask(known.front) != "" || known.refresh(known.have()) == nil {
				t.Fatal("a node that is known is not answered")
			}
			c := w.join(office, "198.51.200.1:5001")
			for range 20 { // as it would in a minute
				if c.ask(c.front) == "" {
					newcomers++
					break
				}
			}
		}
	}
	w.s.Advance(w.now)
	if limit := seconds*20000 + 4000; answered > limit || answered < limit/2 {
		t.Errorf("%d asks answered, want about %d", answered, limit)
	}
	if newcomers < seconds/2 {
		t.Errorf("%d of %d newcomers got through the flood", newcomers, seconds)
	}
	if st := w.s.Stats(); st.Nodes != 1 || st.Sources > 2 {
		t.Errorf("asks left %+v", st)
	}
	if grown := heapBytes() - before; grown > 1<<20 {
		t.Errorf("asks left %d bytes", grown)
	}
}

// A flood from one prefix is held there.
func TestAskFloodFromOnePrefix(t *testing.T) {
	w := newWorld(t, 1)
	answered := 0
	for i := range 100000 {
		if w.s.Receive(w.now, front4, addr4(1, byte(i)), wire.AppendAsk(nil, wire.TransactionID{})) == "" {
			answered++
		}
		w.now = w.now.Add(10 * time.Microsecond)
	}
	if answered > 2000+500+2 {
		t.Errorf("%d asks of one prefix answered in a second", answered)
	}
	w.s.Advance(w.now)
	for i := range 1000 {
		c := w.joinAt(w.network(), addr4(uint32(1000+i), 1))
		if reason := c.ask(c.front); reason != "" {
			t.Fatalf("another prefix: %q", reason)
		}
	}
}

func heapBytes() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// strangersRequest is a request with a client key that is not known, from a
// source that is proven.
func strangersRequest(c *client) string {
	if c.cookies[c.front].IsZero() {
		c.ask(c.front)
		c.w.proven[c.addr] = true
	}
	c.newSession()
	data := c.seal(c.front, wire.Request{Refresh: &wire.Refresh{}})
	return c.w.receive(c.front, c.addr, data)
}

// Work on curves is limited by prefix and overall, and a part of it is left to
// those who have something here.
func TestCurveWorkIsLimited(t *testing.T) {
	w := newWorld(t, 1)
	office := w.network()
	known := w.join(office, "198.51.100.1:5001")
	known.mustRegister("known")
	one := w.joinAt(w.network(), addr4(1, 1))
	for range 1000 {
		strangersRequest(one)
		w.now = w.now.Add(-time.Millisecond) // all at once
	}
	if worked := 1000 - w.reasons[dropWork]; worked > 302 {
		t.Errorf("one prefix had %d operations at once", worked)
	}
	clear(w.reasons)
	attackers := make([]*client, 40)
	for i := range attackers {
		attackers[i] = w.joinAt(w.network(), addr4(uint32(10+i), 1))
	}
	const requests = 4000
	for i := range requests {
		strangersRequest(attackers[i%len(attackers)])
		w.now = w.now.Add(-time.Millisecond)
	}
	if worked := requests - w.reasons[dropWork]; worked > 2600 || worked < 2000 {
		t.Errorf("all strangers had %d operations at once, want about 2500", worked)
	}
	known.newSession()
	clear(known.cookies)
	if r := known.register("again", wire.Have{}); r == nil || r.Registered == nil {
		t.Errorf("a node of a known prefix is answered with %+v", r)
	}
}

// Strangers from everywhere register and allocate as much as they can. The
// tables keep their bounds; who registered before stays, who uses an allocation
// keeps it, and newcomers get in.
func TestFloodOfStrangers(t *testing.T) {
	most := limits{sources: 64, nodes: 256, registrations: 96, allocations: 96}
	w := newWorldWith(t, 7, Config{Stranger: Quota{Source: Share{Registrations: 16, Allocations: 16}}}, most)
	office := w.network()
	a, b := w.join(office, "198.51.100.1:5001"), w.join(office, "198.51.101.1:5002")
	a.mustRegister("a")
	b.mustRegister("b")
	port := w.connect(a, b)
	// Ten prefixes, each a hundred networks, for ten minutes.
	allowed := 0
	for minute := range 10 {
		for range 120 {
			host := byte(w.rng.IntN(250))
			m := w.joinAt(w.network(), addr4(uint32(w.rng.IntN(10)), host))
			m.register("flood", wire.Have{})
			peers := make([]keys.NodePublic, 8)
			for i := range peers {
				peers[i] = keys.NodePublic{2, byte(i), host}
			}
			m.allocate(peers...)
			w.pass(500 * time.Millisecond)
			checkServer(t, w.s)
			if w.reach(a, b, port) != nil {
				t.Fatalf("minute %d: the pair that uses its allocation lost it", minute)
			}
			w.s.Counted(w.now, FlowKey{At: a.at(port), Source: a.addr}, 1, 100)
			w.s.Counted(w.now, FlowKey{At: b.at(port), Source: b.addr}, 1, 100)
			if w.now.Second()%25 == 0 {
				if a.refresh(a.have()) == nil || b.refresh(b.have()) == nil {
					t.Fatal("a refresh was not answered")
				}
			}
		}
		home := w.network()
		c, d := w.joinAt(home, addr4(uint32(5000+minute), 1)), w.joinAt(home, addr4(uint32(6000+minute), 1))
		r := c.register("c", wire.Have{})
		if r != nil && r.Registered != nil {
			allowed++
		}
		if w.connect(c, d) == 0 {
			t.Error("newcomers get no allocation")
		}
	}
	if allowed < 10 {
		t.Errorf("%d of 10 newcomers could register", allowed)
	}
	if w.reasons["refused-quota"] == 0 || w.s.Stats().Evicted == 0 {
		t.Errorf("nothing was refused or gave way: %v", w.reasons)
	}
}

// What one network uses up, another does not miss; and who is not of a network
// can use nothing of its quota.
func TestQuotasOfNetworks(t *testing.T) {
	quota := Quota{Network: Share{Registrations: 3, Allocations: 4, Requests: 5}}
	w := newWorldWith(t, 1, Config{Stranger: quota}, tableLimits)
	office, home := w.network(), w.network()
	var nodes []*client
	for i := range 6 {
		nodes = append(nodes, w.joinAt(office, addr4(uint32(i), 1)))
	}
	registered := 0
	for _, n := range nodes {
		if r := n.register("x", wire.Have{}); r != nil && r.Registered != nil {
			registered++
		}
	}
	if registered != 3 {
		t.Errorf("%d of 3 registered", registered)
	}
	w.pass(10 * time.Second)
	// Four bound pairs use up the allocations.
	for i := range 4 {
		w.connect(nodes[i], nodes[i+1])
		w.pass(10 * time.Second)
	}
	if list := nodes[0].allocate(nodes[5].node()); len(list) != 1 || list[0].Code != wire.CodeQuota {
		t.Errorf("the fifth allocation is answered with %+v", list)
	}
	for range 200 {
		nodes[0].refresh(wire.Have{})
	}
	if w.reasons["refused-quota"] == 0 {
		t.Error("requests have no quota")
	}
	a, b := w.joinAt(home, addr4(0, 2)), w.joinAt(home, addr4(1, 2))
	a.mustRegister("a")
	w.connect(a, b)
	// An outsider with the network's id, from its own prefix.
	w.pass(20 * time.Second)
	outsider := w.joinAt(w.network(), addr4(77, 1))
	outsider.signer.Network = home.Network
	for range 90 {
		outsider.newSession()
		outsider.request(outsider.front, wire.Request{Register: &wire.Register{Blob: []byte("x")}})
	}
	if w.reasons["signature"] == 0 {
		t.Fatal("the outsider's requests are not even looked at")
	}
	if r := a.refresh(a.have()); r == nil || r.Refreshed == nil {
		t.Errorf("a member is answered with %+v", r)
	}
	w.check()
}

// Where all ports of a node are taken, the oldest that waits gives way; where
// none waits, there is none.
func TestPortExhaustion(t *testing.T) {
	w := newWorldWith(t, 1, Config{Ports: PortRange{30000, 30002}}, tableLimits)
	office := w.network()
	hub := w.join(office, "198.51.100.1:5001")
	var spokes []*client
	for i := range 5 {
		spokes = append(spokes, w.joinAt(office, addr4(uint32(i), 1)))
	}
	for i := range 3 {
		if port := hub.mustAllocate(spokes[i]); port != 30000+uint16(i) {
			t.Fatalf("port %d", port)
		}
	}
	w.connect(hub, spokes[0])
	if port := hub.mustAllocate(spokes[3]); port != 30001 {
		t.Errorf("port %d, want the one that waits longest", port)
	}
	w.connect(hub, spokes[3])
	hub.mustAllocate(spokes[2])
	w.connect(hub, spokes[2])
	if list := hub.allocate(spokes[4].node()); len(list) != 1 || list[0].Code != wire.CodeFull {
		t.Errorf("with no port left: %+v", list)
	}
	// Two others share the ports all the same.
	if port := w.connect(spokes[1], spokes[4]); port != 30000 {
		t.Errorf("two others have port %d", port)
	}
	w.check()
}
