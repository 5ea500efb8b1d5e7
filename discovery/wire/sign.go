package wire

import (
	"fmt"
	"net/netip"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire/codec"
)

// What a node key signs begins with one of these, so that no signature serves
// two uses.
const (
	signRecord = "credant/1/sign-record"
	signHello  = "credant/1/sign-hello"
)

const (
	// MaxSigned is the longest encoded SignedRecord: what fits RecordSize, and
	// leaves a hello room for the exchange.
	MaxSigned = RecordSize - Overhead
	// signedOverhead is the map, its two keys, the heads of the two byte
	// strings and the signature.
	signedOverhead = 1 + 1 + 3 + 1 + 2 + 64
	// MaxPayload is the longest encoded Record.
	MaxPayload = MaxSigned - signedOverhead
)

// SignedRecord is a record as its node signed it, byte for byte: fields that
// this program does not know survive when it passes the record on.
type SignedRecord struct {
	Payload   []byte
	Signature [64]byte
}

type signedCBOR struct {
	Payload   codec.Blob    `cbor:"1,keyasint"`
	Signature codec.Bytes64 `cbor:"2,keyasint"`
}

// A TooLargeError says that a record does not fit, and what to leave out.
type TooLargeError struct {
	Size, Max int
	Largest   string // the list that takes most: "candidates"
	Bytes     int    // what it takes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("record is %d bytes, at most %d fit: drop some of the %s (%d bytes)", e.Size, e.Max, e.Largest, e.Bytes)
}

// Unwrap makes a TooLargeError an ErrSize.
func (e *TooLargeError) Unwrap() error { return ErrSize }

// Sign encodes and signs a record. It refuses what Verify would refuse; a
// record that is too large is a *TooLargeError.
func Sign(r Record, k keys.NodePrivate) (SignedRecord, error) {
	r.Node = k.Public()
	payload := r.encode()
	if len(payload) > MaxPayload {
		return SignedRecord{}, fmt.Errorf("sign record: %w", tooLarge(r, len(payload)))
	}
	if err := r.check(); err != nil {
		return SignedRecord{}, fmt.Errorf("sign record: %w", err)
	}
	return SignedRecord{payload, k.Sign(append([]byte(signRecord), payload...))}, nil
}

// tooLarge finds the list without which the record shrinks most.
func tooLarge(r Record, size int) *TooLargeError {
	e := &TooLargeError{Size: size, Max: MaxPayload}
	for _, list := range []struct {
		name string
		drop func(*Record)
	}{
		{"candidates", func(r *Record) { r.Candidates = nil }},
		{"routes", func(r *Record) { r.Routes = nil }},
		{"relays", func(r *Record) { r.Relays = nil }},
		{"capabilities", func(r *Record) { r.Capabilities = nil }},
		{"aliases", func(r *Record) { r.Aliases = nil }},
		{"addresses", func(r *Record) { r.Addresses = nil }},
		{"name", func(r *Record) { r.Name = "" }},
	} {
		without := r
		list.drop(&without)
		if n := size - len(without.encode()); n > e.Bytes {
			e.Largest, e.Bytes = list.name, n
		}
	}
	return e
}

// Verify returns what the record says, once its signature holds, its values
// are within bounds and its IPv6 addresses in prefix6 are its own to claim. Candidates of
// types that this program does not know are left out.
func (s SignedRecord) Verify(prefix6 netip.Prefix) (Record, error) {
	if len(s.Payload) > MaxPayload {
		return Record{}, fmt.Errorf("verify record of %d bytes: %w", len(s.Payload), ErrSize)
	}
	r, err := decodeRecord(s.Payload)
	if err != nil {
		return Record{}, fmt.Errorf("verify record: %w", err)
	}
	if err := r.check(); err != nil {
		return Record{}, fmt.Errorf("verify record: %w", err)
	}
	if err := r.checkAddress6(prefix6); err != nil {
		return Record{}, fmt.Errorf("verify record: %w", err)
	}
	// Last, because it costs most.
	if !r.Node.Verify(append([]byte(signRecord), s.Payload...), s.Signature) {
		return Record{}, fmt.Errorf("verify record of %s: %w", r.Node.ID(), ErrSignature)
	}
	r.dropUnknown()
	return r, nil
}

// Claim returns whose record s says that it is, and its number. Nothing of it
// is verified.
func (s SignedRecord) Claim() (keys.NodePublic, uint64, error) {
	r, err := decodeRecord(s.Payload)
	if err != nil {
		return keys.NodePublic{}, 0, fmt.Errorf("read record: %w", err)
	}
	return r.Node, r.Seq, nil
}

// IsZero reports whether s is no record.
func (s SignedRecord) IsZero() bool { return len(s.Payload) == 0 }

// Marshal encodes the signed record.
func (s SignedRecord) Marshal() []byte { return codec.Encode(s.encode()) }

func (s SignedRecord) encode() signedCBOR { return signedCBOR{s.Payload, s.Signature} }

func (c signedCBOR) decode() (SignedRecord, error) {
	s := SignedRecord{c.Payload, c.Signature}
	switch {
	case len(s.Payload) == 0:
		return SignedRecord{}, fmt.Errorf("record payload: %w", ErrMissing)
	case len(s.Payload) > MaxPayload:
		return SignedRecord{}, fmt.Errorf("record payload of %d bytes: %w", len(s.Payload), ErrSize)
	}
	return s, nil
}

// ParseSigned reads what Marshal wrote. Nothing of it is believed before
// Verify.
func ParseSigned(b []byte) (SignedRecord, error) {
	if len(b) > MaxSigned {
		return SignedRecord{}, fmt.Errorf("parse signed record of %d bytes: %w", len(b), ErrSize)
	}
	var c signedCBOR
	if err := decoder.Decode(b, &c); err != nil {
		return SignedRecord{}, fmt.Errorf("parse signed record: %w", err)
	}
	s, err := c.decode()
	if err != nil {
		return SignedRecord{}, fmt.Errorf("parse signed record: %w", err)
	}
	return s, nil
}

// AppendSealedRecord appends the record sealed for a place where outsiders can
// read it, RecordSize bytes, to b.
func AppendSealedRecord(b []byte, s SignedRecord, recordKey [32]byte) ([]byte, error) {
	sealed, err := Seal(KindRecord, recordKey, s.Marshal())
	if err != nil {
		return nil, err
	}
	return append(b, sealed...), nil
}

// OpenSealedRecord reads what AppendSealedRecord appended.
func OpenSealedRecord(b []byte, recordKey [32]byte) (SignedRecord, error) {
	body, err := Open(KindRecord, recordKey, b)
	if err != nil {
		return SignedRecord{}, err
	}
	return ParseSigned(body)
}
