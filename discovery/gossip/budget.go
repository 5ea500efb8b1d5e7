package gossip

import "time"

// bucket is a token bucket: over any span d it lets through at most burst +
// rate*d, and what take spends beyond that is owed. The zero bucket is full.
type bucket struct {
	spent float64
	at    time.Time
}

// limit is how fast a bucket fills, in tokens a second, and how many it holds.
type limit struct{ rate, burst float64 }

func (b *bucket) level(now time.Time, l limit) float64 {
	spent := b.spent
	if d := now.Sub(b.at); d > 0 {
		spent -= d.Seconds() * l.rate
	}
	return l.burst - max(spent, 0)
}

// take spends n tokens if one is there at least.
func (b *bucket) take(now time.Time, l limit, n int) bool {
	level := b.level(now, l)
	if level < 1-tokenEpsilon {
		return false
	}
	b.spent, b.at = l.burst-level+float64(n), now
	return true
}

// ready is the earliest time at which take will agree.
func (b *bucket) ready(now time.Time, l limit) time.Time {
	missing := 1 - b.level(now, l)
	if missing <= tokenEpsilon {
		return now
	}
	return now.Add(time.Duration(missing / l.rate * float64(time.Second)))
}

// full says that the bucket is as good as a new one.
func (b *bucket) full(now time.Time, l limit) bool { return b.level(now, l) >= l.burst-tokenEpsilon }

// tokenEpsilon keeps rounding from postponing a token by a nanosecond for ever.
const tokenEpsilon = 1e-6

// The budgets of all peers together. A datagram is 1,150 bytes: a hundred a
// second are 1 Mbit/s.
var (
	// copyLimit is of records that peers asked for, pushLimit of those that are
	// news, talkLimit of digests and wants.
	copyLimit = limit{rate: 100, burst: 16}
	pushLimit = limit{rate: 100, burst: 32}
	talkLimit = limit{rate: 100, burst: 64}
	// greetLimit is of comparisons with peers that came back and are no
	// neighbours.
	greetLimit = limit{rate: 1, burst: 4}
)

// The budgets of one peer.
var (
	// hearLimit is of the digests that are read, and of what is said in answer.
	hearLimit = limit{rate: 1, burst: 96}
	// wantLimit is of the wants that are read: a hundred copies a second need 9.
	wantLimit = limit{rate: 10, burst: 64}
	// newsLimit is of the news that is pushed on. More of it is announced only:
	// 64 in one datagram.
	newsLimit = limit{rate: 2, burst: 32}
	// askLimit is of the records that this node asks for.
	askLimit = limit{rate: 50, burst: 1024}
)

// owedLimit is of the copies that one peer is sent: everything twice, for a
// peer that has just started and starts again, then one a second.
func owedLimit(records int) limit { return limit{rate: 1, burst: float64(2*records + 64)} }
