package discovery

import "net/netip"

// MinDHTPort keeps hellos away from well-known services: the DHT lets anyone
// name any address, and nobody runs WireGuard below it by CredAnt's choice.
const MinDHTPort = 1024

var (
	// sharedSpace is RFC 6598's: behind a carrier's NAT it means another host.
	sharedSpace = netip.MustParsePrefix("100.64.0.0/10")
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
	reserved4   = netip.MustParsePrefix("240.0.0.0/4")
	// global6 is all that IANA has given out for unicast.
	global6 = netip.MustParsePrefix("2000::/3")
)

// refuseHint says why no hello may go to addr on src's word, or "".
func refuseHint(src Source, addr netip.AddrPort) string {
	a := addr.Addr()
	switch {
	case !addr.IsValid() || addr.Port() == 0 || a.IsUnspecified():
		return dropInvalid
	case a.IsMulticast() || a.Is4() && (thisNetwork.Contains(a) || reserved4.Contains(a)):
		return dropNotUnicast
	case src != SourceDHT:
		return ""
	case addr.Port() < MinDHTPort:
		return dropLowPort
	case a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || sharedSpace.Contains(a):
		return dropNotGlobal
	case a.Is6() && !global6.Contains(a):
		return dropNotGlobal
	}
	return ""
}

// unmap brings an address into the one form that tables are keyed by.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
