package netcheck

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/natpunch/portmap"
)

// MaxLifetime is the longest idle time that is ever tested.
const MaxLifetime = 5 * time.Minute

// Config says what Run looks at.
type Config struct {
	Servers   []string // STUN servers, HOST:PORT; none: DefaultServers
	Gateways  []portmap.Gateway
	PortalURL string // empty: no look for a captive portal
	Mark      int    // see MeasureConfig
	// Lifetime measures that of mappings, which takes up to MaxLifetime.
	Lifetime bool
	// TunnelOf names the interface of CredAnt's own that has an address, or "": what
	// leaves from there goes by an exit node. Nil: there is no such interface.
	TunnelOf func(netip.Addr) (string, error)
}

// Run looks at everything at once. It takes some seconds; ctx ends it early with
// an error.
func Run(ctx context.Context, c Config) (Report, error) {
	r := Report{Started: time.Now(), Gateways: make([]portmap.Report, len(c.Gateways))}
	if len(c.Servers) == 0 {
		c.Servers = DefaultServers()
	}
	var wg sync.WaitGroup
	wg.Go(func() { r.measure(ctx, c) })
	wg.Go(func() { r.NAT64 = findNAT64(ctx) })
	wg.Go(func() { r.Portal = findPortal(ctx, c.PortalURL, c.Mark) })
	for i, g := range c.Gateways {
		wg.Go(func() { r.Gateways[i] = portmap.Probe(ctx, g) })
	}
	wg.Wait()
	r.Seconds = time.Since(r.Started).Round(10 * time.Millisecond).Seconds()
	r.conclude()
	return r, context.Cause(ctx)
}

// measure fills in both families.
func (r *Report) measure(ctx context.Context, c Config) {
	servers := resolve(ctx, c.Servers)
	r.IPv4.findWay(ctx, servers, true, c)
	r.IPv6.findWay(ctx, servers, false, c)
	m := MeasureConfig{Servers: servers, Mark: c.Mark}
	if c.Lifetime {
		m.Lifetime = MaxLifetime
	}
	var status natpunch.NATStatus
	if len(servers) > 0 {
		status, _ = Measure(ctx, m) // Run returns the context's error
	}
	r.IPv4.take(status.IPv4)
	r.IPv6.take(status.IPv6)
}

// Somewhere on the internet: asking the routing table for it sends nothing.
var anywhere = map[bool]netip.AddrPort{
	true:  netip.MustParseAddrPort("192.0.2.1:9"),
	false: netip.MustParseAddrPort("[2001:db8::1]:9"),
}

func (f *Family) findWay(ctx context.Context, servers []netip.AddrPort, ipv4 bool, c Config) {
	to := anywhere[ipv4]
	for _, a := range servers {
		if a.Addr().Is4() == ipv4 && a.Addr().IsGlobalUnicast() {
			to = a
			break
		}
	}
	way, err := findWayOut(ctx, to, c.Mark)
	if err != nil {
		return
	}
	f.Source, f.MTU = way.source, way.mtu
	if c.TunnelOf != nil {
		f.Tunnel, _ = c.TunnelOf(f.Source) // an error only hides that
	}
}
