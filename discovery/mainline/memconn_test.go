package mainline

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/anacrolix/dht/v2/krpc"
	"github.com/anacrolix/torrent/bencode"
)

// memConn is a net.PacketConn in memory: what it is written goes to out, what comes
// in is put into its queue.
type memConn struct {
	addr  netip.AddrPort
	queue chan memPacket
	out   func(b []byte, to netip.AddrPort) error // nil: nowhere

	once   sync.Once
	closed chan struct{}
}

type memPacket struct {
	b    []byte
	from netip.AddrPort
	err  error
}

func newMemConn(addr netip.AddrPort) *memConn {
	return &memConn{addr: addr, queue: make(chan memPacket, 1024), closed: make(chan struct{})}
}

func (c *memConn) deliver(b []byte, from netip.AddrPort) {
	select {
	case c.queue <- memPacket{b: append([]byte(nil), b...), from: from}:
	case <-c.closed:
	}
}

func (c *memConn) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case m := <-c.queue:
		if m.err != nil {
			return 0, nil, m.err
		}
		return copy(p, m.b), net.UDPAddrFromAddrPort(m.from), nil
	case <-c.closed:
		return 0, nil, net.ErrClosed
	}
}

func (c *memConn) WriteTo(p []byte, to net.Addr) (int, error) {
	if c.out != nil {
		addr, _ := addrPortOf(to)
		if err := c.out(append([]byte(nil), p...), addr); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (c *memConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (c *memConn) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(c.addr) }
func (c *memConn) SetDeadline(time.Time) error      { return nil }
func (c *memConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memConn) SetWriteDeadline(time.Time) error { return nil }

var (
	ownAddr  = netip.MustParseAddrPort("198.51.100.1:5000")
	nodeAddr = netip.MustParseAddrPort("203.0.113.1:6881")
)

// parseQuery reads what we sent.
func parseQuery(b []byte) krpc.Msg {
	var m krpc.Msg
	if err := bencode.Unmarshal(b, &m); err != nil {
		panic(err)
	}
	return m
}

// reply encodes a reply to the query of transaction t.
func reply(t string, r krpc.Return) []byte {
	return bencode.MustMarshal(krpc.Msg{T: t, Y: "r", R: &r})
}
