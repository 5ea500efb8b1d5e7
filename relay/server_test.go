package relay

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

func TestRegisterAndPush(t *testing.T) {
	w := newWorld(t, 1)
	office := w.network()
	a, b := w.join(office, "198.51.100.1:5001"), w.join(office, "[2001:db8:1::1]:5002")
	other := w.join(w.network(), "198.51.100.2:5001")
	other.mustRegister("other")

	r := a.register("blob a", wire.Have{})
	if r == nil || r.Registered == nil {
		t.Fatalf("answer %+v", r)
	}
	g := r.Registered
	if g.Others != 0 || g.Lifetime != 120*time.Second || g.First != 20000 || g.Last != 21023 || len(g.Addrs) != 2 || g.Addrs[0] != front4 || g.Addrs[1] != front6 {
		t.Errorf("registered %+v", g)
	}
	if n := b.mustRegister("blob b"); n != 1 {
		t.Errorf("%d others, want 1", n)
	}
	if a.blobs()[b.node()] != "blob b" || b.blobs()[a.node()] != "blob a" || len(a.blobs()) != 1 || len(b.blobs()) != 1 {
		t.Errorf("a was pushed %v, b %v", a.blobs(), b.blobs())
	}
	if len(other.pushes) != 0 {
		t.Error("another network was told")
	}
	// A changed blob is pushed, the same is not.
	n := len(b.pushes)
	a.register("blob a", a.have())
	if w.pass(time.Second); len(b.pushes) != n {
		t.Error("the same blob was pushed again")
	}
	a.register("blob A", a.have())
	if b.blobs()[a.node()] != "blob A" {
		t.Error("a changed blob was not pushed")
	}
	// Who leaves is gone for the others, at once.
	if r := b.request(b.front, wire.Request{Leave: true}); r == nil || !r.Done {
		t.Fatalf("leave answered with %+v", r)
	}
	if len(a.blobs()) != 0 {
		t.Error("a node that left is still there")
	}
	w.check()
}

// A push comes twice, 300 ms apart, byte for byte.
func TestPushesComeTwice(t *testing.T) {
	w := newWorld(t, 1)
	office := w.network()
	a, b := w.join(office, "198.51.100.1:5001"), w.join(office, "198.51.100.1:5002")
	a.mustRegister("a")
	delete(w.clients, a.addr) // the first copies are lost
	b.mustRegister("b")
	w.clients[a.addr] = a
	w.pass(299 * time.Millisecond)
	if len(a.pushes) != 0 {
		t.Fatal("the second copy comes early")
	}
	w.pass(time.Millisecond)
	if a.blobs()[b.node()] != "b" {
		t.Error("no second copy")
	}
}

func TestHaveReconciles(t *testing.T) {
	w := newWorld(t, 1)
	office := w.network()
	a := w.join(office, "198.51.100.1:5001")
	a.mustRegister("a")
	delete(w.clients, a.addr)
	var others []*client
	for i := range 5 {
		c := w.join(office, "198.51.100.2:"+string(rune('1'+i))+"000")
		c.mustRegister(strings.Repeat("x", i+1))
		others = append(others, c)
	}
	w.pass(time.Second) // both copies of all pushes are lost
	w.clients[a.addr] = a
	if a.refresh(a.have()); len(a.blobs()) != 5 {
		t.Fatalf("after a refresh it has %d of 5", len(a.blobs()))
	}
	n := len(a.pushes)
	if a.refresh(a.have()); len(a.pushes) != n {
		t.Error("blobs are sent again to who has them")
	}
	// Who missed that another is gone is told at a refresh.
	delete(w.clients, a.addr)
	others[0].request(others[0].front, wire.Request{Leave: true})
	w.pass(time.Second)
	w.clients[a.addr] = a
	if a.refresh(a.have()); len(a.blobs()) != 4 {
		t.Errorf("it has %d nodes, want 4", len(a.blobs()))
	}
	// Somebody who insists is not sent everything for ever.
	n = len(a.pushes)
	for range 100 {
		w.pass(25 * time.Second)
		for _, c := range others[1:] {
			c.refresh(c.have())
		}
		a.refresh(wire.Have{1})
	}
	if got := len(a.pushes) - n; got > 100 {
		t.Errorf("%d pushes for a sum that nothing helps", got)
	}
}

func TestRegistrationExpires(t *testing.T) {
	w := newWorld(t, 1)
	office := w.network()
	a, b := w.join(office, "198.51.100.1:5001"), w.join(office, "198.51.100.1:5002")
	a.mustRegister("a")
	b.mustRegister("b")
	for range 8 {
		w.pass(25 * time.Second)
		if r := a.refresh(a.have()); r == nil || r.Refreshed == nil {
			t.Fatalf("refresh answered with %+v", r)
		}
	}
	if len(a.blobs()) != 0 || w.s.Stats().Registrations != 1 {
		t.Error("a registration did not expire, or nobody was told")
	}
	w.pass(5 * time.Minute)
	if st := w.s.Stats(); st.Nodes != 0 || st.Networks != 0 || st.Registrations != 0 {
		t.Errorf("after all is over there is left %+v", st)
	}
	if r := a.refresh(wire.Have{}); r == nil || r.Error == nil || r.Error.Code != wire.CodeUnknown {
		t.Errorf("refresh of nothing answered with %+v", r)
	}
	w.check()
}

func TestAllocateBindForward(t *testing.T) {
	w := newWorld(t, 1)
	office := w.network()
	// Two behind one NAT, one elsewhere with IPv6.
	a, b, c := w.join(office, "198.51.100.1:5001"), w.join(office, "198.51.100.1:5002"), w.join(office, "[2001:db8:1::1]:5003")
	for _, x := range []*client{a, b, c} {
		x.mustRegister("x")
	}
	port := a.mustAllocate(b)
	if again := b.mustAllocate(a); port != 20000 || again != port {
		t.Errorf("ports %d and %d, want 20000", port, again)
	}
	if got := a.mustAllocate(c); got != 20001 {
		t.Errorf("second port %d", got)
	}
	if got := b.mustAllocate(c); got != 20002 {
		t.Errorf("port of the other two is %d", got)
	}
	if a.mustBind(port, b) {
		t.Error("the peer is bound before it binds")
	}
	if len(w.flows) != 0 {
		t.Fatal("a flow before both sides have bound")
	}
	if !b.mustBind(port, a) {
		t.Error("the peer is not bound after both are")
	}
	last := a.pushes[len(a.pushes)-1]
	if p := last.PeerBound; p == nil || p.Peer != b.node() || p.Port != port || !p.Bound {
		t.Errorf("a was pushed %+v", last)
	}
	w.connect(a, c)
	w.connect(b, c)
	for _, p := range []struct {
		a, b *client
		port uint16
	}{{a, b, 20000}, {a, c, 20001}, {b, c, 20002}} {
		if err := w.reach(p.a, p.b, p.port); err != nil {
			t.Error(err)
		}
		if err := w.reach(p.b, p.a, p.port); err != nil {
			t.Error(err)
		}
	}
	// Two who know neither use the lowest port at the same time.
	d, e := w.join(office, "198.51.100.9:5001"), w.join(w.network(), "198.51.100.9:5002")
	if got := d.mustAllocate(w.join(office, "198.51.100.9:5003")); got != 20000 {
		t.Errorf("a pair of its own has port %d", got)
	}
	if got := e.mustAllocate(d); got != 20000 {
		t.Errorf("a pair of another network has port %d", got)
	}
	w.check()
}

// A side that comes from elsewhere is followed, and nothing else changes.
func TestRebind(t *testing.T) {
	w := newWorld(t, 1)
	office := w.network()
	a, b := w.join(office, "198.51.100.1:5001"), w.join(office, "198.51.100.2:5002")
	port := w.connect(a, b)
	old := a.addr
	a.move(netip.MustParseAddrPort("192.0.2.7:6001"))
	if err := w.reach(b, a, port); err == nil {
		t.Fatal("the relay knows before it is told")
	}
	if !a.mustBind(port, b) {
		t.Error("the peer is not bound after a move")
	}
	if w.reach(a, b, port) != nil || w.reach(b, a, port) != nil || len(w.flows) != 2 {
		t.Errorf("flows after a move: %v", w.flows)
	}
	if _, ok := w.flows[FlowKey{At: a.at(port), Source: old}]; ok {
		t.Error("the old address still sends")
	}
	// To the other family.
	a.front = front6
	a.move(netip.MustParseAddrPort("[2001:db8:7::1]:6001"))
	a.mustBind(port, b)
	if w.reach(a, b, port) != nil || w.reach(b, a, port) != nil || len(w.flows) != 2 {
		t.Errorf("flows after a change of family: %v", w.flows)
	}
	w.check()
}

// A bind that a later one has overtaken is of an address that is no longer.
func TestBindOvertaken(t *testing.T) {
	w := newWorld(t, 1)
	office := w.network()
	a, b := w.join(office, "198.51.100.1:5001"), w.join(office, "198.51.100.2:5002")
	port := w.connect(a, b)
	old := a.addr
	late := a.seal(a.at(port), wire.Request{Bind: &wire.Bind{Peer: b.node()}})
	a.move(netip.MustParseAddrPort("192.0.2.7:6001"))
	a.mustBind(port, b)
	if reason := w.receive(a.at(port), old, late); reason != dropReplay {
		t.Errorf("reason %q", reason)
	}
	if w.reach(b, a, port) != nil {
		t.Error("the late one moved the side back")
	}
}

// An address that one node had and another has now is the other's.
func TestAddressChangesHands(t *testing.T) {
	w := newWorld(t, 1)
	office := w.network()
	a, b := w.join(office, "198.51.100.1:5001"), w.join(office, "198.51.100.2:5002")
	c, d := w.join(w.network(), "198.51.100.1:5009"), w.join(w.network(), "198.51.100.3:5003")
	d.signer.Network, d.signer.Member = c.signer.Network, c.signer.Member
	port := w.connect(a, b)
	if w.connect(c, d) != port {
		t.Fatal("want both pairs on one port")
	}
	address := a.addr
	a.move(netip.MustParseAddrPort("198.51.100.1:5077"))
	c.move(address)
	c.mustBind(port, d)
	if w.reach(c, d, port) != nil || w.reach(d, c, port) != nil || len(w.flows) != 2 {
		t.Errorf("flows %v", w.flows)
	}
	if p := b.pushes[len(b.pushes)-1].PeerBound; p == nil || p.Bound || p.Peer != a.node() {
		t.Errorf("b was pushed %+v", b.pushes[len(b.pushes)-1])
	}
	if !a.mustBind(port, b) || w.reach(a, b, port) != nil {
		t.Error("a cannot come back")
	}
	// Both sides of a pair at one address: the later one has it, no loop.
	b.move(a.addr)
	b.front = a.front
	if b.mustBind(port, a) {
		t.Error("both sides of a pair are bound at one address")
	}
	w.check()
}

func TestUnboundAllocationsExpire(t *testing.T) {
	w := newWorld(t, 1)
	office := w.network()
	a, b := w.join(office, "198.51.100.1:5001"), w.join(office, "198.51.100.2:5002")
	port := a.mustAllocate(b)
	w.pass(20 * time.Second)
	a.mustBind(port, b)
	w.pass(29 * time.Second)
	if w.s.Stats().Allocations != 1 {
		t.Fatal("gone too early")
	}
	w.pass(2 * time.Second)
	if w.s.Stats().Allocations != 0 || len(w.open) != 1 {
		t.Fatalf("%+v, open %v", w.s.Stats(), w.open)
	}
	if r := a.bind(port, b.node()); r == nil || r.Error == nil || r.Error.Code != wire.CodeUnknown {
		t.Errorf("bind of nothing answered with %+v", r)
	}
	w.pass(time.Minute)
	if len(w.open) != 0 {
		t.Error("a port stays open for nobody")
	}
}

func TestBoundAllocationsExpire(t *testing.T) {
	w := newWorld(t, 1)
	office := w.network()
	a, b := w.join(office, "198.51.100.1:5001"), w.join(office, "198.51.100.2:5002")
	port := w.connect(a, b)
	// Packets of both sides keep it.
	for range 10 {
		w.pass(200 * time.Second)
		for k := range w.flows {
			w.s.Counted(w.now, k, 3, 300)
		}
	}
	if st := w.s.Stats(); st.Bound != 1 || st.Packets != 60 || st.Bytes != 6000 {
		t.Fatalf("%+v", st)
	}
	// Binds of both do.
	for range 10 {
		w.pass(100 * time.Second)
		a.mustBind(port, b)
		b.mustBind(port, a)
	}
	// A side that is silent may be gone, and its address another's: the other
	// side alone does not keep it.
	for range 4 {
		w.pass(70 * time.Second)
		a.mustBind(port, b)
		w.s.Counted(w.now, FlowKey{At: a.at(port), Source: a.addr}, 1, 100)
	}
	if w.s.Stats().Bound != 1 {
		t.Fatal("gone too early")
	}
	w.pass(25 * time.Second)
	if w.s.Stats().Bound != 0 || len(w.flows) != 0 {
		t.Error("a side that was silent for 300 s is still forwarded to")
	}
	w.check()
}

func TestRelease(t *testing.T) {
	w := newWorld(t, 1)
	office := w.network()
	a, b := w.join(office, "198.51.100.1:5001"), w.join(office, "198.51.100.2:5002")
	port := w.connect(a, b)
	n := len(a.pushes)
	if r := a.request(a.front, wire.Request{Release: &wire.Release{Peers: []keys.NodePublic{b.node()}}}); r == nil || !r.Done {
		t.Fatalf("release answered with %+v", r)
	}
	if len(w.flows) != 0 || w.s.Stats().Allocations != 0 {
		t.Error("a released allocation is still there")
	}
	if p := b.pushes[len(b.pushes)-1].PeerBound; p == nil || p.Bound || p.Port != port || len(a.pushes) != n {
		t.Error("the peer was not told, or the one who asked was")
	}
	// What the peer still sends is answered with a reset.
	data := make([]byte, 32)
	data[0] = 4
	w.unknown(b.at(port), b.addr, data)
	if b.resets != 1 {
		t.Errorf("%d resets", b.resets)
	}
	for range 100 {
		w.unknown(b.at(port), b.addr, data)
	}
	if b.resets > 4 {
		t.Errorf("%d resets at once", b.resets)
	}
	w.check()
}

func TestLeaving(t *testing.T) {
	w := newWorld(t, 1)
	office := w.network()
	a, b := w.join(office, "198.51.100.1:5001"), w.join(office, "198.51.100.2:5002")
	a.mustRegister("a")
	port := w.connect(a, b)
	w.s.Leave(w.now, 5*time.Second)
	w.advance()
	for _, c := range []*client{a, b} {
		if p := c.pushes[len(c.pushes)-1].Leaving; p == nil || p.Grace != 5*time.Second {
			t.Errorf("pushed %+v", c.pushes[len(c.pushes)-1])
		}
	}
	if len(w.flows) != 2 || !a.mustBind(port, b) {
		t.Error("what was bound is not kept")
	}
	if r := a.register("new", a.have()); r == nil || r.Error == nil || r.Error.Code != wire.CodeLeaving {
		t.Errorf("registration answered with %+v", r)
	}
	c := w.join(office, "198.51.100.3:5003")
	if reason := c.ask(c.front); reason != dropLeaving {
		t.Errorf("an ask gave %q", reason)
	}
}

func TestPortFailed(t *testing.T) {
	w := newWorld(t, 1)
	office := w.network()
	a, b := w.join(office, "198.51.100.1:5001"), w.join(office, "198.51.100.2:5002")
	port := a.mustAllocate(b)
	w.s.PortFailed(w.now, port)
	w.s.PortFailed(w.now, 1) // not ours
	delete(w.open, port)
	w.advance()
	if got := a.mustAllocate(b); got != port+1 {
		t.Errorf("next port %d", got)
	}
	w.pass(11 * time.Minute)
	if got := a.mustAllocate(b); got != port {
		t.Errorf("port %d after a rest", got)
	}
	w.check()
}

func TestReconfigure(t *testing.T) {
	w := newWorld(t, 1)
	office, home := w.network(), w.network()
	a, b := w.join(office, "198.51.100.1:5001"), w.join(office, "198.51.100.2:5002")
	c, d := w.join(home, "198.51.100.3:5001"), w.join(home, "198.51.100.4:5002")
	for _, x := range []*client{a, b, c, d} {
		x.mustRegister("x")
	}
	port := w.connect(a, b)
	w.connect(c, d)
	rate := func() uint64 { return w.flows[FlowKey{At: a.at(port), Source: a.addr}].Buckets[0].Rate() }
	if rate() != DefaultStranger.PairBytes {
		t.Errorf("a stranger's rate is %d", rate())
	}
	cfg := Config{Allow: []keys.NetworkID{office.Network}, Member: Quota{PairBytes: 77}}
	w.s.Reconfigure(w.now, cfg)
	w.advance()
	w.check()
	if st := w.s.Stats(); st.Networks != 1 || st.Bound != 1 || st.Registrations != 2 || len(w.flows) != 2 || rate() != 77 {
		t.Errorf("%+v, rate %d", st, rate())
	}
	if r := c.register("y", wire.Have{}); r == nil || r.Error == nil || r.Error.Code != wire.CodeForbidden || r.Error.RetryAfter != forbiddenRetry {
		t.Errorf("who is no longer allowed is answered with %+v", r)
	}
	w.s.Reconfigure(w.now, Config{})
	w.advance()
	c.mustRegister("y")
	w.check()
}

func TestRestart(t *testing.T) {
	w := newWorld(t, 1)
	office := w.network()
	a, b := w.join(office, "198.51.100.1:5001"), w.join(office, "198.51.100.2:5002")
	a.mustRegister("a")
	port := w.connect(a, b)
	request := a.seal(a.front, wire.Request{Refresh: &wire.Refresh{}})
	w.restart()
	if reason := w.receive(a.front, a.addr, request); reason != dropCookie || a.resets != 1 {
		t.Errorf("reason %q, %d resets", reason, a.resets)
	}
	clear(a.cookies)
	clear(b.cookies)
	if n := a.mustRegister("a"); n != 0 {
		t.Errorf("%d others", n)
	}
	if w.connect(a, b) != port || w.reach(a, b, port) != nil {
		t.Error("the pair is not as it was")
	}
	w.check()
}

func TestImplausibleSources(t *testing.T) {
	w := newWorld(t, 1)
	for _, from := range []string{
		"203.0.113.5:3478", "203.0.113.5:3479", "203.0.113.5:20000", "[2001:db8:5::5]:21023",
		"0.0.0.0:5000", "255.255.255.255:5000", "224.0.0.1:5000", "198.51.100.1:0", "[fe80::1]:5000", "[::ffff:203.0.113.5]:3478",
	} {
		at := front4
		if netip.MustParseAddrPort(from).Addr().Is6() {
			at = front6
		}
		if reason := w.receive(at, netip.MustParseAddrPort(from), wire.AppendAsk(nil, wire.TransactionID{})); reason != dropSource {
			t.Errorf("from %s: %q", from, reason)
		}
	}
	// A node on the relay's own host, at a port of its own.
	if reason := w.receive(front4, netip.MustParseAddrPort("203.0.113.5:51820"), wire.AppendAsk(nil, wire.TransactionID{})); reason != "" {
		t.Errorf("a node on the same host: %q", reason)
	}
}
