package stunserver

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// A client that discovers its NAT's behaviour asks about ten times in a
	// second; several may share one address.
	answersPerSecond = 20
	answersAtOnce    = 60
	// maxSources bounds each of the limiter's two tables.
	maxSources = 4096
)

// limiter holds a token bucket for each source address (/64 for IPv6). What was
// not heard of for a while, or longest when there are too many sources, starts
// anew with a full bucket: a flood from invented addresses must not lock out the
// true ones.
type limiter struct {
	mu          sync.Mutex
	young, old  map[netip.Addr]bucket
	generations time.Time // when young was begun
}

type bucket struct {
	tokens float64
	at     time.Time
}

func (l *limiter) take(now time.Time, source netip.Addr) bool {
	if source.Is6() {
		p, _ := source.Prefix(64)
		source = p.Addr()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	const full = answersAtOnce * time.Second / answersPerSecond
	if l.young == nil || len(l.young) >= maxSources || now.Sub(l.generations) > full {
		if l.old == nil {
			l.old = make(map[netip.Addr]bucket)
		}
		clear(l.old)
		l.young, l.old = l.old, l.young
		l.generations = now
	}
	b, ok := l.young[source]
	if !ok {
		b, ok = l.old[source]
	}
	if !ok {
		b = bucket{tokens: answersAtOnce, at: now}
	}
	if gained := now.Sub(b.at).Seconds() * answersPerSecond; gained > 0 {
		b.tokens, b.at = min(answersAtOnce, b.tokens+gained), now
	}
	allowed := b.tokens >= 1
	if allowed {
		b.tokens--
	}
	l.young[source] = b
	return allowed
}
