package wire

import (
	"fmt"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire/codec"
)

// Push is what a relay tells a client unasked. One without any of the events is
// a later version's, and no error.
type Push struct {
	Number uint32 // counts the pushes of a session up from 1

	Blob      *Blob
	Gone      *Gone
	PeerBound *PeerBound
	Leaving   *Leaving
}

// Blob is what another node of the network has registered.
type Blob struct {
	Node keys.NodePublic
	Data []byte
	Age  time.Duration // since it was registered; whole seconds
}

// Gone says that another node is no longer registered.
type Gone struct{ Node keys.NodePublic }

// PeerBound says that the other half of a pair has bound, or no longer is, and
// at which port.
type PeerBound struct {
	Peer  keys.NodePublic
	Port  uint16
	Bound bool
}

// Leaving says that the relay stops after Grace.
type Leaving struct{ Grace time.Duration }

type pushCBOR struct {
	Number    uint32         `cbor:"1,keyasint,omitempty"`
	Blob      *blobCBOR      `cbor:"2,keyasint,omitempty"`
	Gone      *peerCBOR      `cbor:"3,keyasint,omitempty"`
	PeerBound *peerBoundCBOR `cbor:"4,keyasint,omitempty"`
	Leaving   *leavingCBOR   `cbor:"5,keyasint,omitempty"`
}

type blobCBOR struct {
	Node codec.Bytes32 `cbor:"1,keyasint,omitzero"`
	Data codec.Blob    `cbor:"2,keyasint,omitempty"`
	Age  codec.Seconds `cbor:"3,keyasint,omitempty"`
}

type peerBoundCBOR struct {
	Peer  codec.Bytes32 `cbor:"1,keyasint,omitzero"`
	Port  uint16        `cbor:"2,keyasint,omitempty"`
	Bound bool          `cbor:"3,keyasint,omitempty"`
}

type leavingCBOR struct {
	Grace codec.Seconds `cbor:"1,keyasint,omitempty"`
}

// SealPush seals a push for the session's client.
func (s *Session) SealPush(p Push) ([]byte, error) { return s.sealPush(newNonce(), p) }

func (s *Session) sealPush(nonce [nonceSize]byte, p Push) ([]byte, error) {
	if p.events() != 1 {
		return nil, fmt.Errorf("seal push of %d events: %w", p.events(), ErrBound)
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("seal push: %w", err)
	}
	b, err := seal(s.responseHead(KindPush), &s.push, nonce, codec.Encode(p.encode()))
	if err != nil {
		return nil, fmt.Errorf("seal push: %w", err)
	}
	return b, nil
}

// OpenPush opens a push of the session's relay. It may be one that came before:
// its number tells.
func (s *Session) OpenPush(b []byte) (Push, error) {
	body, err := s.openTagged(b, KindPush, &s.push)
	if err != nil {
		return Push{}, err
	}
	p, err := parsePush(body)
	if err != nil {
		return Push{}, fmt.Errorf("open push: %w", err)
	}
	return p, nil
}

func parsePush(body []byte) (Push, error) {
	var c pushCBOR
	if err := decoder.Decode(body, &c); err != nil {
		return Push{}, err
	}
	p := c.decode()
	if err := p.check(); err != nil {
		return Push{}, err
	}
	return p, nil
}

func (p Push) events() int {
	n := 0
	for _, has := range []bool{p.Blob != nil, p.Gone != nil, p.PeerBound != nil, p.Leaving != nil} {
		if has {
			n++
		}
	}
	return n
}

func (p Push) check() error {
	switch {
	case p.Number == 0:
		return fmt.Errorf("number: %w", ErrMissing)
	case p.events() > 1:
		return fmt.Errorf("%d events: %w", p.events(), ErrBound)
	case p.Blob != nil && (len(p.Blob.Data) == 0 || len(p.Blob.Data) > MaxBlob):
		return fmt.Errorf("blob of %d bytes: %w", len(p.Blob.Data), ErrBound)
	case p.Blob != nil:
		return checkNode("blob's node", p.Blob.Node)
	case p.Gone != nil:
		return checkNode("gone node", p.Gone.Node)
	case p.PeerBound != nil && p.PeerBound.Port == 0:
		return fmt.Errorf("port: %w", ErrMissing)
	case p.PeerBound != nil:
		return checkNode("bound peer", p.PeerBound.Peer)
	}
	return nil
}

// checkNode refuses a node key that names nobody.
func checkNode(what string, key keys.NodePublic) error {
	switch {
	case key.IsZero():
		return fmt.Errorf("%s: %w", what, ErrMissing)
	case keys.SmallOrder(key):
		return fmt.Errorf("%s is of small order: %w", what, ErrBound)
	}
	return nil
}

func (p Push) encode() pushCBOR {
	c := pushCBOR{Number: p.Number}
	switch {
	case p.Blob != nil:
		c.Blob = &blobCBOR{codec.Bytes32(p.Blob.Node), p.Blob.Data, codec.NewSeconds(p.Blob.Age)}
	case p.Gone != nil:
		c.Gone = &peerCBOR{codec.Bytes32(p.Gone.Node)}
	case p.PeerBound != nil:
		c.PeerBound = &peerBoundCBOR{codec.Bytes32(p.PeerBound.Peer), p.PeerBound.Port, p.PeerBound.Bound}
	case p.Leaving != nil:
		c.Leaving = &leavingCBOR{codec.NewSeconds(p.Leaving.Grace)}
	}
	return c
}

func (c pushCBOR) decode() Push {
	p := Push{Number: c.Number}
	if c.Blob != nil {
		p.Blob = &Blob{keys.NodePublic(c.Blob.Node), c.Blob.Data, c.Blob.Age.Duration()}
	}
	if c.Gone != nil {
		p.Gone = &Gone{keys.NodePublic(c.Gone.Peer)}
	}
	if c.PeerBound != nil {
		p.PeerBound = &PeerBound{keys.NodePublic(c.PeerBound.Peer), c.PeerBound.Port, c.PeerBound.Bound}
	}
	if c.Leaving != nil {
		p.Leaving = &Leaving{c.Leaving.Grace.Duration()}
	}
	return p
}
