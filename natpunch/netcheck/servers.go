package netcheck

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

// DefaultServers are public STUN servers, run by different people. Those from the
// third on offer RFC 5780. Nothing depends on them.
func DefaultServers() []string {
	return []string{
		"stun.l.google.com:19302",
		"stun.cloudflare.com:3478",
		"stun.nextcloud.com:3478",
		"stun.voipgate.com:3478",
		"stun.freeswitch.org:3478",
		"stun.signalwire.com:3478",
		"stun.mixvoip.com:3478",
		"stun.dus.net:3478",
	}
}

const (
	resolveTime = 4 * time.Second
	// maxAddresses of one name.
	maxAddresses = 4
)

// resolve returns the addresses behind HOST:PORT, in the order of the names. What
// cannot be resolved in time is left out.
func resolve(ctx context.Context, servers []string) []netip.AddrPort {
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	found := make([][]netip.AddrPort, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		host, service, err := net.SplitHostPort(s)
		port, portErr := strconv.ParseUint(service, 10, 16)
		if err != nil || portErr != nil {
			continue
		}
		if a, err := netip.ParseAddr(host); err == nil {
			found[i] = []netip.AddrPort{netip.AddrPortFrom(a.Unmap(), uint16(port))}
			continue
		}
		wg.Go(func() {
			addrs, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
			for _, a := range addrs[:min(len(addrs), maxAddresses)] {
				found[i] = append(found[i], netip.AddrPortFrom(a.Unmap(), uint16(port)))
			}
		})
	}
	wg.Wait()
	return slices.Concat(found...)
}
