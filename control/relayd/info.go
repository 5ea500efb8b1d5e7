package relayd

import (
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/credant/credant/relay/wire"
)

// Info is what a person wants to know of a relay that has started.
type Info struct {
	Key    wire.ServerPublic
	NewKey bool                 // made at this start
	Give   []wire.ServerAddress // how nodes name the relay, the best first

	Addresses []netip.Addr // served
	Unused    []netip.Addr // of the same kind, for which there is no room
	Private   bool         // none of Give means anything on the internet
	Moved     bool         // it was at other addresses before; all else is as it was

	Port, STUNPort uint16
	Ports          PortRange
	Networks       int    // allowed; 0: everyone is served
	Metrics        string // where the web server listens; empty: none
}

// Write writes it as text.
func (i Info) Write(w io.Writer) error {
	var b strings.Builder
	if i.Moved {
		b.WriteString("\nThe host's addresses have changed.\n")
	}
	line := func(label, text string) { fmt.Fprintf(&b, "%-14s  %s\n", label, text) }
	line("addresses:", join(i.Addresses, ", "))
	if len(i.Unused) > 0 {
		line("", fmt.Sprintf("not used: %s (at most %d of a family; --listen chooses)", join(i.Unused, ", "), perFamily))
	}
	line("UDP ports:", portList(i, "-", ", "))
	if i.Networks == 0 {
		line("serves:", "everyone, each network within a stranger's quota")
	} else {
		line("serves:", servedWords(i.Networks))
	}
	if i.Metrics != "" {
		line("metrics:", "http://"+i.Metrics+"/metrics")
	}
	b.WriteByte('\n')
	label := "give to nodes:"
	for _, g := range i.Give {
		line(label, "--relay "+g.String())
		label = "or:"
	}
	if i.Private {
		b.WriteString("\nThis host has only private addresses. Where a provider translates a public one\n" +
			"to it, name that: --advertise HOST\n")
	}
	if i.Moved {
		_, err := io.WriteString(w, b.String())
		return err
	}
	b.WriteString("\nThe ports must be open. Whichever firewall this host has:\n\n")
	for _, f := range i.Firewall() {
		fmt.Fprintf(&b, "  %-9s  %s\n", f.Name, f.Command)
	}
	b.WriteString("\nand the same ports in the provider's firewall, where there is one.\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// Firewall is a host firewall, and the command that opens the relay's ports in it.
type Firewall struct{ Name, Command string }

// Firewall returns how to open the ports. The nft command is for the table and
// chain that most rulesets have.
func (i Info) Firewall() []Firewall {
	var ufw, firewalld []string
	for _, p := range ports(i, ":") {
		ufw = append(ufw, "sudo ufw allow "+p+"/udp")
	}
	for _, p := range ports(i, "-") {
		firewalld = append(firewalld, "--add-port="+p+"/udp")
	}
	return []Firewall{
		{"ufw", strings.Join(ufw, " && ")},
		{"firewalld", "sudo firewall-cmd --permanent " + strings.Join(firewalld, " ") + " && sudo firewall-cmd --reload"},
		{"nftables", "sudo nft insert rule inet filter input udp dport '{ " + portList(i, "-", ", ") + " }' accept"},
	}
}

// ports are the ports and ranges to open, each written with the separator.
func ports(i Info, to string) []string {
	out := []string{fmt.Sprint(i.Port)}
	switch {
	case i.STUNPort == i.Port+1:
		out[0] += to + fmt.Sprint(i.STUNPort)
	case i.STUNPort != 0:
		out = append(out, fmt.Sprint(i.STUNPort))
	}
	return append(out, fmt.Sprintf("%d%s%d", i.Ports.First, to, i.Ports.Last))
}

func portList(i Info, to, between string) string { return strings.Join(ports(i, to), between) }

func join[T fmt.Stringer](list []T, between string) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = v.String()
	}
	return strings.Join(texts, between)
}

func listOr(words []string, none string) string {
	if len(words) == 0 {
		return none
	}
	return strings.Join(words, "; ")
}

// give is how nodes name a relay: by what it was told to advertise, else by its
// addresses, those alone that mean something on the internet where there are any.
func give(c Config, key wire.ServerPublic, locals []netip.Addr) (list []wire.ServerAddress, onlyPrivate bool) {
	hosts := c.Advertise
	if len(hosts) == 0 {
		addrs := globalOr(locals)
		onlyPrivate = private(addrs[0])
		for _, a := range addrs {
			hosts = append(hosts, a.String())
		}
	}
	for _, host := range hosts {
		list = append(list, wire.ServerAddress{Host: host, Port: c.Port, Key: key})
	}
	return list, onlyPrivate
}
