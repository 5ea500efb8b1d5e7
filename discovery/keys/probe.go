package keys

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
)

// ProbePrivate is an X25519 private key that lives from one start of a node to
// the next and is never stored. The zero value is no key.
type ProbePrivate struct {
	redacted
	key    [32]byte
	public ProbePublic
}

// ProbePublic is the public half of a probe key; records carry it. The zero
// value is no key.
type ProbePublic [32]byte

// GenerateProbe makes a new probe key.
func GenerateProbe() ProbePrivate {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the program instead
	k, err := ParseProbePrivate(b[:])
	if err != nil {
		panic("keys: " + err.Error()) // 32 random bytes are a key, unless all zero
	}
	return k
}

// ParseProbePrivate takes 32 bytes as a key. Tests and vectors need it; a
// running node only ever generates.
func ParseProbePrivate(b []byte) (ProbePrivate, error) {
	if allZero(b) {
		return ProbePrivate{}, errors.New("parse probe key: empty or all zero")
	}
	k, err := ecdh.X25519().NewPrivateKey(b)
	if err != nil {
		return ProbePrivate{}, fmt.Errorf("parse probe key: %w", err)
	}
	return ProbePrivate{key: [32]byte(b), public: ProbePublic(k.PublicKey().Bytes())}, nil
}

// IsZero reports whether k is no key.
func (k ProbePrivate) IsZero() bool { return k.public.IsZero() }

// Public returns the public half.
func (k ProbePrivate) Public() ProbePublic { return k.public }

// IsZero reports whether k is no key.
func (k ProbePublic) IsZero() bool { return k == ProbePublic{} }

// Compare orders keys as byte strings: -1, 0 or +1.
func (k ProbePublic) Compare(o ProbePublic) int { return bytes.Compare(k[:], o[:]) }

// String returns the key in base32: 52 characters.
func (k ProbePublic) String() string { return base32Lower.EncodeToString(k[:]) }

// Pair is what two started nodes share and no third can compute: a key and a
// tag each way. A datagram names its pair by the tag, in the clear.
type Pair struct {
	redacted
	SendKey, RecvKey [32]byte
	SendTag, RecvTag [8]byte
}

// Errors of NewPair, for branching.
var (
	ErrPairSelf     = errors.New("both probe keys are the same")
	ErrPairLowOrder = errors.New("probe key is of low order")
)

// NewPair derives the pair of own and peer. Each side's SendKey is the other's
// RecvKey, so that nothing a node sent can be played back to it. A peer key
// that would make the shared secret predictable is refused.
func NewPair(n NetworkKey, own ProbePrivate, peer ProbePublic) (Pair, error) {
	if own.IsZero() || n.IsZero() {
		return Pair{}, errors.New("derive pair: no own key")
	}
	if own.public == peer {
		return Pair{}, fmt.Errorf("derive pair: %w", ErrPairSelf)
	}
	private, err := ecdh.X25519().NewPrivateKey(own.key[:])
	if err != nil {
		return Pair{}, fmt.Errorf("derive pair: %w", err)
	}
	public, err := ecdh.X25519().NewPublicKey(peer[:])
	if err != nil {
		return Pair{}, fmt.Errorf("derive pair: %w", err)
	}
	shared, err := private.ECDH(public)
	if err != nil {
		// RFC 7748, Section 6.1: the all-zero result.
		return Pair{}, fmt.Errorf("derive pair: %w", ErrPairLowOrder)
	}

	// The network's part comes first: an outsider who learns a probe key still
	// lacks it.
	network := n.derive(usePair)
	low, high := order(own.public, peer)
	secret := append(network[:], shared...)
	out := expand(secret, usePair, append(low[:], high[:]...), 80)

	p := Pair{
		SendKey: [32]byte(out[0:32]), RecvKey: [32]byte(out[32:64]),
		SendTag: [8]byte(out[64:72]), RecvTag: [8]byte(out[72:80]),
	}
	if own.public == high {
		p.SendKey, p.RecvKey = p.RecvKey, p.SendKey
		p.SendTag, p.RecvTag = p.RecvTag, p.SendTag
	}
	return p, nil
}
