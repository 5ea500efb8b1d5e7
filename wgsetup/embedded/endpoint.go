package embedded

import (
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/credant/credant/wgsetup/internal/sticky"
)

// endpoint is a conn.Endpoint: where datagrams go, and the local address and
// link that they leave from once the other side has sent some there. Several
// packets and peers may share one, so only src changes.
type endpoint struct {
	dst netip.AddrPort // IPv4 unmapped
	udp *net.UDPAddr   // dst, as sockets take it
	src atomic.Pointer[sticky.Source]
}

func newEndpoint(addr netip.AddrPort) *endpoint {
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	return &endpoint{dst: addr, udp: net.UDPAddrFromAddrPort(addr)}
}

// ClearSrc implements conn.Endpoint.
func (e *endpoint) ClearSrc() { e.src.Store(nil) }

// SrcToString implements conn.Endpoint.
func (e *endpoint) SrcToString() string { return e.SrcIP().String() }

// DstToString implements conn.Endpoint.
func (e *endpoint) DstToString() string { return e.dst.String() }

// DstToBytes implements conn.Endpoint: what cookies are computed over.
func (e *endpoint) DstToBytes() []byte {
	b, _ := e.dst.MarshalBinary() // never fails
	return b
}

// DstIP implements conn.Endpoint.
func (e *endpoint) DstIP() netip.Addr { return e.dst.Addr() }

// SrcIP implements conn.Endpoint. It is invalid while the kernel chooses.
func (e *endpoint) SrcIP() netip.Addr {
	if s := e.src.Load(); s != nil {
		return s.Addr()
	}
	return netip.Addr{}
}

// source returns where a datagram to the endpoint leaves from. One that the way
// does not leave by any more is given up.
func (e *endpoint) source(sources *sticky.Sources) *sticky.Source {
	src := e.src.Load()
	if src == nil {
		return nil
	}
	confirmed := sources.Confirm(*src, e.dst.Addr())
	switch {
	case confirmed == *src:
		return src
	case confirmed.IsZero():
		e.src.CompareAndSwap(src, nil)
		return nil
	}
	fresh := confirmed // on the heap, which confirmed itself need not be
	e.src.CompareAndSwap(src, &fresh)
	return &fresh
}
