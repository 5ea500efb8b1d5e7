package wire

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/credant/credant/discovery/wire/codec"
)

const sigSize = 64

// What a relay's identity, a network's id key and a node key sign begins with
// one of these, so that no signature serves two uses.
const (
	signChallenge = "credant/1/relay-challenge"
	signMember    = "credant/1/relay-member"
	signNode      = "credant/1/relay-node"
)

// The uses of what two exchange keys agree on, one key a use and direction.
const (
	useRequest  = "credant/1/relay-request"
	useResponse = "credant/1/relay-response"
	usePush     = "credant/1/relay-push"
)

// Session is what a client's and a relay's exchange keys come to: a key for
// requests, one for responses and one for pushes. It keeps no count of anything
// and is safe for concurrent use.
type Session struct {
	redacted
	server                  ServerPublic
	exchange, client        [keySize]byte
	request, response, push [keySize]byte
}

// NewSession makes the client's half of a session with the relay of a
// challenge, and a client exchange key for it. A nil random is crypto/rand.
func NewSession(server ServerPublic, exchange [keySize]byte, random io.Reader) (*Session, error) {
	if random == nil {
		random = rand.Reader
	}
	var seed [keySize]byte
	if _, err := io.ReadFull(random, seed[:]); err != nil {
		return nil, fmt.Errorf("make client exchange key: %w", err)
	}
	// Read here and not by GenerateKey, which may ignore or over-read a reader.
	private, err := ecdh.X25519().NewPrivateKey(seed[:])
	if err != nil {
		return nil, fmt.Errorf("make client exchange key: %w", err)
	}
	return newSession(private, exchange, server, exchange, [keySize]byte(private.PublicKey().Bytes()))
}

// Session makes the relay's half of the session with the client of a request.
// It costs one X25519.
func (x *Exchange) Session(client [keySize]byte) (*Session, error) {
	return newSession(x.private, client, x.server, x.Key(), client)
}

func newSession(own *ecdh.PrivateKey, peer [keySize]byte, server ServerPublic, exchange, client [keySize]byte) (*Session, error) {
	public, err := ecdh.X25519().NewPublicKey(peer[:])
	if err != nil {
		return nil, fmt.Errorf("exchange keys: %w: %w", ErrBound, err)
	}
	shared, err := own.ECDH(public) // refuses all zero: RFC 7748, Section 6.1
	if err != nil {
		return nil, fmt.Errorf("exchange keys: %w: %w", ErrBound, err)
	}
	s := &Session{server: server, exchange: exchange, client: client}
	context := string(server[:]) + string(exchange[:]) + string(client[:])
	for _, k := range []struct {
		key *[keySize]byte
		use string
	}{{&s.request, useRequest}, {&s.response, useResponse}, {&s.push, usePush}} {
		out, err := hkdf.Key(sha256.New, shared, nil, k.use+context, keySize)
		if err != nil {
			panic("wire: " + err.Error()) // only a longer output is refused
		}
		*k.key = [keySize]byte(out)
	}
	return s, nil
}

// Server is the relay's identity.
func (s *Session) Server() ServerPublic { return s.server }

// ExchangeKey is the relay's half of the exchange: a challenge with another one
// calls for another session.
func (s *Session) ExchangeKey() [keySize]byte { return s.exchange }

// ClientKey is the client's half of the exchange, by which the relay knows the
// session.
func (s *Session) ClientKey() [keySize]byte { return s.client }

func newNonce() (nonce [nonceSize]byte) {
	_, _ = rand.Read(nonce[:]) // never fails: it ends the program instead
	return nonce
}

// seal appends nonce and sealed body to head, which is the additional data.
func seal(head []byte, key *[keySize]byte, nonce [nonceSize]byte, body []byte) ([]byte, error) {
	room := MaxFrame - len(head) - nonceSize - tagSize
	n := padded(len(body), room)
	if n == 0 {
		return nil, fmt.Errorf("body of %d bytes, %d fit: %w", len(body), room-codec.LengthSize, ErrSize)
	}
	return codec.Seal(head, key, nonce, body, len(head)+nonceSize+n+tagSize), nil
}

// padded is the size of the plaintext of a body of n bytes: the next step of
// the ladder, or all the room where that step is too high. It is 0 where the
// body does not fit.
func padded(n, room int) int {
	if n += codec.LengthSize; n > room {
		return 0
	}
	return min((n+ladder-1)/ladder*ladder, room)
}
