package sticky

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Space is the room that a Source takes at most among control messages.
const Space = 40

// Source is a local address and a link. The zero Source leaves both to the
// kernel.
type Source struct {
	message [Space]byte // a control message, IP_PKTINFO or IPV6_PKTINFO
	size    uint8
	checked uint64 // the state of the host, as Sources counts them, that it was right for
}

// New makes a Source of a control message that IsSource recognised. It is the
// zero Source if it is of another size than the kernel's.
func New(message []byte) (s Source) {
	if len(message) == space4 || len(message) == space6 {
		s.size = uint8(copy(s.message[:], message))
	}
	return s
}

var space4, space6 = unix.CmsgSpace(unix.SizeofInet4Pktinfo), unix.CmsgSpace(unix.SizeofInet6Pktinfo)

// Find returns the first control message that IsSource recognises, or nil.
func Find(control []byte) []byte {
	for len(control) >= unix.SizeofCmsghdr {
		header, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return nil
		}
		if space := unix.CmsgSpace(len(data)); IsSource(header) && space <= len(control) {
			return control[:space]
		}
		control = rest
	}
	return nil
}

// IsSource says whether a control message tells where a datagram arrived.
func IsSource(h unix.Cmsghdr) bool {
	return h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO ||
		h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO
}

// IsZero says whether the choice is the kernel's.
func (s *Source) IsZero() bool { return s.size == 0 }

// Message returns the control message for a datagram to send. It is empty for
// the zero Source.
func (s *Source) Message() []byte { return s.message[:s.size] }

// Equal says whether New would make s of the control message; a nil Source is
// one of none.
func (s *Source) Equal(message []byte) bool {
	if s == nil {
		return message == nil
	}
	return bytes.Equal(s.Message(), message)
}

// Addr returns the local address, IPv4 unmapped. It is invalid in the zero
// Source.
func (s *Source) Addr() netip.Addr {
	data := s.message[unix.CmsgLen(0):]
	switch int(s.size) {
	case space4:
		// struct in_pktinfo: ifindex, spec_dst, addr. The second is the
		// address to answer from, and differs from the third if that is a
		// group's.
		return netip.AddrFrom4([4]byte(data[4:]))
	case space6:
		// struct in6_pktinfo: addr, ifindex. A socket for both families has
		// it for IPv4, too.
		return netip.AddrFrom16([16]byte(data)).Unmap()
	}
	return netip.Addr{}
}

// link returns the link's index.
func (s *Source) link() uint32 {
	data := s.message[unix.CmsgLen(0):]
	if int(s.size) == space6 {
		data = data[16:]
	}
	return binary.NativeEndian.Uint32(data)
}

// Lost recognises the error of a source address or link that is not this
// host's any more.
func Lost(err error) bool {
	for _, errno := range []unix.Errno{unix.EINVAL, unix.ENODEV, unix.EADDRNOTAVAIL, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENXIO} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
