package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/net/ipv6"
	"golang.zx2c4.com/wireguard/conn"
)

// Bind is WireGuard's UDP socket, one a family. It keeps WireGuard's datagrams
// for wireguard-go and hands all others to a SidePort.
//
// It does what conn.StdNetBind does (batches, GSO, GRO, answers from the
// address that was asked) and differs where that one fails: datagrams of both
// families never share an address, a source address that the host has lost is
// given up at once, a datagram that is too long for GSO is fragmented. That a
// route leads away from a source is for SidePort.HostChanged to tell, which
// wireguard-go finds out for its own Bind only.
type Bind struct {
	side *SidePort
	msgs sync.Pool // of *[]ipv6.Message, for Send

	redirects redirects

	mu     sync.RWMutex
	v4, v6 *socket
}

// NewBind returns a Bind that is closed. Its datagrams are read by the
// functions that Open returns.
func NewBind(side *SidePort) *Bind {
	b := &Bind{side: side}
	b.msgs.New = func() any {
		msgs := newMessages(conn.IdealBatchSize)
		return &msgs
	}
	side.attach(b)
	return b
}

// BatchSize implements conn.Bind.
func (b *Bind) BatchSize() int { return conn.IdealBatchSize }

// Open implements conn.Bind: it binds both families to one port. Port zero is
// any; a host without one family has the other.
func (b *Bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.v4 != nil || b.v6 != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	var err error
	for range 100 {
		if b.v4, b.v6, err = listen(port); port != 0 || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		return nil, 0, err
	}
	var fns []conn.ReceiveFunc
	for _, s := range []*socket{b.v4, b.v6} {
		if s != nil {
			port = s.port
			fns = append(fns, newReceiver(s, b.side, &b.redirects).receive)
		}
	}
	b.side.setPort(port)
	return fns, port, nil
}

// listen binds IPv4 and then IPv6 to the port that it got.
func listen(port uint16) (v4, v6 *socket, err error) {
	v4, err = newSocket("udp4", port)
	if err != nil && !errors.Is(err, syscall.EAFNOSUPPORT) {
		return nil, nil, err
	}
	if v4 != nil {
		port = v4.port
	}
	v6, err = newSocket("udp6", port)
	if err != nil && (v4 == nil || !errors.Is(err, syscall.EAFNOSUPPORT)) {
		if v4 != nil {
			v4.udp.Close()
		}
		return nil, nil, err
	}
	return v4, v6, nil
}

// Close implements conn.Bind.
func (b *Bind) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, s := range []*socket{b.v4, b.v6} {
		if s != nil {
			errs = append(errs, s.udp.Close())
		}
	}
	b.v4, b.v6 = nil, nil
	return errors.Join(errs...)
}

// SetMark implements conn.Bind.
func (b *Bind) SetMark(mark uint32) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range []*socket{b.v4, b.v6} {
		if s == nil {
			continue
		}
		if err := s.setMark(mark); err != nil {
			return fmt.Errorf("set firewall mark: %w", err)
		}
	}
	b.side.sources.SetMark(mark)
	return nil
}

// ParseEndpoint implements conn.Bind.
func (b *Bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	addr, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, err
	}
	return newEndpoint(addr), nil
}

func (b *Bind) socketFor(addr netip.Addr) *socket {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if addr.Is4() {
		return b.v4
	}
	return b.v6
}

// newSocket opens one family's socket with the options that batches need.
func newSocket(network string, port uint16) (*socket, error) {
	config := net.ListenConfig{Control: func(network, _ string, c syscall.RawConn) error {
		var err error
		if controlErr := c.Control(func(fd uintptr) { err = setOptions(int(fd), network) }); controlErr != nil {
			return controlErr
		}
		return err
	}}
	c, err := config.ListenPacket(context.Background(), network, ":"+strconv.Itoa(int(port)))
	if err != nil {
		return nil, err
	}
	udp := c.(*net.UDPConn)
	s := &socket{
		udp:   udp,
		batch: ipv6.NewPacketConn(udp), // its batches are of both families
		port:  uint16(udp.LocalAddr().(*net.UDPAddr).Port),
	}
	if err := s.probeOffload(); err != nil {
		udp.Close()
		return nil, err
	}
	return s, nil
}
