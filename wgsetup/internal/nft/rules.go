package nft

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Chain is a base chain. Without a Hook nothing goes through it, and all that it
// says is its name.
type Chain struct {
	Name     string
	Type     nftables.ChainType // "": filter
	Hook     *nftables.ChainHook
	Priority int
	Rules    []Rule
}

// Rule is one line of a chain: expressions, and the Set that a Lookup among
// them means, if there is one.
type Rule []any // of expr.Any and Lookup

// Lookup goes on with the rule if what its source register holds is in a set
// of the rule's own, or, inverted, if it is not. With a map it loads what
// belongs to that.
type Lookup struct {
	Key, Data           nftables.SetDatatype // Data is for a map
	Elements            []nftables.SetElement
	Source, Destination uint32 // registers; Destination is for a map
	Invert              bool
}

// Register is the one that most rules need; others are of four bytes each,
// from Register32 on.
const (
	Register   = unix.NFT_REG_1
	Register32 = unix.NFT_REG32_00
)

// Offsets from the transport header, and of the checksums there.
const (
	SourcePort      = 0
	DestinationPort = 2
	UDPPayload      = 8
	UDPChecksum     = 6
	ICMPChecksum    = 2
)

// Concat joins rules' parts.
func Concat(parts ...Rule) Rule {
	var all Rule
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// MatchProtocol matches the transport protocol.
func MatchProtocol(protocol byte) Rule {
	return Rule{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: Register}, Equal([]byte{protocol})}
}

// MatchUDP matches UDP with this SourcePort or DestinationPort.
func MatchUDP(offset uint32, port uint16) Rule {
	return Concat(MatchProtocol(unix.IPPROTO_UDP), Rule{Load(offset, 2), Equal(Port(port))})
}

// MatchInterface matches where a packet came in.
func MatchInterface(name string) Rule {
	return matchName(expr.MetaKeyIIFNAME, expr.CmpOpEq, name)
}

// MatchWireGuard matches UDP datagrams that are shaped as WireGuard's are: a
// type of 1 to 4 and three reserved zero bytes. Inverted, all others.
func MatchWireGuard(invert bool) Rule {
	key := nftables.TypeInteger
	key.Bytes = 4
	l := Lookup{Key: key, Source: Register, Invert: invert}
	for first := byte(1); first <= 4; first++ {
		l.Elements = append(l.Elements, nftables.SetElement{Key: []byte{first, 0, 0, 0}})
	}
	return Rule{Load(UDPPayload, 4), l}
}

// SetPort writes a port and mends the checksum.
func SetPort(offset uint32, port uint16, checksum uint32) Rule {
	return Rule{
		&expr.Immediate{Register: Register, Data: Port(port)},
		StorePort(Register, offset, checksum),
	}
}

// StorePort writes a port from a register and mends the checksum.
func StorePort(register, offset, checksum uint32) expr.Any {
	return &expr.Payload{
		OperationType:  expr.PayloadWrite,
		SourceRegister: register,
		Base:           expr.PayloadBaseTransportHeader,
		Offset:         offset,
		Len:            2,
		CsumType:       expr.CsumTypeInet,
		CsumOffset:     checksum,
	}
}

// Load loads a part of the transport header and what follows it.
func Load(offset, size uint32) expr.Any {
	return &expr.Payload{
		OperationType: expr.PayloadLoad,
		DestRegister:  Register,
		Base:          expr.PayloadBaseTransportHeader,
		Offset:        offset,
		Len:           size,
	}
}

// Equal compares what was loaded.
func Equal(data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: Register, Data: data}
}

// Accept leaves the chain.
func Accept() expr.Any { return &expr.Verdict{Kind: expr.VerdictAccept} }

// Port is a port as it is in packets.
func Port(port uint16) []byte { return binary.BigEndian.AppendUint16(nil, port) }
