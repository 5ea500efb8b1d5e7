package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/integration/lab"
)

// A link in the middle carries less than Ethernet, and nobody is told: packets that are too long vanish. Large
// transfers through the tunnel come to no halt, whichever way, over IPv4 and IPv6.
func TestNarrowLink(t *testing.T) {
	for _, mtu := range []int{1280, 1420, 1492} {
		for _, family := range []string{"IPv4", "IPv6"} {
			t.Run(fmt.Sprintf("mtu=%d/%s", mtu, family), func(t *testing.T) {
				t.Parallel() // most of it is waiting
				narrowLink(t, "embedded", mtu, family)
			})
		}
	}
}

func TestKernelNarrowLink(t *testing.T) {
	for _, family := range []string{"IPv4", "IPv6"} {
		t.Run(family, func(t *testing.T) { narrowLink(t, "kernel", 1280, family) })
	}
}

func narrowLink(t *testing.T, backend string, mtu int, family string) {
	w := newWorld(t, backend)
	home := w.NAT("home", lab.PortRestricted.HidePort())
	home.IPv6 = true
	a := w.join(home.Host("alice"))
	b := w.join(w.Host("bob"))
	w.build()
	w.must(home.Uplink.Narrow(mtu))
	const port = "23456"
	w.flags = []string{"--no-dht", "--no-stun", "--no-lan", "--no-port-mapping"}
	at := b.Host.IPv4()[0]
	if family == "IPv6" {
		at = b.Host.IPv6()[0]
		w.forgetIPv4(b.Host)
	} else {
		w.forgetIPv6(b.Host)
	}
	b.up("--port", port)
	a.up("--bootstrap", net.JoinHostPort(at.String(), port))
	a.reach(b, 10*time.Second)
	began := time.Now()
	const size = 2 << 20
	for _, n := range []struct {
		name     string
		from, to *node
	}{{"out", a, b}, {"in", b, a}} {
		addresses := n.to.status().Self.Addresses
		slices.Reverse(addresses) // IPv6 inside cannot be cut as short as IPv4
		for _, address := range addresses {
			if err := transfer(n.from.Host, n.to.Host, netip.MustParseAddr(address), size, scaled(patience)); err != nil {
				t.Errorf("%s, to %s: %v", n.name, address, err)
			}
		}
	}
	t.Logf("all after %v", time.Since(began).Round(time.Millisecond))
	most := mtu - 60
	w.eventually(10*time.Second, "alice takes the path for what it is", func() bool {
		p, _ := a.peer(b)
		return p.MTU > 0 && p.MTU <= most && p.MTU > most-40-20-16 || most >= 1420 && p.MTU == 0
	})
}

// The same to a LAN behind a node: what cannot be cut into smaller segments gets there and back as well.
func TestNarrowLinkToLAN(t *testing.T)       { narrowLinkToLAN(t, "embedded") }
func TestKernelNarrowLinkToLAN(t *testing.T) { narrowLinkToLAN(t, "kernel") }

func narrowLinkToLAN(t *testing.T, backend string) {
	o := newOffice(t, backend, 1)
	o.must(o.home.Uplink.Narrow(1280))
	o.advertise(o.gate)
	o.laptop.up("--accept-routes", "gate")
	o.laptop.reach(o.gate, 30*time.Second)
	o.awaitRoute(o.laptop, o.gate, "accepted", 30*time.Second)
	for _, n := range []*node{o.laptop, o.gate} {
		o.eventually(30*time.Second, "the path is taken for what it is", func() bool {
			all := n.status().Peers
			return len(all) == 1 && all[0].MTU > 0 && all[0].MTU < 1280
		})
	}
	for _, at := range []netip.Addr{o.at4, o.at6} {
		const whole = 1400 - 48 // a packet that the device takes
		if err := echo(o.laptop.Host, o.printer, at, whole, scaled(patience)); err != nil {
			t.Errorf("to %s: %v", at, err)
		}
		if err := transfer(o.laptop.Host, o.printer, at, 1<<20, scaled(patience)); err != nil {
			t.Errorf("to %s: %v", at, err)
		}
	}
}

// echo sends datagrams to an address of another host until one comes back.
func echo(from, to *lab.Host, at netip.Addr, size int, limit time.Duration) error {
	var server, client net.PacketConn
	err := errors.Join(
		to.Do(func() (err error) {
			server, err = net.ListenPacket("udp", netip.AddrPortFrom(at, 0).String())
			return err
		}),
		from.Do(func() (err error) {
			client, err = net.ListenPacket("udp", ":0")
			return err
		}),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	defer server.Close()
	go func() {
		b := make([]byte, 2*size)
		for {
			n, who, err := server.ReadFrom(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = server.WriteTo(b[:n], who) // a first one may be too long for the way
			}
		}
	}()
	deadline := time.Now().Add(limit)
	for b := make([]byte, size); time.Now().Before(deadline); {
		_, _ = client.WriteTo(b, server.LocalAddr())
		if err := client.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
			return err
		}
		if n, _, err := client.ReadFrom(b); err == nil && n == size {
			return nil
		}
	}
	return fmt.Errorf("no datagram of %d bytes came back", size)
}

// forgetIPv6 takes the host's IPv6 addresses to the internet away, forgetIPv4 its IPv4 ones.
func (w *world) forgetIPv6(h *lab.Host) { w.forget(h, h.IPv6()) }
func (w *world) forgetIPv4(h *lab.Host) { w.forget(h, h.IPv4()) }

func (w *world) forget(h *lab.Host, addresses []netip.Addr) {
	w.t.Helper()
	for _, a := range addresses {
		bits, iface := 24, "eth0"
		if a.Is6() {
			bits = 64
		}
		if result, err := h.Run(w.within(10*time.Second), "ip", "address", "del", fmt.Sprintf("%s/%d", a, bits), "dev", iface); err != nil || result.Code != 0 {
			w.t.Fatalf("take %s from %s: %v %s", a, h.Name, err, result.Output)
		}
	}
}

// transfer carries size bytes over TCP from one host to an address of another.
func transfer(from, to *lab.Host, at netip.Addr, size int, limit time.Duration) error {
	var listener net.Listener
	err := to.Do(func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
		return err
	})
	if err != nil {
		return err
	}
	defer listener.Close()
	deadline := time.Now().Add(limit)
	sent := make(chan error, 1)
	go func() {
		var c net.Conn
		err := from.Do(func() (err error) {
			c, err = (&net.Dialer{Deadline: deadline}).Dial("tcp", listener.Addr().String())
			return err
		})
		if err == nil {
			defer c.Close()
			_ = c.SetDeadline(deadline)
			_, err = io.Copy(c, bytes.NewReader(make([]byte, size)))
		}
		sent <- err
	}()
	if err := listener.(*net.TCPListener).SetDeadline(deadline); err != nil {
		return err
	}
	c, err := listener.Accept()
	if err != nil {
		return errors.Join(err, <-sent)
	}
	defer c.Close()
	_ = c.SetDeadline(deadline)
	n, err := io.Copy(io.Discard, c)
	if n != int64(size) {
		err = errors.Join(fmt.Errorf("%d of %d bytes arrived", n, size), err, <-sent)
	}
	return err
}
