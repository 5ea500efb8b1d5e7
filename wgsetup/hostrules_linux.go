package wgsetup

import (
	"net/netip"

	"github.com/google/nftables"

	"github.com/credant/credant/wgsetup/internal/nft"
)

// hostRules is what the table for Forward and Exit is made of.
type hostRules struct {
	iface   string
	port    uint16 // WireGuard's
	sources []netip.Prefix
	forward *Forward
	exit    bool
	record  record
}

// Connections are marked after conntrack (-200), where policy routing of other
// software does it, and before a filter that looks for the way back.
const manglePriority = -150

// enterPriority comes after the host has translated a source address (100), and
// before a connection is confirmed.
const enterPriority = 300

// chains are (WG is the device):
//
//	forward: oifname/iifname WG tcp flags syn: maximum segment size = the route's
//	         oifname WG ct state established,related accept
//	         iifname WG ct direction reply accept; iifname WG ct status dnat accept
//	         iifname WG saddr OVERLAY daddr ADVERTISED accept
//	         iifname WG daddr PRIVATE drop; iifname WG saddr OVERLAY accept     # Exit
//	         iifname WG drop; oifname WG saddr OVERLAY drop
//	         iifname BRIDGE oifname BRIDGE accept                               # opened
//	         iifname OPENED ct state new ct status ! dnat drop                  # opened
//	nat:     oifname != WG saddr OVERLAY masquerade
//	enter:   oifname WG ct state established,related accept
//	         oifname WG fib saddr type != local drop
//	out:     mark Mark: ct mark set Mark                                        # Exit
//	pre:     iifname != WG ct mark Mark: mark set Mark; udp dport P likewise    # Exit
//
// An accept is one for these chains alone: the host's firewall has its say too.
// "Opened" are the links of a host that forwarded nothing before: it does not
// become a router between them. Links that came later are somebody else's who
// wants to forward, such as Docker.
func (r hostRules) chains() []nft.Chain {
	var chains []nft.Chain
	if r.forward != nil {
		chains = append(chains,
			nft.Chain{Name: "forward", Hook: nftables.ChainHookForward, Priority: 0, Rules: r.forwardRules()},
			nft.Chain{Name: "nat", Type: nftables.ChainTypeNAT, Hook: nftables.ChainHookPostrouting, Priority: 100, Rules: r.masquerade()},
			nft.Chain{Name: "enter", Hook: nftables.ChainHookPostrouting, Priority: enterPriority, Rules: r.enter()})
	}
	if r.exit {
		chains = append(chains,
			nft.Chain{Name: "out", Hook: nftables.ChainHookOutput, Priority: manglePriority, Rules: []nft.Rule{
				nft.Concat(nft.MatchMark(Mark), nft.SetConnectionMark(Mark)),
			}},
			// Whoever speaks to WireGuard's port first has no connection.
			nft.Chain{Name: "pre", Hook: nftables.ChainHookPrerouting, Priority: manglePriority, Rules: []nft.Rule{
				nft.Concat(nft.MatchNotInterface(r.iface), nft.MatchConnectionMark(Mark), nft.SetMark(Mark)),
				nft.Concat(nft.MatchNotInterface(r.iface), nft.MatchUDP(nft.DestinationPort, r.port), nft.SetMark(Mark)),
			}})
	}
	for _, name := range r.record.names() {
		chains = append(chains, nft.Chain{Name: name})
	}
	return chains
}

func (r hostRules) forwardRules() []nft.Rule {
	in, out := nft.MatchInterface(r.iface), nft.MatchOut(r.iface)
	accept, drop := nft.Rule{nft.Accept()}, nft.Rule{nft.Drop()}
	rules := []nft.Rule{
		nft.Concat(out, nft.ClampMSS()),
		nft.Concat(in, nft.ClampMSS()),
		nft.Concat(out, nft.MatchState(nft.StateEstablished|nft.StateRelated), accept),
		nft.Concat(in, nft.MatchReply(), accept),
		// A port of this host's that leads elsewhere by its own rules, such as one
		// that Docker publishes: whoever may speak to the host may speak to it.
		nft.Concat(in, nft.MatchStatus(nft.StatusDNAT), accept),
	}
	for _, to := range normalize(r.forward.Advertised, true, nil) {
		for _, from := range r.sources {
			if from.Addr().Is4() == to.Addr().Is4() {
				rules = append(rules, nft.Concat(in, nft.MatchFrom(from), nft.MatchTo(to), accept))
			}
		}
	}
	if r.forward.Exit {
		for _, to := range notInternet {
			rules = append(rules, nft.Concat(in, nft.MatchTo(to), drop))
		}
		for _, from := range r.sources {
			rules = append(rules, nft.Concat(in, nft.MatchFrom(from), accept))
		}
	}
	rules = append(rules, nft.Concat(in, drop))
	for _, from := range r.sources {
		// IPv6 has no martians: somebody on the LAN could speak as this host.
		rules = append(rules, nft.Concat(out, nft.MatchFrom(from), drop))
	}
	for _, name := range r.record.bridges {
		// With br_netfilter, what a bridge carries comes here too.
		rules = append(rules, nft.Concat(nft.MatchInterface(name), nft.MatchOut(name), accept))
	}
	for _, ipv6 := range []bool{false, true} {
		if !r.record.opened(ipv6) {
			continue
		}
		for _, name := range r.record.links() {
			rules = append(rules, nft.Concat(
				nft.MatchFamily(ipv6), nft.MatchInterface(name),
				nft.MatchState(nft.StateNew), nft.MatchNoStatus(nft.StatusDNAT), drop,
			))
		}
	}
	return rules
}

func (r hostRules) masquerade() []nft.Rule {
	var rules []nft.Rule
	for _, from := range r.sources {
		rules = append(rules, nft.Concat(nft.MatchNotOut(r.iface), nft.MatchFrom(from), nft.Rule{nft.Masquerade()}))
	}
	return rules
}

// enter keeps out what would speak for itself in the network.
func (r hostRules) enter() []nft.Rule {
	out := nft.MatchOut(r.iface)
	return []nft.Rule{
		nft.Concat(out, nft.MatchState(nft.StateEstablished|nft.StateRelated), nft.Rule{nft.Accept()}),
		nft.Concat(out, nft.MatchForeign(), nft.Rule{nft.Drop()}),
	}
}

// notInternet are networks that an exit peer carries only where it advertises
// them: private ones, and such as are no destination for it at all.
var notInternet = func() (all []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3",
		"fc00::/7", "fe80::/10", "ff00::/8", "::/96",
	} {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}()
