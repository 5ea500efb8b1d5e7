package control

import (
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/discovery/wire"
)

func viewer(i int) netip.Addr { return netip.AddrFrom4([4]byte{5, 7, byte(i >> 8), byte(i)}) }

func TestVantage(t *testing.T) {
	home := netip.MustParseAddrPort("5.1.1.1:1000")
	var v vantage
	v.see(start, viewer(1), home)
	v.see(start, viewer(2), home)
	if got := v.behavior(start, 1000); got != (wire.NATBehavior{}) {
		t.Errorf("two views give %+v", got)
	}
	v.see(start, viewer(3), home)
	if got := v.behavior(start, 1000); got.Mapping != wire.EndpointIndependent || !got.PortPreserved {
		t.Errorf("behavior %+v", got)
	}
	if got := v.behavior(start.Add(2*vantageFresh), 1000); got != (wire.NATBehavior{}) {
		t.Errorf("old views give %+v", got)
	}
	v.moved(netip.MustParseAddrPort("5.2.2.2:2000"))
	if len(v.seen) != 0 {
		t.Errorf("views from before the move are kept: %v", v.seen)
	}
}

func TestVantageOfDependentMapping(t *testing.T) {
	var v vantage
	for i := range 100 {
		v.see(start, viewer(i), netip.AddrPortFrom(viewer(9999), uint16(2000+i)))
	}
	if len(v.seen) != maxVantage {
		t.Errorf("%d views are kept, want %d", len(v.seen), maxVantage)
	}
	if got := v.behavior(start, 1000); got.Mapping != wire.AddressDependent {
		t.Errorf("behavior %+v", got)
	}
}

// A NAT that got another address is noticed from what DHT nodes say, and the
// peers hear of it.
func TestNewAddressIsNoticed(t *testing.T) {
	w := newWorld(t, 12)
	a := w.host("a", "192.168.1.2:20001", newNAT("5.1.1.1"))
	b := w.host("b", "5.2.2.2:20002", nil)
	a.hint(b.inner)
	if _, ok := w.run(5*time.Second, func() bool { return connected(a, b) }); !ok {
		t.Fatal("never connected")
	}
	tell := func(moved bool) {
		a.mesh.located(w.now, a.public(), moved)
		a.step()
	}
	tell(false)
	w.run(time.Minute, nil)
	a.nat = newNAT("5.3.3.3")
	tell(true)
	took, ok := w.run(10*time.Second, func() bool {
		p := b.mesh.peers[a.mesh.self.public]
		return p.path.Addr.Addr() == a.nat.public && b.device.peers[a.mesh.self.wireGuard].state.Endpoint.Addr() == a.nat.public
	})
	if !ok || took > 3*time.Second {
		t.Errorf("the other side moved: %v after %v", ok, took)
	}
}
