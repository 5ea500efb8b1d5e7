package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/ipv6"
	"golang.zx2c4.com/wireguard/conn"

	"github.com/credant/credant/wgsetup/internal/icmp"
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

	ways atomic.Pointer[map[netip.AddrPort]*socket] // of kept ports; nil: none

	mu     sync.RWMutex
	v4, v6 *socket
	inlets []*inlet // of each of them
	mark   uint32
	keep   map[netip.AddrPort]uint16
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
		if b.v4, b.v6, err = listen(port, b.side.errs); port != 0 || !errors.Is(err, syscall.EADDRINUSE) {
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
			in := &inlet{own: s, ipv4: s == b.v4}
			b.inlets = append(b.inlets, in)
			fns = append(fns, newReceiver(in, b.side, &b.redirects).receive)
		}
	}
	// A port that somebody took meanwhile costs one peer its path, not all
	// peers theirs.
	_ = b.openKept()
	b.side.setPort(port)
	return fns, port, nil
}

// listen binds IPv4 and then IPv6 to the port that it got.
func listen(port uint16, errs *icmp.Queue) (v4, v6 *socket, err error) {
	v4, err = newSocket("udp4", port, errs)
	if err != nil && !errors.Is(err, syscall.EAFNOSUPPORT) {
		return nil, nil, err
	}
	if v4 != nil {
		port = v4.port
	}
	v6, err = newSocket("udp6", port, errs)
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
	b.ways.Store(nil)
	var errs []error
	for _, in := range b.inlets {
		errs = append(errs, in.close())
	}
	b.v4, b.v6, b.inlets = nil, nil, nil
	return errors.Join(errs...)
}

// SetMark implements conn.Bind.
func (b *Bind) SetMark(mark uint32) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mark = mark
	for _, in := range b.inlets {
		if err := in.setMark(mark); err != nil {
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

func (b *Bind) socketFor(to netip.AddrPort) *socket {
	if ways := b.ways.Load(); ways != nil {
		if s := (*ways)[to]; s != nil {
			return s
		}
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if to.Addr().Is4() {
		return b.v4
	}
	return b.v6
}

// newSocket opens one family's socket with the options that batches need.
func newSocket(network string, port uint16, errs *icmp.Queue) (*socket, error) {
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
	raw, err := udp.SyscallConn()
	if err != nil {
		udp.Close()
		return nil, err
	}
	s := &socket{
		udp:   udp,
		batch: ipv6.NewPacketConn(udp), // its batches are of both families
		port:  uint16(udp.LocalAddr().(*net.UDPAddr).Port),
		errs:  errs,
		raw:   raw,
	}
	if err := s.probeOffload(); err != nil {
		udp.Close()
		return nil, err
	}
	return s, nil
}
