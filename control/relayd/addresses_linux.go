package relayd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// findAddresses returns the addresses to begin with. It waits a little for those
// that are just coming up, and for as long as there are none.
func findAddresses(ctx context.Context, log *slog.Logger) (choice, error) {
	warned := false
	for end := time.Now().Add(settleFor); ; {
		all, err := hostAddresses()
		if err != nil {
			return choice{}, err
		}
		pause := settleEvery
		if !anyTentative(all) || time.Now().After(end) {
			if c := choose(all, routedAddresses(), nil); len(c.serve) > 0 {
				return c, nil
			}
			if !warned {
				warned = true
				log.Warn("this host has no address that others could reach; waiting for one: bring its network up, or name an address with --listen")
			}
			pause = waitEvery
		}
		select {
		case <-ctx.Done():
			return choice{}, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// hostAddresses lists the addresses of all interfaces that are up.
func hostAddresses() ([]hostAddress, error) {
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list the host's interfaces: %w", err)
	}
	var out []hostAddress
	for _, l := range links {
		attrs := l.Attrs()
		if attrs.RawFlags&unix.IFF_UP == 0 {
			continue
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			continue // the interface has just gone
		}
		kind := l.Type()
		for _, a := range addrs {
			ip, ok := netip.AddrFromSlice(a.IP)
			if !ok || a.Flags&unix.IFA_F_DADFAILED != 0 {
				continue
			}
			ip = ip.Unmap()
			out = append(out, hostAddress{
				addr:      ip,
				tunnel:    kind == "wireguard" || kind == "tuntap" || kind == "tun",
				tentative: a.Flags&unix.IFA_F_TENTATIVE != 0 && a.Flags&unix.IFA_F_OPTIMISTIC == 0,
				// The bit of temporary addresses means "secondary" in IPv4.
				passing: ip.Is6() && a.Flags&(unix.IFA_F_TEMPORARY|unix.IFA_F_DEPRECATED) != 0,
			})
		}
	}
	return out, nil
}
