package keys

import (
	"encoding/binary"
	"net/netip"
)

// Prefix6 is the network's unique local /48 (RFC 4193): its 40 bits of global
// id come from the network key, so that members need not agree on them.
func (k NetworkKey) Prefix6() netip.Prefix {
	var a [16]byte
	a[0] = 0xfd
	copy(a[1:6], expand(k.key[:], usePrefix6, nil, 5))
	return netip.PrefixFrom(netip.AddrFrom16(a), 48)
}

// Prefix4 is the network's IPv4 prefix unless members claim another:
// 10.H.0.0/16, H being the first byte of a stream from the network key that is
// not one of the ranges most hosts already have.
func (k NetworkKey) Prefix4() netip.Prefix {
	stream := expand(k.key[:], usePrefix4, nil, 32)
	h := stream[0]
	for _, b := range stream {
		if !crowded(b) {
			h = b
			break
		}
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, h, 0, 0}), 16)
}

// crowded reports whether 10.h.0.0/16 is some product's default: a host that
// has it would be left without overlay IPv4.
func crowded(h byte) bool {
	switch {
	case h <= 1, h == 10: // home routers, offices, cloud networks
		return true
	case h == 42 || h == 43: // k3s: pods, services
		return true
	case h == 88 || h == 89: // podman
		return true
	case h >= 96 && h <= 111: // kubeadm services, 10.96.0.0/12
		return true
	case h == 244: // flannel and kind: pods
		return true
	}
	return false
}

// Address6 is the node's IPv6 address in the network's /48: its 80 host bits
// are the node's id, so it needs no agreement and cannot be taken. It is the
// zero Addr where p is no IPv6 /48.
func Address6(p netip.Prefix, n NodePublic) netip.Addr {
	if !p.Addr().Is6() || p.Bits() != 48 {
		return netip.Addr{}
	}
	a := p.Addr().As16()
	id := n.idBits()
	copy(a[6:], id[:])
	return netip.AddrFrom16(a)
}

// Choosable6 reports whether a node may choose a in the network's /48: one with
// two groups of zeros in a row after the prefix, which people write as "::".
// Of the addresses that come from keys one in a thousand million is such, so
// that nobody can claim another's, known or not.
func Choosable6(p netip.Prefix, a netip.Addr) bool {
	if !p.Addr().Is6() || p.Bits() != 48 || !p.Contains(a) || a.Zone() != "" || a == p.Masked().Addr() {
		return false
	}
	b := a.As16()
	for i := 6; i <= 12; i += 2 {
		if binary.BigEndian.Uint32(b[i:]) == 0 {
			return true
		}
	}
	return false
}

// Hosts4 is the number of addresses that Address4 gives out in p: all but the
// network's, the broadcast address, and those that end in .0 or .255 (some
// hosts still refuse to talk to these). It is 0 where p is not IPv4 or is
// longer than a /30.
func Hosts4(p netip.Prefix) int {
	switch {
	case !p.IsValid() || !p.Addr().Is4() || p.Bits() > 30:
		return 0
	case p.Bits() > 24:
		return 1<<(32-p.Bits()) - 2
	}
	return 254 << (24 - p.Bits())
}

// Address4 is the node's IPv4 address in p after so many occupied ones: probe 0
// is hashed from the node key, each further probe is the next usable address,
// and Hosts4(p) probes walk all of them. It is the zero Addr where p has none.
func Address4(p netip.Prefix, n NodePublic, probe int) netip.Addr {
	hosts := uint64(Hosts4(p))
	if hosts == 0 || probe < 0 {
		return netip.Addr{}
	}
	sum := hash(useAddress4, n[:])
	i := (binary.BigEndian.Uint64(sum[:])%hosts + uint64(probe)%hosts) % hosts

	offset := i + 1
	if p.Bits() <= 24 {
		offset = i/254<<8 + i%254 + 1
	}
	network := p.Masked().Addr().As4()
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(network[:])+uint32(offset))
	return netip.AddrFrom4(a)
}
