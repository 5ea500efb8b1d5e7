package relay

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"
	"net/netip"

	"github.com/credant/credant/relay/wire"
)

// A cookie is the time of its issue and a MAC over it, the asker's address and
// port, and the relay port it asked. Whoever brings it back received it there,
// and the relay had nothing to store.
const (
	// cookieLifetime is also how often the secret changes. A client that has a
	// session gets a fresh cookie every 25 s, and for a bound port every 55 s.
	cookieLifetime = int64(120e9)
	cookieMACSize  = 16
)

// cookieJar issues and checks cookies. Times are the server's nanoseconds.
type cookieJar struct {
	rand io.Reader
	// macs are those of the period with this number and of the one before, each
	// at its number modulo two. Period 0 has nothing before it.
	macs   [2]hash.Hash
	period int64
	buf    [8 + 16 + 2 + 2]byte
	sum    [sha256.Size]byte
}

func newCookieJar(rand io.Reader) *cookieJar {
	j := &cookieJar{rand: rand}
	j.renew(0)
	j.renew(1) // nobody knows it: stands for the period before the first
	return j
}

func (j *cookieJar) renew(period int64) {
	var secret [32]byte
	mustRead(j.rand, secret[:])
	j.macs[period%2] = hmac.New(sha256.New, secret[:])
}

// rotate replaces the secrets of periods that are over.
func (j *cookieJar) rotate(now int64) {
	period := now / cookieLifetime
	for next := max(j.period+1, period-1); next <= period; next++ {
		j.renew(next)
	}
	j.period = max(j.period, period)
}

// issue makes the cookie for an asker at from who came to a relay port.
func (j *cookieJar) issue(now int64, from netip.AddrPort, port uint16) wire.Cookie {
	j.rotate(now)
	return j.cookie(now, from, port)
}

func (j *cookieJar) cookie(issued int64, from netip.AddrPort, port uint16) (c wire.Cookie) {
	addr := from.Addr().As16()
	binary.BigEndian.PutUint64(j.buf[:], uint64(issued))
	copy(j.buf[8:], addr[:])
	binary.BigEndian.PutUint16(j.buf[24:], from.Port())
	binary.BigEndian.PutUint16(j.buf[26:], port)

	mac := j.macs[issued/cookieLifetime%2]
	mac.Reset()
	mac.Write(j.buf[:])
	copy(c[:], j.buf[:8])
	copy(c[8:], mac.Sum(j.sum[:0])[:cookieMACSize])
	return c
}

// check tells a cookie that was issued here, to this address for this port and
// not long ago, and when that was.
func (j *cookieJar) check(now int64, c wire.Cookie, from netip.AddrPort, port uint16) (issued int64, ok bool) {
	j.rotate(now)
	issued = int64(binary.BigEndian.Uint64(c[:]))
	if issued < 0 || issued > now || now-issued > cookieLifetime {
		return 0, false
	}
	want := j.cookie(issued, from, port)
	return issued, hmac.Equal(want[:], c[:])
}

// mustRead fills b. crypto/rand never fails, and nothing here can go on without.
func mustRead(r io.Reader, b []byte) {
	if _, err := io.ReadFull(r, b); err != nil {
		panic("read random bytes: " + err.Error())
	}
}
