package relayd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// dhtConn is a front port as a DHT server of its address family sees it. The
// server sets no deadlines.
type dhtConn struct {
	at     netip.AddrPort
	conn   *net.UDPConn
	inbox  *inbox
	queue  chan datagram
	closed chan struct{}
	once   sync.Once
}

func newDHTConn(at netip.AddrPort, conn *net.UDPConn, in *inbox) *dhtConn {
	return &dhtConn{at: at, conn: conn, inbox: in, queue: make(chan datagram, dhtQueue), closed: make(chan struct{})}
}

func (c *dhtConn) deliver(d datagram) bool {
	select {
	case c.queue <- d:
		return true
	default:
		return false
	}
}

// ReadFrom returns the next DHT datagram that came to the port.
func (c *dhtConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-c.queue:
		n := copy(b, d.data)
		c.inbox.release(d.data)
		return n, net.UDPAddrFromAddrPort(d.from), nil
	case <-c.closed:
		return 0, nil, net.ErrClosed
	}
}

// WriteTo sends from the front port. An address of the other family is refused.
func (c *dhtConn) WriteTo(b []byte, to net.Addr) (int, error) {
	u, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, fmt.Errorf("send to %s: a UDP address is needed", to)
	}
	addr := netip.AddrPortFrom(u.AddrPort().Addr().Unmap(), u.AddrPort().Port())
	if addr.Addr().Is4() != c.at.Addr().Is4() {
		return 0, &net.AddrError{Err: "wrong address family", Addr: addr.String()}
	}
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
	}
	return c.conn.WriteToUDPAddrPort(b, addr)
}

// Close frees a blocked ReadFrom; the front port itself stays open.
func (c *dhtConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// LocalAddr is the own address and front port.
func (c *dhtConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.at) }

// Nobody sets deadlines on it.
func (c *dhtConn) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (c *dhtConn) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (c *dhtConn) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }
