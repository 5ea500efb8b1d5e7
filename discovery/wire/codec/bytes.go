package codec

import (
	"bytes"
	"fmt"
)

var flat = NewDecoder(4) // the library's least

// parseBytes reads one CBOR byte string. The library would also take null, an
// array of numbers, or cut a longer string to fit.
func parseBytes(b []byte) ([]byte, error) {
	if len(b) == 0 || b[0]>>5 != 2 {
		return nil, fmt.Errorf("not a byte string: %w", ErrEncoding)
	}
	var s []byte
	err := flat.Decode(b, &s)
	return s, err
}

// Blob is a byte string of any length.
type Blob []byte

// UnmarshalCBOR implements cbor.Unmarshaler.
func (v *Blob) UnmarshalCBOR(b []byte) error {
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

// A byte string of exactly that length.
type (
	Bytes8  [8]byte
	Bytes16 [16]byte
	Bytes24 [24]byte
	Bytes32 [32]byte
	Bytes64 [64]byte
)

// MarshalCBOR implements cbor.Marshaler.
func (v Bytes8) MarshalCBOR() ([]byte, error) { return Encode(v[:]), nil }

// MarshalCBOR implements cbor.Marshaler.
func (v Bytes16) MarshalCBOR() ([]byte, error) { return Encode(v[:]), nil }

// MarshalCBOR implements cbor.Marshaler.
func (v Bytes24) MarshalCBOR() ([]byte, error) { return Encode(v[:]), nil }

// MarshalCBOR implements cbor.Marshaler.
func (v Bytes32) MarshalCBOR() ([]byte, error) { return Encode(v[:]), nil }

// MarshalCBOR implements cbor.Marshaler.
func (v Bytes64) MarshalCBOR() ([]byte, error) { return Encode(v[:]), nil }

// UnmarshalCBOR implements cbor.Unmarshaler.
func (v *Bytes8) UnmarshalCBOR(b []byte) error { return parseFixed(v[:], b) }

// UnmarshalCBOR implements cbor.Unmarshaler.
func (v *Bytes16) UnmarshalCBOR(b []byte) error { return parseFixed(v[:], b) }

// UnmarshalCBOR implements cbor.Unmarshaler.
func (v *Bytes24) UnmarshalCBOR(b []byte) error { return parseFixed(v[:], b) }

// UnmarshalCBOR implements cbor.Unmarshaler.
func (v *Bytes32) UnmarshalCBOR(b []byte) error { return parseFixed(v[:], b) }

// UnmarshalCBOR implements cbor.Unmarshaler.
func (v *Bytes64) UnmarshalCBOR(b []byte) error { return parseFixed(v[:], b) }
