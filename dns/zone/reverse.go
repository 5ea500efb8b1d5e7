package zone

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// maxReverse bounds the reverse zones of a table. One prefix has at most 128 of them.
const maxReverse = 1024

// A reverseZone is one zone below in-addr.arpa or ip6.arpa, and what it covers.
type reverseZone struct {
	name   string // with a dot at its end
	prefix netip.Prefix
}

// ReverseZones names the zones, without dots at their ends, that together cover the prefixes and nothing besides.
// Zones are cut at octets (IPv4) and nibbles (IPv6), so a prefix that ends between two takes several: a /20 takes
// sixteen of /24, and a /26 takes one for each of its addresses.
func ReverseZones(prefixes []netip.Prefix) []string {
	var names []string
	for _, z := range reverseZones(prefixes) {
		names = append(names, strings.TrimSuffix(z.name, "."))
	}
	return names
}

func (t *Table) addReverse(prefixes []netip.Prefix) { t.reverse = reverseZones(prefixes) }

func reverseZones(prefixes []netip.Prefix) []reverseZone {
	var zones []reverseZone
	for _, p := range prefixes {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		// The whole of in-addr.arpa is nobody's.
		if !p.IsValid() || p.Bits() == 0 {
			continue
		}
		step := 8
		if p.Addr().Is6() {
			step = 4
		}
		bits := (p.Bits() + step - 1) / step * step
		for addr := p.Masked().Addr(); p.Contains(addr) && len(zones) < maxReverse; {
			cut := netip.PrefixFrom(addr, bits)
			if !slices.ContainsFunc(zones, func(z reverseZone) bool { return z.prefix.Overlaps(cut) }) {
				zones = append(zones, reverseZone{name: reverseName(cut), prefix: cut})
			}
			next, ok := addToBits(addr, bits)
			if !ok {
				break
			}
			addr = next
		}
	}
	return zones
}

// addToBits adds one to the first bits of an address; not ok when that overflows.
func addToBits(addr netip.Addr, bits int) (netip.Addr, bool) {
	b := addr.AsSlice()
	i, add := (bits-1)/8, byte(1)<<(7-(bits-1)%8)
	for ; i >= 0; i-- {
		b[i] += add
		if b[i] >= add {
			sum, _ := netip.AddrFromSlice(b)
			return sum, true
		}
		add = 1
	}
	return netip.Addr{}, false
}

// reverseName is the name of a prefix that ends at an octet or a nibble.
func reverseName(p netip.Prefix) string {
	var labels []string
	b := p.Addr().AsSlice()
	if p.Addr().Is4() {
		for _, octet := range b[:p.Bits()/8] {
			labels = append(labels, strconv.Itoa(int(octet)))
		}
		slices.Reverse(labels)
		return strings.Join(append(labels, "in-addr", "arpa", ""), ".")
	}
	const hex = "0123456789abcdef"
	for i := range p.Bits() / 4 {
		nibble := b[i/2] >> 4
		if i%2 == 1 {
			nibble = b[i/2] & 15
		}
		labels = append(labels, hex[nibble:nibble+1])
	}
	slices.Reverse(labels)
	return strings.Join(append(labels, "ip6", "arpa", ""), ".")
}

// parseReverse reads a lower-case reverse name as the prefix that it stands for. It stops at the first label that
// cannot be part of an address; whole tells that there was none.
func parseReverse(labels []string) (p netip.Prefix, whole, ok bool) {
	if len(labels) < 2 || labels[len(labels)-1] != "arpa" {
		return p, false, false
	}
	var b [16]byte
	tree, labels := labels[len(labels)-2], labels[:len(labels)-2]
	n := 0
	switch tree {
	case "in-addr":
		for ; n < min(len(labels), 4); n++ {
			label := labels[len(labels)-1-n]
			octet, err := strconv.ParseUint(label, 10, 8)
			if err != nil || len(label) > 1 && label[0] == '0' || label[0] == '+' {
				break
			}
			b[n] = byte(octet)
		}
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(b[:4])), 8*n), n == len(labels), true
	case "ip6":
		for ; n < min(len(labels), 32); n++ {
			label := labels[len(labels)-1-n]
			nibble, err := strconv.ParseUint(label, 16, 4)
			if err != nil || len(label) > 1 {
				break
			}
			b[n/2] |= byte(nibble) << (4 * (1 - n%2))
		}
		return netip.PrefixFrom(netip.AddrFrom16(b), 4*n), n == len(labels), true
	}
	return p, false, false
}

// Covers tells whether one of the reverse zones has the address: it is in the overlay.
func (t *Table) Covers(addr netip.Addr) bool {
	return slices.ContainsFunc(t.reverse, func(z reverseZone) bool { return z.prefix.Contains(addr) })
}
