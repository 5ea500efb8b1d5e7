package natpunch

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/discovery/wire/codec"
)

// A check is the body of a wire.KindCheck envelope, sealed under the pair's key
// and padded to wire.CheckSize: a deterministic CBOR map (RFC 8949) of
//
//	1  type: 1 ping, 2 pong, 3 punch
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
//	8  in a ping: an offer to punch, a map of its own (sprayoffer.go)
//	16 true: prefers. To the controlling agent, from a node of several uplinks:
//	   this pair, of the selected one's kind, has been better for a while
//	17 true: opens. The sender of this ping, on the selected path, pings from its
//	   other uplinks too: the receiver is to ping its other addresses, once each,
//	   so that the filters before it let them in
//	18 true: sized. A ping that is padded further, to find out what the path
//	   carries; it says nothing else. Its pong is as short as any
//
// A punch is one of the many datagrams of an attempt that both sides agreed on. Its
// transaction id begins with the attempt's four bytes; a pong answers it.
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
	Prefers   bool
	Opens     bool
	Sized     bool
	Offer     offer
}

type checkType uint8

const (
	ping  checkType = 1
	pong  checkType = 2
	punch checkType = 3
)

// transactionID is random: only who got the ping knows it, so a pong proves that
// the ping arrived where it was sent.
type transactionID [12]byte

type checkCBOR struct {
	Type      checkType      `cbor:"1,keyasint"`
	Number    uint64         `cbor:"2,keyasint,omitempty"`
	ID        codec.Blob     `cbor:"3,keyasint"`
	Nominated bool           `cbor:"4,keyasint,omitempty"`
	Seeking   bool           `cbor:"5,keyasint,omitempty"`
	Observed  codec.AddrPort `cbor:"6,keyasint,omitzero"`
	Round     bool           `cbor:"7,keyasint,omitempty"`
	Offer     offerCBOR      `cbor:"8,keyasint,omitzero"`
	Prefers   bool           `cbor:"16,keyasint,omitempty"`
	Opens     bool           `cbor:"17,keyasint,omitempty"`
	Sized     bool           `cbor:"18,keyasint,omitempty"`
}

var errCheck = errors.New("not a check")

var checkDecoder = codec.NewDecoder(6)

// appendCheck encodes c onto b.
func appendCheck(b []byte, c check) []byte {
	return append(b, codec.Encode(checkCBOR{
		Type: c.Type, Number: c.Number, ID: c.ID[:], Nominated: c.Nominated, Seeking: c.Seeking,
		Observed: codec.NewAddrPort(c.Observed), Round: c.Round, Prefers: c.Prefers, Opens: c.Opens, Sized: c.Sized,
		Offer: offerCBOR(c.Offer),
	})...)
}

// parseCheck reads what appendCheck wrote.
func parseCheck(b []byte) (check, error) {
	var v checkCBOR
	if err := checkDecoder.Decode(b, &v); err != nil {
		return check{}, fmt.Errorf("parse check: %w: %w", errCheck, err)
	}
	c := check{
		Type: v.Type, Number: v.Number, Nominated: v.Nominated, Seeking: v.Seeking,
		Observed: v.Observed.AddrPort, Round: v.Round, Prefers: v.Prefers, Opens: v.Opens, Sized: v.Sized,
		Offer: offer(v.Offer),
	}
	if len(v.ID) != len(c.ID) {
		return check{}, fmt.Errorf("parse check: transaction id of %d bytes: %w", len(v.ID), errCheck)
	}
	copy(c.ID[:], v.ID)
	switch c.Type {
	case ping:
		if c.Number == 0 || c.Observed.IsValid() || c.Sized && (c.Nominated || c.Seeking || c.Round) {
			return check{}, fmt.Errorf("parse ping: %w", errCheck)
		}
	case punch:
		if c.Number != 0 || c.Observed.IsValid() {
			return check{}, fmt.Errorf("parse punch: %w", errCheck)
		}
	case pong:
		if c.Number != 0 || !c.Observed.IsValid() {
			return check{}, fmt.Errorf("parse pong: %w", errCheck)
		}
	default:
		return check{}, fmt.Errorf("parse check of type %d: %w", c.Type, errCheck)
	}
	return c, nil
}

// sealCheck makes the datagram.
func sealCheck(p *keys.Pair, c check) ([]byte, error) { return sealSized(p, c, wire.CheckSize) }

func sealSized(p *keys.Pair, c check, size int) ([]byte, error) {
	return wire.SealPair(wire.KindCheck, p, appendCheck(nil, c), size)
}
