package icmp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Error is an ICMP error about a datagram that left from a port. Anybody on the
// way can forge one: it is a hint.
type Error struct {
	To  netip.AddrPort // where the datagram went
	Err error          // a syscall.Errno: ECONNREFUSED, EMSGSIZE, EHOSTUNREACH, ...
	MTU int            // of the next hop, with EMSGSIZE; else zero
}

// limit bounds the errors that wait to be taken; more are dropped.
const limit = 64

// Queue has the errors of one or more sockets.
type Queue struct {
	errs   chan Error
	missed atomic.Uint64
}

// NewQueue returns an empty Queue.
func NewQueue() *Queue { return &Queue{errs: make(chan Error, limit)} }

// Errors returns where errors arrive. It is never closed.
func (q *Queue) Errors() <-chan Error { return q.errs }

// Missed returns how many errors nobody took in time.
func (q *Queue) Missed() uint64 { return q.missed.Load() }

// From says whether the call failed because of an ICMP error about an
// earlier datagram: RFC 1122, Section 4.1.3.3 has them reported, and the
// kernel does it at the next call.
func From(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	for _, errno := range []syscall.Errno{
		unix.ECONNREFUSED, unix.EMSGSIZE, unix.EHOSTUNREACH, unix.ENETUNREACH,
		unix.EHOSTDOWN, unix.ENONET, unix.EOPNOTSUPP, unix.EPROTO, unix.EACCES, unix.ENOPROTOOPT,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// Drain empties a socket's error queue and says whether an ICMP error was there:
// a datagram that is too long for its link leaves an entry, too, besides the
// error of the call.
func (q *Queue) Drain(raw syscall.RawConn) (some bool) {
	_ = raw.Control(func(fd uintptr) {
		var payload [1]byte
		var control [256]byte
		for range limit {
			_, n, _, to, err := unix.Recvmsg(int(fd), payload[:], control[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err != nil {
				return
			}
			e, ok := parseError(control[:n])
			if !ok {
				continue
			}
			some = true
			e.To = sockaddr(to)
			select {
			case q.errs <- e:
			default:
				q.missed.Add(1)
			}
		}
	})
	return some
}

// parseError finds a struct sock_extended_err in control messages.
func parseError(control []byte) (Error, bool) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return Error{}, false
	}
	for _, m := range messages {
		ipv4 := m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR
		ipv6 := m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		if !ipv4 && !ipv6 || len(m.Data) < int(unsafe.Sizeof(unix.SockExtendedErr{})) {
			continue
		}
		// struct sock_extended_err: errno, origin, type, code, pad, info.
		if origin := m.Data[4]; origin != unix.SO_EE_ORIGIN_ICMP && origin != unix.SO_EE_ORIGIN_ICMP6 {
			continue
		}
		e := Error{Err: syscall.Errno(binary.NativeEndian.Uint32(m.Data))}
		if errors.Is(e.Err, unix.EMSGSIZE) {
			e.MTU = int(binary.NativeEndian.Uint32(m.Data[8:]))
		}
		return e, true
	}
	return Error{}, false
}

func sockaddr(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
