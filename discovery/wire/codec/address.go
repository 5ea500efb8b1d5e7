package codec

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// An Addr is 4 or 16 bytes; an AddrPort the same and two bytes of port; a Prefix
// the same and one byte of length. The zero value is not encoded.
type (
	Addr     struct{ netip.Addr }
	AddrPort struct{ netip.AddrPort }
	Prefix   struct{ netip.Prefix }
)

// NewAddr gives an address its one form; a zone means nothing on another host.
func NewAddr(a netip.Addr) Addr { return Addr{a.Unmap().WithZone("")} }

// NewAddrPort does the same for the address in a. It is zero where a is not
// valid.
func NewAddrPort(a netip.AddrPort) AddrPort {
	if !a.IsValid() {
		return AddrPort{}
	}
	return AddrPort{netip.AddrPortFrom(NewAddr(a.Addr()).Addr, a.Port())}
}

// IsZero reports whether v is no address.
func (v Addr) IsZero() bool { return !v.IsValid() }

// IsZero reports whether v is no address.
func (v AddrPort) IsZero() bool { return !v.IsValid() }

// IsZero reports whether v is no prefix.
func (v Prefix) IsZero() bool { return !v.IsValid() }

// MarshalCBOR implements cbor.Marshaler.
func (v Addr) MarshalCBOR() ([]byte, error) { return Encode(v.AsSlice()), nil }

// MarshalCBOR implements cbor.Marshaler.
func (v AddrPort) MarshalCBOR() ([]byte, error) {
	return Encode(binary.BigEndian.AppendUint16(v.Addr().AsSlice(), v.Port())), nil
}

// MarshalCBOR implements cbor.Marshaler.
func (v Prefix) MarshalCBOR() ([]byte, error) {
	return Encode(append(v.Addr().AsSlice(), byte(v.Bits()))), nil
}

// UnmarshalCBOR implements cbor.Unmarshaler.
func (v *Addr) UnmarshalCBOR(b []byte) (err error) {
	v.Addr, _, err = parseAddr(b, 0)
	return err
}

// UnmarshalCBOR implements cbor.Unmarshaler.
func (v *AddrPort) UnmarshalCBOR(b []byte) error {
	a, port, err := parseAddr(b, 2)
	if err != nil {
		return err
	}
	v.AddrPort = netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
	return nil
}

// UnmarshalCBOR implements cbor.Unmarshaler.
func (v *Prefix) UnmarshalCBOR(b []byte) error {
	a, bits, err := parseAddr(b, 1)
	if err != nil {
		return err
	}
	p := netip.PrefixFrom(a, int(bits[0]))
	if !p.IsValid() || p != p.Masked() {
		return fmt.Errorf("prefix %v/%d: %w", a, bits[0], ErrEncoding)
	}
	v.Prefix = p
	return nil
}

// parseAddr reads a byte string of an address and n bytes that follow it.
func parseAddr(b []byte, n int) (a netip.Addr, rest []byte, err error) {
	s, err := parseBytes(b)
	if err != nil {
		return a, nil, err
	}
	cut := max(len(s)-n, 0)
	a, ok := netip.AddrFromSlice(s[:cut])
	if !ok || a.Is4In6() {
		return netip.Addr{}, nil, fmt.Errorf("address %x: %w", s, ErrEncoding)
	}
	return a, s[cut:], nil
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// ValidHost reports whether a is one host's address.
func ValidHost(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && a != broadcast
}

// ValidEndpoint reports whether a datagram could be sent there at all. Whether
// it should be is for the receiver to judge.
func ValidEndpoint(a netip.AddrPort) bool { return a.Port() != 0 && ValidHost(a.Addr()) }
