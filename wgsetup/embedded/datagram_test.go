package embedded

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// A long datagram leaves the socket as it was: WireGuard's own may still be
// fragmented.
func TestDFIsNotForWireGuard(t *testing.T) {
	nsA, nsB := hosts(t)
	a, _, _ := openBind(t, nsA)
	_, portB, atB := openBind(t, nsB)
	discover := func(s *socket, level, name int) (value int) {
		t.Helper()
		nstest.Must(t, s.control(func(fd int) (err error) {
			value, err = unix.GetsockoptInt(fd, level, name)
			return err
		}))
		return value
	}
	long := make([]byte, 1400)
	long[0] = 0xa1
	for _, c := range []struct {
		to          string
		s           *socket
		level, name int
	}{
		{"192.0.2.2", a.inlets[0].own, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER},
		{"2001:db8::2", a.inlets[1].own, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER},
	} {
		to := netip.AddrPortFrom(netip.MustParseAddr(c.to), portB)
		before := discover(c.s, c.level, c.name)
		_, err := a.side.WriteToUDPAddrPort(long, to)
		nstest.Must(t, err)
		if _, err = a.side.WriteToUDPAddrPort(make([]byte, 2000), to); err == nil {
			t.Error("more than the link carries left")
		}
		if after := discover(c.s, c.level, c.name); after != before || before == unix.IP_PMTUDISC_PROBE {
			t.Errorf("path MTU discovery was %d and is %d", before, after)
		}
		nstest.Must(t, a.Send([][]byte{numbered(1, 1900)}, newEndpoint(to)))
		if got := nextOf(t, atB); got.size != 1900 {
			t.Errorf("%d bytes", got.size)
		}
	}
}

// A full queue is loss on the way, and no reason to keep the rest of a batch:
// only sockets that ask for ICMP errors are told of it.
func TestFullQueueLosesNoOthers(t *testing.T) {
	nsA, nsB := hosts(t)
	a, _, _ := openBind(t, nsA)
	_, portB, _ := openBind(t, nsB)
	for _, s := range a.inlets {
		s.own.gso.Store(false)
	}
	to := newEndpoint(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), portB))
	nsA.Run("ping", "-c", "1", "-w", "10", "192.0.2.2")
	nsA.Run("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "100mbit", "burst", "3000", "limit", "6000")
	for range 20 {
		var bufs [][]byte
		for i := range byte(100) {
			bufs = append(bufs, numbered(i, 1000))
		}
		nstest.Must(t, a.Send(bufs, to))
		for range 10 {
			if _, err := a.side.WriteToUDPAddrPort(make([]byte, 1000), to.dst); err != nil {
				t.Error(err)
			}
		}
	}
	if out := nsA.Run("tc", "-s", "qdisc", "show", "dev", "eth0"); strings.Contains(out, "dropped 0,") {
		t.Errorf("the queue was never full:\n%s", out)
	}
}
