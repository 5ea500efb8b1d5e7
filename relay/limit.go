package relay

import (
	"encoding/binary"
	"io"
	"math/bits"
	"net/netip"
)

// pace is a token bucket of events: so many a second, so many at once. Its
// state is one number (when it is full again), so that tables of it are small.
type pace struct{ rate, burst int64 }

// take spends n tokens if they and a reserve are there. Zero state is full.
func (p pace) take(full *int64, now int64, n, reserve int64) bool {
	interval := int64(1e9) / p.rate
	next := max(*full, now) + n*interval
	if next-now > (p.burst-reserve)*interval {
		return false
	}
	*full = next
	return true
}

// perSecond is the pace of a quota: ten seconds' worth may come at once.
func perSecond(rate int) pace {
	return pace{rate: int64(max(rate, 1)), burst: 10 * int64(max(rate, 1))}
}

// The limits of what is answered before proof. An ask costs a MAC and a
// datagram, about 5 us.
var (
	asksOverall   = pace{rate: 20000, burst: 4000}
	asksPerPrefix = pace{rate: 100, burst: 400}
	// Resets go to single sources: a client acts on one a second.
	resetsOverall   = pace{rate: 2000, burst: 2000}
	resetsPerSource = pace{rate: 1, burst: 4}
)

// The limits of curve work, in operations of about 60 us: agreeing on a session
// costs one, the two signatures of its first request two. Overall it may take
// a third of a core. A site of a hundred nodes behind one prefix is through at
// once.
var (
	workOverall   = pace{rate: 5000, burst: 5000}
	workPerPrefix = pace{rate: 30, burst: 300}
)

const (
	agreeWork  = 1
	verifyWork = 2
)

// The share of each overall limit that only prefixes that hold something may
// use, in tokens: who came before a flood stays.
const reserved = 2 // divisor

// sieveSize is how many numbers a row of a sieve has.
const sieveSize = 4096

// sieve limits senders who have proved nothing, in memory that does not grow.
// A sender has a place in each of two rows and passes if either has a token; so
// a flood from one prefix costs others only who share both places with it, and
// which those are depends on a secret.
type sieve struct {
	each pace
	keys [2][2]uint64
	rows [2][sieveSize]int64
}

func newSieve(each pace, rand io.Reader) *sieve {
	s := &sieve{each: each}
	var b [32]byte
	mustRead(rand, b[:])
	for i := range 4 {
		s.keys[i/2][i%2] = binary.BigEndian.Uint64(b[8*i:])
	}
	return s
}

func (s *sieve) take(now int64, sender uint64) bool {
	ok := false
	for i := range s.rows {
		if s.each.take(&s.rows[i][s.place(i, sender)], now, 1, 0) {
			ok = true
		}
	}
	return ok
}

func (s *sieve) place(row int, sender uint64) uint64 {
	return keyedHash(s.keys[row], sender) % sieveSize
}

// keyedHash spreads x so that who does not know the key cannot aim. It is not a
// MAC: what a hit would give away is a place in a table.
func keyedHash(key [2]uint64, x uint64) uint64 {
	hi, lo := bits.Mul64(x^key[0], key[1]|1)
	hi, lo = bits.Mul64((hi^lo)+key[1], key[0]|1)
	return hi ^ lo
}

func prefixOf(a netip.Addr) prefix {
	if a.Is4() {
		b := a.As4()
		return prefix4 | prefix(binary.BigEndian.Uint32(b[:])>>8)
	}
	b := a.As16()
	return prefix(binary.BigEndian.Uint64(b[:]) >> 16)
}

// senderOf is one number for a source address and port.
func senderOf(a netip.AddrPort) uint64 {
	b := a.Addr().As16()
	x := binary.BigEndian.Uint64(b[:])*0x9e3779b97f4a7c15 ^ binary.BigEndian.Uint64(b[8:])
	return x*0x9e3779b97f4a7c15 + uint64(a.Port())
}
