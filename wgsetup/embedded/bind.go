package embedded

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.zx2c4.com/wireguard/conn"
)

// Bind is a conn.Bind that keeps WireGuard's datagrams for wireguard-go and
// hands all others to a SidePort. Everything but receiving is the standard
// Bind's.
type Bind struct {
	conn.Bind
	side *SidePort
}

// NewBind wraps inner, which must be a Bind of netip endpoints such as
// conn.NewDefaultBind returns. The SidePort writes through inner.
func NewBind(inner conn.Bind, side *SidePort) *Bind {
	side.attach(inner)
	return &Bind{Bind: inner, side: side}
}

// Open implements conn.Bind.
func (b *Bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	fns, port, err := b.Bind.Open(port)
	if err != nil {
		return nil, 0, err
	}
	for i, fn := range fns {
		fns[i] = b.filter(fn)
	}
	b.side.setPort(port)
	return fns, port, nil
}

// filter takes what is not WireGuard's out of each batch. wireguard-go skips
// elements of size zero, so the batch keeps its shape and its buffers.
func (b *Bind) filter(receive conn.ReceiveFunc) conn.ReceiveFunc {
	return func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		n, err := receive(bufs, sizes, eps)
		for i, size := range sizes[:n] {
			if size == 0 || isWireGuard(bufs[i][:size]) {
				continue
			}
			b.side.deliver(bufs[i][:size], source(eps[i]))
			sizes[i] = 0
		}
		return n, err
	}
}

// isWireGuard is the rule that the kernel backend's nftables apply too: a type
// of 1 to 4 and three reserved zero bytes.
func isWireGuard(b []byte) bool {
	return len(b) >= 4 && binary.LittleEndian.Uint32(b)-1 < 4
}

func source(ep conn.Endpoint) netip.AddrPort {
	e, ok := ep.(*conn.StdNetEndpoint)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(e.Addr().Unmap(), e.Port())
}

// send writes one datagram through WireGuard's socket.
func send(b conn.Bind, datagram []byte, to netip.AddrPort) error {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	err := b.Send([][]byte{datagram}, &conn.StdNetEndpoint{AddrPort: to})
	// The Bind reports that it turned GSO off as an error, whether or not
	// the datagram then left.
	if gso, ok := errors.AsType[conn.ErrUDPGSODisabled](err); ok {
		return gso.RetryErr
	}
	return err
}
