package sideport

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ICMPError is an ICMP error about a datagram that left from the port, the
// socket's or WireGuard's own. Anybody on the way can forge one: it is a hint.
type ICMPError struct {
	To  netip.AddrPort // where the datagram went
	Err error          // a syscall.Errno: ECONNREFUSED, EMSGSIZE, EHOSTUNREACH, ...
	MTU int            // of the next hop, with EMSGSIZE; else zero
}

// maxErrors bounds the errors that wait to be taken; more are dropped.
const maxErrors = 64

// Errors returns where ICMP errors arrive while somebody reads the socket. It
// is never closed.
func (s *Conn) Errors() <-chan ICMPError { return s.errs }

// fromICMP says whether the call failed because of an ICMP error about an
// earlier datagram: RFC 1122, Section 4.1.3.3 has them reported, and the
// kernel does it at the next call.
func fromICMP(err error) bool {
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

// drainErrors empties the socket's error queue and says whether an error was
// there.
func (s *Conn) drainErrors() (some bool) {
	raw, err := s.udp.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		var payload [1]byte
		var control [256]byte
		for range maxErrors {
			_, n, _, to, err := unix.Recvmsg(int(fd), payload[:], control[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err != nil {
				return
			}
			some = true
			e, ok := parseError(control[:n])
			if !ok {
				continue
			}
			e.To = sockaddr(to)
			select {
			case s.errs <- e:
			default:
				s.missed.Add(1)
			}
		}
	})
	return some
}

// parseError finds a struct sock_extended_err in control messages.
func parseError(control []byte) (ICMPError, bool) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return ICMPError{}, false
	}
	for _, m := range messages {
		ipv4 := m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR
		ipv6 := m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		if !ipv4 && !ipv6 || len(m.Data) < int(unsafe.Sizeof(unix.SockExtendedErr{})) {
			continue
		}
		// struct sock_extended_err: errno, origin, type, code, pad, info.
		e := ICMPError{Err: syscall.Errno(binary.NativeEndian.Uint32(m.Data))}
		if errors.Is(e.Err, unix.EMSGSIZE) {
			e.MTU = int(binary.NativeEndian.Uint32(m.Data[8:]))
		}
		return e, true
	}
	return ICMPError{}, false
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
