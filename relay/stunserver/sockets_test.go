package stunserver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v2"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/credant/credant/integration/strict"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var local = []netip.Addr{
	netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"),
	netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2"),
}

// The client's addresses: without one of its own the kernel would choose the
// server's, a different one each time.
var clients = []netip.Addr{netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("fd00::9")}

// serve answers on real sockets, in a network namespace that is the test's own.
func serve(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		strict.Skip(t, "network namespaces need root")
	}
	runtime.LockOSThread() // for good: the thread ends with the test's goroutine
	must(t, unix.Unshare(unix.CLONE_NEWNET))
	h, err := netlink.NewHandle()
	must(t, err)
	defer h.Close()
	lo, err := h.LinkByName("lo")
	must(t, err)
	must(t, h.LinkSetUp(lo))
	for _, a := range slices.Concat(local, clients) {
		ip := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
		must(t, h.AddrAdd(lo, &netlink.Addr{IPNet: ip, Flags: unix.IFA_F_NODAD}))
	}
	for _, a := range slices.Concat(local[2:], clients[1:]) {
		waitForAddress(t, a)
	}

	s := New(Config{Addrs: local, Ports: ports})
	sockets := make(map[netip.AddrPort]*net.UDPConn)
	for _, addr := range local {
		for _, port := range ports {
			at := netip.AddrPortFrom(addr, port)
			sockets[at], err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
			must(t, err)
		}
	}
	var serving sync.WaitGroup
	for at, c := range sockets {
		serving.Go(func() {
			b := make([]byte, 2000)
			for {
				n, from, err := c.ReadFromUDPAddrPort(b)
				if errors.Is(err, net.ErrClosed) {
					return
				}
				from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
				if response, leave, to, ok := s.Respond(time.Now(), b[:n], at, from); ok {
					_, _ = sockets[leave].WriteToUDPAddrPort(response, to)
				}
			}
		})
	}
	t.Cleanup(func() {
		for _, c := range sockets {
			c.Close()
		}
		serving.Wait()
	})
}

// waitForAddress waits until the kernel, which does so in its own time, has made
// an IPv6 address usable: until then it loses what is sent there.
func waitForAddress(t *testing.T, a netip.Addr) {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	must(t, err)
	defer c.Close()
	for range 10_000 {
		_, _ = c.WriteToUDPAddrPort([]byte("there?"), c.LocalAddr().(*net.UDPAddr).AddrPort())
		must(t, c.SetReadDeadline(time.Now().Add(time.Millisecond)))
		if _, _, err := c.ReadFromUDPAddrPort(make([]byte, 10)); err == nil {
			return
		}
	}
	t.Fatalf("%v is not usable", a)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A stock client finds its address.
func TestClient(t *testing.T) {
	serve(t)
	for _, addr := range []netip.Addr{local[0], local[2]} {
		conn, err := net.Dial("udp", netip.AddrPortFrom(addr, 3478).String())
		must(t, err)
		client, err := stun.NewClient(conn)
		must(t, err)
		var mapped stun.XORMappedAddress
		var problem error
		must(t, client.Do(stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.Fingerprint), func(e stun.Event) {
			if problem = e.Error; problem == nil {
				problem = errors.Join(mapped.GetFrom(e.Message), stun.Fingerprint.Check(e.Message))
			}
		}))
		must(t, problem)
		if mapped.String() != conn.LocalAddr().String() {
			t.Errorf("%v is told that it is %v", conn.LocalAddr(), mapped)
		}
		must(t, client.Close())
	}
}

// So do coturn's, which discovers behaviour too.
func TestCoturn(t *testing.T) {
	serve(t)
	for i, server := range []netip.Addr{local[0], local[2]} {
		client, other := clients[i], netip.AddrPortFrom(local[2*i+1], 3479)
		for _, c := range []struct{ command, want string }{
			{"turnutils_stunclient", "RFC 5780 response 3"},
			{"turnutils_natdiscovery -m", "NAT with Endpoint Independent Mapping!"},
			{"turnutils_natdiscovery -f", "NAT with Endpoint Independent Filtering!"},
			{"turnutils_natdiscovery -m -f -P", "NAT with Endpoint Independent Filtering!"},
		} {
			args := append(strings.Fields(c.command), "-L", client.String(), server.String())
			if _, err := exec.LookPath(args[0]); err != nil {
				strict.Skip(t, "no "+args[0]+": it comes with coturn")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
			cancel()
			if err != nil {
				t.Errorf("%v: %v\n%s", args, err, out)
			}
			// It writes IPv6 addresses without brackets.
			address := strings.NewReplacer("[", "", "]", "").Replace(other.String())
			for _, want := range []string{c.want, "Other addr: : " + address, "UDP reflexive addr: " + client.String()} {
				if !strings.Contains(string(out), want) {
					t.Errorf("%v does not say %q:\n%s", args, want, out)
				}
			}
		}
	}
}
