package hostdns

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

func TestChoose(t *testing.T) {
	stub := []netip.Addr{netip.MustParseAddr("127.0.0.53")}
	local := []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	far := []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("127.0.0.53")}
	glibc := []string{"files", "dns"}
	overlay, other, loopback := "10.20.0.1:53", "10.20.0.1:5300", "127.77.0.1:53"
	split := resolvconf{flavour: openresolv, splitter: "dnsmasq"}
	for _, c := range []struct {
		name    string
		mode    string
		f       facts
		servers string
		want    string   // the modes to try
		say     []string // somewhere in what is said
	}{
		{"resolved by stub", ModeAuto, facts{nameservers: stub, switchHosts: glibc, resolved: true}, overlay, "resolved hosts", []string{"127.0.0.53"}},
		{"resolved by switch", ModeAuto, facts{nameservers: far, switchHosts: []string{"files", "resolve", "dns"}, resolved: true}, overlay, "resolved hosts", []string{"nsswitch.conf", "dig"}},
		{"resolved after dns", ModeAuto, facts{nameservers: far, switchHosts: []string{"files", "dns", "resolve"}, resolved: true}, overlay, "hosts", []string{"runs, but"}},
		{"resolved with another server beside", ModeAuto, facts{nameservers: far, switchHosts: glibc, resolved: true}, overlay, "hosts", []string{"runs, but"}},
		{"resolved away", ModeAuto, facts{nameservers: stub, switchHosts: glibc}, overlay, "hosts", []string{"which /etc/resolv.conf names, is not running"}},
		{"resolved, no server", ModeAuto, facts{nameservers: stub, switchHosts: glibc, resolved: true}, "", "hosts", []string{"not served"}},
		{"resolved unused, asked for", ModeResolved, facts{nameservers: far, switchHosts: glibc, resolved: true}, overlay, "resolved", []string{"stub-resolv.conf"}},
		{"resolved away, asked for", ModeResolved, facts{nameservers: far, switchHosts: glibc}, overlay, "", []string{"not running"}},
		{"openresolv", ModeAuto, facts{nameservers: local, generator: "resolvconf", switchHosts: glibc, resolvconf: split}, overlay, "resolvconf hosts", []string{"dnsmasq"}},
		{"openresolv, local resolver not asked", ModeAuto, facts{nameservers: far, generator: "resolvconf", resolvconf: split}, overlay, "hosts", []string{"no local resolver"}},
		{"openresolv, other port", ModeAuto, facts{nameservers: local, generator: "resolvconf", resolvconf: split}, other, "hosts", []string{"port 53"}},
		{"openresolv, loopback server", ModeResolvconf, facts{nameservers: local, generator: "resolvconf", resolvconf: split}, loopback, "", []string{"port 53"}},
		{"Debian's", ModeAuto, facts{nameservers: far, generator: "resolvconf", resolvconf: resolvconf{flavour: debianResolvconf}}, overlay, "hosts", []string{"cannot have one domain"}},
		{"Debian's, asked for", ModeResolvconf, facts{nameservers: far, generator: "resolvconf", resolvconf: resolvconf{flavour: debianResolvconf}}, overlay, "resolvconf", []string{"ours first"}},
		{"resolvconf by name", ModeResolvconf, facts{nameservers: far, generator: "NetworkManager", resolvconf: split}, overlay, "", []string{"does not write"}},
		{"musl", ModeAuto, facts{nameservers: far}, overlay, "hosts", []string{"no resolvconf", "dig"}},
		{"hosts unread", ModeHosts, facts{nameservers: far, switchHosts: []string{"dns"}}, overlay, "hosts", []string{"hosts: files dns"}},
	} {
		var servers []netip.AddrPort
		if c.servers != "" {
			servers = addrPorts(c.servers)
		}
		try, not := choose(c.mode, c.f, servers)
		var modes []string
		said := strings.Join(not, "; ")
		for _, way := range try {
			modes = append(modes, way.mode)
			said += "; " + way.why + "; " + way.lacks
			if way.why == "" {
				t.Errorf("%s: no reason for %s", c.name, way.mode)
			}
		}
		if got := strings.Join(modes, " "); got != c.want {
			t.Errorf("%s: %q, want %q (%s)", c.name, got, c.want, said)
		}
		for _, say := range c.say {
			if !strings.Contains(said, say) {
				t.Errorf("%s: %q is not in %s", c.name, say, said)
			}
		}
	}
}

// What most hosts show has room in two lines of status.
func TestUsualReasonIsShort(t *testing.T) {
	try, _ := choose(ModeAuto, facts{nameservers: []netip.Addr{netip.MustParseAddr("192.0.2.53")}, switchHosts: []string{"files", "dns"}}, addrPorts("10.20.0.1:53"))
	if len(try) != 1 || try[0].mode != ModeHosts || !strings.Contains(try[0].lacks, "dig") || !strings.Contains(try[0].why, "systemd-resolved") || len(try[0].why+try[0].lacks) > 80 {
		t.Errorf("%+v", try)
	}
}

func TestParse(t *testing.T) {
	servers, generator := parseResolvConf([]byte("# This file is managed by man:systemd-resolved(8). Do not edit.\n" +
		"nameserver 127.0.0.53\n nameserver ::ffff:192.0.2.1\nnameserver fe80::1%eth0\nnameserver nonsense\nnameserver\noptions edns0\n"))
	if got := fmt.Sprint(servers, " ", generator); got != "[127.0.0.53 192.0.2.1 fe80::1%eth0] systemd-resolved" {
		t.Errorf("resolv.conf: %s", got)
	}
	hosts := parseSwitch([]byte("passwd: files\n hosts:\tfiles mymachines resolve [!UNAVAIL=return] dns # comment\n"))
	if diff := cmp.Diff([]string{"files", "mymachines", "resolve", "dns"}, hosts); diff != "" {
		t.Error(diff)
	}
	if parseSwitch([]byte("passwd: files\n")) != nil || parseSwitch([]byte("hosts: [")) == nil {
		t.Error("nsswitch.conf without hosts, or with nothing in it")
	}
	for text, want := range map[string]string{
		"name_servers=127.0.0.1\ndnsmasq_conf=/etc/d.conf\n": "dnsmasq",
		"#unbound_conf=/etc/u.conf\n":                        "",
		"unbound_conf=\"/etc/u.conf\"\n":                     "unbound",
		"dnsmasq_conf=''\ndnsmasq_resolv=/run/r\n":           "",
	} {
		if got := parseSplitter([]byte(text)); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// Nothing but the difference is set, and what an old version lacks is left out.
func TestPlanLink(t *testing.T) {
	want := linkSettings("home.internal", []string{"20.10.in-addr.arpa"}, addrPorts("10.20.0.1:53", "[fd00::1]:53"))
	right := map[string]dbus.Variant{
		"DNS":          dbus.MakeVariant([]linkServer{{2, []byte{10, 20, 0, 1}}, {10, netip.MustParseAddr("fd00::1").AsSlice()}}),
		"DNSEx":        dbus.MakeVariant([]linkServerEx{{2, []byte{10, 20, 0, 1}, 0, ""}, {10, netip.MustParseAddr("fd00::1").AsSlice(), 53, ""}}),
		"Domains":      dbus.MakeVariant([]linkDomain{{"20.10.in-addr.arpa", true}, {"home.internal", false}}),
		"DefaultRoute": dbus.MakeVariant(false), "LLMNR": dbus.MakeVariant("no"), "MulticastDNS": dbus.MakeVariant("no"),
		"DNSSEC": dbus.MakeVariant("no"), "DNSOverTLS": dbus.MakeVariant("no"),
	}
	with := func(change func(map[string]dbus.Variant)) map[string]string {
		m := map[string]dbus.Variant{}
		for k, v := range right {
			m[k] = v
		}
		change(m)
		return linkValues(m)
	}
	for _, c := range []struct {
		name string
		have map[string]string
		all  bool
		want string
	}{
		{"right", linkValues(right), false, ""},
		{"right, for the first time", linkValues(right), true, "DefaultRoute"},
		{"new", with(func(m map[string]dbus.Variant) {
			m["DNS"], m["DNSEx"] = dbus.MakeVariant([]linkServer{}), dbus.MakeVariant([]linkServerEx{})
			m["Domains"], m["LLMNR"] = dbus.MakeVariant([]linkDomain{}), dbus.MakeVariant("yes")
		}), true, "DefaultRoute LLMNR Domains DNS"},
		{"old", with(func(m map[string]dbus.Variant) {
			delete(m, "DNSEx")
			delete(m, "DefaultRoute")
			delete(m, "DNSOverTLS")
		}), true, ""},
		{"another port", with(func(m map[string]dbus.Variant) {
			m["DNSEx"] = dbus.MakeVariant([]linkServerEx{{2, []byte{10, 20, 0, 1}, 5300, ""}, {10, netip.MustParseAddr("fd00::1").AsSlice(), 53, ""}})
		}), false, "DNS"},
		{"routing only", with(func(m map[string]dbus.Variant) {
			m["Domains"] = dbus.MakeVariant([]linkDomain{{"20.10.in-addr.arpa", true}, {"home.internal", true}})
		}), false, "Domains"},
	} {
		var got []string
		for _, s := range planLink(want, c.have, c.all) {
			got = append(got, s.property)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	odd := planLink(linkSettings("home.internal", nil, addrPorts("127.77.0.1:5300")), map[string]string{"DNS": ""}, false)
	if len(odd) != 1 || odd[0].method != "SetLinkDNSEx" {
		t.Errorf("a port in an old version: %v", odd)
	}
}
