package mainline

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"
)

// tokenEvery is how long tokens are the same. One is good for its period and the
// next (BEP 5: five to ten minutes).
const (
	tokenEvery = 5 * time.Minute
	tokenSize  = 8
)

// tokens proves that who announces or puts receives what is sent to its address. It
// keeps nothing about anybody.
type tokens struct{ secret [32]byte }

func newTokens() tokens {
	var t tokens
	_, _ = rand.Read(t.secret[:])
	return t
}

func (t *tokens) make(now time.Time, to netip.Addr) [tokenSize]byte {
	return t.of(now.Unix()/int64(tokenEvery/time.Second), to)
}

func (t *tokens) of(period int64, to netip.Addr) [tokenSize]byte {
	mac := hmac.New(sha256.New, t.secret[:])
	var b [8 + 16]byte
	binary.BigEndian.PutUint64(b[:], uint64(period))
	addr := to.As16()
	copy(b[8:], addr[:])
	_, _ = mac.Write(b[:])
	return [tokenSize]byte(mac.Sum(nil))
}

func (t *tokens) valid(now time.Time, from netip.Addr, token []byte) bool {
	period := now.Unix() / int64(tokenEvery/time.Second)
	for _, p := range [...]int64{period, period - 1} {
		want := t.of(p, from)
		if hmac.Equal(want[:], token) {
			return true
		}
	}
	return false
}
