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

// What a body may be made of. The limits are of the whole encoding, before any
// bound of a field applies.
const (
	maxNesting = 5
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

// bytesN is a byte string of exactly N bytes.
type (
	bytes8  [8]byte
	bytes24 [24]byte
	bytes32 [32]byte
	bytes64 [64]byte
)

func (v bytes8) MarshalCBOR() ([]byte, error)  { return encode(v[:]), nil }
func (v bytes24) MarshalCBOR() ([]byte, error) { return encode(v[:]), nil }
func (v bytes32) MarshalCBOR() ([]byte, error) { return encode(v[:]), nil }
func (v bytes64) MarshalCBOR() ([]byte, error) { return encode(v[:]), nil }

func (v *bytes8) UnmarshalCBOR(b []byte) error  { return parseFixed(v[:], b) }
func (v *bytes24) UnmarshalCBOR(b []byte) error { return parseFixed(v[:], b) }
func (v *bytes32) UnmarshalCBOR(b []byte) error { return parseFixed(v[:], b) }
func (v *bytes64) UnmarshalCBOR(b []byte) error { return parseFixed(v[:], b) }

func (v bytes8) IsZero() bool  { return v == bytes8{} }
func (v bytes24) IsZero() bool { return v == bytes24{} }
func (v bytes32) IsZero() bool { return v == bytes32{} }
func (v bytes64) IsZero() bool { return v == bytes64{} }

// addrPort is 4 or 16 bytes of address and two of port.
type addrPort struct{ netip.AddrPort }

func newAddrPort(a netip.AddrPort) addrPort { return addrPort{plain(a)} }

// plain gives an address its one form; a zone means nothing on another host.
func plain(a netip.AddrPort) netip.AddrPort {
	if !a.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

func (v addrPort) IsZero() bool { return !v.IsValid() }

func (v addrPort) MarshalCBOR() ([]byte, error) {
	return encode(binary.BigEndian.AppendUint16(v.Addr().AsSlice(), v.Port())), nil
}

func (v *addrPort) UnmarshalCBOR(b []byte) error {
	s, err := parseBytes(b)
	if err != nil {
		return err
	}
	n := max(len(s)-2, 0)
	a, ok := netip.AddrFromSlice(s[:n])
	if !ok || a.Is4In6() {
		return fmt.Errorf("address and port %x: %w", s, ErrEncoding)
	}
	v.AddrPort = netip.AddrPortFrom(a, binary.BigEndian.Uint16(s[n:]))
	return nil
}

// validEndpoint reports whether a datagram could be sent there at all.
func validEndpoint(a netip.AddrPort) bool {
	ip := a.Addr()
	return a.IsValid() && a.Port() != 0 && !ip.IsUnspecified() && !ip.IsMulticast() && ip != broadcast
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// seconds is a duration in whole seconds, rounded up: an age only grows.
type seconds uint32

const longest = time.Duration(1<<32-1) * time.Second

func newSeconds(d time.Duration) seconds {
	d = min(max(d, 0), longest)
	return seconds((d + time.Second - 1) / time.Second)
}

func (s seconds) duration() time.Duration { return time.Duration(s) * time.Second }
