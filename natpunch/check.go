package natpunch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
	"github.com/fxamacker/cbor/v2"
)

// A check is the body of a wire.KindCheck envelope, sealed under the pair's key
// and padded to wire.CheckSize: a deterministic CBOR map (RFC 8949) of
//
//	1  type: 1 ping, 2 pong
//	2  number of the ping, counted up by its sender; absent in a pong
//	3  transaction id, 12 bytes; a pong repeats its ping's
//	4  true: nominated. In a ping, RFC 8445's USE-CANDIDATE; in a pong, the
//	   controlling agent's nomination has been followed
//	5  true: seeking. The sender has no path that it trusts
//	6  where the sender of a pong saw its ping come from: 4 or 16 bytes of
//	   address, 2 of port
//	7  true: round. The sender of this ping, whose path leads through a relay,
//	   checks all better pairs half a round trip later, and the receiver is
//	   to do so at once
//
// Unknown keys are passed over.
type check struct {
	Type      checkType
	Number    uint64
	ID        transactionID
	Nominated bool
	Seeking   bool
	Observed  netip.AddrPort
	Round     bool
}

type checkType uint8

const (
	ping checkType = 1
	pong checkType = 2
)

// transactionID is random: only who got the ping knows it, so a pong proves that
// the ping arrived where it was sent.
type transactionID [12]byte

type checkCBOR struct {
	Type      checkType       `cbor:"1,keyasint"`
	Number    uint64          `cbor:"2,keyasint,omitempty"`
	ID        cbor.ByteString `cbor:"3,keyasint"`
	Nominated bool            `cbor:"4,keyasint,omitempty"`
	Seeking   bool            `cbor:"5,keyasint,omitempty"`
	Observed  cbor.ByteString `cbor:"6,keyasint,omitempty"`
	Round     bool            `cbor:"7,keyasint,omitempty"`
}

var errCheck = errors.New("not a check")

var checkEncoding = func() cbor.EncMode {
	m, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic("natpunch: " + err.Error())
	}
	return m
}()

var checkDecoding = func() cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  6,
		MaxArrayElements: 32,
		MaxMapPairs:      32,
	}.DecMode()
	if err != nil {
		panic("natpunch: " + err.Error())
	}
	return m
}()

// appendCheck encodes c onto b.
func appendCheck(b []byte, c check) ([]byte, error) {
	v := checkCBOR{
		Type: c.Type, Number: c.Number, ID: cbor.ByteString(c.ID[:]),
		Nominated: c.Nominated, Seeking: c.Seeking, Round: c.Round,
	}
	if c.Observed.IsValid() {
		v.Observed = cbor.ByteString(binary.BigEndian.AppendUint16(c.Observed.Addr().AsSlice(), c.Observed.Port()))
	}
	body, err := checkEncoding.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode check: %w", err)
	}
	return append(b, body...), nil
}

// parseCheck reads what appendCheck wrote.
func parseCheck(b []byte) (check, error) {
	var v checkCBOR
	if err := checkDecoding.Unmarshal(b, &v); err != nil {
		return check{}, fmt.Errorf("parse check: %w: %w", errCheck, err)
	}
	c := check{Type: v.Type, Number: v.Number, Nominated: v.Nominated, Seeking: v.Seeking, Round: v.Round}
	if len(v.ID) != len(c.ID) {
		return check{}, fmt.Errorf("parse check: transaction id of %d bytes: %w", len(v.ID), errCheck)
	}
	copy(c.ID[:], v.ID)
	switch c.Type {
	case ping:
		if c.Number == 0 || v.Observed != "" {
			return check{}, fmt.Errorf("parse ping: %w", errCheck)
		}
	case pong:
		var ok bool
		if c.Observed, ok = parseObserved(v.Observed); !ok || c.Number != 0 {
			return check{}, fmt.Errorf("parse pong: %w", errCheck)
		}
	default:
		return check{}, fmt.Errorf("parse check of type %d: %w", c.Type, errCheck)
	}
	return c, nil
}

func parseObserved(s cbor.ByteString) (netip.AddrPort, bool) {
	n := len(s) - 2
	if n < 0 {
		return netip.AddrPort{}, false
	}
	a, ok := netip.AddrFromSlice([]byte(s[:n]))
	if !ok || a.Is4In6() {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16([]byte(s[n:]))), true
}

// sealCheck makes the datagram.
func sealCheck(p *keys.Pair, c check) ([]byte, error) {
	body, err := appendCheck(nil, c)
	if err != nil {
		return nil, err
	}
	return wire.SealPair(wire.KindCheck, p, body, 0)
}
