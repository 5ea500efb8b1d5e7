package sideport

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Hook priorities. Output comes before conntrack (-200) and connection marks
// of full tunnels (-150); input after every filter of the host, and before
// what may later be rewritten at 301.
const (
	outputPriority = -310
	inputPriority  = 300
)

const register = 1

// rule is one line of a chain.
type rule []expr.Any

// outputRules is: udp sport S udp sport set P.
func outputRules(c Config, side uint16) []rule {
	return []rule{
		concat(matchUDP(sourcePort, side), setPort(sourcePort, c.Port, udpChecksum)),
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
func inputRules(c Config, side uint16, types *nftables.Set) []rule {
	rules := []rule{
		concat(matchUDP(destinationPort, side), rule{&expr.Verdict{Kind: expr.VerdictDrop}}),
		{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: register},
			equal(interfaceName(c.Interface)),
			&expr.Verdict{Kind: expr.VerdictAccept},
		},
		concat(
			matchUDP(destinationPort, c.Port),
			rule{
				load(udpPayload, 4),
				&expr.Lookup{SourceRegister: register, SetName: types.Name, SetID: types.ID, Invert: true},
			},
			setPort(destinationPort, side, udpChecksum),
		),
	}
	// Destination unreachable (which brings "fragmentation needed") and time
	// exceeded; the IPv4 header quoted is taken to have no options, as ours
	// has none.
	for _, icmpType := range []byte{3, 11} {
		rules = append(rules, concat(
			matchProtocol(unix.IPPROTO_ICMP),
			rule{load(0, 1), equal([]byte{icmpType})},
			rule{load(8+9, 1), equal([]byte{unix.IPPROTO_UDP})},
			rule{load(8+20, 2), equal(bigEndian(c.Port))},
			setPort(8+20, side, icmpChecksum),
		))
	}
	// Destination unreachable, packet too big, time exceeded, parameter
	// problem.
	return append(rules, concat(
		matchProtocol(unix.IPPROTO_ICMPV6),
		rule{
			load(0, 1),
			&expr.Range{Op: expr.CmpOpEq, Register: register, FromData: []byte{1}, ToData: []byte{4}},
		},
		rule{load(8+6, 1), equal([]byte{unix.IPPROTO_UDP})},
		rule{load(8+40, 2), equal(bigEndian(c.Port))},
		setPort(8+40, side, icmpChecksum),
	))
}

// wireGuardTypes are the first four bytes of WireGuard's datagrams: a type and
// three reserved zero bytes.
func wireGuardTypes(t *nftables.Table) (*nftables.Set, []nftables.SetElement) {
	key := nftables.TypeInteger
	key.Bytes = 4
	set := &nftables.Set{Table: t, Anonymous: true, Constant: true, KeyType: key}
	var elements []nftables.SetElement
	for first := byte(1); first <= 4; first++ {
		elements = append(elements, nftables.SetElement{Key: []byte{first, 0, 0, 0}})
	}
	return set, elements
}

// Offsets from the transport header, and of the checksums there.
const (
	sourcePort      = 0
	destinationPort = 2
	udpPayload      = 8
	udpChecksum     = 6
	icmpChecksum    = 2
)

func matchProtocol(protocol byte) rule {
	return rule{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register}, equal([]byte{protocol})}
}

func matchUDP(offset uint32, port uint16) rule {
	return concat(matchProtocol(unix.IPPROTO_UDP), rule{load(offset, 2), equal(bigEndian(port))})
}

func setPort(offset uint32, port uint16, checksum uint32) rule {
	return rule{
		&expr.Immediate{Register: register, Data: bigEndian(port)},
		&expr.Payload{
			OperationType:  expr.PayloadWrite,
			SourceRegister: register,
			Base:           expr.PayloadBaseTransportHeader,
			Offset:         offset,
			Len:            2,
			CsumType:       expr.CsumTypeInet,
			CsumOffset:     checksum,
		},
	}
}

func load(offset, size uint32) expr.Any {
	return &expr.Payload{
		OperationType: expr.PayloadLoad,
		DestRegister:  register,
		Base:          expr.PayloadBaseTransportHeader,
		Offset:        offset,
		Len:           size,
	}
}

func equal(data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: data}
}

func bigEndian(port uint16) []byte { return binary.BigEndian.AppendUint16(nil, port) }

// interfaceName pads to the kernel's IFNAMSIZ.
func interfaceName(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func concat(parts ...rule) rule {
	var all rule
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}
