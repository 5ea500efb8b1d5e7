package sideport

import (
	"math"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// A remote takes an answer from another address than it asked for somebody
// else's.
func TestAnswersFromTheAddressAsked(t *testing.T) {
	hostNS, otherNS := nstest.New(t), nstest.New(t)
	nstest.Connect(t,
		hostNS, "eth0", []string{"192.0.2.1/24", "192.0.2.11/24", "2001:db8::1/64", "2001:db8::11/64"},
		otherNS, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	side, _ := openTest(t, hostNS)
	for name, addr := range map[string]struct{ other, bits string }{
		"IPv4": {"192.0.2.2", "/24"},
		"IPv6": {"2001:db8::2", "/64"},
	} {
		t.Run(name, func(t *testing.T) {
			other, stranger := listenUDP(t, otherNS, 0), listenUDP(t, otherNS, 0)
			hear := func(c *net.UDPConn) (at netip.Addr) {
				t.Helper()
				to := netip.AddrPortFrom(netip.MustParseAddr(addr.other), c.LocalAddr().(*net.UDPAddr).AddrPort().Port())
				_, err := side.WriteToUDPAddrPort(probe, to)
				nstest.Must(t, err)
				return expect(t, c, len(probe)).Addr()
			}
			preferred := hear(other)
			var second netip.Addr
			for _, a := range []string{"192.0.2.1", "192.0.2.11", "2001:db8::1", "2001:db8::11"} {
				if a := netip.MustParseAddr(a); a.Is4() == preferred.Is4() && a != preferred {
					second = a
				}
			}
			for _, at := range []netip.Addr{second, preferred, second} {
				_, err := other.WriteToUDPAddrPort(probe, netip.AddrPortFrom(at, testPort))
				nstest.Must(t, err)
				expect(t, side, len(probe))
				if got := hear(other); got != at {
					t.Errorf("asked at %s, answered from %s", at, got)
				}
				for c, want := range map[*net.UDPConn]netip.Addr{other: at, stranger: {}} {
					remote := netip.AddrPortFrom(netip.MustParseAddr(addr.other), c.LocalAddr().(*net.UDPAddr).AddrPort().Port())
					if got := side.LocalFor(remote); got != want {
						t.Errorf("local address for %s is %s, not %s", remote, got, want)
					}
				}
				if got := hear(stranger); got != preferred {
					t.Errorf("a remote that was never heard of is sent to from %s, not %s", got, preferred)
				}
			}
			hostNS.Run("ip", "address", "del", second.String()+addr.bits, "dev", "eth0")
			for range 2 {
				if got := hear(other); got != preferred {
					t.Errorf("%s is gone, and the datagram is from %s", second, got)
				}
			}
		})
	}
}

// A datagram that came by a link with no way back by it is answered the way
// there is.
func TestAnswersWithoutAWayBack(t *testing.T) {
	hostNS, otherNS := connected(t)
	nstest.Connect(t, hostNS, "eth1", []string{"198.51.100.1/24"}, otherNS, "eth1", nil)
	otherNS.Run("ip", "route", "add", "198.51.100.0/24", "dev", "eth1", "src", "192.0.2.2")
	for _, link := range []string{"all", "eth1"} {
		hostNS.Set("net/ipv4/conf/"+link+"/rp_filter", "0")
	}
	side, _ := openTest(t, hostNS)
	other := listenUDP(t, otherNS, 4000)
	_, err := other.WriteToUDPAddrPort(probe, netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), testPort))
	nstest.Must(t, err)
	from := expect(t, side, len(probe))
	_, err = side.WriteToUDPAddrPort(probe, from)
	nstest.Must(t, err)
	if got := expect(t, other, len(probe)); got.Addr() != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("answer from %s", got)
	}
}

func TestReadsWithoutGarbage(t *testing.T) {
	hostNS, otherNS := connected(t)
	side, _ := openTest(t, hostNS)
	other := listenUDP(t, otherNS, 4000)
	b := make([]byte, 2048)
	nstest.Must(t, side.SetReadDeadline(time.Now().Add(patience)))
	for _, addr := range families {
		to := netip.AddrPortFrom(netip.MustParseAddr(addr.host), testPort)
		// The whole process is counted: what its other goroutines allocate only
		// adds, so the least of some runs is this one's.
		allocs := math.Inf(1)
		for range 5 {
			allocs = min(allocs, testing.AllocsPerRun(100, func() {
				_, err := other.WriteToUDPAddrPort(probe, to)
				nstest.Must(t, err)
				_, _, err = side.ReadFromUDPAddrPort(b)
				nstest.Must(t, err)
			}))
		}
		if allocs != 0 {
			t.Errorf("%s: %v allocations a datagram", to, allocs)
		}
	}
}
