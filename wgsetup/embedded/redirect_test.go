package embedded

import (
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// WireGuard's datagrams seem to come from the other place, of either family,
// and are answered there, from the address at which that one reached the side
// port. All others keep their source.
func TestRedirects(t *testing.T) {
	nsA, nsB := hosts(t)
	a, portA, _ := openBind(t, nsA)
	b, portB, atB := openBind(t, nsB)
	at := func(addr string, port uint16) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr(addr), port)
	}
	a4, a6 := at("192.0.2.1", portA), at("2001:db8::1", portA)
	to4, to6 := newEndpoint(at("192.0.2.2", portB)), newEndpoint(at("2001:db8::2", portB))
	send := func(first byte, to *endpoint) {
		t.Helper()
		d := numbered(0, 100)
		d[0] = first
		nstest.Must(t, a.Send([][]byte{d}, to))
	}
	expect := func(want4, want6 netip.AddrPort) {
		t.Helper()
		for to, want := range map[*endpoint]netip.AddrPort{to4: want4, to6: want6} {
			for first := byte(1); first <= 4; first++ {
				send(first, to)
				if got := nextOf(t, atB).from; got != want {
					t.Errorf("type %d came from %s, not %s", first, got, want)
				}
			}
			send(0xa1, to)
			buffer := make([]byte, 2048)
			nstest.Must(t, b.side.SetReadDeadline(time.Now().Add(patience)))
			_, from, err := b.side.ReadFromUDPAddrPort(buffer)
			nstest.Must(t, err)
			if got := from.Addr().Is4(); got != (to == to4) || from.Port() != portA {
				t.Errorf("the side port's came from %s", from)
			}
		}
	}
	expect(a4, a6)
	b.SetRedirects(map[netip.AddrPort]netip.AddrPort{a4: a6, at("192.0.2.1", portA+1): a4})
	expect(a6, a6)
	b.SetRedirects(map[netip.AddrPort]netip.AddrPort{a4: a6, a6: a4})
	expect(a6, a4) // not one after the other
	// All share one endpoint.
	ep := b.redirects.of(a4)
	if ep == nil || ep.SrcIP() != netip.MustParseAddr("2001:db8::2") {
		t.Errorf("answered from %v, not from where the side port was asked", ep)
	}
	b.SetRedirects(nil)
	expect(a4, a6)
	if b.redirects.to.Load() != nil {
		t.Error("a map without redirects")
	}
}
