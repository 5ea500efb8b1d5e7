package embedded

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/credant/credant/wgsetup/internal/icmp"
	"github.com/credant/credant/wgsetup/internal/sticky"
)

// socket is one family's half of a Bind.
type socket struct {
	udp   *net.UDPConn
	batch *ipv6.PacketConn
	port  uint16
	gro   bool
	gso   atomic.Bool
	errs  *icmp.Queue     // nil: nobody wants ICMP errors
	raw   syscall.RawConn // of udp

	// setting is held for writing while the socket sets DF on what it sends.
	setting sync.RWMutex
}

// socketBuffer holds about 40 ms at 1.4 Gbit/s; kernel WireGuard has no limit.
const socketBuffer = 7 << 20

// setOptions is called before bind.
func setOptions(fd int, network string) error {
	for _, name := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF, unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
		// The first two are capped by sysctls, the others take
		// CAP_NET_ADMIN. Less is slower and not wrong.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, name, socketBuffer)
	}
	if network == "udp4" {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1) // only hints
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1); err != nil {
		return err
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
}

// probeOffload finds out what the kernel can do.
func (s *socket) probeOffload() error {
	return s.control(func(fd int) error {
		_, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		s.gso.Store(err == nil)
		if unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) != nil {
			return nil
		}
		// Before 5.12 it cannot be read back, and is not to be trusted.
		if on, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO); err == nil && on == 1 {
			s.gro = true
			return nil
		}
		return unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 0)
	})
}

func (s *socket) setMark(mark uint32) error {
	return s.control(func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark))
	})
}

func (s *socket) control(f func(fd int) error) error {
	var err error
	if controlErr := s.raw.Control(func(fd uintptr) { err = f(int(fd)) }); controlErr != nil {
		return controlErr
	}
	return err
}

// segmentSpace is the size of the control message with a segment size. The
// kernel gives it as an int and takes it as 16 bits.
var segmentSpace = unix.CmsgSpace(4)

func newMessages(n int) []ipv6.Message {
	msgs := make([]ipv6.Message, n)
	for i := range msgs {
		msgs[i].Buffers = make([][]byte, 1)
		msgs[i].OOB = make([]byte, 0, sticky.Space+segmentSpace)
	}
	return msgs
}

// parseControl finds what sticky.New makes a source of, and the segment size, zero if the datagram is single, in a received
// message's control messages.
func parseControl(control []byte) (info []byte, segment int) {
	for len(control) >= unix.SizeofCmsghdr {
		header, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return info, segment
		}
		switch {
		case sticky.IsSource(header):
			if space := unix.CmsgSpace(len(data)); space <= len(control) {
				info = control[:space]
			}
		case header.Level == unix.SOL_UDP && header.Type == unix.UDP_GRO && len(data) >= 2:
			segment = int(binary.NativeEndian.Uint16(data))
		}
		control = rest
	}
	return info, segment
}

// appendSegment appends the control message that has the kernel cut a datagram
// into pieces of size bytes.
func appendSegment(control []byte, size int) []byte {
	at := len(control)
	control = append(control, make([]byte, unix.CmsgSpace(2))...)
	header := control[at:]
	// struct cmsghdr: a length of a word's size, level, type.
	if wordSize == 8 {
		binary.NativeEndian.PutUint64(header, uint64(unix.CmsgLen(2)))
	} else {
		binary.NativeEndian.PutUint32(header, uint32(unix.CmsgLen(2)))
	}
	binary.NativeEndian.PutUint32(header[wordSize:], unix.SOL_UDP)
	binary.NativeEndian.PutUint32(header[wordSize+4:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(header[unix.CmsgLen(0):], uint16(size))
	return control
}

// wordSize is that of size_t in struct cmsghdr.
const wordSize = unix.SizeofCmsghdr - 8
