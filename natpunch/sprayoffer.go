package natpunch

import (
	"fmt"

	"github.com/credant/credant/discovery/wire/codec"
)

// offer is what two sides say to each other to agree on punching. It travels in a
// ping through a relay, or as a Tell. The side that asks is the dependent one, or
// the controlling one where both are.
type offer struct {
	Kind    punchKind
	Phase   punchPhase
	Attempt uint32 // random, never zero: zero is no offer
	// What the sender knows of its own mappings: the distance between two, the
	// port that one may have next, and the block that they come from; or zero.
	Step            int16
	Next, Low, High uint16
}

// punchKind is a way to punch.
type punchKind uint8

const (
	// predicting: the other side checks the ports that the mapping of the
	// dependent side's own port may have.
	predicting punchKind = iota + 1
	// manyPorts: from many ports to one, and from one to many.
	manyPorts
	// matching: both sides are dependent and sequential; the n-th datagram of one
	// goes where the n-th of the other should come from.
	matching
)

// punchPhase is what an offer says.
type punchPhase uint8

const (
	phaseAsked   punchPhase = iota + 1 // will you?
	phaseAgreed                        // yes
	phaseReady                         // my mappings are there: your turn
	phaseStarted                       // heard that
	phaseLater                         // busy with another peer
)

type offerCBOR struct {
	Kind    punchKind  `cbor:"1,keyasint,omitempty"`
	Phase   punchPhase `cbor:"2,keyasint,omitempty"`
	Attempt uint32     `cbor:"3,keyasint,omitempty"`
	Step    int16      `cbor:"4,keyasint,omitempty"`
	Next    uint16     `cbor:"5,keyasint,omitempty"`
	Low     uint16     `cbor:"6,keyasint,omitempty"`
	High    uint16     `cbor:"7,keyasint,omitempty"`
}

// maxOffer is longer than any offer.
const maxOffer = 64

var offerDecoder = codec.NewDecoder(6)

func parseOffer(b []byte) (offer, error) {
	var v offerCBOR
	if len(b) > maxOffer {
		return offer{}, fmt.Errorf("parse offer of %d bytes: %w", len(b), errCheck)
	}
	if err := offerDecoder.Decode(b, &v); err != nil {
		return offer{}, fmt.Errorf("parse offer: %w: %w", errCheck, err)
	}
	return offer(v), nil
}

func appendOffer(b []byte, o offer) []byte { return append(b, codec.Encode(offerCBOR(o))...) }
