package sideport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/credant/credant/wgsetup/internal/icmp"
	"github.com/credant/credant/wgsetup/internal/nft"
	"github.com/credant/credant/wgsetup/internal/sticky"
)

// Config says which port is shared, and with whom.
type Config struct {
	Table     string       // the nftables table's name; no other side port may have it
	Interface string       // the WireGuard device's name
	Port      uint16       // WireGuard's port, P
	Mark      int          // WireGuard's firewall mark; zero: none
	Log       *slog.Logger // nil: discarded
}

// Conn is the socket on S and the table that joins it to P. Addresses are
// those that the network sees: LocalAddr has P, IPv4 is never IPv4-mapped.
type Conn struct {
	udp  *net.UDPConn
	side uint16
	from *sticky.Sources
	errs *icmp.Queue
	raw  syscall.RawConn // of udp
	port atomic.Uint32

	closing sync.Once

	mu     sync.Mutex
	config Config
	table  *nft.Table // nil only in Open
	mark   int
}

// Open opens the socket and makes the table. Close takes both away; if the
// process dies, so does the table (before Linux 5.12 the next Open replaces
// it).
func Open(c Config) (*Conn, error) {
	from, err := sticky.Open()
	if err != nil {
		return nil, err
	}
	udp, side, err := listen(c.Port)
	if err != nil {
		return nil, errors.Join(err, from.Close())
	}
	s := &Conn{
		udp:    udp,
		side:   side,
		from:   from,
		errs:   icmp.NewQueue(),
		config: c,
	}
	s.port.Store(uint32(c.Port))
	from.SetPort(side) // that routes see
	if s.raw, err = udp.SyscallConn(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.open(c); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Conn) open(c Config) (err error) {
	if err := s.SetMark(c.Mark); err != nil {
		return err
	}
	if s.table, err = nft.Open(c.Table, c.Log); err != nil {
		return err
	}
	return s.table.Set(chains(c, s.side))
}

// ICMPError is an ICMP error about a datagram that left from the port, the
// socket's or WireGuard's own. Anybody on the way can forge one: it is a hint.
type ICMPError = icmp.Error

// Errors returns where ICMP errors arrive while somebody reads the socket. It
// is never closed.
func (s *Conn) Errors() <-chan ICMPError { return s.errs.Errors() }

// listen finds a free S for both families and sets the socket up.
func listen(port uint16) (*net.UDPConn, uint16, error) {
	config := net.ListenConfig{Control: func(network, _ string, c syscall.RawConn) error {
		var err error
		if controlErr := c.Control(func(fd uintptr) { err = setOptions(int(fd), network) }); controlErr != nil {
			return controlErr
		}
		return err
	}}
	var err error
	for range 100 {
		side := RandomPort()
		if side == port {
			continue
		}
		var c net.PacketConn
		c, err = config.ListenPacket(context.Background(), "udp", fmt.Sprintf(":%d", side))
		if err == nil {
			return c.(*net.UDPConn), side, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return nil, 0, fmt.Errorf("open side port: %w", err)
}

// setOptions is for an IPv4 socket, or for an IPv6 socket that carries IPv4,
// too, and then needs both families' options.
func setOptions(fd int, network string) error {
	type option struct{ level, name, value int }
	options := []option{
		{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE},
		{unix.IPPROTO_IP, unix.IP_RECVERR, 1},
	}
	if network == "udp6" {
		options = append(options,
			option{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE},
			option{unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1},
			option{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1}, // for IPv4, too
		)
	} else {
		options = append(options, option{unix.IPPROTO_IP, unix.IP_PKTINFO, 1})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("set socket option %d/%d: %w", o.level, o.name, err)
		}
	}
	return nil
}

// SetMark makes the socket's datagrams take WireGuard's way: a full tunnel's
// rules would send unmarked ones into the tunnel.
func (s *Conn) SetMark(mark int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if mark == s.mark {
		return nil
	}
	var err error
	controlErr := s.raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark)
	})
	if err = errors.Join(err, controlErr); err != nil {
		return fmt.Errorf("set mark of side port: %w", err)
	}
	s.mark = mark
	s.from.SetMark(uint32(mark))
	return nil
}

// SetPort follows WireGuard to another port.
func (s *Conn) SetPort(port uint16) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if port == s.config.Port {
		return nil
	}
	s.config.Port = port
	s.port.Store(uint32(port))
	return s.table.Set(chains(s.config, s.side))
}

// Run puts the table back whenever somebody removes it, until ctx ends.
func (s *Conn) Run(ctx context.Context) error { return s.table.Run(ctx) }

// LocalFor returns the address where remote lately reached the port, and from
// which it is answered; invalid if it did not.
func (s *Conn) LocalFor(remote netip.AddrPort) netip.Addr {
	source := s.from.For(time.Now(), unmap(remote))
	return source.Addr()
}

// HostChanged says that addresses, links or routes of the host changed. What
// leaves from one of several addresses may have to leave from another.
func (s *Conn) HostChanged() { s.from.HostChanged() }

// ReadFromUDPAddrPort reads one datagram. ICMP errors, which the kernel reports
// in between, go to Errors instead.
func (s *Conn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	n, from, _, err := s.ReadOnUDPAddrPort(b)
	return n, from, err
}

// ReadOnUDPAddrPort is ReadFromUDPAddrPort and also returns the address of this
// host that the datagram came to.
func (s *Conn) ReadOnUDPAddrPort(b []byte) (int, netip.AddrPort, netip.Addr, error) {
	control := controls.Get().(*[controlSpace]byte)
	defer controls.Put(control)
	for {
		n, size, _, from, err := s.udp.ReadMsgUDPAddrPort(b, control[:])
		if err != nil && icmp.From(err) {
			s.errs.Drain(s.raw)
			continue
		}
		if err != nil {
			return n, unmap(from), netip.Addr{}, err
		}
		from = unmap(from)
		at := sticky.New(sticky.Find(control[:size]))
		s.from.Heard(time.Now(), from, at)
		return n, from, at.Addr(), nil
	}
}

// controls are buffers for control messages: one on the stack would be on the
// heap for each datagram.
var controls = sync.Pool{New: func() any { return new([controlSpace]byte) }}

const controlSpace = 2 * sticky.Space

// WriteToUDPAddrPort sends one datagram from WireGuard's port, and from the
// address where its receiver last reached this host.
func (s *Conn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	to = unmap(to)
	source := s.from.For(time.Now(), to)
	n, err := s.write(b, source, to)
	if err != nil && !source.IsZero() && sticky.Lost(err) {
		s.from.Forget(to)
		n, err = s.write(b, sticky.Source{}, to)
	}
	return n, err
}

// WriteFromUDPAddrPort sends one datagram from WireGuard's port at an address of
// this host, and by the link that has it. The zero from is WriteToUDPAddrPort.
func (s *Conn) WriteFromUDPAddrPort(b []byte, from netip.Addr, to netip.AddrPort) (int, error) {
	if !from.IsValid() {
		return s.WriteToUDPAddrPort(b, to)
	}
	var n int
	err := s.from.At(from, to.Addr(), func(source sticky.Source) (err error) {
		n, err = s.write(b, source, unmap(to))
		return err
	})
	return n, err
}

func (s *Conn) write(b []byte, source sticky.Source, to netip.AddrPort) (int, error) {
	n, _, err := s.udp.WriteMsgUDPAddrPort(b, source.Message(), to)
	if err != nil && icmp.From(err) && s.errs.Drain(s.raw) {
		// It was an earlier datagram's error, and this one did not leave.
		n, _, err = s.udp.WriteMsgUDPAddrPort(b, source.Message(), to)
	}
	return n, err
}

// ReadFrom implements net.PacketConn.
func (s *Conn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := s.ReadFromUDPAddrPort(b)
	if err != nil {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// WriteTo implements net.PacketConn. The address must be a *net.UDPAddr.
func (s *Conn) WriteTo(b []byte, to net.Addr) (int, error) {
	addr, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, fmt.Errorf("write to side port: address of type %T", to)
	}
	return s.WriteToUDPAddrPort(b, addr.AddrPort())
}

// WireGuardPort returns P.
func (s *Conn) WireGuardPort() uint16 { return uint16(s.port.Load()) }

// OwnPort returns S, which nobody but this host's routing sees.
func (s *Conn) OwnPort() uint16 { return s.side }

// LocalAddr returns the unspecified address with WireGuard's port.
func (s *Conn) LocalAddr() net.Addr {
	return &net.UDPAddr{IP: net.IPv6unspecified, Port: int(s.port.Load())}
}

// SetDeadline implements net.PacketConn.
func (s *Conn) SetDeadline(t time.Time) error { return s.udp.SetDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (s *Conn) SetReadDeadline(t time.Time) error { return s.udp.SetReadDeadline(t) }

// SetWriteDeadline implements net.PacketConn.
func (s *Conn) SetWriteDeadline(t time.Time) error { return s.udp.SetWriteDeadline(t) }

// Drops counts what did not reach its reader, by reason.
func (s *Conn) Drops() map[string]uint64 {
	return map[string]uint64{"side-port-icmp-overflow": s.errs.Missed()}
}

// Close closes the socket and takes the table away. Closing twice is no error.
func (s *Conn) Close() error {
	var err error
	s.closing.Do(func() { err = s.close() })
	return err
}

func (s *Conn) close() error {
	err := errors.Join(s.udp.Close(), s.from.Close())
	if s.table != nil {
		err = errors.Join(err, s.table.Close())
	}
	return err
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
