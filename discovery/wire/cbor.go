package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// What a message may be made of. The limits are of the whole encoding, before
// any bound of a field applies.
const (
	maxNesting = 6
	maxItems   = 32 // of one array or map
)

// encoder writes core deterministic CBOR (RFC 8949, Section 4.2.1): one value
// has one encoding, so that vectors can be compared byte for byte.
var encoder = func() cbor.EncMode {
	m, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic("wire: " + err.Error())
	}
	return m
}()

// decoder refuses what no sender has a use for. Unknown keys are passed over:
// they are how later versions add fields.
var decoder = func() cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  maxNesting,
		MaxArrayElements: maxItems,
		MaxMapPairs:      maxItems,
	}.DecMode()
	if err != nil {
		panic("wire: " + err.Error())
	}
	return m
}()

func encode(v any) []byte {
	b, err := encoder.Marshal(v)
	if err != nil {
		panic("wire: encode: " + err.Error()) // the types are ours, so it is a defect
	}
	return b
}

func decode(b []byte, v any) error {
	err := decoder.Unmarshal(b, v)
	if err != nil && !errors.Is(err, ErrEncoding) {
		err = fmt.Errorf("%w: %w", ErrEncoding, err)
	}
	return err
}

// parseBytes reads one CBOR byte string. The library would also take null, an
// array of numbers, or cut a longer string to fit.
func parseBytes(b []byte) ([]byte, error) {
	if len(b) == 0 || b[0]>>5 != 2 {
		return nil, fmt.Errorf("not a byte string: %w", ErrEncoding)
	}
	var s []byte
	err := decoder.Unmarshal(b, &s)
	return s, err
}

// blob is a byte string of any length.
type blob []byte

func (v *blob) UnmarshalCBOR(b []byte) error {
	s, err := parseBytes(b)
	*v = bytes.Clone(s)
	return err
}

func parseFixed(dst, b []byte) error {
	s, err := parseBytes(b)
	if err == nil && len(s) != len(dst) {
		err = fmt.Errorf("byte string of %d, want %d: %w", len(s), len(dst), ErrEncoding)
	}
	copy(dst, s)
	return err
}

// bytes16, bytes32 and bytes64 are byte strings of exactly that length.
type (
	bytes16 [16]byte
	bytes32 [32]byte
	bytes64 [64]byte
)

func (v bytes16) MarshalCBOR() ([]byte, error) { return encode(v[:]), nil }
func (v bytes32) MarshalCBOR() ([]byte, error) { return encode(v[:]), nil }
func (v bytes64) MarshalCBOR() ([]byte, error) { return encode(v[:]), nil }

func (v *bytes16) UnmarshalCBOR(b []byte) error { return parseFixed(v[:], b) }
func (v *bytes32) UnmarshalCBOR(b []byte) error { return parseFixed(v[:], b) }
func (v *bytes64) UnmarshalCBOR(b []byte) error { return parseFixed(v[:], b) }

func (v bytes16) IsZero() bool { return v == bytes16{} }
func (v bytes32) IsZero() bool { return v == bytes32{} }
func (v bytes64) IsZero() bool { return v == bytes64{} }

// addr is 4 or 16 bytes; addrPort is the same and two bytes of port; prefix is
// the same and one byte of length. The zero value is not encoded.
type (
	addr     struct{ netip.Addr }
	addrPort struct{ netip.AddrPort }
	prefix   struct{ netip.Prefix }
)

// A zone means nothing on another host, and an address has one form.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func newAddrPort(a netip.AddrPort) addrPort {
	if !a.IsValid() {
		return addrPort{}
	}
	return addrPort{netip.AddrPortFrom(plain(a.Addr()), a.Port())}
}

func (v addr) IsZero() bool     { return !v.IsValid() }
func (v addrPort) IsZero() bool { return !v.IsValid() }
func (v prefix) IsZero() bool   { return !v.IsValid() }

func (v addr) MarshalCBOR() ([]byte, error) { return encode(v.AsSlice()), nil }

func (v addrPort) MarshalCBOR() ([]byte, error) {
	return encode(binary.BigEndian.AppendUint16(v.Addr().AsSlice(), v.Port())), nil
}

func (v prefix) MarshalCBOR() ([]byte, error) {
	return encode(append(v.Addr().AsSlice(), byte(v.Bits()))), nil
}

func (v *addr) UnmarshalCBOR(b []byte) error {
	s, err := parseBytes(b)
	if err != nil {
		return err
	}
	v.Addr, err = parseAddr(s)
	return err
}

func (v *addrPort) UnmarshalCBOR(b []byte) error {
	s, err := parseBytes(b)
	if err != nil {
		return err
	}
	n := len(s) - 2
	if n < 0 {
		return fmt.Errorf("address and port of %d bytes: %w", len(s), ErrEncoding)
	}
	a, err := parseAddr(s[:n])
	if err != nil {
		return err
	}
	v.AddrPort = netip.AddrPortFrom(a, binary.BigEndian.Uint16(s[n:]))
	return nil
}

func (v *prefix) UnmarshalCBOR(b []byte) error {
	s, err := parseBytes(b)
	if err != nil {
		return err
	}
	n := len(s) - 1
	if n < 0 {
		return fmt.Errorf("empty prefix: %w", ErrEncoding)
	}
	a, err := parseAddr(s[:n])
	if err != nil {
		return err
	}
	p := netip.PrefixFrom(a, int(s[n]))
	if !p.IsValid() || p != p.Masked() {
		return fmt.Errorf("prefix %v/%d: %w", a, s[n], ErrEncoding)
	}
	v.Prefix = p
	return nil
}

func parseAddr(s []byte) (netip.Addr, error) {
	a, ok := netip.AddrFromSlice(s)
	if !ok || a.Is4In6() {
		return netip.Addr{}, fmt.Errorf("address %x: %w", s, ErrEncoding)
	}
	return a, nil
}

// seconds is a duration in whole seconds, rounded up: an age only grows.
type seconds uint32

const longest = time.Duration(1<<32-1) * time.Second

func newSeconds(d time.Duration) seconds {
	d = min(max(d, 0), longest)
	return seconds((d + time.Second - 1) / time.Second)
}

func (s seconds) duration() time.Duration { return time.Duration(s) * time.Second }
