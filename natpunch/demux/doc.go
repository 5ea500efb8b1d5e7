// Package demux tells apart what arrives on a node's one UDP port by its first
// bytes, as RFC 9443 does for protocols that share a port:
//
//	byte 0        then                          kind
//	0x01-0x04     three zero bytes              WireGuard (message type, reserved)
//	0x00-0x3f     0x2112a442 at offset 4        STUN (RFC 8489, Section 5)
//	'd' (0x64)    ends in 'e'                   DHT (a bencoded dictionary, BEP 5)
//	0xa0-0xaf     anything                      CredAnt (0xa0 | wire version)
//
// WireGuard comes first because the kernel decides so too: the side port's rule
// looks at the first four bytes and nothing else. A STUN header that begins like
// WireGuard (0x0100 with length 0) is a response to a method nobody has.
//
// Whatever fits nothing is Unknown and dropped by the caller, who counts it under
// a reason. The reasons that more than one room gives are named here, so that
// status adds up the same thing under the same words.
//
// The package does no I/O, allocates nothing and may be imported by any room.
package demux
