package sideport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/credant/credant/wgsetup/internal/nft"
	"github.com/credant/credant/wgsetup/internal/nstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testPort = 12345

// probe is not shaped as WireGuard's datagrams are.
var probe = append([]byte{0xa1, 3, 0, 0}, make([]byte, 124)...)

// openTest opens a side port in ns and, in the kernel's WireGuard's place, a
// socket on its port.
func openTest(t *testing.T, ns *nstest.NS) (side *Conn, wireguard *net.UDPConn) {
	t.Helper()
	ns.Do(func() {
		var err error
		side, err = Open(Config{
			Table: "credant_test_wg0_sideport", Interface: "wg0", Port: testPort,
			Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		})
		nstest.Must(t, err)
		wireguard, err = net.ListenUDP("udp", &net.UDPAddr{Port: testPort})
		nstest.Must(t, err)
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- side.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := side.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		wireguard.Close()
	})
	return side, wireguard
}

func listenUDP(t *testing.T, ns *nstest.NS, port int) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	ns.Do(func() {
		var err error
		c, err = net.ListenUDP("udp", &net.UDPAddr{Port: port})
		nstest.Must(t, err)
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// patience is how long a test waits for what comes soon, on a machine that has much else to do.
const patience = time.Minute

type reader interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	SetReadDeadline(time.Time) error
}

// expect reads one datagram of the given length and returns where it came from.
func expect(t *testing.T, c reader, size int) netip.AddrPort {
	t.Helper()
	nstest.Must(t, c.SetReadDeadline(time.Now().Add(patience)))
	b := make([]byte, 65535)
	n, from, err := c.ReadFromUDPAddrPort(b)
	nstest.Must(t, err)
	if n != size {
		t.Fatalf("datagram of %d bytes from %s, not of %d", n, from, size)
	}
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// expectNothing is for what a rule has to keep away: it waits long enough for
// what already went over a veth pair.
func expectNothing(t *testing.T, c reader) {
	t.Helper()
	nstest.Must(t, c.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	b := make([]byte, 65535)
	n, from, err := c.ReadFromUDPAddrPort(b)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a datagram of %d bytes from %s, error %v", n, from, err)
	}
}

var families = map[string]struct{ host, other string }{
	"IPv4": {"192.0.2.1", "192.0.2.2"},
	"IPv6": {"2001:db8::1", "2001:db8::2"},
}

func connected(t *testing.T) (host, other *nstest.NS) {
	host, other = nstest.New(t), nstest.New(t)
	nstest.Connect(t, host, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"}, other, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	return host, other
}

func TestSharesThePort(t *testing.T) {
	hostNS, otherNS := connected(t)
	side, wireguard := openTest(t, hostNS)
	other := listenUDP(t, otherNS, 4000)
	for name, addr := range families {
		t.Run(name, func(t *testing.T) {
			host := netip.AddrPortFrom(netip.MustParseAddr(addr.host), testPort)
			to := netip.AddrPortFrom(netip.MustParseAddr(addr.other), 4000)

			_, err := side.WriteToUDPAddrPort(probe, to)
			nstest.Must(t, err)
			if from := expect(t, other, len(probe)); from != host {
				t.Errorf("the side port's datagram came from %s, not %s", from, host)
			}

			for _, first := range [][]byte{{0xa1, 3, 0, 0}, {0, 1, 0, 0}, {5, 0, 0, 0}, {4, 0, 0, 1}, {0, 0, 0, 0}, []byte("d1:a")} {
				b := append(append([]byte{}, first...), make([]byte, 60)...)
				_, err := other.WriteToUDPAddrPort(b, host)
				nstest.Must(t, err)
				if from := expect(t, side, len(b)); from != to {
					t.Errorf("the side port read from %s, not %s", from, to)
				}
			}
			for first := byte(1); first <= 4; first++ {
				b := append([]byte{first, 0, 0, 0}, make([]byte, 28)...)
				_, err := other.WriteToUDPAddrPort(b, host)
				nstest.Must(t, err)
				expect(t, wireguard, len(b))
			}
			expectNothing(t, side)
			expectNothing(t, wireguard)
		})
	}
}

func TestOutsidersCannotReachThePrivatePort(t *testing.T) {
	hostNS, otherNS := connected(t)
	side, _ := openTest(t, hostNS)
	other := listenUDP(t, otherNS, 4000)
	for _, addr := range families {
		_, err := other.WriteToUDPAddrPort(probe, netip.AddrPortFrom(netip.MustParseAddr(addr.host), side.side))
		nstest.Must(t, err)
	}
	expectNothing(t, side)
}

// What comes out of the tunnel for the same port belongs to the overlay.
func TestIgnoresTheTunnel(t *testing.T) {
	hostNS, otherNS := nstest.New(t), nstest.New(t)
	nstest.Connect(t, hostNS, "wg0", []string{"192.0.2.1/24", "2001:db8::1/64"}, otherNS, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	side, wireguard := openTest(t, hostNS)
	other := listenUDP(t, otherNS, 4000)
	for _, addr := range families {
		_, err := other.WriteToUDPAddrPort(probe, netip.AddrPortFrom(netip.MustParseAddr(addr.host), testPort))
		nstest.Must(t, err)
		expect(t, wireguard, len(probe))
	}
	expectNothing(t, side)
}

func TestSurvivesFlushRuleset(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain=%t", plain), func(t *testing.T) {
			hostNS, otherNS := connected(t)
			side, _ := openTest(t, hostNS)
			other := listenUDP(t, otherNS, 4000)
			if plain {
				nstest.Must(t, side.table.WithoutOwner())
			}
			to := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), 4000)
			// The promise is a second; one of several tries finds this machine at leisure.
			best := patience
			for try := 0; try < 10 && best > time.Second; try++ {
				hostNS.Nft("flush ruleset; table inet reloaded { chain c { type filter hook input priority 0; }; }")
				begin := time.Now()
				for {
					_, err := side.WriteToUDPAddrPort(probe, to)
					nstest.Must(t, err)
					if from := expect(t, other, len(probe)); from.Port() == testPort {
						break
					}
					if time.Since(begin) > patience {
						t.Fatal("not repaired")
					}
					time.Sleep(10 * time.Millisecond)
				}
				best = min(best, time.Since(begin))
			}
			if best > time.Second {
				t.Errorf("repaired within %v, want a second", best)
			}
			_, err := other.WriteToUDPAddrPort(probe, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), testPort))
			nstest.Must(t, err)
			expect(t, side, len(probe))
		})
	}
}

func TestFollowsThePort(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain=%t", plain), func(t *testing.T) {
			hostNS, otherNS := connected(t)
			side, _ := openTest(t, hostNS)
			other := listenUDP(t, otherNS, 4000)
			if plain {
				nstest.Must(t, side.table.WithoutOwner())
			}
			nstest.Must(t, side.SetPort(23456))
			_, err := side.WriteToUDPAddrPort(probe, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), 4000))
			nstest.Must(t, err)
			if from := expect(t, other, len(probe)); from.Port() != 23456 {
				t.Errorf("the side port's datagram came from %s", from)
			}
			if got := side.LocalAddr().(*net.UDPAddr).Port; got != 23456 {
				t.Errorf("local port %d", got)
			}
		})
	}
}

func TestLeavesNothing(t *testing.T) {
	hostNS, _ := connected(t)
	hostNS.Do(func() {
		side, err := Open(Config{Table: "credant_test_wg0_sideport", Interface: "wg0", Port: testPort})
		nstest.Must(t, err)
		nstest.Must(t, side.Close())
		nstest.Must(t, side.Close())
	})
	if out := hostNS.Run("nft", "list", "ruleset"); out != "" {
		t.Errorf("left behind:\n%s", out)
	}
}

func TestTwoOnOneHost(t *testing.T) {
	hostNS, _ := connected(t)
	openTest(t, hostNS)
	hostNS.Do(func() {
		if _, err := Open(Config{Table: "credant_test_wg0_sideport", Interface: "wg0", Port: testPort}); !errors.Is(err, nft.ErrTaken) {
			t.Errorf("a second side port of the same name: %v", err)
		}
		second, err := Open(Config{Table: "credant_test_wg1_sideport", Interface: "wg1", Port: testPort + 1})
		nstest.Must(t, err)
		nstest.Must(t, second.Close())
	})
}

func TestICMPErrors(t *testing.T) {
	hostNS, otherNS := connected(t)
	side, wireguard := openTest(t, hostNS)
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		_, _, _ = side.ReadFromUDPAddrPort(make([]byte, 2048))
	}()
	for name, addr := range families {
		t.Run(name, func(t *testing.T) {
			closed := netip.AddrPortFrom(netip.MustParseAddr(addr.other), 9)
			for _, c := range []interface {
				WriteToUDPAddrPort([]byte, netip.AddrPort) (int, error)
			}{side, wireguard} {
				_, err := c.WriteToUDPAddrPort(probe, closed)
				nstest.Must(t, err)
				got := nextError(t, side)
				if got.To != closed || !errors.Is(got.Err, syscall.ECONNREFUSED) {
					t.Errorf("%+v", got)
				}
			}
		})
	}
	// A router behind with a smaller MTU tells.
	inner := nstest.New(t)
	nstest.Connect(t, otherNS, "eth1", []string{"198.51.100.1/24", "2001:db8:1::1/64"}, inner, "eth0", []string{"198.51.100.2/24", "2001:db8:1::2/64"})
	otherNS.Set("net/ipv4/ip_forward", "1")
	otherNS.Set("net/ipv6/conf/all/forwarding", "1")
	otherNS.Run("ip", "link", "set", "eth1", "mtu", "1400")
	hostNS.Run("ip", "route", "add", "default", "via", "192.0.2.2")
	hostNS.Run("ip", "route", "add", "default", "via", "2001:db8::2")
	for name, far := range map[string]string{"IPv4": "198.51.100.2", "IPv6": "2001:db8:1::2"} {
		t.Run("too big/"+name, func(t *testing.T) {
			to := netip.AddrPortFrom(netip.MustParseAddr(far), 9)
			_, err := side.WriteToUDPAddrPort(make([]byte, 1430), to)
			nstest.Must(t, err)
			got := nextError(t, side)
			if got.To != to || !errors.Is(got.Err, syscall.EMSGSIZE) || got.MTU != 1400 {
				t.Errorf("%+v", got)
			}
		})
	}
	nstest.Must(t, side.SetReadDeadline(time.Unix(1, 0)))
	<-reading
}

func nextError(t *testing.T, side *Conn) ICMPError {
	t.Helper()
	select {
	case e := <-side.Errors():
		return e
	case <-time.After(patience):
		t.Fatal("no ICMP error arrived")
		return ICMPError{}
	}
}
