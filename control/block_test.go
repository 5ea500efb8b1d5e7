package control

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/discovery/keys"
)

func (h *simHost) block(word string) blockedNode {
	h.w.t.Helper()
	n, err := h.mesh.wantBlocked(h.wallTime(), word)
	if err != nil {
		h.w.t.Fatal(err)
	}
	h.mesh.block(h.w.now, n)
	h.step()
	return n
}

func knows(a, b *simHost) bool { return a.mesh.peers[b.mesh.self.public] != nil }

// A blocked node is gone at once, and nothing that it or others say brings it back.
func TestBlockedNodeIsGone(t *testing.T) {
	w := newWorld(t, 1)
	a, b, c := w.host("alice", "5.1.1.1:20001", nil), w.host("bob", "5.2.2.2:20002", nil), w.host("carol", "5.3.3.3:20003", nil)
	all := []*simHost{a, b, c}
	b.hint(a.inner)
	c.hint(a.inner)
	if _, ok := w.run(20*time.Second, func() bool { return allConnected(all) }); !ok {
		t.Fatal("never connected")
	}
	w.run(time.Minute, nil)
	n := a.block("bob")
	if _, there := a.device.peers[b.device.public]; there || knows(a, b) {
		t.Error("bob is still a peer")
	}
	toBob := 0
	a.spy = func(to netip.AddrPort, _ []byte) {
		if to == b.inner {
			toBob++
		}
	}
	// Bob greets anew, bob calls through carol, carol tells of bob's new record, and
	// bob is met at an address that anybody may name.
	b.hint(a.inner)
	b.mesh.publisher.dirty = true
	b.step()
	w.run(10*time.Second, nil)
	if toBob > 0 {
		t.Errorf("%d datagrams went to bob", toBob)
	}
	a.spy = nil
	b.boot()
	b.hint(a.inner)
	b.hint(c.inner)
	a.hint(b.inner)
	if _, ok := w.run(20*time.Second, func() bool { return connected(b, c) }); !ok {
		t.Error("carol and bob have lost each other")
	}
	w.run(5*time.Minute, nil)
	if knows(a, b) || !connected(a, c) || !connected(b, c) {
		t.Errorf("alice knows bob: %v; carol is connected with alice: %v, with bob: %v", knows(a, b), connected(a, c), connected(b, c))
	}
	if m, ok := a.mesh.book.Get(b.mesh.self.public); !ok || m.Record.Seq != b.mesh.publisher.sequence {
		t.Error("bob's newest record is not kept for the others")
	}

	// It holds over a restart, as the file does.
	blocked := newBlockList([]blockedNode{n})
	a.boot(func(c *meshConfig, _ *simHost) { c.blocked = blocked })
	a.hint(b.inner)
	a.hint(c.inner)
	w.run(time.Minute, nil)
	if knows(a, b) || !connected(a, c) {
		t.Errorf("after a restart alice knows bob: %v, is connected with carol: %v", knows(a, b), connected(a, c))
	}

	a.mesh.unblock(w.now, a.wallTime(), n)
	a.step()
	if _, ok := w.run(30*time.Second, func() bool { return connected(a, b) }); !ok {
		t.Error("bob does not come back")
	}
}

// One who blocks another is not told of it again and again by the others.
func TestBlockIsSilent(t *testing.T) {
	w := newWorld(t, 6)
	a, b, c := w.host("alice", "5.1.1.1:20001", nil), w.host("bob", "5.2.2.2:20002", nil), w.host("carol", "5.3.3.3:20003", nil)
	b.hint(a.inner)
	c.hint(a.inner)
	if _, ok := w.run(20*time.Second, func() bool { return allConnected([]*simHost{a, b, c}) }); !ok {
		t.Fatal("never connected")
	}
	a.block("bob")
	w.run(20*time.Minute, nil) // bob seeks, and gives up
	between := 0
	count := func(peer *simHost) func(netip.AddrPort, []byte) {
		return func(to netip.AddrPort, _ []byte) {
			if to == peer.inner {
				between++
			}
		}
	}
	a.spy, c.spy = count(c), count(a)
	w.run(time.Hour, nil)
	if between > 60 { // bob calls through carol, every ten minutes at last
		t.Errorf("%d datagrams between alice and carol in an hour", between)
	}
	if !connected(a, c) || knows(a, b) {
		t.Errorf("alice and carol connected: %v; alice knows bob: %v", connected(a, c), knows(a, b))
	}
}

func TestWhomToBlock(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.host("alice", "5.1.1.1:20001", nil), w.host("bob", "5.2.2.2:20002", nil)
	b.hint(a.inner)
	if _, ok := w.run(20*time.Second, func() bool { return connected(a, b) }); !ok {
		t.Fatal("never connected")
	}
	for word, want := range map[string]string{
		"alice":                             "this node",
		string(a.mesh.self.public.ID()):     "this node",
		"carol":                             "blocked by its id",
		"":                                  "which node",
		strings.Repeat("a", 15) + "b" + "c": "no node",
	} {
		if _, err := a.mesh.wantBlocked(a.wallTime(), word); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", word, err)
		}
	}
	stranger := string(keys.GenerateNode().Public().ID())
	if n := a.block(stranger); n.ID != stranger || n.Name != "" {
		t.Errorf("%+v", n)
	}
	id := string(b.mesh.self.public.ID())
	if n := a.block(id[:8]); n.ID != id || n.Name != "bob" {
		t.Errorf("%+v", n)
	}
	for _, word := range []string{"bob", id, id[:6]} {
		if n, err := a.mesh.blocked.find(word); err != nil || n.ID != id {
			t.Errorf("find %q: %+v, %v", word, n, err)
		}
	}
	if n := a.block("bob"); n.ID != id { // again
		t.Errorf("%+v", n)
	}
	if _, err := a.mesh.blocked.find("nobody"); err == nil {
		t.Error("nobody is blocked")
	}
	for i := range maxBlocked {
		a.mesh.blocked.set(blockedNode{ID: fmt.Sprintf("n%d", i)}, true)
	}
	if _, err := a.mesh.wantBlocked(a.wallTime(), string(keys.GenerateNode().Public().ID())); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("one too many: %v", err)
	}
}

// What a member advertises reaches the device of the one who asks for it, and
// nobody else's.
func TestRoutesReachTheDevice(t *testing.T) {
	w := newWorld(t, 1)
	gate := w.host("gate", "5.1.1.1:20001", nil, func(c *meshConfig, _ *simHost) {
		c.routes = RouteConfig{AdvertiseRoutes: pfxs("192.168.7.0/24", "5.9.9.0/24"), AdvertiseExit: true}
	})
	asks := w.host("asks", "5.2.2.2:20002", nil, func(c *meshConfig, _ *simHost) {
		c.routes = RouteConfig{AcceptRoutes: []string{"gate"}, ExitNode: "gate"}
	})
	other := w.host("other", "5.3.3.3:20003", nil)
	far := w.host("far", "5.9.9.9:20004", nil)
	asks.hint(gate.inner)
	other.hint(gate.inner)
	far.hint(gate.inner)
	of := func(h *simHost) []netip.Prefix {
		for _, p := range h.mesh.desired().Peers {
			if p.PublicKey == gate.device.public {
				return p.AllowedIPs
			}
		}
		return nil
	}
	if d := asks.mesh.desired(); d.Exit == nil || !d.Exit.V4 || !d.Exit.V6 || len(d.Subnets) != 0 {
		t.Errorf("before anybody is there: %+v", d)
	}
	if _, ok := w.run(20*time.Second, func() bool { return allConnected([]*simHost{gate, asks, other, far}) }); !ok {
		t.Fatal("never connected")
	}
	w.run(10*time.Second, nil)
	if e := asks.mesh.statusExit(); e == nil || e.State != "working" {
		t.Errorf("exit node: %+v", e)
	}
	if got := of(asks); !slices.Contains(got, pfx("192.168.7.0/24")) || !slices.Contains(got, everything4) {
		t.Errorf("allowed IPs: %v", got)
	}
	if got := prefixTexts(asks.mesh.desired().Subnets); !slices.Equal(got, []string{"192.168.7.0/24"}) {
		t.Errorf("subnets: %v", got)
	}
	if got := of(other); slices.Contains(got, pfx("192.168.7.0/24")) || slices.Contains(got, everything4) {
		t.Errorf("allowed IPs of one who did not ask: %v", got)
	}
	if d := gate.mesh.desired(); d.Forward == nil || !d.Forward.Exit || len(d.Forward.Advertised) != 2 {
		t.Errorf("the gate forwards %+v", d.Forward)
	}
	// A member lives in the other prefix: its own path may not lead through it.
	p := asks.mesh.peers[gate.mesh.self.public]
	var refused localapi.Route
	for _, r := range asks.mesh.statusRoutes(p) {
		if r.Prefix == "5.9.9.0/24" {
			refused = r
		}
	}
	if refused.State != "refused" || !strings.Contains(refused.Reason, "where far is reached") {
		t.Errorf("%+v", refused)
	}
	// No datagram of this node's own goes where a peer leads.
	before := w.sent
	asks.mesh.send(netip.MustParseAddrPort("192.168.7.9:20009"), []byte("x"))
	asks.step()
	if w.sent != before {
		t.Error("a path was tried inside the tunnel")
	}
}
