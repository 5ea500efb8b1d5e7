package netcheck

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// listenUDP opens a port of one family on all addresses.
func listenUDP(ctx context.Context, ipv4 bool, mark int) (*net.UDPConn, error) {
	network := "udp6"
	if ipv4 {
		network = "udp4"
	}
	c := net.ListenConfig{Control: marking(mark)}
	conn, err := c.ListenPacket(ctx, network, ":0")
	if err != nil {
		return nil, fmt.Errorf("open %s port: %w", network, err)
	}
	return conn.(*net.UDPConn), nil
}

// A wayOut is how this host reaches an address, as far as its routes tell.
type wayOut struct {
	source netip.Addr
	mtu    int // zero: unknown
}

// findWayOut asks the routing table, by a socket that sends nothing.
func findWayOut(ctx context.Context, to netip.AddrPort, mark int) (wayOut, error) {
	d := net.Dialer{Control: marking(mark)}
	conn, err := d.DialContext(ctx, "udp", to.String())
	if err != nil {
		return wayOut{}, fmt.Errorf("find route to %v: %w", to.Addr(), err)
	}
	defer conn.Close()
	udp := conn.(*net.UDPConn)
	return wayOut{source: udp.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), mtu: pathMTU(udp, to.Addr().Is4())}, nil
}

func marking(mark int) func(string, string, syscall.RawConn) error {
	if mark == 0 {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error { return setMark(c, mark) }
}
