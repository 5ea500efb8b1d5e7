package lan

import "net/netip"

// Where beacons go. The variable parts are bytes of SHA-256("credant/lan/1"), so
// that nobody else is likely to be there:
//
//	IPv4   239.255.a.b, bytes 0-1, in the IPv4 Local Scope (RFC 2365, Section 6.1)
//	IPv6   ff12::, bytes 2-5 with the top bit set (RFC 3307, Section 4.3): transient
//	       and link-local
//	port   20000 + bytes 6-7 mod 10000: no well-known port, and below the range of
//	       ephemeral ones
var (
	Group4 = netip.AddrFrom4([4]byte{239, 255, 138, 26})
	Group6 = netip.MustParseAddr("ff12::84c3:b253")
)

// Port is the UDP port of the groups. Several programs on one host share it.
const Port = 24323
