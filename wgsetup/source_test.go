package wgsetup

import (
	"net/netip"
	"testing"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// A host of several addresses is asked at any of them, and its answer has to
// come from there: the side port's, and WireGuard's.
func TestAnswersFromTheAddressAsked(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		for name, c := range map[string]struct{ other, second, bits string }{
			"IPv4": {"192.0.2.2", "192.0.2.11", "/24"},
			"IPv6": {"2001:db8::2", "2001:db8:1::1", "/64"},
		} {
			t.Run(name, func(t *testing.T) {
				nsA, nsB := nstest.New(t), nstest.New(t)
				nstest.Connect(t,
					nsA, "eth0", []string{"192.0.2.1/24", "192.0.2.11/24", "2001:db8::1/64", "2001:db8:1::1/64"},
					nsB, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64", "2001:db8:1::2/64"})
				a := openNode(t, nsA, Config{Backend: backend}, "10.99.0.1/32", "fd99::1/128")
				b := openNode(t, nsB, Config{Backend: backend}, "10.99.0.2/32", "fd99::2/128")
				atA, atB := a.listenSide(t), b.listenSide(t)
				toB := netip.AddrPortFrom(netip.MustParseAddr(c.other), b.Port())
				second := netip.AddrPortFrom(netip.MustParseAddr(c.second), a.Port())
				answer := func() netip.AddrPort {
					t.Helper()
					_, err := a.SidePort().WriteToUDPAddrPort([]byte("d1:y1:re"), toB)
					nstest.Must(t, err)
					return next(t, atB).from
				}
				preferred := answer()
				if preferred == second {
					t.Fatalf("the host prefers %s", second)
				}
				// A datagram's source is as its route says, here the other's.
				nsB.Run("ip", "route", "replace", c.second, "dev", "eth0", "src", c.other)
				for range 2 {
					_, err := b.SidePort().WriteToUDPAddrPort([]byte("d1:y1:qe"), second)
					nstest.Must(t, err)
					if got := next(t, atA).from; got != toB {
						t.Fatalf("asked from %s, not %s", got, toB)
					}
					if got := answer(); got != second {
						t.Errorf("asked at %s, answered from %s", second, got)
					}
				}
				b.apply(t, b.desired(a.peer(c.second)))
				a.apply(t, a.desired(b.peer("")))
				b.ping(t, a.overlay[0])
				peers, err := b.Peers()
				nstest.Must(t, err)
				if got := peers[a.key].Endpoint; got != second {
					t.Errorf("WireGuard was asked at %s and answered from %s", second, got)
				}

				nsA.Run("ip", "address", "del", c.second+c.bits, "dev", "eth0")
				for range 2 {
					if got := answer(); got != preferred {
						t.Errorf("from %s, not %s", got, preferred)
					}
				}
				a.ping(t, b.overlay[0])
			})
		}
	})
}
