package wire

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/credant/credant/discovery/keys"
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

// proof is what the two signatures of a request are over, and they.
type proof struct {
	message      []byte // all but the label, with two bytes for the port
	member, node [sigSize]byte
}

// Signer proves what a request says. Member signs with the network's id key.
type Signer struct {
	Network keys.NetworkID
	Member  func([]byte) [sigSize]byte
	Node    keys.NodePrivate
}

type requestCBOR struct {
	Content blob    `cbor:"1,keyasint"`
	Member  bytes64 `cbor:"2,keyasint,omitzero"`
	Node    bytes64 `cbor:"3,keyasint,omitzero"`
}

// contentCBOR is what is signed, as it stands, so that the signatures cover
// fields of later versions too.
type contentCBOR struct {
	Network  bytes32       `cbor:"1,keyasint,omitzero"`
	Node     bytes32       `cbor:"2,keyasint,omitzero"`
	Number   uint32        `cbor:"3,keyasint,omitempty"`
	Register *registerCBOR `cbor:"4,keyasint,omitempty"`
	Allocate *peersCBOR    `cbor:"5,keyasint,omitempty"`
	Bind     *peerCBOR     `cbor:"6,keyasint,omitempty"`
	Refresh  *refreshCBOR  `cbor:"7,keyasint,omitempty"`
	Release  *peersCBOR    `cbor:"8,keyasint,omitempty"`
	Leave    bool          `cbor:"9,keyasint,omitempty"`
}

type registerCBOR struct {
	Blob blob   `cbor:"1,keyasint,omitempty"`
	Have bytes8 `cbor:"2,keyasint,omitzero"`
}

type refreshCBOR struct {
	Have bytes8 `cbor:"2,keyasint,omitzero"`
}

type peersCBOR struct {
	Peers []bytes32 `cbor:"1,keyasint,omitempty"`
}

type peerCBOR struct {
	Peer bytes32 `cbor:"1,keyasint,omitzero"`
}

// SealRequest signs a request as by and seals it for the relay, to be sent to
// the port of the relay that the cookie came from. Network and Node are by's,
// whatever r says.
func (s *Session) SealRequest(cookie Cookie, port uint16, r Request, by Signer) ([]byte, error) {
	return s.sealRequest(newNonce(), cookie, port, r, by)
}

func (s *Session) sealRequest(nonce [nonceSize]byte, cookie Cookie, port uint16, r Request, by Signer) ([]byte, error) {
	r.Network, r.Node = by.Network, by.Node.Public()
	if r.Refresh != nil {
		r.Network, r.Node = keys.NetworkID{}, keys.NodePublic{}
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("seal request: %w", err)
	}
	body := s.requestBody(encode(r.encode()), cookie, port, by, r.Refresh == nil)
	b, err := seal(s.requestHead(cookie), &s.request, nonce, body)
	if err != nil {
		return nil, fmt.Errorf("seal request: %w", err)
	}
	return b, nil
}

func (s *Session) requestHead(cookie Cookie) []byte {
	b := appendHeader(make([]byte, 0, MaxFrame), KindRequest)
	b = append(b, cookie[:]...)
	return append(b, s.client[:]...)
}

func (s *Session) requestBody(content []byte, cookie Cookie, port uint16, by Signer, sign bool) []byte {
	c := requestCBOR{Content: content}
	if sign {
		m := s.signed(cookie, content)
		c.Member = by.Member(withLabel(signMember, m, port))
		c.Node = by.Node.Sign(withLabel(signNode, m, port))
	}
	return encode(c)
}

// signed is what both signatures of a request are over, but the label. Nothing
// signed for one relay, session, source, port or network fits another.
func (s *Session) signed(cookie Cookie, content []byte) []byte {
	m := make([]byte, 0, 2*keySize+cookieSize+portSize+len(content))
	m = append(m, s.server[:]...)
	m = append(m, cookie[:]...)
	m = append(m, s.client[:]...)
	m = append(m, 0, 0)
	return append(m, content...)
}

func withLabel(label string, message []byte, port uint16) []byte {
	b := append([]byte(label), message...)
	binary.BigEndian.PutUint16(b[len(label)+2*keySize+cookieSize:], port)
	return b
}

// RequestHeader returns what of a request is in the clear: the cookie, which is
// to be judged first, and the client's key, by which its session is found.
func RequestHeader(b []byte) (cookie Cookie, client [keySize]byte, err error) {
	if err := checkHeader(b, KindRequest, MinRequest, MaxFrame); err != nil {
		return Cookie{}, client, fmt.Errorf("open %w", err)
	}
	return Cookie(b[headerSize:]), [keySize]byte(b[headerSize+cookieSize:]), nil
}

// OpenRequest opens a request of the session's client. Nothing in it is proven
// before Verify, save that the client sent it. Where no operation is known the
// error is ErrKind and the Request has its number, so that it can be answered.
func (s *Session) OpenRequest(b []byte) (Request, error) {
	cookie, client, err := RequestHeader(b)
	if err != nil {
		return Request{}, err
	}
	if client != s.client {
		return Request{}, fmt.Errorf("open request: key of another session: %w", ErrSeal)
	}
	body, err := open(b, requestHeadSize, &s.request)
	if err != nil {
		return Request{}, fmt.Errorf("open request: %w", err)
	}
	r, err := s.parseRequest(cookie, body)
	if err != nil {
		return r, fmt.Errorf("open request: %w", err)
	}
	return r, nil
}

func (s *Session) parseRequest(cookie Cookie, body []byte) (Request, error) {
	var c requestCBOR
	if err := decode(body, &c); err != nil {
		return Request{}, err
	}
	var content contentCBOR
	if err := decode(c.Content, &content); err != nil {
		return Request{}, err
	}
	r := content.decode()
	if err := r.check(); err != nil {
		return Request{Number: r.Number}, err
	}
	signed := !c.Member.IsZero() && !c.Node.IsZero()
	switch {
	case r.Refresh == nil && !signed:
		return Request{Number: r.Number}, fmt.Errorf("signature: %w", ErrMissing)
	case r.Refresh != nil && (!c.Member.IsZero() || !c.Node.IsZero()):
		return Request{Number: r.Number}, fmt.Errorf("refresh has a signature: %w", ErrBound)
	}
	r.proof = proof{s.signed(cookie, c.Content), c.Member, c.Node}
	return r, nil
}

// Verify reports whether a member of r.Network and r.Node itself signed r for
// this relay, session, cookie and port, the one at which the request came in.
// It costs two Ed25519 verifications; a Refresh has no signatures and is as
// good as its session.
func (r Request) Verify(port uint16) error {
	if r.Refresh != nil {
		return nil
	}
	if r.proof.message == nil {
		return fmt.Errorf("verify request: %w", ErrMissing)
	}
	if !r.Network.Verify(withLabel(signMember, r.proof.message, port), r.proof.member) {
		return fmt.Errorf("verify request: not of a member: %w", ErrSignature)
	}
	if !r.Node.Verify(withLabel(signNode, r.proof.message, port), r.proof.node) {
		return fmt.Errorf("verify request of %s: %w", r.Node.ID(), ErrSignature)
	}
	return nil
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
		if p.IsZero() || p == r.Node || slices.Contains(peers[:i], p) {
			return fmt.Errorf("peer %s is none, twice or the node: %w", p.ID(), ErrBound)
		}
	}
	return nil
}

func (r Request) encode() contentCBOR {
	c := contentCBOR{Network: bytes32(r.Network), Node: bytes32(r.Node), Number: r.Number, Leave: r.Leave}
	switch {
	case r.Register != nil:
		c.Register = &registerCBOR{r.Register.Blob, bytes8(r.Register.Have)}
	case r.Allocate != nil:
		c.Allocate = &peersCBOR{toBytes(r.Allocate.Peers)}
	case r.Bind != nil:
		c.Bind = &peerCBOR{bytes32(r.Bind.Peer)}
	case r.Refresh != nil:
		c.Refresh = &refreshCBOR{bytes8(r.Refresh.Have)}
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

func toBytes(nodes []keys.NodePublic) []bytes32 {
	out := make([]bytes32, len(nodes))
	for i, n := range nodes {
		out[i] = bytes32(n)
	}
	return out
}

func toNodes(in []bytes32) []keys.NodePublic {
	out := make([]keys.NodePublic, len(in))
	for i, n := range in {
		out[i] = keys.NodePublic(n)
	}
	return out
}
