package wire

import (
	"fmt"
	"slices"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire/codec"
)

const (
	requestHeadSize = headerSize + cookieSize + keySize
	// MinRequest is the size of the shortest request.
	MinRequest = requestHeadSize + nonceSize + tagSize + ladder

	// MaxBlob is the longest blob: a sealed record of discovery/wire. A
	// request has two signatures to carry besides.
	MaxBlob = 900
	// MaxPeers is how many peers one request names.
	MaxPeers = 16
)

// Request is what a client asks of a relay: exactly one of the operations.
type Request struct {
	// Network and Node are who asks. A Refresh has none: its session is known.
	Network keys.NetworkID
	Node    keys.NodePublic
	// Number counts the requests of a session up from 1. It is the
	// transaction id of the response, and what tells a replay.
	Number uint32

	Register *Register
	Allocate *Allocate
	Bind     *Bind
	Refresh  *Refresh
	Release  *Release
	Leave    bool // forget this node: registration and allocations

	proof proof
}

// Register leaves a blob for the other nodes of the network, instead of the one
// before. Relays cannot read it.
type Register struct {
	Blob []byte // 1 to MaxBlob bytes
	Have Have
}

// Allocate asks for a relay port for each pair of the node and a peer; where
// there is one already, it is that one.
type Allocate struct{ Peers []keys.NodePublic }

// Bind, sent to the allocated port, tells the relay where this half of the pair
// is.
type Bind struct{ Peer keys.NodePublic }

// Refresh keeps the registration and the session.
type Refresh struct{ Have Have }

// Release gives allocations back.
type Release struct{ Peers []keys.NodePublic }

type requestCBOR struct {
	Content codec.Blob    `cbor:"1,keyasint"`
	Member  codec.Bytes64 `cbor:"2,keyasint,omitzero"`
	Node    codec.Bytes64 `cbor:"3,keyasint,omitzero"`
}

// contentCBOR is what is signed, as it stands, so that the signatures cover
// fields of later versions too.
type contentCBOR struct {
	Network  codec.Bytes32 `cbor:"1,keyasint,omitzero"`
	Node     codec.Bytes32 `cbor:"2,keyasint,omitzero"`
	Number   uint32        `cbor:"3,keyasint,omitempty"`
	Register *registerCBOR `cbor:"4,keyasint,omitempty"`
	Allocate *peersCBOR    `cbor:"5,keyasint,omitempty"`
	Bind     *peerCBOR     `cbor:"6,keyasint,omitempty"`
	Refresh  *refreshCBOR  `cbor:"7,keyasint,omitempty"`
	Release  *peersCBOR    `cbor:"8,keyasint,omitempty"`
	Leave    bool          `cbor:"9,keyasint,omitempty"`
}

type registerCBOR struct {
	Blob codec.Blob   `cbor:"1,keyasint,omitempty"`
	Have codec.Bytes8 `cbor:"2,keyasint,omitzero"`
}

type refreshCBOR struct {
	Have codec.Bytes8 `cbor:"2,keyasint,omitzero"`
}

type peersCBOR struct {
	Peers []codec.Bytes32 `cbor:"1,keyasint,omitempty"`
}

type peerCBOR struct {
	Peer codec.Bytes32 `cbor:"1,keyasint,omitzero"`
}

// Operation names what r asks for.
func (r Request) Operation() string {
	switch {
	case r.Register != nil:
		return "register"
	case r.Allocate != nil:
		return "allocate"
	case r.Bind != nil:
		return "bind"
	case r.Refresh != nil:
		return "refresh"
	case r.Release != nil:
		return "release"
	case r.Leave:
		return "leave"
	}
	return "none"
}

func (r Request) check() error {
	n := 0
	for _, has := range []bool{r.Register != nil, r.Allocate != nil, r.Bind != nil, r.Refresh != nil, r.Release != nil, r.Leave} {
		if has {
			n++
		}
	}
	anonymous := r.Network.IsZero() && r.Node.IsZero()
	switch {
	case r.Number == 0:
		return fmt.Errorf("number: %w", ErrMissing)
	case n == 0:
		return fmt.Errorf("no known operation: %w", ErrKind)
	case n > 1:
		return fmt.Errorf("%d operations: %w", n, ErrBound)
	case r.Refresh != nil && !anonymous:
		return fmt.Errorf("refresh names a node: %w", ErrBound)
	case r.Refresh == nil && r.Network.IsZero():
		return fmt.Errorf("network id: %w", ErrMissing)
	case r.Refresh == nil && r.Node.IsZero():
		return fmt.Errorf("node key: %w", ErrMissing)
	case r.Refresh == nil && (keys.SmallOrder(r.Network) || keys.SmallOrder(r.Node)):
		return fmt.Errorf("network id or node key of small order: %w", ErrBound)
	case r.Register != nil && (len(r.Register.Blob) == 0 || len(r.Register.Blob) > MaxBlob):
		return fmt.Errorf("blob of %d bytes: %w", len(r.Register.Blob), ErrBound)
	case r.Allocate != nil:
		return r.checkPeers(r.Allocate.Peers)
	case r.Release != nil:
		return r.checkPeers(r.Release.Peers)
	case r.Bind != nil:
		return r.checkPeers([]keys.NodePublic{r.Bind.Peer})
	}
	return nil
}

func (r Request) checkPeers(peers []keys.NodePublic) error {
	if len(peers) == 0 || len(peers) > MaxPeers {
		return fmt.Errorf("%d peers: %w", len(peers), ErrBound)
	}
	for i, p := range peers {
		if keys.SmallOrder(p) || p == r.Node || slices.Contains(peers[:i], p) {
			return fmt.Errorf("peer %s is none, twice or the node: %w", p.ID(), ErrBound)
		}
	}
	return nil
}

func (r Request) encode() contentCBOR {
	c := contentCBOR{Network: codec.Bytes32(r.Network), Node: codec.Bytes32(r.Node), Number: r.Number, Leave: r.Leave}
	switch {
	case r.Register != nil:
		c.Register = &registerCBOR{r.Register.Blob, codec.Bytes8(r.Register.Have)}
	case r.Allocate != nil:
		c.Allocate = &peersCBOR{toBytes(r.Allocate.Peers)}
	case r.Bind != nil:
		c.Bind = &peerCBOR{codec.Bytes32(r.Bind.Peer)}
	case r.Refresh != nil:
		c.Refresh = &refreshCBOR{codec.Bytes8(r.Refresh.Have)}
	case r.Release != nil:
		c.Release = &peersCBOR{toBytes(r.Release.Peers)}
	}
	return c
}

func (c contentCBOR) decode() Request {
	r := Request{Network: keys.NetworkID(c.Network), Node: keys.NodePublic(c.Node), Number: c.Number, Leave: c.Leave}
	if c.Register != nil {
		r.Register = &Register{c.Register.Blob, Have(c.Register.Have)}
	}
	if c.Allocate != nil {
		r.Allocate = &Allocate{toNodes(c.Allocate.Peers)}
	}
	if c.Bind != nil {
		r.Bind = &Bind{keys.NodePublic(c.Bind.Peer)}
	}
	if c.Refresh != nil {
		r.Refresh = &Refresh{Have(c.Refresh.Have)}
	}
	if c.Release != nil {
		r.Release = &Release{toNodes(c.Release.Peers)}
	}
	return r
}

func toBytes(nodes []keys.NodePublic) []codec.Bytes32 {
	out := make([]codec.Bytes32, len(nodes))
	for i, n := range nodes {
		out[i] = codec.Bytes32(n)
	}
	return out
}

func toNodes(in []codec.Bytes32) []keys.NodePublic {
	out := make([]keys.NodePublic, len(in))
	for i, n := range in {
		out[i] = keys.NodePublic(n)
	}
	return out
}
