package keys

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
)

// base32Lower is RFC 4648 base32 in lower case without padding: it is safe in
// DNS names, file names and URLs, and case does not matter when typed.
var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NodePrivate is a node's identity in one network, an Ed25519 private key. The
// zero value is no key and must not sign.
type NodePrivate struct {
	redacted
	seed   [ed25519.SeedSize]byte
	public NodePublic
}

// GenerateNode makes a new node key.
func GenerateNode() NodePrivate {
	var seed [ed25519.SeedSize]byte
	_, _ = rand.Read(seed[:]) // never fails: it ends the program instead
	return newNode(seed)
}

// ParseNodePrivate reads the 32 bytes that Seed wrote.
func ParseNodePrivate(seed []byte) (NodePrivate, error) {
	if len(seed) != ed25519.SeedSize {
		return NodePrivate{}, fmt.Errorf("parse node key: %d bytes, want %d", len(seed), ed25519.SeedSize)
	}
	if allZero(seed) {
		return NodePrivate{}, errors.New("parse node key: all zero")
	}
	return newNode([ed25519.SeedSize]byte(seed)), nil
}

func newNode(seed [ed25519.SeedSize]byte) NodePrivate {
	pub := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	return NodePrivate{seed: seed, public: NodePublic(pub)}
}

// Seed returns a copy of the secret, for the state file alone.
func (k NodePrivate) Seed() []byte { return bytes.Clone(k.seed[:]) }

// IsZero reports whether k is no key.
func (k NodePrivate) IsZero() bool { return k.public.IsZero() }

// Public returns the public half.
func (k NodePrivate) Public() NodePublic { return k.public }

// Sign signs msg. The caller separates the uses of msg.
func (k NodePrivate) Sign(msg []byte) [ed25519.SignatureSize]byte {
	if k.IsZero() {
		panic("keys: sign with the zero node key")
	}
	return [ed25519.SignatureSize]byte(ed25519.Sign(ed25519.NewKeyFromSeed(k.seed[:]), msg))
}

// NodePublic is the public half of a node key: what a node is, to the others.
// The zero value is no node.
type NodePublic [ed25519.PublicKeySize]byte

// ParseNodePublic reads what String wrote, in either case. A key of small order is
// refused, and so is none.
func ParseNodePublic(s string) (NodePublic, error) {
	b, err := base32Lower.DecodeString(strings.ToLower(s))
	if err != nil || len(b) != len(NodePublic{}) {
		return NodePublic{}, fmt.Errorf("parse node key %q: want %d base32 characters", s, base32Lower.EncodedLen(len(NodePublic{})))
	}
	if SmallOrder([32]byte(b)) {
		return NodePublic{}, fmt.Errorf("parse node key %q: no such key", s)
	}
	return NodePublic(b), nil
}

// String returns the whole key in base32: 52 characters.
func (k NodePublic) String() string { return base32Lower.EncodeToString(k[:]) }

// MarshalText implements encoding.TextMarshaler; a public key is no secret.
func (k NodePublic) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *NodePublic) UnmarshalText(text []byte) error {
	p, err := ParseNodePublic(string(text))
	if err != nil {
		return err
	}
	*k = p
	return nil
}

// IsZero reports whether k is no node.
func (k NodePublic) IsZero() bool { return k == NodePublic{} }

// Compare orders keys as byte strings: -1, 0 or +1. Wherever two nodes must
// agree who yields, the lower key decides.
func (k NodePublic) Compare(o NodePublic) int { return bytes.Compare(k[:], o[:]) }

// Verify reports whether sig was made over msg by the node.
func (k NodePublic) Verify(msg []byte, sig [ed25519.SignatureSize]byte) bool {
	return !SmallOrder(k) && ed25519.Verify(k[:], msg, sig[:])
}

// idBytes is what is left of an IPv6 address behind the network's /48.
const idBytes = 80 / 8

// NodeID is the short form of a node key that people see: 16 base32 characters,
// the 80 bits that the node's IPv6 address carries.
type NodeID string

// ID returns the node's id.
func (k NodePublic) ID() NodeID { return newNodeID(k.idBits()) }

func (k NodePublic) idBits() [idBytes]byte {
	sum := hash(useNodeID, k[:])
	return [idBytes]byte(sum[:])
}

func newNodeID(b [idBytes]byte) NodeID { return NodeID(base32Lower.EncodeToString(b[:])) }

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
