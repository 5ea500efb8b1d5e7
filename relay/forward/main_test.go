package forward

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/credant/credant/integration/strict"
	"github.com/credant/credant/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The relay's own addresses in a test, and the two sides' addresses.
var (
	own4, own6     = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	alice4, alice6 = netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")
	bob4, bob6     = netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("fd00::3")
)

const port = 20000

// inNamespace puts the test's goroutine into a network namespace of its own, with
// all addresses on its loopback. Sockets opened by this goroutine belong to it.
func inNamespace(t testing.TB) {
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
	for _, a := range []netip.Addr{own4, own6, alice4, alice6, bob4, bob6} {
		ip := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
		must(t, h.AddrAdd(lo, &netlink.Addr{IPNet: ip, Flags: unix.IFA_F_NODAD}))
	}
	for _, a := range []netip.Addr{own6, alice6, bob6} {
		waitForAddress(t, a)
	}
}

// waitForAddress waits until the kernel, which does so in its own time, has made
// an IPv6 address usable: until then it loses what is sent there.
func waitForAddress(t testing.TB, a netip.Addr) {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	must(t, err)
	defer c.Close()
	waitFor(t, a.String()+" usable", func() bool {
		_, _ = c.WriteToUDPAddrPort([]byte("there?"), c.LocalAddr().(*net.UDPAddr).AddrPort())
		must(t, c.SetReadDeadline(time.Now().Add(time.Millisecond)))
		_, _, err := c.ReadFromUDPAddrPort(make([]byte, 10))
		return err == nil
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start runs a Forwarder on both own addresses until the test ends.
func start(t testing.TB, c Config) *Forwarder {
	t.Helper()
	if c.Addrs == nil {
		c.Addrs = []netip.Addr{own4, own6}
	}
	f := New(c)
	runs(t, f)
	return f
}

func runs(t testing.TB, f *Forwarder) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("run: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	waitFor(t, "running", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.state != idle
	})
	return stop
}

// own is the relay's address of the family of a, and a port of it.
func own(a netip.Addr, port uint16) netip.AddrPort {
	if a.Is4() {
		return netip.AddrPortFrom(own4, port)
	}
	return netip.AddrPortFrom(own6, port)
}

// join installs the two flows between two sockets.
func join(t testing.TB, f *Forwarder, port uint16, a, b netip.AddrPort, buckets ...*relay.Bucket) {
	t.Helper()
	for _, sides := range [][2]netip.AddrPort{{a, b}, {b, a}} {
		must(t, f.Install(relay.Flow{
			FlowKey: relay.FlowKey{At: own(sides[0].Addr(), port), Source: sides[0]},
			From:    own(sides[1].Addr(), port), To: sides[1], Buckets: buckets,
		}))
	}
}

// A socket is one side's WireGuard.
type socket struct {
	t testing.TB
	*net.UDPConn
	addr netip.AddrPort
}

func listenAt(t testing.TB, addr netip.Addr) *socket {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.SetReadBuffer(4<<20))
	return &socket{t, c, netip.AddrPortFrom(addr, uint16(c.LocalAddr().(*net.UDPAddr).Port))}
}

func (s *socket) send(to netip.AddrPort, b []byte) {
	s.t.Helper()
	_, err := s.WriteToUDPAddrPort(b, to)
	must(s.t, err)
}

// sendTrain sends b as datagrams of a size, that stay merged on the way.
func (s *socket) sendTrain(to netip.AddrPort, b []byte, segment int) {
	s.t.Helper()
	control := make([]byte, unix.CmsgSpace(2))
	_, err := binary.Encode(control, binary.NativeEndian, struct {
		Len         uint64
		Level, Type int32
		Segment     uint16
	}{uint64(unix.CmsgLen(2)), unix.IPPROTO_UDP, unix.UDP_SEGMENT, uint16(segment)})
	must(s.t, err)
	_, _, err = s.WriteMsgUDPAddrPort(b, control, to)
	must(s.t, err)
}

// receive returns the next datagram and where it came from.
func (s *socket) receive() ([]byte, netip.AddrPort) {
	s.t.Helper()
	must(s.t, s.SetReadDeadline(time.Now().Add(patience)))
	b := make([]byte, 1<<16)
	n, from, err := s.ReadFromUDPAddrPort(b)
	must(s.t, err)
	return b[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// data is a WireGuard data message of a size, with a number in it.
func data(number, size int) []byte {
	b := make([]byte, size)
	b[0] = 4
	binary.BigEndian.PutUint64(b[8:], uint64(number))
	for i := 16; i < size; i++ {
		b[i] = byte(number + i)
	}
	return b
}

// numberOf is the number in a data message.
func numberOf(b []byte) int { return int(binary.BigEndian.Uint64(b[8:])) }

// patience is how long a test waits for what comes soon, on a machine that has much else to do.
const patience = time.Minute

// waitFor polls what becomes true shortly.
func waitFor(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}
