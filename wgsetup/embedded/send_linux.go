package embedded

import (
	"errors"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"

	"github.com/credant/credant/wgsetup/internal/sticky"
)

// maxPayload is the longest UDP payload, IPv4's.
const maxPayload = 65535 - 20 - 8

// Send implements conn.Bind. With GSO it lengthens the buffers: like
// conn.StdNetBind it takes their capacity for its own.
func (b *Bind) Send(bufs [][]byte, to conn.Endpoint) error {
	ep, ok := to.(*endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	s := b.socketFor(ep.dst)
	if s == nil {
		return unix.EAFNOSUPPORT
	}
	msgs := b.msgs.Get().(*[]ipv6.Message)
	defer func() {
		for i := range *msgs {
			(*msgs)[i].Buffers[0], (*msgs)[i].Addr = nil, nil
		}
		b.msgs.Put(msgs)
	}()

	src := ep.source(b.side.sources)
	gso := len(bufs) > 1 && s.gso.Load()
	for {
		var err error
		if gso {
			err = s.write((*msgs)[:coalesce(*msgs, bufs, ep, src)])
		} else {
			err = s.write((*msgs)[:single(*msgs, bufs, ep, src)])
		}
		switch {
		case err == nil:
			return nil
		case src != nil && sticky.Lost(err):
			// As kernel WireGuard does: the host's addresses have changed.
			ep.ClearSrc()
			src = nil
		case gso:
			// EIO: the network card computes no checksums, so it never will
			// work. EINVAL or EMSGSIZE: the route's MTU is less than a
			// segment, which a single datagram survives in fragments.
			if errors.Is(err, unix.EIO) {
				s.gso.Store(false)
			}
			gso = false // what had left leaves twice, which WireGuard notices
		default:
			return err
		}
	}
}

// write sends all messages, in as many system calls as the kernel wants.
func (s *socket) write(msgs []ipv6.Message) error {
	s.setting.RLock()
	defer s.setting.RUnlock()
	for tries := 0; len(msgs) > 0; {
		n, err := s.batch.WriteBatch(msgs, 0)
		switch {
		case err == nil:
			msgs, tries = msgs[n:], 0
		case s.ofEarlier(err, &tries):
		case errors.Is(err, unix.ENOBUFS):
			// The link's queue is full, which a socket without ICMP errors is
			// not told. What WireGuard sent is lost as on the way.
			msgs = msgs[1:]
		default:
			return err
		}
	}
	return nil
}

// single makes a message of each buffer.
func single(msgs []ipv6.Message, bufs [][]byte, ep *endpoint, src *sticky.Source) int {
	for i, b := range bufs {
		address(&msgs[i], b, ep, src)
	}
	return len(bufs)
}

func address(m *ipv6.Message, b []byte, ep *endpoint, src *sticky.Source) {
	m.Buffers[0], m.Addr, m.OOB = b, ep.udp, m.OOB[:0]
	if src != nil {
		m.OOB = append(m.OOB, src.Message()...)
	}
}

// coalesce makes messages of trains: datagrams of one length, of which the last
// may be shorter, joined in the first one's buffer.
func coalesce(msgs []ipv6.Message, bufs [][]byte, ep *endpoint, src *sticky.Source) int {
	n := 0
	for i := 0; i < len(bufs); n++ {
		train, size := bufs[i], len(bufs[i])
		count := 1
		for i++; i < len(bufs) && count < maxSegments; i++ {
			next := bufs[i]
			if len(next) > size || len(train)+len(next) > min(cap(train), maxPayload) {
				break
			}
			train = append(train, next...)
			count++
			if len(next) < size {
				i++
				break
			}
		}
		address(&msgs[n], train, ep, src)
		if count > 1 {
			msgs[n].OOB = appendSegment(msgs[n].OOB, size)
		}
	}
	return n
}
