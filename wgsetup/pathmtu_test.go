package wgsetup

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// Long datagrams of the side port ask whether a path carries them: a router
// that cannot pass them on says so, and a silent one has none arrive, not even
// in fragments.
func TestSidePortProbesThePath(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		nsA, router, nsB := nstest.New(t), nstest.New(t), nstest.New(t)
		nstest.Connect(t, nsA, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"}, router, "lan", []string{"192.0.2.254/24", "2001:db8::fe/64"})
		nstest.Connect(t, router, "wan", []string{"198.51.100.254/24", "2001:db8:1::fe/64"}, nsB, "eth0", []string{"198.51.100.1/24", "2001:db8:1::1/64"})
		router.Run("ip", "link", "set", "wan", "mtu", "1400")
		router.Set("net/ipv4/ip_forward", "1")
		router.Set("net/ipv6/conf/all/forwarding", "1")
		for ns, via := range map[*nstest.NS][2]string{nsA: {"192.0.2.254", "2001:db8::fe"}, nsB: {"198.51.100.254", "2001:db8:1::fe"}} {
			ns.Run("ip", "route", "add", "default", "via", via[0])
			ns.Run("ip", "route", "add", "default", "via", via[1])
		}
		a := openNode(t, nsA, Config{Backend: backend}, "10.99.0.1/32", "fd99::1/128")
		b := openNode(t, nsB, Config{Backend: backend}, "10.99.0.2/32", "fd99::2/128")
		a.listenSide(t)
		atB := b.listenSide(t)
		probe := func(size int) []byte {
			d := make([]byte, size)
			d[0] = 0xa1
			return d
		}
		for _, c := range []struct {
			far, from string
			headers   int
		}{{"198.51.100.1", "192.0.2.1", 28}, {"2001:db8:1::1", "2001:db8::1", 48}} {
			to, fits := netip.AddrPortFrom(netip.MustParseAddr(c.far), b.Port()), 1400-c.headers
			for _, from := range []netip.Addr{{}, netip.MustParseAddr(c.from)} {
				// Twice: the kernel's memory of the first answer changes nothing.
				for range 2 {
					_, err := a.SidePort().WriteFromUDPAddrPort(probe(fits+1), from, to)
					nstest.Must(t, err)
					select {
					case e := <-a.ICMPErrors():
						if e.To != to || !errors.Is(e.Err, unix.EMSGSIZE) || e.MTU != 1400 {
							t.Errorf("%+v", e)
						}
					case <-time.After(patience):
						t.Fatal("no ICMP error")
					}
				}
				_, err := a.SidePort().WriteFromUDPAddrPort(probe(fits), from, to)
				nstest.Must(t, err)
				if got := next(t, atB); len(got.data) != fits {
					t.Errorf("%d bytes arrived, not %d", len(got.data), fits)
				}
				if _, err := a.SidePort().WriteFromUDPAddrPort(probe(1501-c.headers), from, to); !errors.Is(err, unix.EMSGSIZE) {
					t.Errorf("more than the link carries: %v", err)
				}
			}
		}
		router.Nft("table inet mute { chain out { type filter hook output priority 0; icmp type destination-unreachable drop; icmpv6 type packet-too-big drop; }; }")
		for _, far := range []string{"198.51.100.1", "2001:db8:1::1"} {
			_, err := a.SidePort().WriteToUDPAddrPort(probe(1400), netip.AddrPortFrom(netip.MustParseAddr(far), b.Port()))
			nstest.Must(t, err)
		}
		nothing(t, atB)
	})
}

// A storm of ICMP errors, about WireGuard's datagrams and the side port's, and
// long datagrams in between, cost WireGuard's own traffic nothing.
func TestWireGuardDoesNotNoticeICMPErrors(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		a, b := joined(t, backend)
		a.listenSide(t)
		private, err := wgtypes.GeneratePrivateKey()
		nstest.Must(t, err)
		closed := netip.MustParseAddrPort("192.0.2.2:9")
		b.ns.Set("net/ipv4/icmp_ratelimit", "0")
		b.ns.Set("net/ipv4/icmp_msgs_per_sec", "100000")
		a.apply(t, a.desired(b.peer("192.0.2.2"), Peer{PublicKey: private.PublicKey(), Endpoint: closed, Keepalive: time.Second}))
		a.ping(t, b.overlay[0])
		// Errors that wait to be read take room of what else arrives, and who is kept
		// from running for long loses some of either: once in three tries nothing is lost.
		for try := 1; ; try++ {
			rounds, out := pingInStorm(a, closed)
			if strings.Contains(out, " 0% packet loss") && rounds >= 50 {
				break
			}
			if t.Logf("%d rounds\n%s", rounds, out); try == 3 {
				t.Error("ICMP errors cost packets")
				break
			}
		}
		peers, err := a.Peers()
		nstest.Must(t, err)
		if fmt.Sprint(peers[b.key].Endpoint) != fmt.Sprint("192.0.2.2:", b.Port()) {
			t.Errorf("%+v", peers[b.key])
		}
	})
}

// pingInStorm sends what is answered by ICMP errors, and pings meanwhile.
// Nothing is read between the errors and WireGuard's next datagrams.
func pingInStorm(a *node, closed netip.AddrPort) (rounds int, out string) {
	stop, stopped := make(chan struct{}), make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				stopped <- n
				return
			case <-time.After(time.Millisecond):
			}
			for range len(a.ICMPErrors()) {
				<-a.ICMPErrors()
			}
			_, _ = a.SidePort().WriteToUDPAddrPort(make([]byte, 100), closed)
			_, _ = a.SidePort().WriteToUDPAddrPort(make([]byte, 1400), closed)
		}
	}()
	out, _ = a.ns.Try("ping", "-q", "-c", "400", "-i", "0.005", "-s", "1300", "-w", "30", "10.99.0.2")
	close(stop)
	return <-stopped, out
}
