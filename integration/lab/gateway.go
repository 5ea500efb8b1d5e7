package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A Gateway is miniupnpd, Debian's, on a router with Gateway set: it maps ports for the LAN by PCP, NAT-PMP and UPnP.
type Gateway struct {
	router *Router
	config GatewayConfig
	proc   *Process
}

// A GatewayConfig says what miniupnpd does. The zero value speaks everything.
type GatewayConfig struct {
	NoPMP  bool // neither PCP nor NAT-PMP, which cannot be had apart
	NoUPnP bool
	IGD1   bool // UPnP's first version only
	Deny   bool // refuses every port
	// MaxLifetime is the most that PCP and NAT-PMP grant; zero is two hours and more.
	MaxLifetime time.Duration
}

// StartGateway starts miniupnpd on the router, which must have been built with Gateway set.
func (r *Router) StartGateway(ctx context.Context, config GatewayConfig) (*Gateway, error) {
	if !r.Gateway {
		return nil, fmt.Errorf("start gateway on %s: the router is none", r.Name)
	}
	g := &Gateway{router: r, config: config}
	if err := g.start(ctx); err != nil {
		return nil, err
	}
	return g, nil
}

func (g *Gateway) start(ctx context.Context) error {
	yes := func(b bool) string {
		if b {
			return "yes"
		}
		return "no"
	}
	lines := []string{
		"ext_ifname=wan",
		"listening_ip=lan", // the name: an address would leave out IPv6
		"http_port=5000",
		"enable_natpmp=" + yes(!g.config.NoPMP),
		"enable_upnp=" + yes(!g.config.NoUPnP),
		"force_igd_desc_v1=" + yes(g.config.IGD1),
		"secure_mode=yes",
		"system_uptime=no", // its epoch begins with it, as a router's does with the router
		"notify_interval=900",
		"uuid=27450b8e-e1e7-4167-8b1a-e2e9709b85b0",
		"upnp_table_name=filter",
		"upnp_nat_table_name=filter",
		"upnp_forward_chain=miniupnpd",
		"upnp_nat_chain=prerouting_miniupnpd",
		"upnp_nat_postrouting_chain=postrouting_miniupnpd",
	}
	if g.router.IPv6 {
		lines = append(lines, "ext_ifname6=wan")
	} else {
		lines = append(lines, "ipv6_disable=yes")
	}
	if g.config.MaxLifetime > 0 {
		seconds := int(g.config.MaxLifetime / time.Second)
		lines = append(lines, fmt.Sprintf("min_lifetime=%d", seconds/2), fmt.Sprintf("max_lifetime=%d", seconds))
	}
	if !g.config.Deny {
		lines = append(lines, fmt.Sprintf("allow 1024-65535 %v 1024-65535", g.router.LAN.Masked()))
	}
	lines = append(lines, "deny 0-65535 0.0.0.0/0 0-65535", "")
	file := "/run/miniupnpd.conf"
	err := g.router.Do(func() error {
		return os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o644)
	})
	if err != nil {
		return fmt.Errorf("configure gateway %s: %w", g.router.Name, err)
	}
	path, err := findProgram("miniupnpd")
	if err != nil {
		return err
	}
	if g.proc, err = g.router.Start(Program{Args: []string{path, "-d", "-f", file, "-P", "/run/miniupnpd.pid"}}); err != nil {
		return err
	}
	ready := "HTTP listening on port"
	if g.config.NoUPnP {
		ready = "for NAT-PMP/PCP traffic on port"
	}
	return g.proc.WaitOutput(ctx, ready)
}

// findProgram finds what Debian keeps from the PATH of users.
func findProgram(name string) (string, error) {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("find %s: not installed (run \"make deps\")", name)
}

// Output is what miniupnpd said.
func (g *Gateway) Output() string { return g.proc.Output() }

// Rules returns miniupnpd's part of the router's rules: a mapping is one that forwards, not one that was promised.
func (g *Gateway) Rules(ctx context.Context) (string, error) {
	var all strings.Builder
	for _, chain := range []string{"prerouting_miniupnpd", "miniupnpd"} {
		result, err := g.router.Run(ctx, "nft", "list", "chain", "inet", "filter", chain)
		if err != nil {
			return "", err
		}
		if result.Code != 0 {
			return "", fmt.Errorf("list chain %s of %s: %s", chain, g.router.Name, result.Output)
		}
		all.WriteString(result.Stdout)
	}
	return all.String(), nil
}

// Mapped tells whether the gateway forwards a UDP port to an address and port: over IPv6, lets it in.
func (g *Gateway) Mapped(ctx context.Context, to netip.AddrPort) (bool, error) {
	rules, err := g.Rules(ctx)
	if err != nil {
		return false, err
	}
	// nft prints what miniupnpd compares by offset as numbers.
	for line := range strings.Lines(rules) {
		there := strings.Contains(line, "dnat ip to "+to.String())
		if to.Addr().Is6() {
			there = strings.Contains(line, fmt.Sprintf("%x", to.Addr().As16())) || strings.Contains(line, to.Addr().String())
		}
		if there && strings.Contains(line, fmt.Sprint(to.Port())) {
			return true, nil
		}
	}
	return false, nil
}

// Reboot ends miniupnpd, forgets its mappings and starts it again, as when a router loses power.
func (g *Gateway) Reboot(ctx context.Context) error {
	g.proc.Kill()
	err := g.router.loadNAT()
	return errors.Join(err, g.router.Reboot(), g.start(ctx))
}
