package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Packet is one IP packet that a capture saw. Of a fragmented datagram only the first fragment has ports.
type Packet struct {
	Time     time.Time
	Outgoing bool
	Protocol uint8          // unix.IPPROTO_UDP and so on, IPv6 extension headers skipped over none
	Src, Dst netip.AddrPort // port 0 where the protocol has none
	Payload  []byte         // of UDP; else what follows the IP header
}

func (p Packet) String() string {
	direction := "in"
	if p.Outgoing {
		direction = "out"
	}
	return fmt.Sprintf("%s %s protocol %d %v > %v %d bytes % x", p.Time.Format("15:04:05.000"), direction, p.Protocol, p.Src, p.Dst,
		len(p.Payload), p.Payload[:min(16, len(p.Payload))])
}

// A Capture records the packets that cross one interface, both ways. ARP is none of its business.
type Capture struct {
	fd      int
	stop    chan struct{}
	stopped chan struct{}
	once    sync.Once

	mu      sync.Mutex
	packets []Packet
}

// Capture starts recording on an interface of the node. It sees what arrives before the node's firewall does, and
// what leaves after it.
func (n *Node) Capture(iface string) (*Capture, error) {
	link, err := n.link(iface)
	if err != nil {
		return nil, err
	}
	c := &Capture{stop: make(chan struct{}), stopped: make(chan struct{})}
	err = n.Do(func() (err error) {
		all := int(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL)))
		if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20),
			unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20_000}),
			unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: link.Attrs().Index}),
		)
	})
	if err != nil {
		return nil, fmt.Errorf("capture on %s of %s: %w", iface, n.Name, err)
	}
	go c.run()
	n.mu.Lock()
	n.captures = append(n.captures, c)
	n.mu.Unlock()
	return c, nil
}

func (c *Capture) run() {
	defer close(c.stopped)
	defer unix.Close(c.fd)
	buf := make([]byte, 1<<17)
	for {
		size, from, err := unix.Recvfrom(c.fd, buf, 0)
		if err != nil {
			// Only an empty queue ends it, so that Stop loses nothing that has arrived.
			select {
			case <-c.stop:
				return
			default:
				continue
			}
		}
		link, ok := from.(*unix.SockaddrLinklayer)
		if !ok {
			continue
		}
		packet, ok := parsePacket(buf[:size])
		if !ok {
			continue
		}
		packet.Time, packet.Outgoing = time.Now(), link.Pkttype == unix.PACKET_OUTGOING
		c.mu.Lock()
		c.packets = append(c.packets, packet)
		c.mu.Unlock()
	}
}

// Packets returns what was recorded so far.
func (c *Capture) Packets() []Packet {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.packets)
}

// Stop ends the capture and returns all of it.
func (c *Capture) Stop() []Packet {
	c.once.Do(func() { close(c.stop) })
	<-c.stopped
	return c.Packets()
}

// parsePacket reads an IP packet. It keeps a copy of the payload.
func parsePacket(b []byte) (Packet, bool) {
	var p Packet
	var src, dst netip.Addr
	first := true // fragment
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
		if header < 20 || total < header || total > len(b) {
			return p, false
		}
		src, dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		p.Protocol = b[9]
		first = binary.BigEndian.Uint16(b[6:])&0x1fff == 0
		b = b[header:total]
	case len(b) >= 40 && b[0]>>4 == 6:
		src, dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		p.Protocol = b[6]
		b = b[40:]
	default:
		return p, false
	}
	var sport, dport uint16
	if (p.Protocol == unix.IPPROTO_UDP || p.Protocol == unix.IPPROTO_TCP) && first && len(b) >= 8 {
		sport, dport = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		if p.Protocol == unix.IPPROTO_UDP {
			b = b[8:]
		}
	}
	p.Src, p.Dst = netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport)
	p.Payload = slices.Clone(b)
	return p, true
}
