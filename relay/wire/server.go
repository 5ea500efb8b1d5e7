package wire

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"

	"github.com/credant/credant/discovery/keys"
)

// base32Lower is RFC 4648 base32 in lower case without padding, as node keys
// are written.
var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ServerPublic is a relay's identity, an Ed25519 public key. The zero value is
// no relay.
type ServerPublic [ed25519.PublicKeySize]byte

// ParseServerPublic reads what String wrote, in either case. A key of small order
// is refused, and so is none.
func ParseServerPublic(s string) (ServerPublic, error) {
	b, err := base32Lower.DecodeString(strings.ToLower(s))
	// The last character has four bits to spare: only one spelling is right.
	if err != nil || len(b) != len(ServerPublic{}) || base32Lower.EncodeToString(b) != strings.ToLower(s) {
		return ServerPublic{}, fmt.Errorf("parse relay key %q: want %d base32 characters", s, base32Lower.EncodedLen(len(ServerPublic{})))
	}
	k := ServerPublic(b)
	if keys.SmallOrder(k) {
		return ServerPublic{}, fmt.Errorf("parse relay key %q: no such key", s)
	}
	return k, nil
}

// String returns the key in base32: 52 characters.
func (k ServerPublic) String() string { return base32Lower.EncodeToString(k[:]) }

// MarshalText implements encoding.TextMarshaler; a public key is no secret.
func (k ServerPublic) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *ServerPublic) UnmarshalText(text []byte) error {
	p, err := ParseServerPublic(string(text))
	if err != nil {
		return err
	}
	*k = p
	return nil
}

// IsZero reports whether k is no relay.
func (k ServerPublic) IsZero() bool { return k == ServerPublic{} }

// Compare orders keys as byte strings: -1, 0 or +1.
func (k ServerPublic) Compare(o ServerPublic) int { return bytes.Compare(k[:], o[:]) }

func (k ServerPublic) verify(msg []byte, sig [ed25519.SignatureSize]byte) bool {
	return !keys.SmallOrder(k) && ed25519.Verify(k[:], msg, sig[:])
}

// ServerPrivate is the private half of a relay's identity. The zero value is no
// key and must not sign.
type ServerPrivate struct {
	redacted
	seed   [ed25519.SeedSize]byte
	public ServerPublic
}

// GenerateServer makes a new relay identity.
func GenerateServer() ServerPrivate {
	var seed [ed25519.SeedSize]byte
	_, _ = rand.Read(seed[:]) // never fails: it ends the program instead
	return newServer(seed)
}

// ParseServerPrivate reads the 32 bytes that Seed wrote.
func ParseServerPrivate(seed []byte) (ServerPrivate, error) {
	if len(seed) != ed25519.SeedSize {
		return ServerPrivate{}, fmt.Errorf("parse relay identity: %d bytes, want %d", len(seed), ed25519.SeedSize)
	}
	if [ed25519.SeedSize]byte(seed) == [ed25519.SeedSize]byte{} {
		return ServerPrivate{}, errors.New("parse relay identity: all zero")
	}
	return newServer([ed25519.SeedSize]byte(seed)), nil
}

func newServer(seed [ed25519.SeedSize]byte) ServerPrivate {
	pub := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	return ServerPrivate{seed: seed, public: ServerPublic(pub)}
}

// Seed returns a copy of the secret, for the state file and the relay's own
// BEP 44 item alone.
func (k ServerPrivate) Seed() []byte { return bytes.Clone(k.seed[:]) }

// IsZero reports whether k is no key.
func (k ServerPrivate) IsZero() bool { return k.public.IsZero() }

// Public returns the public half.
func (k ServerPrivate) Public() ServerPublic { return k.public }

func (k ServerPrivate) sign(msg []byte) [ed25519.SignatureSize]byte {
	if k.IsZero() {
		panic("wire: sign with the zero relay identity")
	}
	return [ed25519.SignatureSize]byte(ed25519.Sign(ed25519.NewKeyFromSeed(k.seed[:]), msg))
}
