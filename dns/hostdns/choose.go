package hostdns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// choice is a way that may be tried.
type choice struct {
	mode  string
	why   string // this way is right
	lacks string
	// servers are those of Set that this way can ask.
	servers []netip.AddrPort
	// first: resolvconf asks our server before all others, for everything.
	first bool
}

// choose returns the ways to try, best first, and for each way that is not
// among them why. No way at all takes reasons for all.
func choose(mode string, f facts, servers []netip.AddrPort) (try []choice, not []string) {
	consider := func(c choice, refused string) {
		switch {
		case mode != ModeAuto && mode != c.mode:
		case refused != "":
			not = append(not, refused)
		default:
			try = append(try, c)
		}
	}
	consider(chooseResolved(mode, f, servers))
	consider(chooseResolvconf(mode, f, servers))
	consider(chooseHosts(f))
	if mode == ModeAuto && len(try) > 0 {
		for i := range try {
			if try[i].mode == ModeHosts && len(not) > 0 {
				try[i].why = whyHosts(not)
			}
		}
	}
	return try, not
}

// Most hosts that have no better way lack both for these reasons.
const (
	notRunning   = "systemd-resolved is not running"
	noResolvconf = "no resolvconf writes this host's /etc/resolv.conf"
)

// whyHosts is why nothing better than /etc/hosts is used, in few words where it is the
// usual.
func whyHosts(not []string) string {
	if slices.Equal(not, []string{notRunning, noResolvconf}) {
		return "no systemd-resolved, no resolvconf"
	}
	return strings.Join(not, "; ")
}

func chooseResolved(mode string, f facts, servers []netip.AddrPort) (c choice, refused string) {
	c = choice{mode: ModeResolved, servers: servers}
	first := slices.Index(f.switchHosts, "resolve")
	bySwitch := first >= 0 && (!slices.Contains(f.switchHosts, "dns") || first < slices.Index(f.switchHosts, "dns"))
	stub := len(f.nameservers) > 0 && !slices.ContainsFunc(f.nameservers, func(a netip.Addr) bool { return !isStub(a) })
	switch {
	case !f.resolved && stub:
		return c, "systemd-resolved, which /etc/resolv.conf names, is not running"
	case !f.resolved:
		return c, notRunning
	case len(servers) == 0:
		return c, "the network's names are not served on any address yet"
	case stub:
		c.why = "this host asks it: /etc/resolv.conf names " + f.nameservers[0].String()
	case bySwitch:
		c.why = "this host asks it: /etc/nsswitch.conf names it before dns"
		c.lacks = "programs that read /etc/resolv.conf themselves (dig, host) do not ask systemd-resolved here"
	case mode == ModeResolved:
		c.why = "it was asked for"
		c.lacks = "this host does not ask systemd-resolved: neither /etc/resolv.conf nor /etc/nsswitch.conf names it; " +
			"link /etc/resolv.conf to /run/systemd/resolve/stub-resolv.conf"
	default:
		return c, "systemd-resolved runs, but neither /etc/resolv.conf nor /etc/nsswitch.conf names it"
	}
	return c, ""
}

// isStub tells the addresses at which systemd-resolved answers.
func isStub(a netip.Addr) bool {
	return a == netip.AddrFrom4([4]byte{127, 0, 0, 53}) || a == netip.AddrFrom4([4]byte{127, 0, 0, 54})
}

func chooseResolvconf(mode string, f facts, servers []netip.AddrPort) (c choice, refused string) {
	c = choice{mode: ModeResolvconf}
	// No resolvconf takes a port. One that is given a loopback address takes it
	// for a resolver of everything and drops all other servers.
	for _, s := range servers {
		if s.Port() == 53 && !s.Addr().IsLoopback() && s.Addr().Zone() == "" {
			c.servers = append(c.servers, s)
		}
	}
	r := f.resolvconf
	name := map[string]string{openresolv: "openresolv", debianResolvconf: "Debian's resolvconf"}[r.flavour]
	split := r.flavour == openresolv && r.splitter != "" && f.asksLocal()
	switch {
	case name == "":
		return c, noResolvconf
	case f.generator != "resolvconf":
		return c, name + " does not write this host's /etc/resolv.conf"
	case !split && mode != ModeResolvconf:
		if r.flavour == openresolv {
			return c, "openresolv has no local resolver that could ask one server for one domain (see resolvconf.conf(5), dnsmasq_conf or unbound_conf)"
		}
		return c, name + " cannot have one domain asked of one server"
	case len(c.servers) == 0:
		return c, name + " can only name servers on port 53 of an address of the network, and ours has none"
	case split:
		c.why = fmt.Sprintf("openresolv writes /etc/resolv.conf and tells %s which server to ask for a domain", r.splitter)
		c.lacks = "addresses are not looked up backwards (to names)"
	default:
		c.first = true
		c.servers = c.servers[:1]
		c.why = "it was asked for"
		c.lacks = name + " cannot have one domain asked of one server: everything is asked of ours first, which refuses what is not of the network; " +
			"programs that take a refusal for an answer find nothing else"
	}
	return c, ""
}

func chooseHosts(f facts) (c choice, refused string) {
	c = choice{mode: ModeHosts, why: "it was asked for", lacks: "dig, host and containers do not see them"}
	if f.switchHosts != nil && !slices.Contains(f.switchHosts, "files") {
		c.lacks = "/etc/nsswitch.conf does not name files for hosts, so nothing reads /etc/hosts: write \"hosts: files dns\" there"
	}
	return c, ""
}
