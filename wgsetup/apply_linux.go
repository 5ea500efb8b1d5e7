package wgsetup

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// apply carries steps out and returns those that were done. A step of the link
// that fails ends it; one of an address, route or peer does not keep the
// others from their turn.
func (d *Device) apply(steps []Step) (done []Step, err error) {
	var errs []error
	var peers []Step
	for _, s := range steps {
		switch {
		case s.op >= removePeer:
			peers = append(peers, s)
			continue
		case d.target.noIPv6 && s.prefix.IsValid() && s.prefix.Addr().Is6():
			continue
		}
		err := d.do(s)
		switch {
		case err == nil:
			done = append(done, s)
		case s.prefix.IsValid() && s.prefix.Addr().Is6() && ipv6Disabled(err):
			d.target.noIPv6 = true
			d.log.Warn("IPv6 is switched off on this host: using IPv4 only", "iface", s.iface)
		case s.prefix.IsValid() && gone(s.op, err):
			done = append(done, s)
		case s.op == addRoute && s.subnet && errors.Is(err, unix.EEXIST):
			// Another network was first. HostRoutes has it from now on; that a
			// member there says it leads to a subnet is not to keep this one down.
			d.log.Info("another network has this route", "iface", s.iface, "route", s.prefix)
		default:
			err = fmt.Errorf("%s: %w", s, err)
			if s.fatal() {
				return done, err
			}
			errs = append(errs, err)
		}
	}
	peersDone, err := d.applyPeers(peers)
	return append(done, peersDone...), errors.Join(append(errs, err)...)
}

// fatal says whether the steps after one that failed make no sense.
func (s Step) fatal() bool {
	switch s.op {
	case removeRule, removeUnderlay, addUnderlay, addRule,
		removeExitRule, removeExitRoute, addExitRoute, addExitRule:
		return false
	}
	return !s.prefix.IsValid()
}

// gone says whether the kernel was there first: an address takes its routes
// along, and may come with one.
func gone(o op, err error) bool {
	switch o {
	case removeRoute:
		return errors.Is(err, unix.ESRCH)
	case removeAddress:
		return errors.Is(err, unix.EADDRNOTAVAIL)
	case addAddress:
		return errors.Is(err, unix.EEXIST)
	}
	return false
}

// ipv6Disabled recognises net.ipv6.conf.*.disable_ipv6 and a kernel without
// IPv6.
func ipv6Disabled(err error) bool {
	for _, errno := range []unix.Errno{unix.EACCES, unix.EOPNOTSUPP, unix.EAFNOSUPPORT} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

func (d *Device) do(s Step) error {
	switch s.op {
	case createLink:
		if err := d.backend.create(s.iface, d.target.mtu); err != nil {
			return err
		}
		d.created = true
		l, err := d.host.link(s.iface)
		if err != nil {
			return err
		}
		d.index = l.Attrs().Index
		return nil
	case setKey:
		return d.backend.configure(wgtypes.Config{PrivateKey: &d.target.key})
	case setPort:
		return d.backend.configure(wgtypes.Config{ListenPort: &s.value})
	case setMark:
		return d.backend.configure(wgtypes.Config{FirewallMark: &s.value})
	case removeRule, removeUnderlay, addUnderlay, addRule:
		return d.host.doUnderlay(s, tableOf(d.config.Network))
	case removeExitRule, removeExitRoute, addExitRoute, addExitRule:
		return d.host.doExit(s, exitTableOf(d.config.Network), d.index)
	default:
		return d.host.do(s)
	}
}

// applyPeers sends all peers at once, and only if that is refused one by one,
// so that one bad peer does not keep the others out.
func (d *Device) applyPeers(steps []Step) (done []Step, err error) {
	if len(steps) == 0 {
		return nil, nil
	}
	var all wgtypes.Config
	var errs []error
	for _, s := range steps {
		p := peerConfig(s)
		if d.unreachable(p.Endpoint) {
			errs = append(errs, fmt.Errorf("%s: %w", s, ErrLinkLocalEndpoint))
			p.Endpoint = nil
		}
		all.Peers = append(all.Peers, p)
	}
	if d.backend.configure(all) == nil {
		return steps, errors.Join(errs...)
	}
	for i, s := range steps {
		if err := d.backend.configure(wgtypes.Config{Peers: all.Peers[i : i+1]}); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s, err))
			continue
		}
		done = append(done, s)
	}
	return done, errors.Join(errs...)
}

// unreachable says whether WireGuard cannot be given this endpoint: wgctrl
// writes no IPv6 zone to the kernel.
func (d *Device) unreachable(endpoint *net.UDPAddr) bool {
	return endpoint != nil && d.backend.kind() == Kernel &&
		endpoint.IP.To4() == nil && endpoint.IP.IsLinkLocalUnicast()
}

func peerConfig(s Step) wgtypes.PeerConfig {
	p := wgtypes.PeerConfig{PublicKey: s.peer.PublicKey}
	switch s.op {
	case removePeer:
		// UpdateOnly: else removing what is not there would make it first.
		p.Remove, p.UpdateOnly = true, true
		return p
	case addPeer:
		s.change = changePresharedKey | changeKeepalive | addAllowedIPs
		if s.peer.Endpoint.IsValid() {
			s.change |= changeEndpoint
		}
	case updatePeer:
		p.UpdateOnly = true
	}
	if s.change&changePresharedKey != 0 {
		p.PresharedKey = &s.peer.PresharedKey
	}
	if s.change&changeKeepalive != 0 {
		p.PersistentKeepaliveInterval = &s.peer.Keepalive
	}
	if s.change&changeEndpoint != 0 {
		p.Endpoint = net.UDPAddrFromAddrPort(s.peer.Endpoint)
	}
	if s.change&(addAllowedIPs|replaceAllowedIPs) != 0 {
		p.ReplaceAllowedIPs = s.change&replaceAllowedIPs != 0
		for _, ip := range normalize(s.peer.AllowedIPs, true, nil) {
			p.AllowedIPs = append(p.AllowedIPs, *ipNet(ip))
		}
	}
	return p
}

func readPeer(p wgtypes.Peer) actualPeer {
	a := actualPeer{
		key:       p.PublicKey,
		preshared: p.PresharedKey,
		endpoint:  addrPort(p.Endpoint),
		keepalive: p.PersistentKeepaliveInterval,
	}
	for _, n := range p.AllowedIPs {
		if ip, ok := prefixFrom(&n); ok {
			a.allowedIPs = append(a.allowedIPs, ip)
		}
	}
	return a
}

func addrPort(a *net.UDPAddr) netip.AddrPort {
	if a == nil {
		return netip.AddrPort{}
	}
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
