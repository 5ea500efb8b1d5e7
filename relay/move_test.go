package relay

import (
	"net/netip"
	"testing"

	"github.com/credant/credant/relay/wire"
)

// An address of the relay goes and another comes. Pairs that did not use it go on;
// the others are back once the side that did has bound again.
func TestMove(t *testing.T) {
	w := newWorld(t, 1)
	office := w.network()
	a, b := w.join(office, "198.51.100.1:5001"), w.join(office, "198.51.100.2:5002")
	c := w.join(office, "[2001:db8:7::1]:6001")
	a.mustRegister("a")
	stays, breaks := w.connect(a, b), w.connect(a, c)
	came := netip.MustParseAddr("2001:db8:6::6")
	w.s.Move(w.now, []netip.Addr{front4.Addr(), came}, []netip.Addr{front6.Addr()})
	w.advance()
	w.check()
	if w.reach(a, b, stays) != nil || w.reach(b, a, stays) != nil {
		t.Error("a pair on an address that stays is cut off")
	}
	if w.reach(a, c, breaks) == nil || len(w.flows) != 2 {
		t.Errorf("forwarded at an address that went: %v", w.flows)
	}
	if e := a.pushes[len(a.pushes)-1].PeerBound; e == nil || e.Peer != c.node() || e.Bound {
		t.Errorf("the peer of who is cut off was told %+v", a.pushes)
	}
	// The same port at the new address, where the other one still is bound.
	c.front = netip.AddrPortFrom(came, front6.Port())
	if !c.mustBind(breaks, a) {
		t.Error("the peer has to bind again")
	}
	if w.reach(a, c, breaks) != nil || w.reach(c, a, breaks) != nil || len(w.flows) != 4 {
		t.Errorf("flows at the new address: %v", w.flows)
	}
	if r := b.register("b", wire.Have{}); r == nil || r.Registered == nil || len(r.Registered.Addrs) != 2 || r.Registered.Addrs[1].Addr() != came {
		t.Errorf("registered with %+v, want the new address in it", r)
	}
	w.check()
}
