package discovery

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net/netip"
	"time"

	"github.com/credant/credant/discovery/keys"
)

// A cookie is the TxB of a reply: four bytes of time and a MAC over it, the
// asker's transaction id, address and node key. Whoever sends it back received
// the reply at that address, a moment ago; the responder had nothing to store.
const (
	cookieRotation = 2 * time.Minute
	// cookieLifetime is how long a reply can be confirmed. The confirm comes a
	// round trip later, and the initiator gives up after four seconds.
	cookieLifetime = 30 * time.Second
	// maxUsedCookies bounds what is remembered of confirmed cookies. A secret
	// that reached it is retired early, and the memory with it.
	maxUsedCookies = 1024
)

type cookieSecret struct {
	key  [32]byte
	born time.Time
	// used holds the confirmed cookies: a copy of a confirm must not count as a
	// second proof, long after the asker has moved.
	used map[[16]byte]struct{}
}

type cookieJar struct {
	rand              io.Reader
	epoch             time.Time
	current, previous cookieSecret
}

func newCookieJar(rand io.Reader) *cookieJar { return &cookieJar{rand: rand} }

// rotate takes a new secret when the present one is old or has much to remember.
func (j *cookieJar) rotate(now time.Time) {
	c := &j.current
	if c.used != nil && now.Sub(c.born) < cookieRotation && len(c.used) < maxUsedCookies {
		return
	}
	if c.used == nil {
		j.epoch = now
	}
	j.previous = j.current
	if j.previous.used != nil && now.Sub(j.previous.born) >= 2*cookieRotation {
		j.previous = cookieSecret{}
	}
	j.current = cookieSecret{born: now, used: make(map[[16]byte]struct{})}
	mustRead(j.rand, j.current.key[:])
}

// issue makes the cookie for one asker.
func (j *cookieJar) issue(now time.Time, txA [16]byte, from netip.AddrPort, node keys.NodePublic) [16]byte {
	j.rotate(now)
	var c [16]byte
	binary.BigEndian.PutUint32(c[:], j.millis(now))
	mac := cookieMAC(&j.current.key, c[:4], txA, from, node)
	copy(c[4:], mac[:])
	return c
}

type cookieVerdict int

const (
	cookieBad  cookieVerdict = iota
	cookieGood               // first time: redeem makes it a repeat
	cookieUsed
)

// check tells a cookie of mine from others, and how long ago it was issued.
func (j *cookieJar) check(now time.Time, c, txA [16]byte, from netip.AddrPort, node keys.NodePublic) (time.Duration, cookieVerdict) {
	j.rotate(now)
	age := time.Duration(j.millis(now)-binary.BigEndian.Uint32(c[:])) * time.Millisecond
	for _, s := range []*cookieSecret{&j.current, &j.previous} {
		if s.used == nil {
			continue
		}
		mac := cookieMAC(&s.key, c[:4], txA, from, node)
		if !hmac.Equal(mac[:], c[4:]) {
			continue
		}
		if age > cookieLifetime {
			return 0, cookieBad
		}
		if j.isUsed(c) {
			return age, cookieUsed
		}
		return age, cookieGood
	}
	return 0, cookieBad
}

// redeem remembers a cookie that check called good. It is filed under the
// present secret, which outlives the one that issued it.
func (j *cookieJar) redeem(c [16]byte) {
	j.current.used[c] = struct{}{}
}

func (j *cookieJar) isUsed(c [16]byte) bool {
	_, now := j.current.used[c]
	_, before := j.previous.used[c]
	return now || before
}

// millis counts from the first use, so that a cookie tells nothing of the clock;
// the difference of two is right although the count wraps after 49 days.
func (j *cookieJar) millis(now time.Time) uint32 {
	return uint32(now.Sub(j.epoch).Milliseconds())
}

func cookieMAC(key *[32]byte, stamp []byte, txA [16]byte, from netip.AddrPort, node keys.NodePublic) [12]byte {
	h := hmac.New(sha256.New, key[:])
	addr := from.Addr().As16()
	h.Write(stamp)
	h.Write(txA[:])
	h.Write(addr[:])
	h.Write(binary.BigEndian.AppendUint16(nil, from.Port()))
	h.Write(node[:])
	// Last, because it alone varies in length.
	io.WriteString(h, from.Addr().Zone())
	return [12]byte(h.Sum(nil)[:12])
}

// mustRead fills b. crypto/rand never fails, and nothing here can go on without.
func mustRead(r io.Reader, b []byte) {
	if _, err := io.ReadFull(r, b); err != nil {
		panic("read random bytes: " + err.Error())
	}
}
