package control

import (
	"context"
	"fmt"
	"net"

	"github.com/credant/credant/natpunch/netcheck"
	"github.com/credant/credant/natpunch/portmap"
	"github.com/credant/credant/wgsetup"
)

// NetcheckReport is what Netcheck finds; the others are parts of it.
type (
	NetcheckReport = netcheck.Report
	NetcheckFamily = netcheck.Family
	NetcheckPortal = netcheck.Portal
	GatewayReport  = portmap.Report
)

// DefaultPortalURL is a page that answers with nothing, unless something in
// between answers for it.
const DefaultPortalURL = netcheck.DefaultPortalURL

// NetcheckConfig says what Netcheck asks.
type NetcheckConfig struct {
	STUN      []string // HOST:PORT; none: public ones
	PortalURL string   // empty: no look for a captive portal
	Lifetime  bool     // measure how long mappings live, which takes minutes
}

// Netcheck looks at the network around this host. It needs neither privileges
// nor a running daemon; without privileges it cannot look past an exit node, and
// says so.
func Netcheck(ctx context.Context, c NetcheckConfig) (NetcheckReport, error) {
	gateways, err := gateways()
	if err != nil {
		return NetcheckReport{}, err
	}
	return netcheck.Run(ctx, netcheck.Config{
		Servers: c.STUN, Gateways: gateways, PortalURL: c.PortalURL, Lifetime: c.Lifetime,
		Mark: markIfAllowed(ctx), TunnelOf: wgsetup.TunnelOf,
	})
}

// markIfAllowed is the mark of what goes past an exit node, where this process may
// set it; it does nothing where there is none.
func markIfAllowed(ctx context.Context) int {
	c := net.ListenConfig{Control: wgsetup.MarkSocket}
	conn, err := c.ListenPacket(ctx, "udp", ":0")
	if err != nil {
		return 0
	}
	_ = conn.Close()
	return wgsetup.Mark
}

// gateways are the next hops of this host's ways out, each once.
func gateways() ([]portmap.Gateway, error) {
	uplinks, err := wgsetup.Uplinks()
	if err != nil {
		return nil, fmt.Errorf("list ways out: %w", err)
	}
	var out []portmap.Gateway
	seen := make(map[portmap.Gateway]bool)
	for _, u := range uplinks {
		g := portmap.Gateway{Iface: u.Iface, Local: u.Addr, Addr: u.Gateway.WithZone("")}
		if u.Gateway.IsValid() && u.Gateway.Is4() == u.Addr.Is4() && !seen[g] {
			seen[g] = true
			out = append(out, g)
		}
	}
	return out, nil
}
