package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire/codec"
)

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
	body := s.requestBody(codec.Encode(r.encode()), cookie, port, by, r.Refresh == nil)
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
	return codec.Encode(c)
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
	body, err := codec.Open(b, requestHeadSize, &s.request)
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
	if err := decoder.Decode(body, &c); err != nil {
		return Request{}, err
	}
	var content contentCBOR
	if err := decoder.Decode(c.Content, &content); err != nil {
		return Request{}, err
	}
	r := content.decode()
	if err := r.check(); err != nil {
		return Request{Number: r.Number}, err
	}
	var none codec.Bytes64
	switch {
	case r.Refresh == nil && (c.Member == none || c.Node == none):
		return Request{Number: r.Number}, fmt.Errorf("signature: %w", ErrMissing)
	case r.Refresh != nil && (c.Member != none || c.Node != none):
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
