package lan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/credant/credant/discovery/wire"
)

// hopLimit keeps beacons on the link.
const hopLimit = 1

// A packet is a datagram to the group.
type packet struct {
	data  []byte
	iface int
	from  netip.Addr
}

// A socket sends and receives beacons in one family.
type socket interface {
	join(link) error
	leave(link)
	send(l link, b []byte) error
	// receive returns the next datagram to the group that has the size of a beacon
	// and came over one link.
	receive() (packet, error)
	Close() error
}

func listen(ctx context.Context, network string) (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var serr error
		err := c.Control(func(fd uintptr) { serr = shareGroupPort(fd, network) })
		return errors.Join(err, serr)
	}}
	return lc.ListenPacket(ctx, network, net.JoinHostPort("", strconv.Itoa(Port)))
}

type socket4 struct{ *ipv4.PacketConn }

func listen4(ctx context.Context) (socket, error) {
	c, err := listen(ctx, "udp4")
	if err != nil {
		return nil, fmt.Errorf("listen for IPv4 beacons: %w", err)
	}
	p := ipv4.NewPacketConn(c)
	err = errors.Join(
		p.SetControlMessage(ipv4.FlagInterface|ipv4.FlagDst|ipv4.FlagTTL, true),
		p.SetMulticastTTL(hopLimit),
		p.SetMulticastLoopback(true), // to other networks' daemons on this host
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for IPv4 beacons: %w", err), c.Close())
	}
	return socket4{p}, nil
}

func (s socket4) join(l link) error {
	return joined(s.JoinGroup(&l.Interface, &net.UDPAddr{IP: Group4.AsSlice()}))
}

func (s socket4) leave(l link) { _ = s.LeaveGroup(&l.Interface, &net.UDPAddr{IP: Group4.AsSlice()}) }

func (s socket4) send(l link, b []byte) error {
	_, err := s.WriteTo(b, &ipv4.ControlMessage{IfIndex: l.Index}, &net.UDPAddr{IP: Group4.AsSlice(), Port: Port})
	return err
}

func (s socket4) receive() (packet, error) {
	buf := make([]byte, wire.BeaconSize+1)
	for {
		n, cm, from, err := s.ReadFrom(buf)
		if err != nil {
			return packet{}, err
		}
		if cm != nil && cm.TTL == hopLimit && isGroup(cm.Dst, Group4) && n == wire.BeaconSize {
			return newPacket(buf[:n], cm.IfIndex, from), nil
		}
	}
}

type socket6 struct{ *ipv6.PacketConn }

func listen6(ctx context.Context) (socket, error) {
	c, err := listen(ctx, "udp6")
	if err != nil {
		return nil, fmt.Errorf("listen for IPv6 beacons: %w", err)
	}
	p := ipv6.NewPacketConn(c)
	err = errors.Join(
		p.SetControlMessage(ipv6.FlagInterface|ipv6.FlagDst|ipv6.FlagHopLimit, true),
		p.SetMulticastHopLimit(hopLimit),
		p.SetMulticastLoopback(true),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for IPv6 beacons: %w", err), c.Close())
	}
	return socket6{p}, nil
}

func (s socket6) join(l link) error {
	return joined(s.JoinGroup(&l.Interface, &net.UDPAddr{IP: Group6.AsSlice()}))
}

func (s socket6) leave(l link) { _ = s.LeaveGroup(&l.Interface, &net.UDPAddr{IP: Group6.AsSlice()}) }

func (s socket6) send(l link, b []byte) error {
	cm := &ipv6.ControlMessage{IfIndex: l.Index}
	if a := l.source6(); a.IsValid() {
		cm.Src = a.AsSlice()
	}
	_, err := s.WriteTo(b, cm, &net.UDPAddr{IP: Group6.AsSlice(), Port: Port, Zone: l.Name})
	return err
}

func (s socket6) receive() (packet, error) {
	buf := make([]byte, wire.BeaconSize+1)
	for {
		n, cm, from, err := s.ReadFrom(buf)
		if err != nil {
			return packet{}, err
		}
		if cm != nil && cm.HopLimit == hopLimit && isGroup(cm.Dst, Group6) && n == wire.BeaconSize {
			return newPacket(buf[:n], cm.IfIndex, from), nil
		}
	}
}

// joined forgives a second join.
func joined(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil
	}
	return err
}

func isGroup(dst net.IP, group netip.Addr) bool {
	a, ok := netip.AddrFromSlice(dst)
	return ok && a.Unmap() == group
}

func newPacket(b []byte, iface int, from net.Addr) packet {
	p := packet{data: b, iface: iface}
	if udp, ok := from.(*net.UDPAddr); ok {
		p.from = udp.AddrPort().Addr().Unmap().WithZone("")
	}
	return p
}
