package codec

import (
	"bytes"
	"errors"
	"testing"
)

func TestSealOpen(t *testing.T) {
	key, nonce, head := [KeySize]byte{1}, [NonceSize]byte{2}, []byte("head")
	for _, size := range []int{len(head) + Overhead + 4, 128} {
		b := Seal(bytes.Clone(head), &key, nonce, []byte("body"), size)
		if len(b) != size || !bytes.HasPrefix(b, append(bytes.Clone(head), nonce[:]...)) {
			t.Fatalf("%d bytes: %x", len(b), b)
		}
		if body, err := Open(b, len(head), &key); err != nil || string(body) != "body" {
			t.Errorf("opened %q, %v", body, err)
		}
		for i := range b {
			bad := bytes.Clone(b)
			bad[i] ^= 1
			if _, err := Open(bad, len(head), &key); !errors.Is(err, ErrSeal) {
				t.Errorf("byte %d changed: %v", i, err)
			}
			if _, err := Open(b[:i], len(head), &key); !errors.Is(err, ErrSeal) {
				t.Errorf("cut to %d: %v", i, err)
			}
		}
	}
}

func TestUnpadRefuses(t *testing.T) {
	for _, plain := range [][]byte{{}, {0}, {0, 1}, {0, 2, 7}, {0, 1, 7, 1}, {0, 0, 0, 1}} {
		if body, err := unpad(plain); !errors.Is(err, ErrEncoding) {
			t.Errorf("unpad(%x) = %x, %v", plain, body, err)
		}
	}
}

// Every plaintext either has one body, from which it is made again, or none.
func FuzzUnpad(f *testing.F) {
	for _, b := range [][]byte{{}, {0}, {0, 0}, {0, 1}, {0, 1, 7, 0, 0}, {0, 1, 7, 0, 1}, {0xff, 0xff, 1}} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		body, err := unpad(plain)
		if err != nil {
			if !errors.Is(err, ErrEncoding) {
				t.Error(err)
			}
			return
		}
		again := make([]byte, len(plain))
		again[0], again[1] = byte(len(body)>>8), byte(len(body))
		copy(again[2:], body)
		if !bytes.Equal(again, plain) {
			t.Errorf("unpad(%x) = %x", plain, body)
		}
	})
}
