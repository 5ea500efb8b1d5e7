package relayd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// findAddresses returns the addresses to serve on, and those left out. It waits
// a little for addresses that are just coming up.
func findAddresses(ctx context.Context) (chosen, left []netip.Addr, err error) {
	for end := time.Now().Add(settleFor); ; {
		all, err := hostAddresses()
		if err != nil {
			return nil, nil, err
		}
		if !anyTentative(all) || time.Now().After(end) {
			if chosen, left = choose(all, routedAddresses()); len(chosen) == 0 {
				return nil, nil, errNoAddress
			}
			return chosen, left, nil
		}
		select {
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		case <-time.After(settleEvery):
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

// watchEvery is how often the host's addresses are looked at.
const watchEvery = time.Minute

// watchAddresses says when the addresses to serve on are others than at the
// start. Sockets and the engine hold to those, so a restart is needed.
func (d *daemon) watchAddresses(ctx context.Context) error {
	every := time.NewTicker(watchEvery)
	defer every.Stop()
	before := d.locals
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
		all, err := hostAddresses()
		if err != nil {
			d.log.Debug("look at the host's addresses", "err", err)
			continue
		}
		now, _ := choose(all, routedAddresses())
		if !sameSet(now, before) {
			before = now
			if !sameSet(now, d.locals) {
				d.log.Warn("the host's addresses have changed: restart to serve on them", "served", join(d.locals, " "), "found", join(now, " "))
			}
		}
	}
}
