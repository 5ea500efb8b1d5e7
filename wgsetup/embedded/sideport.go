package embedded

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/credant/credant/wgsetup/internal/icmp"
	"github.com/credant/credant/wgsetup/internal/sticky"
)

const (
	// queueSize bounds the datagrams that wait to be read. At 1,000 a second,
	// far more than STUN, hellos and a passive DHT node bring, it is a
	// quarter of a second.
	queueSize = 256
	// maxDatagram is longer than any datagram that goes over the side port
	// without fragments; with queueSize it bounds the memory to 512 kB.
	maxDatagram = 2048
)

// SidePort is the half of WireGuard's socket that WireGuard has no use for: a
// net.PacketConn with WireGuard's port and NAT mapping. Datagrams that nobody
// reads are dropped and counted, so a slow reader never slows WireGuard.
type SidePort struct {
	queue  chan *received
	free   sync.Pool
	closed chan struct{}

	sources *sticky.Sources // of the side port's datagrams; for WireGuard's, endpoints know

	errs *icmp.Queue

	oversize, overflow atomic.Uint64

	readDeadline deadline

	mu        sync.Mutex
	bind      *Bind
	port      uint16
	closeOnce sync.Once
}

type received struct {
	from netip.AddrPort
	on   netip.Addr // of this host
	size int
	data [maxDatagram]byte
}

// NewSidePort returns a SidePort that reads nothing until a Bind feeds it. It
// belongs to the caller's network namespace.
func NewSidePort() (*SidePort, error) {
	sources, err := sticky.Open()
	if err != nil {
		return nil, err
	}
	s := &SidePort{
		queue:   make(chan *received, queueSize),
		closed:  make(chan struct{}),
		sources: sources,
		errs:    icmp.NewQueue(),
	}
	s.free.New = func() any { return new(received) }
	s.readDeadline.init()
	return s, nil
}

// HostChanged says that addresses, links or routes of the host changed. What
// leaves from one of several addresses may have to leave from another.
func (s *SidePort) HostChanged() { s.sources.HostChanged() }

// Drops returns how many datagrams were not delivered, by reason.
func (s *SidePort) Drops() map[string]uint64 {
	return map[string]uint64{
		"side-port-overflow":      s.overflow.Load(),
		"side-port-oversized":     s.oversize.Load(),
		"side-port-icmp-overflow": s.errs.Missed(),
	}
}

// Errors returns where ICMP errors about datagrams that left from the port
// arrive, WireGuard's and the side port's, while a Bind is open. It is never
// closed.
func (s *SidePort) Errors() <-chan icmp.Error { return s.errs.Errors() }

// deliver copies the datagram: its buffer belongs to wireguard-go.
func (s *SidePort) deliver(datagram []byte, from netip.AddrPort, at sticky.Source) {
	if len(datagram) > maxDatagram {
		s.oversize.Add(1)
		return
	}
	s.sources.Heard(time.Now(), from, at)
	r := s.free.Get().(*received)
	r.from, r.on, r.size = from, at.Addr(), copy(r.data[:], datagram)
	select {
	case s.queue <- r:
	default:
		s.overflow.Add(1)
		s.free.Put(r)
	}
}

// attach makes writes go through b from now on.
func (s *SidePort) attach(b *Bind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bind = b
}

func (s *SidePort) setPort(port uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.port = port
	s.sources.SetPort(port)
}

// ReadFromUDPAddrPort reads one datagram. What does not fit into b is cut off.
func (s *SidePort) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	n, from, _, err := s.ReadOnUDPAddrPort(b)
	return n, from, err
}

// ReadOnUDPAddrPort is ReadFromUDPAddrPort and also returns the address of this
// host that the datagram came to.
func (s *SidePort) ReadOnUDPAddrPort(b []byte) (n int, from netip.AddrPort, on netip.Addr, err error) {
	select {
	case <-s.closed:
		return 0, from, on, s.opError("read", net.ErrClosed)
	case <-s.readDeadline.passed():
		return 0, from, on, s.opError("read", os.ErrDeadlineExceeded)
	default:
	}
	select {
	case r := <-s.queue:
		n, from, on = copy(b, r.data[:r.size]), r.from, r.on
		s.free.Put(r)
		return n, from, on, nil
	case <-s.closed:
		return 0, from, on, s.opError("read", net.ErrClosed)
	case <-s.readDeadline.passed():
		return 0, from, on, s.opError("read", os.ErrDeadlineExceeded)
	}
}

// WriteToUDPAddrPort sends one datagram from WireGuard's port, and from the
// address where its receiver last reached this host.
func (s *SidePort) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	bind, err := s.writer(to)
	if err != nil {
		return 0, err
	}
	to = unmap(to)
	src := s.sources.For(time.Now(), to)
	err = bind.send(b, to, src)
	if !src.IsZero() && sticky.Lost(err) {
		s.sources.Forget(to)
		err = bind.send(b, to, sticky.Source{})
	}
	if err != nil {
		return 0, s.opError("write", err)
	}
	return len(b), nil
}

// WriteFromUDPAddrPort sends one datagram from WireGuard's port at an address of
// this host, and by the link that has it. The zero from is WriteToUDPAddrPort.
func (s *SidePort) WriteFromUDPAddrPort(b []byte, from netip.Addr, to netip.AddrPort) (int, error) {
	if !from.IsValid() {
		return s.WriteToUDPAddrPort(b, to)
	}
	bind, err := s.writer(to)
	if err != nil {
		return 0, err
	}
	err = s.sources.At(from, to.Addr(), func(source sticky.Source) error {
		return bind.send(b, unmap(to), source)
	})
	if err != nil {
		return 0, s.opError("write", err)
	}
	return len(b), nil
}

// writer returns the Bind that a datagram to an address leaves through.
func (s *SidePort) writer(to netip.AddrPort) (*Bind, error) {
	select {
	case <-s.closed:
		return nil, s.opError("write", net.ErrClosed)
	default:
	}
	if !to.IsValid() {
		return nil, s.opError("write", errors.New("no address to send to"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bind == nil {
		return nil, s.opError("write", net.ErrClosed)
	}
	return s.bind, nil
}

// ReadFrom implements net.PacketConn.
func (s *SidePort) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := s.ReadFromUDPAddrPort(b)
	if err != nil {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// WriteTo implements net.PacketConn. The address must be a *net.UDPAddr.
func (s *SidePort) WriteTo(b []byte, to net.Addr) (int, error) {
	addr, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, s.opError("write", fmt.Errorf("address of type %T", to))
	}
	return s.WriteToUDPAddrPort(b, addr.AddrPort())
}

// Port returns WireGuard's port, zero while there is none.
func (s *SidePort) Port() uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.port
}

// LocalAddr returns the unspecified address with WireGuard's port.
func (s *SidePort) LocalAddr() net.Addr {
	return &net.UDPAddr{IP: net.IPv6unspecified, Port: int(s.Port())}
}

// Close frees blocked readers. WireGuard's socket stays open.
func (s *SidePort) Close() error {
	var err error
	s.closeOnce.Do(func() {
		close(s.closed)
		err = s.sources.Close()
	})
	s.readDeadline.set(time.Time{})
	return err
}

// SetDeadline implements net.PacketConn. Writes never block.
func (s *SidePort) SetDeadline(t time.Time) error { return s.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn. It frees a blocked read, too.
func (s *SidePort) SetReadDeadline(t time.Time) error {
	s.readDeadline.set(t)
	return nil
}

// SetWriteDeadline implements net.PacketConn. It does nothing: writes never
// block.
func (s *SidePort) SetWriteDeadline(time.Time) error { return nil }

func (s *SidePort) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: s.LocalAddr(), Err: err}
}

// deadline is a time that can be waited for and moved.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	c     chan struct{}
}

func (d *deadline) init() { d.c = make(chan struct{}) }

func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.c
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.c // the timer's function has closed it, or is about to
	}
	d.timer = nil
	select {
	case <-d.c:
		d.c = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	c := d.c
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, func() { close(c) })
		return
	}
	close(c)
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
