package netcheck

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"
)

// nat64Name has only the IPv4 addresses wellKnown, so whoever gives it an IPv6
// one made that up, and shows how (RFC 7050, Section 8.2).
const nat64Name = "ipv4only.arpa"

var wellKnown = []netip.Addr{netip.MustParseAddr("192.0.0.170"), netip.MustParseAddr("192.0.0.171")}

// findNAT64 returns the prefix under which this network reaches IPv4, or a zero
// one.
func findNAT64(ctx context.Context) netip.Prefix {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip6", nat64Name)
	if err != nil {
		return netip.Prefix{}
	}
	for _, a := range addrs[:min(len(addrs), 16)] {
		if p := nat64Prefix(a); p.IsValid() {
			return p
		}
	}
	return netip.Prefix{}
}

// nat64Prefix finds a well-known address in one of the places where RFC 6052,
// Section 2.2, puts it: bits 64 to 71 are left out.
func nat64Prefix(a netip.Addr) netip.Prefix {
	if !a.Is6() || a.Is4In6() {
		return netip.Prefix{}
	}
	b := a.As16()
	for _, bits := range []int{96, 64, 56, 48, 40, 32} {
		var v4 [4]byte
		at := bits / 8
		for i := range v4 {
			if at == 8 && bits != 96 {
				at++
			}
			v4[i] = b[at]
			at++
		}
		if slices.Contains(wellKnown, netip.AddrFrom4(v4)) {
			return netip.PrefixFrom(a, bits).Masked()
		}
	}
	return netip.Prefix{}
}
