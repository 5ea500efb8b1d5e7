package wire

import (
	"crypto/rand"
	"fmt"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire/codec"
)

// Kind is what an envelope holds. The zero Kind is none.
type Kind uint8

// The kinds of envelopes.
const (
	KindHello Kind = iota + 1
	KindBeacon
	KindCheck
	KindSignal
	KindRecord
)

// Sizes on the wire, a kind each. Checks and signals that were sealed with an
// explicit size have that one.
const (
	// HelloSize and SignalSize hold a record and its exchange, and fit a path
	// MTU of 1,280 through a tunnel or two.
	HelloSize  = 1150
	SignalSize = 1150
	BeaconSize = 128
	CheckSize  = 128
	// RecordSize leaves a BEP 44 value under its 1,000 bytes.
	RecordSize = 900

	// MaxSize is what a UDP datagram over IPv4 can carry.
	MaxSize = 65507
)

const (
	magic      = 0xa0
	headerSize = 2
	nonceSize  = codec.NonceSize
	tagSize    = 8 // of a pair, the first bytes of the nonce

	// Overhead is what an envelope adds to the body it holds.
	Overhead = headerSize + codec.Overhead
)

var kinds = [...]struct {
	name string
	size int
}{
	KindHello:  {"hello", HelloSize},
	KindBeacon: {"beacon", BeaconSize},
	KindCheck:  {"check", CheckSize},
	KindSignal: {"signal", SignalSize},
	KindRecord: {"record", RecordSize},
}

// String returns the kind's name.
func (k Kind) String() string {
	if k.Size() == 0 {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return kinds[k].name
}

// Size is the kind's size on the wire, 0 for an unknown kind.
func (k Kind) Size() int {
	if int(k) >= len(kinds) {
		return 0
	}
	return kinds[k].size
}

// MaxBody is the longest body that fits the kind's size.
func (k Kind) MaxBody() int { return max(k.Size()-Overhead, 0) }

// ParseHeader reads the two bytes in the clear. It is false for anything that
// is not CredAnt's; version and kind may still be unknown to this program.
func ParseHeader(b []byte) (version uint8, kind Kind, ok bool) {
	if len(b) < headerSize || b[0]&0xf0 != magic {
		return 0, 0, false
	}
	return b[0] & 0x0f, Kind(b[1]), true
}

// Seal seals a body under a key of the whole network, padded to the kind's
// size.
func Seal(kind Kind, key [32]byte, body []byte) ([]byte, error) {
	var nonce [nonceSize]byte
	_, _ = rand.Read(nonce[:]) // never fails: it ends the program instead
	return seal(kind, key, nonce, body, kind.Size())
}

// SealPair seals a body under the sending key of a pair. The nonce begins with
// the pair's tag, by which the receiver finds the key. A size of 0 is the
// kind's own; a larger one pads further, as path MTU discovery needs, and a
// smaller one is for what travels inside another envelope.
func SealPair(kind Kind, p *keys.Pair, body []byte, size int) ([]byte, error) {
	if size == 0 {
		size = kind.Size()
	}
	var nonce [nonceSize]byte
	copy(nonce[:tagSize], p.SendTag[:])
	_, _ = rand.Read(nonce[tagSize:]) // never fails: it ends the program instead
	return seal(kind, p.SendKey, nonce, body, size)
}

func seal(kind Kind, key [32]byte, nonce [nonceSize]byte, body []byte, size int) ([]byte, error) {
	if kind.Size() == 0 {
		return nil, fmt.Errorf("seal %v: %w", kind, ErrKind)
	}
	if size > MaxSize || len(body) > size-Overhead {
		return nil, fmt.Errorf("seal %v of %d bytes into %d: %w", kind, len(body), size, ErrSize)
	}
	head := make([]byte, headerSize, size)
	head[0], head[1] = magic|Version, byte(kind)
	return codec.Seal(head, &key, nonce, body, size), nil
}

// Open returns the body of an envelope that Seal made. The envelope must have
// the kind's size.
func Open(kind Kind, key [32]byte, b []byte) ([]byte, error) {
	if err := checkHeader(kind, b); err != nil {
		return nil, err
	}
	if len(b) != kind.Size() {
		return nil, fmt.Errorf("open %v of %d bytes: %w", kind, len(b), ErrSize)
	}
	return open(kind, key, b)
}

// PairTag returns the tag in the clear of an envelope that SealPair made: the
// receiver's own RecvTag of that pair. It is false where b is too short to be
// one. A tag is a hint until OpenPair succeeds.
func PairTag(b []byte) (tag [8]byte, ok bool) {
	if len(b) < Overhead {
		return tag, false
	}
	return [8]byte(b[headerSize:]), true
}

// OpenPair returns the body of an envelope that the other half of p sealed, of
// any size.
func OpenPair(kind Kind, p *keys.Pair, b []byte) ([]byte, error) {
	if err := checkHeader(kind, b); err != nil {
		return nil, err
	}
	if len(b) < Overhead || len(b) > MaxSize {
		return nil, fmt.Errorf("open %v of %d bytes: %w", kind, len(b), ErrSize)
	}
	if tag, _ := PairTag(b); tag != p.RecvTag {
		return nil, fmt.Errorf("open %v: tag of another pair: %w", kind, ErrSeal)
	}
	return open(kind, p.RecvKey, b)
}

func checkHeader(kind Kind, b []byte) error {
	version, got, ok := ParseHeader(b)
	switch {
	case kind.Size() == 0:
		return fmt.Errorf("open %v: %w", kind, ErrKind)
	case !ok:
		return fmt.Errorf("open %v: no header of ours: %w", kind, ErrVersion)
	case version != Version:
		return fmt.Errorf("open %v of version %d: %w", kind, version, ErrVersion)
	case got != kind:
		return fmt.Errorf("open %v as %v: %w", got, kind, ErrKind)
	}
	return nil
}

func open(kind Kind, key [32]byte, b []byte) ([]byte, error) {
	body, err := codec.Open(b, headerSize, &key)
	if err != nil {
		return nil, fmt.Errorf("open %v: %w", kind, err)
	}
	return body, nil
}
