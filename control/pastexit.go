package control

import (
	"context"
	"net"
	"net/netip"

	"github.com/credant/credant/wgsetup"
)

// What the daemon itself asks must not wait for the exit node that it is to find.
// WireGuard's port and the side port carry the mark by themselves; these are the rest.

// resolver looks names up. A resolver on this host is asked as ever, and what that
// asks in its turn goes where everything goes.
func (d *daemon) resolver() *net.Resolver {
	if d.config.ExitNode == "" {
		return net.DefaultResolver
	}
	dialer := net.Dialer{Control: wgsetup.MarkSocket}
	return &net.Resolver{PreferGo: true, Dial: dialer.DialContext}
}

func (d *daemon) lookupIP(ctx context.Context, host string) ([]netip.Addr, error) {
	return d.resolver().LookupNetIP(ctx, "ip", host)
}

// probeMark is for sockets that measure the NAT: the one in front of this host is
// meant, and not the exit node's.
func (d *daemon) probeMark() int {
	if d.config.ExitNode == "" {
		return 0
	}
	return wgsetup.Mark
}
