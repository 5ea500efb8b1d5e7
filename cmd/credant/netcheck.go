package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/control"
	"github.com/credant/credant/control/localapi"
	"github.com/spf13/cobra"
)

type netcheckOptions struct {
	json     bool
	lifetime bool
	portal   string
}

func (p *program) netcheckCommand() *cobra.Command {
	opts := netcheckOptions{portal: control.DefaultPortalURL}
	cmd := &cobra.Command{
		Use:   "netcheck",
		Short: "Look at the network around this host",
		Long: `Find out which NATs and firewalls are between this host and the internet, what
the router offers, and what that means for direct paths to other hosts.

It works whether a network is up or not, and needs no privileges. STUN servers
on the internet are asked, and one web page that tells login pages in between;
no network of yours is mentioned to them.`,
		Example: `  credant netcheck
  credant netcheck --lifetime        also how long mappings live: five minutes
  credant netcheck --json | jq .direct
  credant netcheck --stun 203.0.113.5:3478`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.resolveRunning(cmd); err != nil {
				return err
			}
			return p.netcheck(cmd.Context(), opts)
		},
	}
	cmd.Flags().BoolVar(&opts.json, "json", false, "print JSON; its fields are only ever added to")
	cmd.Flags().BoolVar(&opts.lifetime, "lifetime", false, "measure how long mappings live, which takes up to five minutes")
	cli.One(cmd.Flags(), "portal-url", &opts.portal, "URL", control.DefaultPortalURL, parsePortal, "page that answers with nothing, to tell login pages; none for no look")
	cmd.Flags().AddFlag(p.flags.Lookup("stun"))
	return cmd
}

// parsePortal takes "none" for an empty URL.
func parsePortal(s string) (string, error) {
	if s == "none" {
		return "", nil
	}
	if u, err := url.Parse(s); err != nil || u.Scheme != "http" || u.Host == "" {
		return "", fmt.Errorf("%q: give a URL such as %s, or none", s, control.DefaultPortalURL)
	}
	return s, nil
}

// netcheckOutput is the report, and what the daemon knows of its own port.
type netcheckOutput struct {
	control.NetcheckReport
	Node *localapi.NAT `json:"node,omitempty"`
}

func (p *program) netcheck(ctx context.Context, opts netcheckOptions) error {
	switch {
	case opts.lifetime:
		fmt.Fprintln(p.stderr, "Looking at the network, which takes up to five minutes.")
	case isTerminal(p.stderr):
		fmt.Fprintln(p.stderr, "Looking at the network, which takes some seconds.")
	}
	report, err := p.node.netcheck(ctx, control.NetcheckConfig{STUN: p.set.stun, PortalURL: opts.portal, Lifetime: opts.lifetime})
	if err != nil {
		return err
	}
	out := netcheckOutput{NetcheckReport: report}
	if s, err := p.statusNow(ctx); err == nil {
		out.Node = &s.Self.NAT
	}
	if opts.json {
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(out)
	}
	renderNetcheck(p.stdout, out, p.colours(p.stdout))
	return nil
}

// renderNetcheck shows the report: facts first, then what they mean.
func renderNetcheck(w io.Writer, r netcheckOutput, st style) {
	var fields []field
	add := func(name, value string) {
		if value != "" {
			fields = append(fields, field{name, value})
		}
	}
	add("UDP", map[string]string{
		"open": "gets to the internet", "blocked": "is blocked", "offline": "no: nothing on the internet answers",
		"unknown": "nothing answers, and nobody knows why",
	}[r.UDP])
	addFamily := func(name, source string, mtu int, reflexive []netip.AddrPort) {
		if source == "" {
			add(name, "none")
			return
		}
		value := source
		if len(reflexive) > 0 {
			value += ", seen as " + reflexive[0].Addr().String()
		}
		if mtu > 0 {
			value += fmt.Sprintf(", MTU %d", mtu)
		}
		add(name, value)
	}
	families := []struct {
		name string
		of   *control.NetcheckFamily
	}{{"IPv4", &r.IPv4}, {"IPv6", &r.IPv6}}
	for _, x := range families {
		source := ""
		if x.of.Source.IsValid() {
			source = x.of.Source.String()
		}
		addFamily(x.name, source, x.of.MTU, x.of.Reflexive)
		if x.of.Internet {
			add(x.name+" NAT", natWords(x.of))
		}
	}
	if r.NAT64.IsValid() {
		add("NAT64", r.NAT64.String())
	}
	switch r.Portal.State {
	case "captive":
		add("Login", strings.TrimSpace("a page is in front of the internet "+printable(r.Portal.Location)))
	case "none":
		add("Login", "no page is in front of the internet")
	}
	for _, g := range r.Gateways {
		add("Gateway", fmt.Sprintf("%v: %s", g.Gateway, gatewayWords(g)))
	}
	if r.Node != nil {
		for _, x := range []struct {
			name string
			of   localapi.NATFamily
		}{{"IPv4", r.Node.IPv4}, {"IPv6", r.Node.IPv6}} {
			if len(x.of.Reflexive) > 0 {
				value := fmt.Sprintf("over %s seen as %s", x.name, strings.Join(x.of.Reflexive, ", "))
				if r.IPv4.Tunnel+r.IPv6.Tunnel != "" && x.of.Detail != "" { // nothing else here tells of its NAT
					value += ": " + x.of.Detail
				}
				add("This node", value)
			}
		}
	}
	for _, f := range fields {
		f.write(w, st)
	}
	for _, m := range r.Meaning {
		fmt.Fprintln(w)
		writeWrapped(w, 0, printable(m))
	}
}

// natWords puts what the NAT of a family does on one line.
func natWords(f *control.NetcheckFamily) string {
	var parts []string
	switch f.Mapping {
	case "none":
		parts = append(parts, "none")
	case "":
		parts = append(parts, "unknown mapping")
	default:
		parts = append(parts, f.Mapping+" mapping")
	}
	if f.Filtering != "" {
		parts = append(parts, f.Filtering+" filtering")
	}
	yes := func(b *bool, yes, no string) {
		switch {
		case b == nil || f.Mapping == "none":
		case *b:
			parts = append(parts, yes)
		default:
			parts = append(parts, no)
		}
	}
	yes(f.PortPreserved, "ports preserved", "ports not preserved")
	if f.Step != 0 {
		parts = append(parts, fmt.Sprintf("step %+d", f.Step))
	}
	if f.LowPort != 0 {
		parts = append(parts, fmt.Sprintf("ports %d-%d", f.LowPort, f.HighPort))
	}
	yes(f.Hairpin, "hairpinning", "no hairpinning")
	if f.LifetimeSeconds > 0 {
		parts = append(parts, fmt.Sprintf("mappings live %v or longer", time.Duration(f.LifetimeSeconds)*time.Second))
	}
	return strings.Join(parts, ", ")
}

func gatewayWords(g control.GatewayReport) string {
	var parts []string
	for _, x := range g.Protocols {
		switch {
		case !x.Spoken:
		case x.Error != "":
			parts = append(parts, fmt.Sprintf("%s (%s)", x.Protocol, printable(x.Error)))
		case x.External.IsValid():
			parts = append(parts, fmt.Sprintf("%s as %v", x.Protocol, x.External))
		default:
			parts = append(parts, string(x.Protocol))
		}
	}
	if len(parts) == 0 {
		return "speaks no protocol for port mapping"
	}
	return strings.Join(parts, ", ")
}
