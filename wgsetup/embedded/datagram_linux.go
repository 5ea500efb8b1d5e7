package embedded

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/credant/credant/wgsetup/internal/icmp"
	"github.com/credant/credant/wgsetup/internal/sticky"
)

// maxWithoutDF is the longest payload that any IPv6 path carries whole. What the
// side port sends beyond that asks whether a path does (RFC 8899), and may not
// arrive in fragments.
const maxWithoutDF = 1280 - 40 - 8

// send sends one datagram of the side port, from a source that is not given up
// for another.
func (b *Bind) send(datagram []byte, to netip.AddrPort, src sticky.Source) error {
	s := b.socketFor(to)
	if s == nil {
		return unix.EAFNOSUPPORT
	}
	if len(datagram) > maxWithoutDF {
		return s.sendDF(datagram, to, src)
	}
	s.setting.RLock()
	defer s.setting.RUnlock()
	for tries := 0; ; {
		_, _, err := s.udp.WriteMsgUDPAddrPort(datagram, src.Message(), to)
		if errors.Is(err, unix.ENOBUFS) {
			return nil // lost as on the way, like WireGuard's
		}
		if err == nil || !s.ofEarlier(err, &tries) {
			return err
		}
	}
}

// sendDF sends one datagram with DF, whatever the kernel believes of the path's
// MTU; one that is too long for the link is EMSGSIZE. The option is the whole
// socket's, so nothing else may leave meanwhile: three system calls, for which
// WireGuard waits. It never blocks.
func (s *socket) sendDF(datagram []byte, to netip.AddrPort, src sticky.Source) error {
	level, name, probe := unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE
	var address unix.Sockaddr = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16(), ZoneId: zone(to.Addr())}
	if to.Addr().Is4() {
		level, name, probe = unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE
		address = &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	s.setting.Lock()
	defer s.setting.Unlock()
	for tries := 0; ; {
		err := s.control(func(fd int) error {
			before, err := unix.GetsockoptInt(fd, level, name)
			if err != nil {
				return err
			}
			if err := unix.SetsockoptInt(fd, level, name, probe); err != nil {
				return err
			}
			_, err = unix.SendmsgN(fd, datagram, src.Message(), address, unix.MSG_DONTWAIT)
			if restoreErr := unix.SetsockoptInt(fd, level, name, before); err == nil {
				err = restoreErr
			}
			return err
		})
		if err == nil || !s.ofEarlier(err, &tries) {
			return err
		}
	}
}

// zone returns the number of an address's zone; zero if there is none.
func zone(a netip.Addr) uint32 {
	if a.Zone() == "" {
		return 0
	}
	i, err := net.InterfaceByName(a.Zone())
	if err != nil {
		return 0
	}
	return uint32(i.Index)
}

// read reads a batch. An ICMP error fails the call, and is not wireguard-go's
// to know: it would stop reading for a third of a second.
func (s *socket) read(msgs []ipv6.Message, flags int) (int, error) {
	for {
		n, err := s.batch.ReadBatch(msgs, flags)
		switch {
		case err == nil:
			return n, nil
		case icmp.From(err):
			s.drain()
		case errors.Is(err, unix.EAGAIN):
			// A set of sockets was woken by an error that a sender was told
			// of, and would be again.
			s.drain()
			return n, err
		case strings.HasSuffix(err.Error(), notPollable):
			s.drain()
			time.Sleep(time.Millisecond)
		default:
			return n, err
		}
	}
}

// notPollable ends the text of an error of Go's poller, which has no name. It
// comes, until the next event, when a socket with an ICMP error could neither
// be read nor written: in the middle of a large upload.
const notPollable = "not pollable"

func (s *socket) drain() bool { return s.errs != nil && s.errs.Drain(s.raw) }

// ofEarlier says whether a call that failed is to be made again: it may have
// told of an ICMP error about an earlier datagram, whose entry another goroutine
// has taken perhaps, so that the first failure proves nothing.
func (s *socket) ofEarlier(err error, tries *int) bool {
	if !icmp.From(err) || *tries == maxTries {
		return false
	}
	*tries++
	return s.drain() || *tries == 1
}

// maxTries ends what a flood of forged ICMP errors could make endless.
const maxTries = 16
