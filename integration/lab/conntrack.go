package lab

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// setLifetime makes conntrack forget as soon as the NAT says.
func (r *Router) setLifetime() error {
	if r.NAT.Lifetime == 0 {
		return nil
	}
	return r.Do(func() error {
		seconds := []byte(strconv.Itoa(int(r.NAT.Lifetime / time.Second)))
		for _, name := range []string{"nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"} {
			if err := os.WriteFile("/proc/sys/net/netfilter/"+name, seconds, 0o644); err != nil {
				return fmt.Errorf("set the lifetime of mappings of %s: %w", r.Name, err)
			}
		}
		return nil
	})
}

// A Session is one UDP flow that a router remembers.
type Session struct {
	Inside netip.AddrPort // the host's own address
	Mapped netip.AddrPort // the router's, by which the other side sees it
	Remote netip.AddrPort // what the first datagram was sent to
}

// Sessions lists the IPv4 UDP flows that the router remembers of hosts behind it.
func (r *Router) Sessions() ([]Session, error) {
	var flows []*netlink.ConntrackFlow
	err := r.Do(func() (err error) {
		flows, err = netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list sessions of %s: %w", r.Name, err)
	}
	var sessions []Session
	for _, f := range flows {
		s := Session{
			Inside: transport(f.Forward.SrcIP, f.Forward.SrcPort),
			Mapped: transport(f.Reverse.DstIP, f.Reverse.DstPort),
			Remote: transport(f.Forward.DstIP, f.Forward.DstPort),
		}
		if f.Forward.Protocol == unix.IPPROTO_UDP && r.LAN.Contains(s.Inside.Addr()) {
			sessions = append(sessions, s)
		}
	}
	return sessions, nil
}

func transport(ip []byte, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr.Unmap(), port)
}
