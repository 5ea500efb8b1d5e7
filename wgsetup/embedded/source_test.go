package embedded

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// Answers leave from the address that was asked, and when the host loses it
// from another.
func TestSourceAddress(t *testing.T) {
	nsA, nsB := hosts(t)
	a, portA, _ := openBind(t, nsA)
	b, _, atB := openBind(t, nsB)
	asked := newEndpoint(netip.MustParseAddrPort(fmt.Sprintf("192.0.2.11:%d", portA)))
	fns := receiveOnce(t, nsA, a)
	nstest.Must(t, b.Send([][]byte{numbered(1, 32)}, asked))
	ep := <-fns
	if got := ep.SrcIP(); got != netip.MustParseAddr("192.0.2.11") {
		t.Errorf("source %s", got)
	}
	send := func(want string) {
		t.Helper()
		nstest.Must(t, a.Send([][]byte{numbered(2, 32)}, ep))
		if got := nextOf(t, atB); got.from.Addr() != netip.MustParseAddr(want) {
			t.Errorf("answer from %s, not %s", got.from, want)
		}
	}
	send("192.0.2.11")
	nsA.Run("ip", "address", "del", "192.0.2.11/24", "dev", "eth0")
	send("192.0.2.1")
	if ep.SrcIP().IsValid() {
		t.Errorf("source is still %s", ep.SrcIP())
	}
}

// receiveOnce reopens b on its port and passes on the first endpoint that it
// receives from.
func receiveOnce(t *testing.T, ns *nstest.NS, b *Bind) <-chan *endpoint {
	t.Helper()
	port := b.v4.port
	nstest.Must(t, b.Close())
	var fns []conn.ReceiveFunc
	ns.Do(func() {
		var err error
		fns, _, err = b.Open(port)
		nstest.Must(t, err)
	})
	c := make(chan *endpoint, 1)
	go func() {
		bufs, sizes, eps := batch()
		if n, err := fns[0](bufs, sizes, eps); err == nil && n == 1 {
			c <- eps[0].(*endpoint)
		}
	}()
	return c
}

// What WireGuard sends follows the routes, as it does with conn.StdNetBind: a
// link that a route leads away from is not held on to.
func TestSourceFollowsRoutes(t *testing.T) {
	nsA, nsB := hosts(t)
	nstest.Connect(t, nsA, "eth1", []string{"198.51.100.1/24"}, nsB, "eth1", []string{"198.51.100.2/24"})
	nsB.Run("ip", "address", "add", "203.0.113.1/32", "dev", "lo")
	nsB.Run("ip", "route", "replace", "198.51.100.0/24", "dev", "eth1", "src", "203.0.113.1")
	nsA.Run("ip", "route", "add", "default", "via", "198.51.100.2")
	a, portA, _ := openBind(t, nsA)
	b, _, atB := openBind(t, nsB)
	received := receiveOnce(t, nsA, a)
	nstest.Must(t, b.Send([][]byte{numbered(1, 32)}, newEndpoint(netip.MustParseAddrPort(fmt.Sprintf("198.51.100.1:%d", portA)))))
	ep := <-received
	send := func(want string) {
		t.Helper()
		nstest.Must(t, a.Send([][]byte{numbered(2, 32)}, ep))
		if got := nextOf(t, atB); got.from.Addr() != netip.MustParseAddr(want) {
			t.Errorf("answer from %s, not %s", got.from, want)
		}
	}
	send("198.51.100.1")
	a.side.HostChanged()
	send("198.51.100.1")
	nsA.Run("ip", "route", "replace", "default", "via", "192.0.2.2")
	a.side.HostChanged()
	send("192.0.2.1")
	if ep.SrcIP().IsValid() {
		t.Errorf("source is still %s", ep.SrcIP())
	}
}

// The side port, too, answers from the address that was asked, and whom it
// never heard of it sends to from the one that the host prefers.
func TestSidePortAnswersFromTheAddressAsked(t *testing.T) {
	nsA, nsB := hosts(t)
	a, portA, _ := openBind(t, nsA)
	b, portB, _ := openBind(t, nsB)
	data := []byte("d1:y1:qe")
	send := func(from, to *SidePort, addr netip.AddrPort) (heard netip.Addr) {
		t.Helper()
		_, err := from.WriteToUDPAddrPort(data, addr)
		nstest.Must(t, err)
		nstest.Must(t, to.SetReadDeadline(time.Now().Add(patience)))
		_, by, err := to.ReadFromUDPAddrPort(make([]byte, 100))
		nstest.Must(t, err)
		return by.Addr()
	}
	for _, c := range []struct{ other, preferred, second, bits string }{
		{"192.0.2.2", "192.0.2.1", "192.0.2.11", "/24"},
		{"2001:db8::2", "2001:db8::1", "2001:db8:1::1", "/64"},
	} {
		toB := netip.AddrPortFrom(netip.MustParseAddr(c.other), portB)
		answer := func(want string) {
			t.Helper()
			if got := send(a.side, b.side, toB); got != netip.MustParseAddr(want) {
				t.Errorf("from %s, not %s", got, want)
			}
		}
		answer(c.preferred)
		nsB.Run("ip", "route", "replace", c.second, "dev", "eth0", "src", c.other)
		for _, asked := range []string{c.second, c.preferred, c.second} {
			send(b.side, a.side, netip.AddrPortFrom(netip.MustParseAddr(asked), portA))
			answer(asked)
		}
		nsA.Run("ip", "address", "del", c.second+c.bits, "dev", "eth0")
		answer(c.preferred)
		answer(c.preferred)
	}
}
