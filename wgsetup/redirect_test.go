package wgsetup

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/credant/credant/wgsetup/internal/nstest"
	"github.com/credant/credant/wgsetup/internal/sticky"
)

func addrPort4or6(t *testing.T, s string) netip.AddrPort {
	t.Helper()
	a, err := netip.ParseAddrPort(s)
	nstest.Must(t, err)
	return a
}

func TestNormalizeRedirects(t *testing.T) {
	a, b, c := addrPort4or6(t, "192.0.2.1:1"), addrPort4or6(t, "192.0.2.1:2"), addrPort4or6(t, "[2001:db8::1]:1")
	mapped := addrPort4or6(t, "[::ffff:192.0.2.1]:1")
	got, err := normalizeRedirects([]Redirect{{c, a}, {b, mapped}, {b, a}, {a, mapped}})
	nstest.Must(t, err)
	if len(got) != 2 || got[0] != (Redirect{b, a}) || got[1] != (Redirect{c, a}) {
		t.Errorf("%v", got)
	}
	for _, bad := range [][]Redirect{
		{{a, b}, {a, c}},
		{{a, netip.AddrPort{}}},
		{{netip.AddrPort{}, a}},
		make([]Redirect, maxRedirects+1),
	} {
		if _, err := normalizeRedirects(bad); err == nil {
			t.Errorf("accepted %d", len(bad))
		}
	}
}

const wireGuardPort = 12345

// wireGuardStandIn is a socket in WireGuard's place, on a host whose redirects
// are a table, and another host that has several addresses.
type wireGuardStandIn struct {
	t           *testing.T
	host, other *nstest.NS
	redirects   *kernelRedirects
	locals      map[netip.AddrPort]netip.Addr
	socket      *net.UDPConn
}

const redirectTable = "credant_test_wg0_swap"

func standIn(t *testing.T) *wireGuardStandIn {
	t.Helper()
	w := &wireGuardStandIn{t: t, host: nstest.New(t), other: nstest.New(t), locals: map[netip.AddrPort]netip.Addr{}}
	nstest.Connect(t,
		w.host, "eth0", []string{"192.0.2.1/24", "192.0.2.11/24", "2001:db8::1/64", "2001:db8::11/64"},
		w.other, "eth0", []string{"192.0.2.2/24", "192.0.2.3/24", "2001:db8::2/64", "2001:db8::3/64"})
	w.host.Do(func() {
		var err error
		w.redirects, err = openKernelRedirects(redirectTable, wireGuardPort, func(to netip.AddrPort) netip.Addr { return w.locals[to] }, testLog(t))
		nstest.Must(t, err)
		w.socket, err = net.ListenUDP("udp", &net.UDPAddr{Port: wireGuardPort})
		nstest.Must(t, err)
	})
	raw, err := w.socket.SyscallConn()
	nstest.Must(t, err)
	nstest.Must(t, raw.Control(func(fd uintptr) {
		nstest.Must(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1))
	}))
	t.Cleanup(func() {
		w.socket.Close()
		nstest.Must(t, w.redirects.close())
	})
	return w
}

// from opens a socket at the other host.
func (w *wireGuardStandIn) from(addr string) *net.UDPConn {
	w.t.Helper()
	var c *net.UDPConn
	w.other.Do(func() {
		var err error
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(addrPort4or6(w.t, addr)))
		nstest.Must(w.t, err)
	})
	w.t.Cleanup(func() { c.Close() })
	return c
}

// send sends a datagram and returns where it seems to come from, and to go to.
func (w *wireGuardStandIn) send(c *net.UDPConn, b []byte) (from netip.AddrPort, to netip.Addr, err error) {
	w.t.Helper()
	to = netip.MustParseAddr("192.0.2.1")
	if c.LocalAddr().(*net.UDPAddr).IP.To4() == nil {
		to = netip.MustParseAddr("2001:db8::1")
	}
	_, err = c.WriteToUDPAddrPort(b, netip.AddrPortFrom(to, wireGuardPort))
	nstest.Must(w.t, err)
	nstest.Must(w.t, w.socket.SetReadDeadline(time.Now().Add(patience)))
	buffer, control := make([]byte, 65535), make([]byte, 128)
	n, size, _, from, err := w.socket.ReadMsgUDPAddrPort(buffer, control)
	if err == nil && n != len(b) {
		w.t.Errorf("%d bytes of %d", n, len(b))
	}
	at := sticky.New(sticky.Find(control[:size]))
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), at.Addr(), err
}

func (w *wireGuardStandIn) expect(c *net.UDPConn, b []byte, want string) {
	w.t.Helper()
	w.expectAt(c, b, want, netip.Addr{})
}

func (w *wireGuardStandIn) expectAt(c *net.UDPConn, b []byte, from string, at netip.Addr) {
	w.t.Helper()
	got, to, err := w.send(c, b)
	if err != nil || got != addrPort4or6(w.t, from) || at.IsValid() && to != at {
		w.t.Errorf("%d bytes of type %#x from %s seem to come from %s to %s, not from %s to %s: %v", len(b), b[0], c.LocalAddr(), got, to, from, at, err)
	}
}

// wireGuardLike is a datagram of a type with a payload that is not the same
// everywhere, so that its checksum counts.
func wireGuardLike(first byte, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i * 7)
	}
	copy(b, []byte{first, 0, 0, 0})
	return b
}

// Only WireGuard's datagrams change their source, and their checksums stay
// right: those that the sender's kernel computed, and those that it leaves to
// a card.
func TestRedirectPackets(t *testing.T) {
	for _, c := range []struct {
		offload string
		local   bool
	}{{"on", false}, {"on", true}, {"off", false}, {"off", true}} {
		t.Run(fmt.Sprintf("offload=%s/local=%t", c.offload, c.local), func(t *testing.T) {
			w := standIn(t)
			w.other.Run("ethtool", "-K", "eth0", "tx", c.offload)
			to4, to6 := addrPort4or6(t, "203.0.113.77:65535"), addrPort4or6(t, "[2001:db8:ffff:1234:5678:9abc:def0:7]:1")
			at4, at6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
			if c.local {
				w.locals[to4], w.locals[to6] = netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("2001:db8::11")
			}
			nstest.Must(t, w.redirects.setAll([]Redirect{
				{addrPort4or6(t, "192.0.2.2:4000"), to4},
				{addrPort4or6(t, "[2001:db8::2]:4000"), to6},
			}))
			for _, c := range []struct {
				from string
				to   netip.AddrPort
			}{
				{"192.0.2.2:4000", to4},
				{"192.0.2.2:4001", netip.AddrPort{}},
				{"192.0.2.3:4000", netip.AddrPort{}},
				{"[2001:db8::2]:4000", to6},
				{"[2001:db8::2]:4001", netip.AddrPort{}},
				{"[2001:db8::3]:4000", netip.AddrPort{}},
			} {
				socket := w.from(c.from)
				from, at := c.from, at4
				if addrPort4or6(t, c.from).Addr().Is6() {
					at = at6
				}
				untouched := at
				if c.to.IsValid() {
					from = c.to.String()
					if local := w.locals[c.to]; local.IsValid() {
						at = local
					}
				}
				for _, size := range []int{32, 33, 148, 1452} {
					for first := byte(1); first <= 4; first++ {
						w.expectAt(socket, wireGuardLike(first, size), from, at)
					}
				}
				for _, first := range []byte{0, 5, 0xa1, 'd'} {
					w.expectAt(socket, wireGuardLike(first, 128), c.from, untouched)
				}
				w.expectAt(socket, append([]byte{4, 0, 0, 1}, make([]byte, 60)...), c.from, untouched)
				w.expectAt(socket, []byte{4}, c.from, untouched)
				// In fragments: IPv4's are put together before.
				if at.Is6() {
					from, at = c.from, untouched
				}
				w.expectAt(socket, wireGuardLike(4, 4000), from, at)
			}
			var errs string
			w.host.Do(func() {
				for _, file := range []string{"/proc/net/snmp", "/proc/net/snmp6"} {
					b, err := os.ReadFile(file)
					nstest.Must(t, err)
					errs += string(b)
				}
			})
			if !strings.Contains(errs, "Udp6InCsumErrors                \t0\n") || csumErrors(errs) != "0" {
				t.Errorf("checksum errors:\n%s", errs)
			}
		})
	}
}

// csumErrors finds UDP's InCsumErrors in /proc/net/snmp.
func csumErrors(snmp string) string {
	var names []string
	for line := range strings.Lines(snmp) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] != "Udp:":
		case names == nil:
			names = fields
		default:
			for i, name := range names {
				if name == "InCsumErrors" {
					return fields[i]
				}
			}
		}
	}
	return "none"
}

// A datagram without a checksum, which IPv4 allows, is not lost.
func TestRedirectWithoutChecksum(t *testing.T) {
	w := standIn(t)
	nstest.Must(t, w.redirects.setAll([]Redirect{{addrPort4or6(t, "192.0.2.2:4000"), addrPort4or6(t, "203.0.113.77:65535")}}))
	c := w.from("192.0.2.2:4000")
	raw, err := c.SyscallConn()
	nstest.Must(t, err)
	nstest.Must(t, raw.Control(func(fd uintptr) { nstest.Must(t, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)) }))
	w.expect(c, wireGuardLike(4, 148), "192.0.2.2:4000")
}

func TestRedirectMany(t *testing.T) {
	w := standIn(t)
	all := func(to int) (all []Redirect) {
		for i := range 128 {
			for _, family := range []string{"192.0.2.2:%d", "[2001:db8::2]:%d"} {
				all = append(all, Redirect{addrPort4or6(t, fmt.Sprintf(family, 4000+i)), addrPort4or6(t, fmt.Sprintf(family, to+i))})
			}
		}
		return all
	}
	sockets := map[string]*net.UDPConn{}
	for _, i := range []int{0, 1, 127} {
		for _, family := range []string{"192.0.2.2:%d", "[2001:db8::2]:%d"} {
			sockets[fmt.Sprintf(family, 4000+i)] = w.from(fmt.Sprintf(family, 4000+i))
		}
	}
	data := wireGuardLike(4, 148)
	for _, to := range []int{5000, 6000} {
		start := time.Now()
		nstest.Must(t, w.redirects.setAll(all(to)))
		t.Logf("256 redirects set in %v", time.Since(start))
		for _, i := range []int{0, 1, 127} {
			for _, family := range []string{"192.0.2.2:%d", "[2001:db8::2]:%d"} {
				w.expect(sockets[fmt.Sprintf(family, 4000+i)], data, fmt.Sprintf(family, to+i))
			}
		}
	}
	// As many as there may be, in the longer family.
	var most []Redirect
	for i := range maxRedirects {
		most = append(most, Redirect{addrPort4or6(t, fmt.Sprintf("[2001:db8::2]:%d", 4000+i)), addrPort4or6(t, fmt.Sprintf("[2001:db8::2]:%d", 5000+i))})
	}
	nstest.Must(t, w.redirects.setAll(most))
	w.expect(sockets["[2001:db8::2]:4127"], data, "[2001:db8::2]:5127")
	w.expect(sockets["192.0.2.2:4000"], data, "192.0.2.2:4000")

	// Each change is one transaction: there is no time in between. The kernel
	// ends an old map a moment before the rule that looks into it, which one
	// of some 100,000 datagrams hits.
	nstest.Must(t, w.redirects.setAll(all(5000)))
	stop := make(chan struct{})
	changed := make(chan int)
	go func() {
		n := 0
		defer func() { changed <- n }()
		for ; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := w.redirects.setAll(all(5000 + n%2*1000)); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	c := sockets["192.0.2.2:4000"]
	sent, untouched := 0, 0
	for start := time.Now(); time.Since(start) < time.Second; {
		got, _, err := w.send(c, data)
		nstest.Must(t, err)
		sent++
		if got.Port() == 4000 {
			untouched++
		}
	}
	close(stop)
	changes := <-changed
	t.Logf("%d changes, %d of %d datagrams kept their source", changes, untouched, sent)
	if untouched > 1+changes/50 {
		t.Error("too many")
	}

	nstest.Must(t, w.redirects.setAll(nil))
	w.expect(c, data, "192.0.2.2:4000")
	if got := w.host.Run("nft", "list", "ruleset"); got != "" {
		t.Errorf("left behind:\n%s", got)
	}
}

func TestRedirectsFollowThePort(t *testing.T) {
	w := standIn(t)
	nstest.Must(t, w.redirects.setPort(1))
	nstest.Must(t, w.redirects.setAll([]Redirect{{addrPort4or6(t, "192.0.2.2:4000"), addrPort4or6(t, "192.0.2.3:5000")}}))
	c := w.from("192.0.2.2:4000")
	w.expect(c, wireGuardLike(4, 148), "192.0.2.2:4000")
	nstest.Must(t, w.redirects.setPort(wireGuardPort))
	w.expect(c, wireGuardLike(4, 148), "192.0.2.3:5000")
}

// The redirects of a Device end with it, and survive a firewall's reload.
func TestDeviceRedirects(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		ns := nstest.New(t)
		a := openNode(t, ns, Config{Backend: backend}, "10.99.0.1/32", "fd99::1/128")
		v4, other4 := addrPort4or6(t, "192.0.2.2:4000"), addrPort4or6(t, "192.0.2.2:4001")
		v6, linkLocal := addrPort4or6(t, "[2001:db8::1]:1"), addrPort4or6(t, "[fe80::1%eth0]:1")
		for _, c := range []struct {
			from, to netip.AddrPort
			kernel   bool
		}{{v4, other4, true}, {v6, v6, true}, {v4, v6, false}, {v6, v4, false}, {v6, linkLocal, false}} {
			if got := a.CanRedirect(c.from, c.to); got != (c.kernel || backend == Embedded) {
				t.Errorf("can redirect %s to %s: %t", c.from, c.to, got)
			}
		}
		if a.CanRedirect(netip.AddrPort{}, v4) || a.CanRedirect(v4, netip.AddrPort{}) {
			t.Error("can redirect nothing")
		}
		if err := a.SetRedirects([]Redirect{{v4, v6}}); (err == nil) != (backend == Embedded) {
			t.Errorf("across families: %v", err)
		}
		there := func() bool { return strings.Contains(ns.Run("nft", "list", "tables"), "_swap") }
		for range 2 {
			nstest.Must(t, a.SetRedirects([]Redirect{{v4, other4}}))
			if there() != (backend == Kernel) {
				t.Error("table there", there())
			}
		}
		ns.Run("nft", "flush", "ruleset")
		eventually(t, "table there again", func() bool { return there() == (backend == Kernel) })
		nstest.Must(t, a.SetRedirects(nil))
		if there() {
			t.Error("the table is still there")
		}
		nstest.Must(t, a.SetRedirects([]Redirect{{v4, other4}}))
		nstest.Must(t, a.Detach())
		if there() {
			t.Error("the table outlived the device")
		}
		nstest.Must(t, a.SetRedirects(nil))
		if err := a.SetRedirects([]Redirect{{other4, v4}}); !errors.Is(err, ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
	})
}
