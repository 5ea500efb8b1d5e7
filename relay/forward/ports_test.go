package forward

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/credant/credant/relay"
)

// Own addresses come and go while ports are open. What needs only those that stay
// is forwarded on.
func TestServe(t *testing.T) {
	inNamespace(t)
	f := start(t, Config{Addrs: []netip.Addr{own4}})
	must(t, f.Open(port))
	a, b := listenAt(t, alice4), listenAt(t, bob4)
	c, d := listenAt(t, alice4), listenAt(t, bob6)
	e, g := listenAt(t, alice6), listenAt(t, bob6)
	number := 0
	passes := func(from, to *socket) {
		t.Helper()
		number++
		from.send(own(from.addr.Addr(), port), data(number, 32))
		if got, at := to.receive(); numberOf(got) != number || at != own(to.addr.Addr(), port) {
			t.Errorf("datagram %d from %v, want %d", numberOf(got), at, number)
		}
	}
	join(t, f, port, a.addr, b.addr)
	passes(a, b)

	must(t, f.Serve([]netip.Addr{own6, own4}))
	passes(a, b)
	join(t, f, port, c.addr, d.addr)
	join(t, f, port, e.addr, g.addr)
	passes(c, d)
	passes(d, c)
	passes(e, g)
	must(t, f.Open(port+1)) // on both
	join(t, f, port+1, c.addr, d.addr)

	must(t, f.Serve([]netip.Addr{own6}))
	passes(e, g)
	passes(g, e)
	if f.flows.count != 2 || len(f.locals) != 2 {
		t.Errorf("%d flows and %d sockets are left of the address that went, want 2 and 2", f.flows.count, len(f.locals))
	}
	if err := f.Install(relay.Flow{FlowKey: relay.FlowKey{At: own(alice4, port), Source: a.addr}, From: own(bob6, port), To: d.addr}); err == nil {
		t.Error("a flow is installed at an address that went")
	}

	// Another program has the port on the address that comes: nothing changes.
	other, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(own(alice4, port+1)))
	must(t, err)
	if err := f.Serve([]netip.Addr{own4}); err == nil {
		t.Error("served in spite of a port that is taken")
	}
	passes(e, g)
	if len(f.locals) != 2 {
		t.Errorf("%d sockets, want 2", len(f.locals))
	}
	other.Close()
	for range 3 { // their places do not add up
		must(t, f.Serve([]netip.Addr{own4}))
		must(t, f.Serve([]netip.Addr{own6}))
	}
	if len(f.addrs) > 2 {
		t.Errorf("%d places for one address", len(f.addrs))
	}
	must(t, f.Serve([]netip.Addr{own4, own6}))
	join(t, f, port, a.addr, b.addr)
	passes(a, b)
	f.Close(port)
	f.Close(port + 1)
	if len(f.locals) != 0 || f.flows.count != 0 {
		t.Errorf("%d sockets and %d flows are left of closed ports", len(f.locals), f.flows.count)
	}
}

func TestServeEnded(t *testing.T) {
	f := New(Config{})
	runs(t, f)()
	if err := f.Serve(nil); !errors.Is(err, ErrEnded) {
		t.Errorf("%v, want ErrEnded", err)
	}
}
