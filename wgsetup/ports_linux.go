package wgsetup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/credant/credant/wgsetup/internal/pollset"
	"github.com/credant/credant/wgsetup/sideport"
)

// maxPorts bounds one OpenPorts. A NAT is not to be asked for more than 300
// mappings at once.
const maxPorts = 300

// maxPortDatagram is longer than any datagram that an extra port is for.
const maxPortDatagram = 2048

// Ports are short-lived UDP sockets beside WireGuard's port, each of which gets
// a mapping of its own at a NAT. They belong to the caller, who closes them.
type Ports struct {
	device *Device
	ready  *pollset.Set
	ports  []uint16
	ipv4   bool // the host has no other family

	mu      sync.RWMutex // no descriptor is closed while it is in use
	sockets []int        // -1: kept or closed
	closed  bool
}

// OpenPorts opens n sockets for both families, at random ports that the kernel
// gives nobody by itself, in the network namespace of its caller. Their
// datagrams take WireGuard's way.
func (d *Device) OpenPorts(n int) (*Ports, error) {
	if n < 1 || n > maxPorts {
		return nil, fmt.Errorf("open %d ports: from 1 to %d may be", n, maxPorts)
	}
	d.mu.Lock()
	closed, mark := d.closed, d.mark
	d.mu.Unlock()
	if closed {
		return nil, fmt.Errorf("open %d ports: %w", n, ErrClosed)
	}
	ready, err := pollset.New()
	if err != nil {
		return nil, fmt.Errorf("open %d ports: %w", n, err)
	}
	p := &Ports{device: d, ready: ready}
	// Some may be taken.
	for _, port := range sideport.RandomPorts(2*n + 100) {
		if len(p.ports) == n {
			break
		}
		if err = p.open(port, mark); err != nil && !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	if len(p.ports) < n {
		return nil, errors.Join(fmt.Errorf("open %d ports: %w", n, err), p.Close())
	}
	return p, nil
}

func (p *Ports) open(port uint16, mark int) error {
	fd, ipv4, err := listenUDP(port)
	if err != nil {
		return err
	}
	p.ipv4 = ipv4
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, mark)
	if err == nil {
		err = p.ready.Add(fd, uint32(len(p.ports)))
	}
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	p.ports, p.sockets = append(p.ports, port), append(p.sockets, fd)
	return nil
}

// listenUDP binds a port for both families, or for IPv4 where the host has no
// other.
func listenUDP(port uint16) (fd int, ipv4 bool, err error) {
	const kind = unix.SOCK_DGRAM | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	var addr unix.Sockaddr = &unix.SockaddrInet6{Port: int(port)}
	fd, err = unix.Socket(unix.AF_INET6, kind, unix.IPPROTO_UDP)
	switch {
	case err == nil:
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	case errors.Is(err, unix.EAFNOSUPPORT):
		ipv4, addr = true, &unix.SockaddrInet4{Port: int(port)}
		fd, err = unix.Socket(unix.AF_INET, kind, unix.IPPROTO_UDP)
	}
	if fd < 0 {
		return -1, false, fmt.Errorf("open UDP socket: %w", err)
	}
	if err == nil {
		err = unix.Bind(fd, addr)
	}
	if err != nil {
		return -1, false, errors.Join(fmt.Errorf("bind UDP port %d: %w", port, err), unix.Close(fd))
	}
	return fd, ipv4, nil
}

// Len returns how many ports were opened.
func (p *Ports) Len() int { return len(p.ports) }

// Port returns the number of the port i, from 0 to Len-1, kept ones too.
func (p *Ports) Port(i int) uint16 { return p.ports[i] }

// Send sends a datagram from the port i. It never blocks. A port that was kept
// or closed is net.ErrClosed.
func (p *Ports) Send(i int, b []byte, to netip.AddrPort) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	fd := p.sockets[i]
	if fd < 0 {
		return fmt.Errorf("send from port %d to %s: %w", p.ports[i], to, net.ErrClosed)
	}
	if err := unix.Sendto(fd, b, 0, sockaddr(to, p.ipv4)); err != nil {
		return fmt.Errorf("send from port %d to %s: %w", p.ports[i], to, err)
	}
	return nil
}

// sockaddr is IPv4-mapped for a socket of both families.
func sockaddr(to netip.AddrPort, ipv4 bool) unix.Sockaddr {
	if ipv4 && to.Addr().Unmap().Is4() {
		return &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().Unmap().As4()}
	}
	return &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
}

// Run passes what arrives to receive, one datagram after the other, until ctx
// ends or Close. The bytes are valid during the call only. It is called once.
func (p *Ports) Run(ctx context.Context, receive func(i int, from netip.AddrPort, b []byte)) error {
	// Reading ends with the set alone; the sockets are Close's to close.
	defer context.AfterFunc(ctx, func() { _ = p.ready.Close() })()
	buffer := make([]byte, maxPortDatagram)
	var ids []uint32
	for {
		var err error
		if ids, err = p.ready.Wait(ids[:0]); err != nil {
			p.mu.RLock()
			defer p.mu.RUnlock()
			if ctx.Err() != nil || p.closed {
				return nil
			}
			return fmt.Errorf("read extra ports: %w", err)
		}
		for _, i := range ids {
			if n, from, ok := p.read(int(i), buffer); ok {
				receive(int(i), from, buffer[:n])
			}
		}
	}
}

// read reads one datagram. An error is of an earlier one that was sent, and
// none of the socket's.
func (p *Ports) read(i int, b []byte) (n int, from netip.AddrPort, ok bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	fd := p.sockets[i]
	if fd < 0 {
		return 0, netip.AddrPort{}, false
	}
	n, sa, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
	if err != nil {
		return 0, netip.AddrPort{}, false
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		from = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		from = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return n, from, from.IsValid()
}

// Keep gives the port i over to the Device: Close leaves it alone and nobody
// else can have it until SetKept, which is called next, says what it is for.
// Nothing is sent from it or read there any more until then.
func (p *Ports) Keep(i int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	fd := p.sockets[i]
	if fd < 0 {
		return fmt.Errorf("keep port %d: %w", p.ports[i], net.ErrClosed)
	}
	_ = p.ready.Remove(fd) // Run may have ended
	p.sockets[i] = -1
	return p.device.held.hold(p.ports[i], fd)
}

// Close closes all ports that were not kept. Closing twice is no error.
func (p *Ports) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	_ = p.ready.Close() // Run may have closed it
	var errs []error
	for i, fd := range p.sockets {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
		p.sockets[i] = -1
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close extra ports: %w", err)
	}
	return nil
}
