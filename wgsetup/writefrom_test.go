package wgsetup

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// A host with two ways out and ordinary routes sends by the one that it is
// told, and says by which address a datagram came.
func TestSidePortUsesTheUplinkAsked(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		ns, first, second := dualWAN(t)
		far := []string{"203.0.113.1", "2001:db8:ffff::1"}
		conns := make(map[*nstest.NS]*net.UDPConn)
		for _, router := range []*nstest.NS{first, second} {
			router.Run("ip", "address", "add", far[0]+"/32", "dev", "lo")
			router.Run("ip", "address", "add", far[1]+"/128", "dev", "lo", "nodad")
			router.Do(func() {
				c, err := net.ListenUDP("udp", &net.UDPAddr{Port: 4000})
				nstest.Must(t, err)
				t.Cleanup(func() { c.Close() })
				conns[router] = c
			})
		}
		n := openNode(t, ns, Config{Backend: backend}, "10.99.0.1/32", "fd99::1/128")
		side := n.SidePort()
		nstest.Must(t, side.SetReadDeadline(time.Now().Add(patience)))
		for _, c := range []struct {
			from, far string
			router    *nstest.NS
		}{
			{"192.0.2.10", far[0], first},
			{"198.51.100.10", far[0], second},
			{"2001:db8:a::10", far[1], first},
			{"2001:db8:b::10", far[1], second},
		} {
			from, to := netip.MustParseAddr(c.from), netip.AddrPortFrom(netip.MustParseAddr(c.far), 4000)
			for range 2 {
				_, err := side.WriteFromUDPAddrPort([]byte("d1:y1:qe"), from, to)
				nstest.Must(t, err)
				var b [100]byte
				conn := conns[c.router]
				nstest.Must(t, conn.SetReadDeadline(time.Now().Add(patience)))
				_, got, err := conn.ReadFromUDPAddrPort(b[:])
				if err != nil {
					t.Fatalf("sent from %s: %v", from, err)
				}
				if got = netip.AddrPortFrom(got.Addr().Unmap(), got.Port()); got != netip.AddrPortFrom(from, n.Port()) {
					t.Errorf("sent from %s, arrived from %s", from, got)
				}
				_, err = conn.WriteToUDPAddrPort([]byte("d1:y1:re"), got)
				nstest.Must(t, err)
				_, answerer, on, err := side.ReadOnUDPAddrPort(b[:])
				nstest.Must(t, err)
				if on != from || answerer.Port() != 4000 {
					t.Errorf("%s answered %s, not %s", answerer, on, from)
				}
			}
		}
		// What is not this host's is refused, now or once it is gone.
		to := netip.AddrPortFrom(netip.MustParseAddr(far[0]), 4000)
		for _, from := range []string{"192.0.2.1", "198.51.100.10"} {
			if from == "198.51.100.10" {
				ns.Run("ip", "address", "del", from+"/24", "dev", "eth1")
			}
			_, err := side.WriteFromUDPAddrPort([]byte("d1:y1:qe"), netip.MustParseAddr(from), to)
			if !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.EINVAL) {
				t.Errorf("sent from %s: %v", from, err)
			}
		}
		_, err := side.WriteFromUDPAddrPort([]byte("d1:y1:qe"), netip.Addr{}, to)
		nstest.Must(t, err)
	})
}
