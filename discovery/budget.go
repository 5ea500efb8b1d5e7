package discovery

import (
	"net/netip"
	"time"
)

// bucket is a token bucket. Over any span d it lets through at most
// burst + rate*d. The zero bucket with its limits set starts full.
type bucket struct {
	rate, burst float64 // tokens a second, tokens
	spent       float64
	at          time.Time
}

// level is the number of tokens at now.
func (b *bucket) level(now time.Time) float64 {
	spent := b.spent
	if d := now.Sub(b.at); d > 0 {
		spent -= d.Seconds() * b.rate
	}
	return b.burst - max(spent, 0)
}

// take spends one token if more than reserve and at least one would be there.
func (b *bucket) take(now time.Time, reserve float64) bool {
	level := b.level(now)
	if level < reserve+1-tokenEpsilon {
		return false
	}
	b.spent, b.at = b.burst-level+1, now
	return true
}

// ready is the earliest time at which take will agree.
func (b *bucket) ready(now time.Time, reserve float64) time.Time {
	missing := reserve + 1 - b.level(now)
	if missing <= tokenEpsilon {
		return now
	}
	return now.Add(time.Duration(missing / b.rate * float64(time.Second)))
}

// full says that the bucket is as good as a new one.
func (b *bucket) full(now time.Time) bool { return b.level(now) >= b.burst-tokenEpsilon }

// tokenEpsilon keeps rounding from postponing a token by a nanosecond for ever.
const tokenEpsilon = 1e-6

// window lets through at most len(times) events in any span of period. Unlike
// a bucket it does so with all of them in the span's first instant, which is
// when a handful of addresses arrives.
type window struct {
	period time.Duration
	times  []time.Time // ring, oldest at next
	next   int
}

func newWindow(n int, period time.Duration) window {
	return window{period: period, times: make([]time.Time, n)}
}

// ready is the earliest time at which another event fits.
func (w *window) ready(now time.Time) time.Time {
	oldest := w.times[w.next]
	if oldest.IsZero() || !oldest.Add(w.period).After(now) {
		return now
	}
	return oldest.Add(w.period)
}

func (w *window) add(now time.Time) {
	w.times[w.next] = now
	w.next = (w.next + 1) % len(w.times)
}

// limiter bounds what is answered: overall, and for each source prefix, so that
// one host cannot use up what is there for all.
type limiter struct {
	all      bucket
	prefixes map[netip.Prefix]*bucket
}

// The limits of answers. A hundred a second are 1 Mbit/s; a site of a hundred
// machines behind one address is through in ten seconds.
const (
	answersPerSecond       = 100
	answersBurst           = 200
	prefixAnswersPerSecond = 10
	prefixAnswersBurst     = 40
	maxPrefixes            = 1024
)

func newLimiter() limiter {
	return limiter{
		all:      bucket{rate: answersPerSecond, burst: answersBurst},
		prefixes: make(map[netip.Prefix]*bucket),
	}
}

// take spends one answer to addr.
func (l *limiter) take(now time.Time, addr netip.Addr) bool {
	p := sourcePrefix(addr)
	b, ok := l.prefixes[p]
	if !ok {
		if len(l.prefixes) >= maxPrefixes {
			l.evict(now)
		}
		b = &bucket{rate: prefixAnswersPerSecond, burst: prefixAnswersBurst}
		l.prefixes[p] = b
	}
	// The prefix is asked first: what it is refused must not cost the others.
	return !l.all.ready(now, 0).After(now) && b.take(now, 0) && l.all.take(now, 0)
}

// evict makes room: prefixes with a full bucket are as good as unknown. Where
// none is, any goes: whoever can send from a thousand prefixes is held by the
// overall bucket alone.
func (l *limiter) evict(now time.Time) {
	for p, b := range l.prefixes {
		if b.full(now) {
			delete(l.prefixes, p)
		}
	}
	for p := range l.prefixes {
		if len(l.prefixes) < maxPrefixes {
			return
		}
		delete(l.prefixes, p)
	}
}

// sourcePrefix is what one customer of a provider usually has: an IPv4 /24 (its
// neighbours share the risk), an IPv6 /56.
func sourcePrefix(a netip.Addr) netip.Prefix {
	bits := 56
	if a.Is4() {
		bits = 24
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
