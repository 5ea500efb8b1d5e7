package hostdns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// What systemd-resolved's interface calls a server and a domain.
type (
	linkServer struct {
		Family  int32
		Address []byte
	}
	linkServerEx struct {
		Family  int32
		Address []byte
		Port    uint16
		Name    string // for DNS over TLS
	}
	linkDomain struct {
		Name        string
		RoutingOnly bool // not for names of one label
	}
)

// linkSetting is one property of a link, and the call that sets it.
type linkSetting struct {
	property string
	value    string // as linkValues prints it
	method   string
	arg      any
}

// linkSettings is what the network's link should have: its servers are asked for
// its domains and for nothing else, in the plain way that they answer.
func linkSettings(domain string, reverse []string, servers []netip.AddrPort) []linkSetting {
	list := make([]linkServerEx, 0, len(servers))
	plain := make([]linkServer, 0, len(servers))
	ports := false
	for _, s := range servers {
		family := int32(unix.AF_INET6)
		if s.Addr().Is4() {
			family = unix.AF_INET
		}
		ports = ports || s.Port() != 53
		list = append(list, linkServerEx{Family: family, Address: s.Addr().AsSlice(), Port: s.Port()})
		plain = append(plain, linkServer{Family: family, Address: s.Addr().AsSlice()})
	}
	domains := []linkDomain{{Name: domain}}
	for _, zone := range reverse {
		domains = append(domains, linkDomain{Name: zone, RoutingOnly: true})
	}
	// SetLinkDNS is understood by all versions, SetLinkDNSEx since 246.
	setServers := linkSetting{property: "DNS", value: printServers(plain), method: "SetLinkDNS", arg: plain}
	if ports {
		text, _ := printServersEx(list)
		setServers = linkSetting{property: "DNSEx", value: text, method: "SetLinkDNSEx", arg: list}
	}
	return []linkSetting{
		// First what keeps other names away, or they would be asked here for a moment.
		{property: "DefaultRoute", value: "false", method: "SetLinkDefaultRoute", arg: false},
		{property: "LLMNR", value: "no", method: "SetLinkLLMNR", arg: "no"},
		{property: "MulticastDNS", value: "no", method: "SetLinkMulticastDNS", arg: "no"},
		// The root denies .internal, signed; and the tunnel is the encryption.
		{property: "DNSSEC", value: "no", method: "SetLinkDNSSEC", arg: "no"},
		{property: "DNSOverTLS", value: "no", method: "SetLinkDNSOverTLS", arg: "no"},
		{property: "Domains", value: printDomains(domains), method: "SetLinkDomains", arg: domains},
		setServers,
	}
}

// planLink returns the settings to be set. all also takes those that seem right:
// until it is set, DefaultRoute tells what follows from the domains, and from
// version 257 on that is something else.
func planLink(want []linkSetting, have map[string]string, all bool) []linkSetting {
	return slices.DeleteFunc(slices.Clone(want), func(s linkSetting) bool {
		value, known := have[s.property]
		if !known {
			return s.property != "DNSEx" // it is needed: what is too old for it will say so
		}
		return value == s.value && !(all && s.property == "DefaultRoute")
	})
}

// linkValues prints a link's properties so that they can be compared. Older
// versions do not have all.
func linkValues(properties map[string]dbus.Variant) map[string]string {
	values, special := map[string]string{}, false
	for name, v := range properties {
		switch name {
		case "DNS":
			var list []linkServer
			if v.Store(&list) == nil {
				values[name] = printServers(list)
			}
		case "DNSEx":
			var list []linkServerEx
			if v.Store(&list) == nil {
				values[name], special = printServersEx(list)
			}
		case "Domains":
			var list []linkDomain
			if v.Store(&list) == nil {
				values[name] = printDomains(list)
			}
		case "DefaultRoute", "LLMNR", "MulticastDNS", "DNSSEC", "DNSOverTLS":
			values[name] = fmt.Sprint(v.Value())
		}
	}
	if special { // DNS leaves out what is not as we want it
		values["DNS"] = values["DNSEx"]
	}
	return values
}

func printServers(list []linkServer) string {
	var b []string
	for _, s := range list {
		addr, _ := netip.AddrFromSlice(s.Address)
		b = append(b, addr.String())
	}
	return strings.Join(b, " ")
}

// printServersEx also tells of other ports and of names.
func printServersEx(list []linkServerEx) (text string, special bool) {
	var b []string
	for _, s := range list {
		addr, _ := netip.AddrFromSlice(s.Address)
		if s.Port == 0 {
			s.Port = 53
		}
		text := netip.AddrPortFrom(addr, s.Port).String()
		if s.Name != "" {
			text += "#" + s.Name
		}
		special = special || s.Port != 53 || s.Name != ""
		b = append(b, text)
	}
	return strings.Join(b, " "), special
}

func printDomains(list []linkDomain) string {
	var b []string
	for _, d := range list {
		name := strings.TrimSuffix(d.Name, ".")
		if d.RoutingOnly {
			name = "~" + name
		}
		b = append(b, name)
	}
	slices.Sort(b)
	return strings.Join(b, " ")
}

// applyLink makes the interface's settings those wanted.
func (b *bus) applyLink(ctx context.Context, iface string, index int, want []linkSetting, all bool) (changed bool, err error) {
	if index == 0 {
		if index, err = indexOf(iface); err != nil {
			return false, err
		}
	}
	properties, err := b.link(ctx, index)
	if err != nil {
		return false, explainLink(iface, fmt.Errorf("ask systemd-resolved for interface %s: %w", iface, err))
	}
	for _, s := range planLink(want, linkValues(properties), all) {
		if err := b.manager(ctx, s.method, int32(index), s.arg); err != nil {
			return changed, explainLink(iface, fmt.Errorf("set %s of interface %s in systemd-resolved: %w", s.property, iface, err))
		}
		changed = changed || !all || s.property != "DefaultRoute"
	}
	if changed {
		// Denials from before would outlive the change.
		if err := b.manager(ctx, "FlushCaches"); err != nil {
			return changed, fmt.Errorf("flush the caches of systemd-resolved: %w", err)
		}
	}
	return changed, nil
}

// revertLink takes all settings from the interface. Where it is gone, so are
// they.
func (b *bus) revertLink(ctx context.Context, iface string) (changed bool, err error) {
	index, err := indexOf(iface)
	if err != nil {
		return false, nil
	}
	err = b.manager(ctx, "RevertLink", int32(index))
	if isDBusError(err, resolve1+".NoSuchLink") {
		return false, nil
	}
	if err != nil {
		return false, explainLink(iface, fmt.Errorf("take the settings of interface %s from systemd-resolved: %w", iface, err))
	}
	return true, nil
}

func indexOf(iface string) (int, error) {
	link, err := net.InterfaceByName(iface)
	if err != nil {
		return 0, fmt.Errorf("find interface %s: %w", iface, err)
	}
	return link.Index, nil
}

// explainLink adds what to do.
func explainLink(iface string, err error) error {
	switch {
	case isDBusError(err, resolve1+".LinkBusy"):
		return fmt.Errorf("%w: systemd-networkd manages it: let it alone with a file /etc/systemd/network/10-%[2]s.network that says \"[Match]\", \"Name=%[2]s\", \"[Link]\", \"Unmanaged=yes\"", err, iface)
	case isDBusError(err, "org.freedesktop.DBus.Error.AccessDenied"),
		isDBusError(err, "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"):
		return fmt.Errorf("%w: only root, or whom polkit lets, may do this", err)
	case isDBusError(err, "org.freedesktop.DBus.Error.UnknownMethod"):
		return fmt.Errorf("%w: this systemd-resolved is too old for it", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: systemd-resolved does not answer: see systemctl status systemd-resolved", err)
	}
	return err
}
