package codec

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	// KeySize is the size of a key that seals.
	KeySize = chacha20poly1305.KeySize
	// NonceSize is the size of a nonce: long enough to be drawn at random.
	NonceSize = chacha20poly1305.NonceSizeX
	// LengthSize is what the plaintext has besides body and padding.
	LengthSize = 2
	// Overhead is what a frame has besides its head, body and padding.
	Overhead = NonceSize + LengthSize + chacha20poly1305.Overhead
)

// Seal appends to head the nonce and the sealed body, so padded that the frame
// has size bytes. The head is authenticated. The caller has seen to it that the
// body fits: Seal panics where len(head) + Overhead + len(body) is above size.
func Seal(head []byte, key *[KeySize]byte, nonce [NonceSize]byte, body []byte, size int) []byte {
	plain := make([]byte, size-len(head)-Overhead+LengthSize)
	binary.BigEndian.PutUint16(plain, uint16(len(body)))
	copy(plain[LengthSize:LengthSize+len(body)], body)
	b := append(head, nonce[:]...)
	return newAEAD(key).Seal(b, nonce[:], plain, b[:len(head)])
}

// Open returns the body of a frame that Seal made behind a head of headSize
// bytes.
func Open(b []byte, headSize int, key *[KeySize]byte) ([]byte, error) {
	if len(b) < headSize+NonceSize {
		return nil, ErrSeal
	}
	nonce, sealed := b[headSize:headSize+NonceSize], b[headSize+NonceSize:]
	plain, err := newAEAD(key).Open(nil, nonce, sealed, b[:headSize])
	if err != nil {
		return nil, ErrSeal
	}
	return unpad(plain)
}

// unpad takes the body out of a plaintext. Padding that is not zero is refused,
// so that one body has one plaintext of a size.
func unpad(plain []byte) ([]byte, error) {
	if len(plain) < LengthSize {
		return nil, fmt.Errorf("no length: %w", ErrEncoding)
	}
	n := int(binary.BigEndian.Uint16(plain))
	rest := plain[LengthSize:]
	if n > len(rest) {
		return nil, fmt.Errorf("length %d of %d: %w", n, len(rest), ErrEncoding)
	}
	for _, c := range rest[n:] {
		if c != 0 {
			return nil, fmt.Errorf("padding is not zero: %w", ErrEncoding)
		}
	}
	return rest[:n:n], nil
}

func newAEAD(key *[KeySize]byte) cipher.AEAD {
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic("codec: " + err.Error()) // only a key of another length is refused
	}
	return aead
}
