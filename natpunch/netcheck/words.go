package netcheck

import (
	"cmp"
	"fmt"
	"time"

	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/natpunch/portmap"
)

// shortLifetime: mappings that die sooner need keepalives more often than
// WireGuard's usual 25 seconds.
const shortLifetime = 30 * time.Second

// conclude says what was found means for direct paths.
func (r *Report) conclude() {
	r.UDP = r.udp()
	r.Direct = r.direct()
	say := func(format string, args ...any) { r.Meaning = append(r.Meaning, fmt.Sprintf(format, args...)) }
	if tunnel := cmp.Or(r.IPv4.Tunnel, r.IPv6.Tunnel); tunnel != "" {
		r.Direct = "unknown"
		say("The way to the internet is an exit node, through %s: this is what is around that node, and not around this host. To look past it takes privileges: sudo credant netcheck. What a daemon measured past it is shown as \"This node\" to its group.", tunnel)
		return
	}
	if r.Portal.State == "captive" {
		say("This network has a login page in front of the internet: open any web page in a browser and log in first.")
	}
	switch r.UDP {
	case "blocked":
		say("UDP to the internet is blocked: hosts outside of this network cannot be reached directly. Ask who runs the network to allow UDP.")
	case "offline":
		if !r.IPv4.Source.IsValid() && !r.IPv6.Source.IsValid() {
			say("This host has no way to the internet: it has no address, or no default route.")
			break
		}
		say("Nothing on the internet answers: only hosts of this network can be reached.")
	case "unknown":
		say("No STUN server answers: UDP to the internet may be blocked, or the servers are. Name others with --stun.")
	}
	r.sayIPv6(say)
	r.sayIPv4(say)
	if r.IPv6.LifetimeDetail != "" {
		say("Over IPv6 %s.", r.IPv6.LifetimeDetail)
	}
	if r.IPv4.LifetimeDetail != "" {
		say("Over IPv4 %s.", r.IPv4.LifetimeDetail)
	}
	r.sayGateways(say)
	if r.NAT64.IsValid() {
		say("This network reaches IPv4 by NAT64, under %v.", r.NAT64)
	}
	for _, f := range []*Family{&r.IPv4, &r.IPv6} {
		if f.Internet && f.MTU > 0 && f.MTU < 1500 {
			say("Packets on the way out are limited to %d bytes; that of the tunnel follows by itself.", f.MTU)
			break
		}
	}
}

func (r *Report) udp() string {
	switch {
	case r.IPv4.Internet || r.IPv6.Internet:
		return "open"
	case r.Portal.State == "none":
		return "blocked"
	case r.Portal.State == "unreachable":
		return "offline"
	}
	return "unknown"
}

func (r *Report) direct() string {
	v4 := &r.IPv4
	switch {
	case r.UDP == "blocked" || r.UDP == "offline":
		return "local"
	case v4.open() || r.forwarded() && v4.Internet:
		return "all"
	case v4.dependent():
		return "some"
	case v4.Mapping != "", r.IPv6.Internet:
		return "most"
	}
	return "unknown"
}

// forwarded: a gateway forwards ports from an address that the world can reach.
func (r *Report) forwarded() bool {
	for _, g := range r.Gateways {
		for _, p := range g.Protocols {
			if g.Local.Is4() && p.Spoken && p.Error == "" && global(p.External) && r.IPv4.seenAt(p.External) {
				return true
			}
		}
	}
	return false
}

func (r *Report) sayIPv6(say func(string, ...any)) {
	f := &r.IPv6
	switch {
	case !f.Source.IsValid():
		if r.IPv4.Internet {
			say("There is no IPv6 here. It would give direct paths to all hosts that have it as well, whatever their NATs.")
		}
	case !f.Internet:
		say("This host has an IPv6 address, but no STUN server answers over it.")
	case f.open():
		say("IPv6 works, and whoever has it reaches this host.")
	case f.behavior.Filtering == natpunch.UnknownBehavior:
		say("IPv6 works: direct paths to all hosts that have it.")
	default:
		say("IPv6 works: direct paths to all hosts that have it. A firewall drops what comes unasked, which is no hindrance.")
	}
}

func (r *Report) sayIPv4(say func(string, ...any)) {
	f := &r.IPv4
	if !f.Internet {
		if f.Source.IsValid() && r.UDP == "open" {
			say("No STUN server answers over IPv4.")
		}
		return
	}
	filters := f.behavior.Filtering
	switch {
	case f.open():
		say("No NAT, and nothing is filtered: every host can reach this one directly.")
	case f.Mapping == "none" && filters == natpunch.UnknownBehavior:
		say("No NAT: this host has a public address.")
	case f.Mapping == "none":
		say("No NAT, but a firewall drops what comes unasked: direct paths work, save to hosts whose NAT takes another port for each destination, where they take many tries. Allowing incoming UDP to CredAnt's port mends that.")
	case f.Mapping == "":
		say("Too few STUN servers answer to judge the NAT. Name others with --stun.")
	case f.dependent() && f.Step != 0:
		say("The NAT takes another port for each destination, %s: the next one can be guessed. Direct paths to most hosts, after a few tries.", steps(f.Step))
	case f.dependent():
		where := ""
		if f.LowPort != 0 {
			where = fmt.Sprintf(" out of %d to %d", f.LowPort, f.HighPort)
		}
		say("The NAT takes another port for each destination, at random%s: direct paths take many tries, and to hosts behind another NAT of this kind there are none. A port mapping (UPnP, NAT-PMP or PCP) or a forwarded UDP port on the router mends that, and so does IPv6.", where)
	case filters == natpunch.AddressAndPortDependent:
		say("The NAT keeps one port for all destinations: direct paths work. To hosts whose NAT does not, they take many tries.")
	default:
		say("The NAT keeps one port for all destinations: direct paths work.")
	}
	if f.Hairpin != nil && !*f.Hairpin {
		say("The NAT does not hairpin: two hosts behind it reach each other only by their local addresses.")
	}
	if l := f.behavior.Lifetime; l > 0 && l < shortLifetime {
		say("The NAT forgets an idle mapping after little more than %v: keepalives have to come more often.", l)
	}
}

func steps(n int) string {
	direction := "up"
	if n < 0 {
		n, direction = -n, "down"
	}
	if n == 1 {
		return "counting " + direction
	}
	return fmt.Sprintf("counting %s by %d", direction, n)
}

func (r *Report) sayGateways(say func(string, ...any)) {
	for _, g := range r.Gateways {
		best := portmap.ProtocolReport{}
		for _, p := range g.Protocols {
			if p.Spoken && p.Error == "" {
				best = p
				break
			}
		}
		switch {
		case len(g.Protocols) == 0:
		case best.Protocol == "" && g.Local.Is4() && r.IPv4.Internet && r.IPv4.Mapping != "none":
			say("The gateway %v maps no ports. Where UPnP, NAT-PMP or PCP can be switched on there, every host reaches this one.", g.Gateway)
		case best.Protocol == "":
		case g.Local.Is6():
			say("The gateway %v opens its IPv6 firewall by %s.", g.Gateway, protocolName(best.Protocol))
		case best.External.IsValid() && (!global(best.External) || r.IPv4.Internet && !r.IPv4.seenAt(best.External)):
			say("The gateway %v maps ports by %s, but its own address %v is not the one that the internet sees: another NAT above it makes that useless.", g.Gateway, protocolName(best.Protocol), best.External)
		default:
			say("The gateway %v maps ports by %s: every host can reach this one directly.", g.Gateway, protocolName(best.Protocol))
		}
	}
}

func protocolName(p portmap.Protocol) string {
	switch p {
	case portmap.PCP:
		return "PCP"
	case portmap.NATPMP:
		return "NAT-PMP"
	case portmap.IGD1, portmap.IGD2:
		return "UPnP"
	}
	return string(p)
}
