package embedded

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/net/ipv6"
	"golang.zx2c4.com/wireguard/conn"

	"github.com/credant/credant/wgsetup/internal/sticky"
)

// maxSegments is how many datagrams the kernel makes one of with GRO, and of
// one with GSO.
const maxSegments = 64

// receiver reads one family for wireguard-go, which calls receive from one
// goroutine.
type receiver struct {
	inlet     *inlet
	side      *SidePort
	redirects *redirects
	msgs      []ipv6.Message
	last      *endpoint // of the datagram before: most come from one peer
}

func newReceiver(in *inlet, side *SidePort, redirects *redirects) *receiver {
	return &receiver{inlet: in, side: side, redirects: redirects, msgs: newMessages(conn.IdealBatchSize)}
}

// receive implements conn.ReceiveFunc. With GRO, few long messages are read
// into the last buffers and cut into the first ones, which is cheaper than it
// looks: a train of 64 is one system call.
func (r *receiver) receive(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
	for {
		s, flags, remotes := r.inlet.next()
		msgs := r.msgs[:min(len(bufs), len(r.msgs))]
		first := 0
		if s.gro {
			first = max(0, len(msgs)-max(1, len(msgs)/maxSegments))
		}
		for i := first; i < len(msgs); i++ {
			msgs[i].Buffers[0] = bufs[i]
			msgs[i].OOB = msgs[i].OOB[:cap(msgs[i].OOB)]
			msgs[i].Addr = nil
		}
		count, err := s.read(msgs[first:], flags)
		if err != nil {
			if r.inlet.passes(s, err) {
				continue
			}
			return 0, err
		}
		n := 0
		for i := first; i < first+count; i++ {
			n = r.split(&msgs[i], remotes, i, n, bufs, sizes, eps)
		}
		return n, nil
	}
}

// split passes a message's datagrams on: WireGuard's into the buffers from n
// on, others to the side port. The message lies in buffer at, and n may not go
// beyond that. What comes from none of the remotes, if there are any, is
// dropped.
func (r *receiver) split(m *ipv6.Message, remotes map[netip.AddrPort]bool, at, n int, bufs [][]byte, sizes []int, eps []conn.Endpoint) int {
	info, segment := parseControl(m.OOB[:m.NN])
	if segment == 0 {
		segment = m.N
	}
	udp := m.Addr.(*net.UDPAddr)
	from := udp.AddrPort()
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	if remotes != nil && !remotes[from] {
		return n
	}
	var ep *endpoint
	for rest := m.Buffers[0][:m.N]; len(rest) > 0; {
		datagram := rest[:min(segment, len(rest))]
		rest = rest[len(datagram):]
		switch {
		case !isWireGuard(datagram):
			r.side.deliver(datagram, from, sticky.New(info))
		case n <= at:
			// Into an earlier buffer, or towards the front of its own,
			// over what has been passed on.
			if ep == nil {
				ep = r.endpoint(from, udp, info)
			}
			sizes[n] = copy(bufs[n], datagram)
			eps[n] = ep
			n++
		}
	}
	return n
}

// endpoint returns where WireGuard's datagram came from, or is said to. It is
// the last one again if it equals it.
func (r *receiver) endpoint(from netip.AddrPort, udp *net.UDPAddr, info []byte) *endpoint {
	if ep := r.redirects.of(from); ep != nil {
		return ep
	}
	if r.last != nil && r.last.dst == from && r.last.src.Load().Equal(info) {
		return r.last
	}
	ep := &endpoint{dst: from, udp: udp}
	if src := r.side.sources.Trust(sticky.New(info)); !src.IsZero() {
		ep.src.Store(&src)
	}
	r.last = ep
	return ep
}

// isWireGuard is the rule that the kernel backend's nftables apply too: a type
// of 1 to 4 and three reserved zero bytes.
func isWireGuard(b []byte) bool {
	return len(b) >= 4 && binary.LittleEndian.Uint32(b)-1 < 4
}
