package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/credant/credant/natpunch/demux"
)

// sidePort is what control needs of WireGuard's port beside WireGuard itself.
type sidePort interface {
	LocalAddr() net.Addr
	ReadOnUDPAddrPort([]byte) (int, netip.AddrPort, netip.Addr, error)
	WriteToUDPAddrPort([]byte, netip.AddrPort) (int, error)
	WriteFromUDPAddrPort([]byte, netip.Addr, netip.AddrPort) (int, error)
}

// datagram is one that came in, and its first bytes' verdict. Its buffer goes
// back with release: a flood must not become garbage.
type datagram struct {
	from netip.AddrPort
	on   netip.Addr // the address of this host that it came to; zero: not known
	kind demux.Kind
	data []byte
	// extra is the short-lived port it came to; nil: the node's own.
	extra *extraPort
}

const (
	// largestDatagram is the most that any protocol on the port sends: a DHT
	// node's answer with an item, which comes in fragments. Ours end at 1,452 bytes.
	largestDatagram = 2048
	// inboxSize and dhtQueueSize bound what waits while the loop is busy: about
	// a tenth of a second of flood. What does not fit is dropped and counted.
	inboxSize    = 512
	dhtQueueSize = 256
)

// onePort shares the side port among the DHT, STUN and our own messages.
type onePort struct {
	side  sidePort
	inbox chan datagram
	dht   map[bool]*dhtConn // by "is IPv6"
	free  chan []byte
	drops *drops
}

func newOnePort(side sidePort, d *drops) *onePort {
	p := &onePort{side: side, inbox: make(chan datagram, inboxSize), free: make(chan []byte, inboxSize), drops: d}
	p.dht = map[bool]*dhtConn{false: newDHTConn(p, false), true: newDHTConn(p, true)}
	return p
}

func (p *onePort) buffer() []byte {
	select {
	case b := <-p.free:
		return b
	default:
		return make([]byte, largestDatagram+1)
	}
}

func (p *onePort) release(b []byte) {
	select {
	case p.free <- b[:cap(b)]:
	default:
	}
}

// Run hands datagrams on until the side port is closed or ctx ends.
func (p *onePort) Run(ctx context.Context) error {
	for {
		b := p.buffer()
		n, from, on, err := p.side.ReadOnUDPAddrPort(b)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("read the side port: %w", err)
		case err != nil:
			// An ICMP error of an earlier datagram. The path's checks find out
			// for themselves.
			p.drop(b, "icmp-error")
		case n > largestDatagram:
			p.drop(b, "size")
		default:
			p.handle(b[:n], from, on)
		}
	}
}

// handle takes the buffer over.
func (p *onePort) handle(b []byte, from netip.AddrPort, on netip.Addr) {
	d := datagram{from: from, on: on, kind: demux.Classify(b), data: b}
	switch d.kind {
	case demux.DHT:
		if !p.dht[from.Addr().Is6()].deliver(d) {
			p.drop(b, "dht-busy")
		}
	case demux.STUN, demux.CredAnt:
		select {
		case p.inbox <- d:
		default:
			p.drop(b, "busy")
		}
	default:
		p.drop(b, "unknown-protocol")
	}
}

// handleExtra takes a copy of what came to a short-lived port.
func (p *onePort) handleExtra(at extraPort, from netip.AddrPort, data []byte) {
	if len(data) > largestDatagram {
		p.drops.count("size")
		return
	}
	b := p.buffer()
	d := datagram{from: from, kind: demux.Classify(data), data: b[:copy(b, data)], extra: &at}
	select {
	case p.inbox <- d:
	default:
		p.drop(b, "busy")
	}
}

func (p *onePort) drop(b []byte, reason string) {
	p.drops.count(reason)
	p.release(b)
}

func (p *onePort) send(o outgoing) error {
	_, err := p.side.WriteFromUDPAddrPort(o.data, o.from, o.to)
	return err
}

// dhtConn is the side port as a DHT server of one address family sees it.
type dhtConn struct {
	port   *onePort
	six    bool
	queue  chan datagram
	closed chan struct{}
	once   sync.Once

	mu       sync.Mutex
	deadline time.Time
	moved    chan struct{} // closed when deadline changes
}

func newDHTConn(p *onePort, six bool) *dhtConn {
	return &dhtConn{
		port: p, six: six,
		queue:  make(chan datagram, dhtQueueSize),
		closed: make(chan struct{}),
		moved:  make(chan struct{}),
	}
}

func (c *dhtConn) deliver(d datagram) bool {
	select {
	case c.queue <- d:
		return true
	default:
		return false
	}
}

// ReadFrom returns the next DHT datagram of the family.
func (c *dhtConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		c.mu.Lock()
		deadline, moved := c.deadline, c.moved
		c.mu.Unlock()
		var expired <-chan time.Time
		if !deadline.IsZero() {
			expired = time.After(time.Until(deadline))
		}
		select {
		case d := <-c.queue:
			n := copy(b, d.data)
			c.port.release(d.data)
			return n, net.UDPAddrFromAddrPort(d.from), nil
		case <-c.closed:
			return 0, nil, net.ErrClosed
		case <-expired:
			return 0, nil, os.ErrDeadlineExceeded
		case <-moved:
		}
	}
}

// WriteTo sends from the side port. An address of the other family is refused.
func (c *dhtConn) WriteTo(b []byte, to net.Addr) (int, error) {
	u, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, fmt.Errorf("send to %s: a UDP address is needed", to)
	}
	addr := u.AddrPort()
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	if addr.Addr().Is6() != c.six {
		return 0, &net.AddrError{Err: "wrong address family", Addr: addr.String()}
	}
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
	}
	return c.port.side.WriteToUDPAddrPort(b, addr)
}

// Close frees a blocked ReadFrom; the side port itself stays open.
func (c *dhtConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// LocalAddr is an unspecified address of the family with the port that the
// rest of the world sees.
func (c *dhtConn) LocalAddr() net.Addr {
	port := 0
	if u, ok := c.port.side.LocalAddr().(*net.UDPAddr); ok {
		port = u.Port
	}
	if c.six {
		return &net.UDPAddr{IP: net.IPv6unspecified, Port: port}
	}
	return &net.UDPAddr{IP: net.IPv4zero, Port: port}
}

// SetReadDeadline frees a blocked ReadFrom at t.
func (c *dhtConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	close(c.moved)
	c.moved = make(chan struct{})
	return nil
}

// SetDeadline is SetReadDeadline: writes never block for long.
func (c *dhtConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline does nothing: a UDP write does not block for long.
func (c *dhtConn) SetWriteDeadline(time.Time) error { return nil }

// drops counts received datagrams that were dropped, by reason. Reasons are
// constants of the rooms, so the table stays small.
type drops struct {
	mu    sync.Mutex
	total map[string]uint64
}

func newDrops() *drops { return &drops{total: make(map[string]uint64)} }

func (d *drops) count(reason string) {
	if reason == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.total[reason]++
}

func (d *drops) snapshot() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make(map[string]uint64, len(d.total))
	for reason, n := range d.total {
		all[reason] = n
	}
	return all
}
