package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

// otherPort is served where port 53 is taken everywhere. It is the same after each start, so that a name server of
// the user's can be told to ask there.
const otherPort = 10053

// listeners are the sockets in use, in the order of the addresses wanted.
type listeners []*listener

func (ls listeners) addrs() []netip.AddrPort {
	addrs := []netip.AddrPort{}
	for _, l := range ls {
		addrs = append(addrs, l.addr)
	}
	return addrs
}

func (ls *listeners) close() {
	for _, l := range *ls {
		l.close()
	}
	*ls = nil
}

// bind makes the listeners those that are wanted, as far as they can be had, and returns the new ones, which are not
// served yet, and what could not be had.
func (ls *listeners) bind(ctx context.Context, want []netip.AddrPort) (fresh listeners, refusal error) {
	old := *ls
	var refused []error
	take := func(addr netip.AddrPort) *listener {
		if i := slices.IndexFunc(old, func(l *listener) bool { return l.addr == addr }); i >= 0 {
			return old[i]
		}
		l, err := listen(ctx, addr)
		if err != nil {
			refused = append(refused, err)
			return nil
		}
		fresh = append(fresh, l)
		return l
	}
	var next listeners
	for _, step := range steps(want) {
		for _, addr := range step {
			if l := take(addr); l != nil {
				next = append(next, l)
			}
		}
		if len(next) > 0 {
			break
		}
	}
	for _, l := range old {
		if !slices.Contains(next, l) {
			l.close()
		}
	}
	*ls = next
	return fresh, errors.Join(refused...)
}

// steps are sets of addresses to serve, the best first. The next one is for when nothing of those before can be had.
func steps(want []netip.AddrPort) [][]netip.AddrPort {
	var overlay, loopback []netip.AddrPort
	for _, addr := range want {
		addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
		switch {
		case !addr.Addr().IsValid() || addr.Addr().IsUnspecified(): // never the wildcard
		case addr.Addr().IsLoopback():
			loopback = append(loopback, addr)
		default:
			overlay = append(overlay, addr)
		}
	}
	elsewhere := func(addrs []netip.AddrPort) []netip.AddrPort {
		var moved []netip.AddrPort
		for _, addr := range addrs {
			moved = append(moved, netip.AddrPortFrom(addr.Addr(), otherPort))
		}
		return moved
	}
	return [][]netip.AddrPort{overlay, loopback, elsewhere(overlay), elsewhere(loopback)}
}

// listen binds UDP and TCP. An address that serves one of them only is of no use: long answers need TCP, all else UDP.
func listen(ctx context.Context, addr netip.AddrPort) (*listener, error) {
	config := net.ListenConfig{Control: control}
	packets, err := config.ListenPacket(ctx, "udp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("serve names on %s: %w", addr, err)
	}
	streams, err := config.Listen(ctx, "tcp", addr.String())
	if err != nil {
		packets.Close()
		return nil, fmt.Errorf("serve names on %s: %w", addr, err)
	}
	return &listener{
		addr:    packets.LocalAddr().(*net.UDPAddr).AddrPort(),
		packets: packets.(*net.UDPConn), streams: streams.(*net.TCPListener),
	}, nil
}

func control(network, _ string, raw syscall.RawConn) error {
	var refused error
	if err := raw.Control(func(fd uintptr) { refused = setFreebind(int(fd), network) }); err != nil {
		return err
	}
	return refused
}
