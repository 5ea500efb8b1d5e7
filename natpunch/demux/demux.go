package demux

import "encoding/binary"

// Kind is the protocol that a datagram belongs to. The zero Kind is Unknown.
type Kind uint8

// The protocols that share a node's port.
const (
	Unknown Kind = iota
	WireGuard
	STUN
	DHT
	CredAnt
)

// String returns the protocol's name as people write it.
func (k Kind) String() string {
	switch k {
	case WireGuard:
		return "WireGuard"
	case STUN:
		return "STUN"
	case DHT:
		return "DHT"
	case CredAnt:
		return "CredAnt"
	default:
		return "unknown"
	}
}

const (
	stunCookie     = 0x2112a442 // RFC 8489, Section 5
	stunHeaderSize = 20
	// shortestWireGuard is a keepalive: a data message's header and tag.
	shortestWireGuard = 32
)

// Classify says which protocol b belongs to. It looks at the first bytes (and,
// for bencode, the last one); whether the rest is well formed is for the
// protocol's own parser.
func Classify(b []byte) Kind {
	if len(b) == 0 {
		return Unknown
	}
	switch first := b[0]; {
	case isWireGuard(b):
		if len(b) < shortestWireGuard {
			return Unknown // the kernel would take it and drop it: so do we
		}
		return WireGuard
	case first < 0x40 && isSTUN(b):
		return STUN
	case first == 'd' && len(b) > 1 && b[len(b)-1] == 'e':
		return DHT
	case first&0xf0 == 0xa0:
		return CredAnt
	default:
		return Unknown
	}
}

func isWireGuard(b []byte) bool {
	return len(b) >= 4 && b[0] >= 1 && b[0] <= 4 && b[1] == 0 && b[2] == 0 && b[3] == 0
}

func isSTUN(b []byte) bool {
	return len(b) >= stunHeaderSize && binary.BigEndian.Uint32(b[4:8]) == stunCookie
}
