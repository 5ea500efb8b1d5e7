package wire

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/credant/credant/discovery/wire/codec"
)

// Kind is what a relay frame is. Relay kinds are 0x40 to 0x4F; the zero Kind is
// none.
type Kind uint8

// The kinds of relay frames.
const (
	KindAsk Kind = iota + firstKind
	KindChallenge
	KindRequest
	KindResponse
	KindPush
	KindReset
)

const (
	firstKind = 0x40
	lastKind  = 0x4f
)

var kindNames = [...]string{"ask", "challenge", "request", "response", "push", "reset"}

// String returns the kind's name.
func (k Kind) String() string {
	if i := int(k) - firstKind; i >= 0 && i < len(kindNames) {
		return kindNames[i]
	}
	return fmt.Sprintf("kind 0x%02x", uint8(k))
}

// DefaultPort is where a relay answers unless its address says otherwise; STUN
// shares it (RFC 8489, Section 8.1).
const DefaultPort = 3478

// DefaultSTUNPort is the second port at which a relay answers STUN.
const DefaultSTUNPort = 3479

const (
	// Version is in the first byte of every frame.
	Version = 1

	magic      = 0xa0
	headerSize = 2
	nonceSize  = codec.NonceSize
	tagSize    = chacha20poly1305.Overhead
	keySize    = 32
	cookieSize = 24
	txSize     = 16
	// ladder is the step between the sizes that a sealed body can have.
	ladder = 64

	// MaxFrame is the longest frame: a UDP datagram that every IPv6 path
	// carries whole (RFC 8200, Section 5).
	MaxFrame = 1280 - 40 - 8
)

// Cookie proves that its bearer received it at the address it sends from. Only
// the relay that issued it can read it. The zero value is none.
type Cookie [cookieSize]byte

// IsZero reports whether c is no cookie.
func (c Cookie) IsZero() bool { return c == Cookie{} }

// TransactionID is the asker's own choice, by which it knows the challenge.
type TransactionID [txSize]byte

// ParseHeader reads the two bytes in the clear. It is true for a relay frame of
// this version; the kind may still be one that this program does not know.
func ParseHeader(b []byte) (kind Kind, ok bool) {
	if !IsRelay(b) || b[0] != magic|Version {
		return 0, false
	}
	return Kind(b[1]), true
}

// IsRelay reports whether b begins as a relay frame of any version, which is
// the relay's or its client's to judge and never forwarded.
func IsRelay(b []byte) bool {
	return isOurs(b) && b[1] >= firstKind && b[1] <= lastKind
}

func isOurs(b []byte) bool { return len(b) >= headerSize && b[0]&0xf0 == magic }

// Forwardable reports whether an allocation carries b: WireGuard's four
// messages, in the sizes that they have, and what nodes say to each other.
func Forwardable(b []byte) bool {
	if len(b) < 4 {
		return isOurs(b) && !IsRelay(b)
	}
	switch binary.BigEndian.Uint32(b) {
	case 0x01000000:
		return len(b) == 148
	case 0x02000000:
		return len(b) == 92
	case 0x03000000:
		return len(b) == 64
	case 0x04000000:
		return len(b) >= 32 && len(b)%16 == 0
	}
	return isOurs(b) && !IsRelay(b)
}

func appendHeader(dst []byte, kind Kind) []byte {
	return append(dst, magic|Version, byte(kind))
}

// checkHeader holds b to a kind and to a range of sizes.
func checkHeader(b []byte, kind Kind, least, most int) error {
	switch {
	case !IsRelay(b):
		return fmt.Errorf("%v: no relay frame: %w", kind, ErrKind)
	case b[0] != magic|Version:
		return fmt.Errorf("%v of version %d: %w", kind, b[0]&0x0f, ErrVersion)
	case Kind(b[1]) != kind:
		return fmt.Errorf("%v as %v: %w", Kind(b[1]), kind, ErrKind)
	case len(b) < least || len(b) > most:
		return fmt.Errorf("%v of %d bytes: %w", kind, len(b), ErrSize)
	}
	return nil
}
