package relay

import (
	"encoding/binary"
	"io"
	"math/bits"
	"net/netip"
	"time"
)

// pace is a token bucket of events: one each interval, so many at once. Its
// state is one number (when it is full again), so that tables of it are small.
type pace struct {
	interval int64 // nanoseconds
	burst    int64
}

// take spends n tokens if they and a reserve are there. Zero state is full.
func (p pace) take(full *int64, now int64, n, reserve int64) bool {
	next := max(*full, now) + n*p.interval
	if next-now > (p.burst-reserve)*p.interval {
		return false
	}
	*full = next
	return true
}

// perSecond is the pace of a quota: ten seconds' worth may come at once.
func perSecond(rate int) pace {
	rate = max(rate, 1)
	return pace{int64(time.Second) / int64(rate), 10 * int64(rate)}
}

// What is answered before proof. An ask costs a MAC and a datagram, about 5 us;
// a node asks once for each of its peers. Resets go to single sources: a client acts on one a second.
var (
	asksOverall     = pace{int64(time.Second) / 20000, 4000}
	asksPerPrefix   = pace{int64(time.Second) / 500, 2000}
	resetsOverall   = pace{int64(time.Second) / 2000, 2000}
	resetsPerSource = pace{int64(time.Second), 4}
)

// Curve work, in operations of about 60 us: agreeing on a session costs one, the
// two signatures of its first request two. Overall it may take a third of a
// core. A site of a hundred nodes behind one prefix is through at once.
var (
	workOverall   = pace{int64(time.Second) / 5000, 5000}
	workPerPrefix = pace{int64(time.Second) / 30, 300}
)

const (
	agreeWork  = 1
	verifyWork = 2
)

// What one node may cause. A node with 64 relayed peers binds as many ports
// after a change of network.
var (
	requestsPerNode = pace{int64(time.Second) / 20, 400}
	blobsPerNode    = pace{int64(time.Second), 10}
	resendsPerNode  = pace{int64(10 * time.Second), 4}
	stalesPerNode   = pace{int64(time.Second) / 10, 100}
)

// gate is what stands before proof. All of it has a fixed size.
type gate struct {
	asks, resets                 *sieve
	asksAll, resetsAll, curveAll int64
}

func newGate(rand io.Reader) gate {
	return gate{asks: newSieve(asksPerPrefix, rand), resets: newSieve(resetsPerSource, rand)}
}

// reserve is the part of an overall limit that only prefixes that hold something
// may use: who was here before a flood stays.
func reserve(p pace, known bool) int64 {
	if known {
		return 0
	}
	return p.burst / 2
}

// ask spends a challenge. The narrow limit comes first: what a prefix is refused
// must not cost the others.
func (g *gate) ask(now int64, from netip.AddrPort, known bool) bool {
	return g.asks.take(now, uint64(prefixOf(from.Addr()))) &&
		asksOverall.take(&g.asksAll, now, 1, reserve(asksOverall, known))
}

// reset spends a reset.
func (g *gate) reset(now int64, from netip.AddrPort, known bool) bool {
	return g.resets.take(now, senderOf(from)) &&
		resetsOverall.take(&g.resetsAll, now, 1, reserve(resetsOverall, known))
}

// curve spends work on a curve, for a source whose cookie came back.
func (g *gate) curve(now int64, src *source, n int64) bool {
	return workPerPrefix.take(&src.work, now, n, 0) &&
		workOverall.take(&g.curveAll, now, n, reserve(workOverall, src.held > 0))
}

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
	for i := range s.keys {
		s.keys[i] = randomKey(rand)
	}
	return s
}

func (s *sieve) take(now int64, sender uint64) bool {
	ok := false
	for i := range s.rows {
		place := keyedHash(s.keys[i], sender) % sieveSize
		if s.each.take(&s.rows[i][place], now, 1, 0) {
			ok = true
		}
	}
	return ok
}

func randomKey(rand io.Reader) [2]uint64 {
	var b [16]byte
	mustRead(rand, b[:])
	return [2]uint64{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}

// keyedHash spreads x so that who does not know the key cannot aim. It is not a
// MAC: what a hit would give away is a place in a table.
func keyedHash(key [2]uint64, x uint64) uint64 {
	hi, lo := bits.Mul64(x^key[0], key[1]|1)
	hi, lo = bits.Mul64((hi^lo)+key[1], key[0]|1)
	return hi ^ lo
}

// senderOf is one number for a source address and port.
func senderOf(a netip.AddrPort) uint64 {
	b := a.Addr().As16()
	x := binary.BigEndian.Uint64(b[:])*0x9e3779b97f4a7c15 ^ binary.BigEndian.Uint64(b[8:])
	return x*0x9e3779b97f4a7c15 + uint64(a.Port())
}
