package wire

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire/codec"
)

const (
	addrSize = 16
	portSize = 2

	// ChallengeSize is the size of a challenge, and so of an ask: before proof
	// nothing longer than what came goes out.
	ChallengeSize = headerSize + txSize + cookieSize + addrSize + portSize + 2*keySize + sigSize
	// AskSize is the size of an ask.
	AskSize = ChallengeSize
)

var zeros [ChallengeSize]byte

// AppendAsk appends an ask for a challenge to dst.
func AppendAsk(dst []byte, tx TransactionID) []byte {
	dst = appendHeader(dst, KindAsk)
	dst = append(dst, tx[:]...)
	return append(dst, zeros[:AskSize-headerSize-txSize]...)
}

// ParseAsk returns the transaction id of an ask.
func ParseAsk(b []byte) (TransactionID, error) {
	if err := checkHeader(b, KindAsk, AskSize, AskSize); err != nil {
		return TransactionID{}, fmt.Errorf("parse %w", err)
	}
	if !bytes.Equal(b[headerSize+txSize:], zeros[headerSize+txSize:]) {
		return TransactionID{}, fmt.Errorf("parse ask: padding is not zero: %w", ErrEncoding)
	}
	return TransactionID(b[headerSize:]), nil
}

// Exchange is the relay's half of the key exchange: an X25519 key, signed once
// by the relay's identity. It is safe for concurrent use.
type Exchange struct {
	redacted
	server  ServerPublic
	private *ecdh.PrivateKey
	// tail is what every challenge ends with, so that issuing one takes no
	// work on a curve.
	tail []byte
}

// NewExchange makes a new exchange key for a relay. Sessions end with the
// Exchange that they were made with.
func NewExchange(identity ServerPrivate) *Exchange {
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		panic("wire: " + err.Error()) // the reader never fails
	}
	return newExchange(identity, private)
}

func newExchange(identity ServerPrivate, private *ecdh.PrivateKey) *Exchange {
	x := &Exchange{server: identity.Public(), private: private}
	key := private.PublicKey().Bytes()
	sig := identity.sign(append([]byte(signChallenge), key...))
	x.tail = bytes.Join([][]byte{x.server[:], key, sig[:]}, nil)
	return x
}

// Server is the relay's identity.
func (x *Exchange) Server() ServerPublic { return x.server }

// Key is the public exchange key.
func (x *Exchange) Key() [keySize]byte { return [keySize]byte(x.tail[keySize:]) }

// AppendChallenge appends the answer to an ask to dst: ChallengeSize bytes.
// observed is where the ask came from.
func (x *Exchange) AppendChallenge(dst []byte, tx TransactionID, cookie Cookie, observed netip.AddrPort) []byte {
	dst = appendHeader(dst, KindChallenge)
	dst = append(dst, tx[:]...)
	dst = append(dst, cookie[:]...)
	addr := observed.Addr().As16()
	for i := range addr {
		addr[i] ^= tx[i]
	}
	dst = append(dst, addr[:]...)
	dst = binary.BigEndian.AppendUint16(dst, observed.Port()^binary.BigEndian.Uint16(tx[:]))
	return append(dst, x.tail...)
}

// Challenge is what a client learns of a relay by asking.
type Challenge struct {
	Cookie   Cookie
	Observed netip.AddrPort // where the relay saw the ask come from
	Server   ServerPublic
	Exchange [keySize]byte
}

// OpenChallenge reads the challenge to the ask with tx. Only the exchange key
// is the identity's word; cookie and observed address are whoever's who saw the
// ask. A zero want takes any relay.
func OpenChallenge(b []byte, tx TransactionID, want ServerPublic) (Challenge, error) {
	if err := checkHeader(b, KindChallenge, ChallengeSize, ChallengeSize); err != nil {
		return Challenge{}, fmt.Errorf("open %w", err)
	}
	b = b[headerSize:]
	if TransactionID(b) != tx {
		return Challenge{}, fmt.Errorf("open challenge: transaction id: %w", ErrMismatch)
	}
	b = b[txSize:]
	c := Challenge{Cookie: Cookie(b)}
	b = b[cookieSize:]
	addr := [addrSize]byte(b)
	for i := range addr {
		addr[i] ^= tx[i]
	}
	b = b[addrSize:]
	port := binary.BigEndian.Uint16(b) ^ binary.BigEndian.Uint16(tx[:])
	c.Observed = netip.AddrPortFrom(netip.AddrFrom16(addr).Unmap(), port)
	b = b[portSize:]
	c.Server, c.Exchange = ServerPublic(b), [keySize]byte(b[keySize:])
	sig := [sigSize]byte(b[2*keySize:])
	switch {
	case !want.IsZero() && c.Server != want:
		return Challenge{}, fmt.Errorf("open challenge of relay %v: %w", c.Server, ErrMismatch)
	case c.Server.IsZero():
		return Challenge{}, fmt.Errorf("open challenge: relay identity: %w", ErrMissing)
	case keys.SmallOrder(c.Server):
		return Challenge{}, fmt.Errorf("open challenge of relay %v: of small order: %w", c.Server, ErrBound)
	case c.Cookie.IsZero():
		return Challenge{}, fmt.Errorf("open challenge: cookie: %w", ErrMissing)
	case !codec.ValidEndpoint(c.Observed):
		return Challenge{}, fmt.Errorf("open challenge: observed address %v: %w", c.Observed, ErrBound)
	case !c.Server.verify(append([]byte(signChallenge), c.Exchange[:]...), sig):
		return Challenge{}, fmt.Errorf("open challenge of relay %v: %w", c.Server, ErrSignature)
	}
	return c, nil
}

// ChallengeID returns the transaction id of what may be a challenge, by which a
// client finds the ask that it answers.
func ChallengeID(b []byte) (TransactionID, error) {
	if err := checkHeader(b, KindChallenge, ChallengeSize, ChallengeSize); err != nil {
		return TransactionID{}, fmt.Errorf("open %w", err)
	}
	return TransactionID(b[headerSize:]), nil
}
