package control

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/credant/credant/natpunch/demux"
)

// memoryPort is a side port whose datagrams come from the test.
type memoryPort struct {
	in   chan datagram
	sent chan datagram
}

func newMemoryPort() *memoryPort {
	return &memoryPort{in: make(chan datagram, 16), sent: make(chan datagram, 16)}
}

func (p *memoryPort) LocalAddr() net.Addr { return &net.UDPAddr{Port: 20001} }

func (p *memoryPort) ReadOnUDPAddrPort(b []byte) (int, netip.AddrPort, netip.Addr, error) {
	d, ok := <-p.in
	if !ok {
		return 0, netip.AddrPort{}, netip.Addr{}, net.ErrClosed
	}
	return copy(b, d.data), d.from, d.on, nil
}

func (p *memoryPort) WriteFromUDPAddrPort(b []byte, from netip.Addr, to netip.AddrPort) (int, error) {
	p.sent <- datagram{from: to, on: from, data: bytes.Clone(b)}
	return len(b), nil
}

func (p *memoryPort) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	p.sent <- datagram{from: to, data: bytes.Clone(b)}
	return len(b), nil
}

var (
	from4 = netip.MustParseAddrPort("5.1.1.1:6881")
	from6 = netip.MustParseAddrPort("[2a00::1]:6881")
)

func TestOnePortSharesByProtocol(t *testing.T) {
	side := newMemoryPort()
	d := newDrops()
	p := newOnePort(side, d)
	done := make(chan error)
	go func() { done <- p.Run(context.Background()) }()

	ping := []byte("d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe")
	side.in <- datagram{from: from4, data: ping}
	side.in <- datagram{from: from6, data: ping}
	side.in <- datagram{from: from4, data: append([]byte{0xa1, 1}, make([]byte, 60)...)}
	side.in <- datagram{from: from4, data: []byte("GET / HTTP/1.1")}
	side.in <- datagram{from: from4, data: make([]byte, largestDatagram+1)}

	if got := <-p.inbox; got.kind != demux.CredAnt || got.from != from4 {
		t.Errorf("inbox got %v from %v", got.kind, got.from)
	}
	for six, from := range map[bool]netip.AddrPort{false: from4, true: from6} {
		buf := make([]byte, 100)
		n, addr, err := p.dht[six].ReadFrom(buf)
		if err != nil || !bytes.Equal(buf[:n], ping) || addr.String() != from.String() {
			t.Errorf("IPv6 %v: %q from %v, error %v", six, buf[:n], addr, err)
		}
	}
	close(side.in)
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run: %v, want net.ErrClosed", err)
	}
	if got := d.snapshot(); got["unknown-protocol"] != 1 || got["size"] != 1 {
		t.Errorf("drops %v: want one of an unknown protocol and one too big", got)
	}
}

func TestOnePortIsBounded(t *testing.T) {
	d := newDrops()
	p := newOnePort(newMemoryPort(), d)
	for range 2 * inboxSize {
		p.handle(append(p.buffer()[:0], 0xa1, 1), from4, netip.Addr{})
		p.handle(append(p.buffer()[:0], "d1:y1:re"...), from4, netip.Addr{})
	}
	got := d.snapshot()
	if got["busy"] != inboxSize || got["dht-busy"] != 2*inboxSize-dhtQueueSize {
		t.Errorf("drops %v: want what the queues do not hold", got)
	}
}

func TestDHTConn(t *testing.T) {
	side := newMemoryPort()
	c := newOnePort(side, newDrops()).dht[false]
	if _, err := c.WriteTo([]byte("d"), net.UDPAddrFromAddrPort(from6)); err == nil {
		t.Error("an IPv6 address passes on the IPv4 side")
	}
	if _, err := c.WriteTo([]byte("de"), net.UDPAddrFromAddrPort(from4)); err != nil {
		t.Error(err)
	}
	if got := <-side.sent; got.from != from4 || string(got.data) != "de" {
		t.Errorf("sent %q to %v", got.data, got.from)
	}
	if got := c.LocalAddr().(*net.UDPAddr).Port; got != 20001 {
		t.Errorf("LocalAddr has port %d, want the one that others see", got)
	}

	read := make(chan error)
	go func() {
		_, _, err := c.ReadFrom(make([]byte, 10))
		read <- err
	}()
	if err := c.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline in the past gives %v", err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _, err := c.ReadFrom(make([]byte, 10))
		read <- err
	}()
	c.Close()
	c.Close()
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closing gives %v", err)
	}
	if _, err := c.WriteTo([]byte("de"), net.UDPAddrFromAddrPort(from4)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing to a closed one gives %v", err)
	}
}
