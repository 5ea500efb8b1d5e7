package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// What conntrack says of a packet's connection (linux/netfilter.h).
const (
	StateEstablished = expr.CtStateBitESTABLISHED
	StateRelated     = expr.CtStateBitRELATED
	StateNew         = expr.CtStateBitNEW

	StatusDNAT = 1 << 5
)

// MatchNotInterface matches where a packet did not come in.
func MatchNotInterface(name string) Rule { return matchName(expr.MetaKeyIIFNAME, expr.CmpOpNeq, name) }

// MatchOut matches where a packet leaves.
func MatchOut(name string) Rule { return matchName(expr.MetaKeyOIFNAME, expr.CmpOpEq, name) }

// MatchNotOut matches where a packet does not leave.
func MatchNotOut(name string) Rule { return matchName(expr.MetaKeyOIFNAME, expr.CmpOpNeq, name) }

func matchName(key expr.MetaKey, op expr.CmpOp, name string) Rule {
	return Rule{&expr.Meta{Key: key, Register: Register}, &expr.Cmp{Op: op, Register: Register, Data: padded(name)}}
}

func padded(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// MatchFamily matches IPv4 or IPv6.
func MatchFamily(ipv6 bool) Rule {
	family := byte(unix.NFPROTO_IPV4)
	if ipv6 {
		family = unix.NFPROTO_IPV6
	}
	return Rule{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: Register}, Equal([]byte{family})}
}

// MatchFrom matches the source address, of the prefix's family.
func MatchFrom(p netip.Prefix) Rule { return matchPrefix(p, 12, 8) }

// MatchTo matches the destination address, of the prefix's family.
func MatchTo(p netip.Prefix) Rule { return matchPrefix(p, 16, 24) }

func matchPrefix(p netip.Prefix, offset4, offset6 uint32) Rule {
	p = p.Masked()
	size, offset := uint32(16), offset6
	if p.Addr().Is4() {
		size, offset = 4, offset4
	}
	mask := make([]byte, size)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return Concat(MatchFamily(p.Addr().Is6()), Rule{
		&expr.Payload{DestRegister: Register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Bitwise{SourceRegister: Register, DestRegister: Register, Len: size, Mask: mask, Xor: make([]byte, size)},
		Equal(p.Addr().AsSlice()),
	})
}

// MatchState matches a connection in any of the states.
func MatchState(states uint32) Rule { return matchBits(expr.CtKeySTATE, states, expr.CmpOpNeq) }

// MatchReply matches what goes against the direction in which a connection was
// opened.
func MatchReply() Rule {
	const reply = 1 // enum ip_conntrack_dir
	return Rule{&expr.Ct{Key: expr.CtKeyDIRECTION, Register: Register}, Equal([]byte{reply})}
}

// MatchStatus matches a connection with any of the bits.
func MatchStatus(bits uint32) Rule { return matchBits(expr.CtKeySTATUS, bits, expr.CmpOpNeq) }

// MatchNoStatus matches a connection with none of the bits.
func MatchNoStatus(bits uint32) Rule { return matchBits(expr.CtKeySTATUS, bits, expr.CmpOpEq) }

func matchBits(key expr.CtKey, bits uint32, op expr.CmpOp) Rule {
	return Rule{
		&expr.Ct{Key: key, Register: Register},
		&expr.Bitwise{SourceRegister: Register, DestRegister: Register, Len: 4, Mask: native(bits), Xor: native(0)},
		&expr.Cmp{Op: op, Register: Register, Data: native(0)},
	}
}

// MatchForeign matches where the source is no address of this host.
func MatchForeign() Rule {
	return Rule{
		&expr.Fib{Register: Register, ResultADDRTYPE: true, FlagSADDR: true},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: Register, Data: native(unix.RTN_LOCAL)},
	}
}

// MatchMark matches a packet's mark.
func MatchMark(mark uint32) Rule {
	return Rule{&expr.Meta{Key: expr.MetaKeyMARK, Register: Register}, Equal(native(mark))}
}

// MatchConnectionMark matches a connection's mark.
func MatchConnectionMark(mark uint32) Rule {
	return Rule{&expr.Ct{Key: expr.CtKeyMARK, Register: Register}, Equal(native(mark))}
}

// SetMark marks the packet.
func SetMark(mark uint32) Rule {
	return Rule{
		&expr.Immediate{Register: Register, Data: native(mark)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: Register},
	}
}

// SetConnectionMark marks the connection.
func SetConnectionMark(mark uint32) Rule {
	return Rule{
		&expr.Immediate{Register: Register, Data: native(mark)},
		&expr.Ct{Key: expr.CtKeyMARK, SourceRegister: true, Register: Register},
	}
}

// ClampMSS makes a TCP connection's segments fit the route that its packets
// take.
func ClampMSS() Rule {
	const (
		flags    = 13 // of the TCP header
		syn, rst = 0x02, 0x04
		maxSeg   = 2 // the option's kind, and the offset of its value
	)
	return Concat(MatchProtocol(unix.IPPROTO_TCP), Rule{
		Load(flags, 1),
		&expr.Bitwise{SourceRegister: Register, DestRegister: Register, Len: 1, Mask: []byte{syn | rst}, Xor: []byte{0}},
		Equal([]byte{syn}),
		&expr.Rt{Register: Register, Key: expr.RtTCPMSS},
		&expr.Byteorder{SourceRegister: Register, DestRegister: Register, Op: expr.ByteorderHton, Len: 2, Size: 2},
		&expr.Exthdr{SourceRegister: Register, Type: maxSeg, Offset: maxSeg, Len: 2, Op: expr.ExthdrOpTcpopt},
	})
}

// Masquerade gives packets the address of the link that they leave by.
func Masquerade() expr.Any { return &expr.Masq{} }

// Drop drops.
func Drop() expr.Any { return &expr.Verdict{Kind: expr.VerdictDrop} }

func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
