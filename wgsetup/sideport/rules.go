package sideport

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/credant/credant/wgsetup/internal/nft"
)

// Hook priorities. Output comes before conntrack (-200) and connection marks
// of full tunnels (-150); input after every filter of the host, and before
// what is rewritten at 301.
const (
	outputPriority = -310
	inputPriority  = 300
)

func chains(c Config, side uint16) []nft.Chain {
	return []nft.Chain{
		{Name: "out", Hook: nftables.ChainHookOutput, Priority: outputPriority, Rules: outputRules(c, side)},
		{Name: "in", Hook: nftables.ChainHookInput, Priority: inputPriority, Rules: inputRules(c, side)},
	}
}

// outputRules is: udp sport S udp sport set P.
func outputRules(c Config, side uint16) []nft.Rule {
	return []nft.Rule{
		nft.Concat(nft.MatchUDP(nft.SourcePort, side), nft.SetPort(nft.SourcePort, c.Port, nft.UDPChecksum)),
	}
}

// inputRules depend on their order:
//
//	udp dport S drop                       # outsiders for S, before any rewrite
//	iifname WG accept                      # what comes out of the tunnel is not for us
//	udp dport P @th,64,32 != {1..4} udp dport set S
//	icmp type 3, 11 quoting udp sport P: set S
//	icmpv6 type 1-4 quoting udp sport P: set S
//
// The nft command cannot write the ICMP lines: it gives a raw payload
// expression no checksum to mend.
func inputRules(c Config, side uint16) []nft.Rule {
	rules := []nft.Rule{
		nft.Concat(nft.MatchUDP(nft.DestinationPort, side), nft.Rule{&expr.Verdict{Kind: expr.VerdictDrop}}),
		nft.Concat(nft.MatchInterface(c.Interface), nft.Rule{nft.Accept()}),
		nft.Concat(
			nft.MatchUDP(nft.DestinationPort, c.Port),
			nft.MatchWireGuard(true),
			nft.SetPort(nft.DestinationPort, side, nft.UDPChecksum),
		),
	}
	// Destination unreachable (which brings "fragmentation needed") and time
	// exceeded; the IPv4 header quoted is taken to have no options, as ours
	// has none.
	for _, icmpType := range []byte{3, 11} {
		rules = append(rules, nft.Concat(
			nft.MatchProtocol(unix.IPPROTO_ICMP),
			nft.Rule{nft.Load(0, 1), nft.Equal([]byte{icmpType})},
			nft.Rule{nft.Load(8+9, 1), nft.Equal([]byte{unix.IPPROTO_UDP})},
			nft.Rule{nft.Load(8+20, 2), nft.Equal(nft.Port(c.Port))},
			nft.SetPort(8+20, side, nft.ICMPChecksum),
		))
	}
	// Destination unreachable, packet too big, time exceeded, parameter
	// problem.
	return append(rules, nft.Concat(
		nft.MatchProtocol(unix.IPPROTO_ICMPV6),
		nft.Rule{
			nft.Load(0, 1),
			&expr.Range{Op: expr.CmpOpEq, Register: nft.Register, FromData: []byte{1}, ToData: []byte{4}},
		},
		nft.Rule{nft.Load(8+6, 1), nft.Equal([]byte{unix.IPPROTO_UDP})},
		nft.Rule{nft.Load(8+40, 2), nft.Equal(nft.Port(c.Port))},
		nft.SetPort(8+40, side, nft.ICMPChecksum),
	))
}
