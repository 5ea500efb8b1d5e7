package discovery

import "time"

// queue holds the targets that one source named, with a budget of their own: a
// hostile DHT must not keep a hello from the LAN waiting.
type queue struct {
	limit  int
	count  int
	second window
	hour   *bucket // nil: no limit
}

// The DHT's budget: 10 hellos in any second and 200 in any hour, as 140 at once
// and one a minute. Of the 140 the last 40 are kept for addresses that were
// asked less than three times: what is dead must not eat what is new.
const (
	dhtPerSecond = 10
	dhtBurst     = 140
	dhtPerHour   = 60
	dhtReserve   = 40
	freshSends   = 3
	dhtTargets   = 1024
	otherPerSec  = 20
	otherTargets = 256
)

func newQueues() map[Source]*queue {
	qs := make(map[Source]*queue)
	for _, s := range []Source{SourceCache, SourceLAN, SourceStatic, SourceRendezvous, SourceGossip, SourceHello} {
		qs[s] = &queue{limit: otherTargets, second: newWindow(otherPerSec, time.Second)}
	}
	qs[SourceDHT] = &queue{
		limit:  dhtTargets,
		second: newWindow(dhtPerSecond, time.Second),
		hour:   &bucket{rate: dhtPerHour / time.Hour.Seconds(), burst: dhtBurst},
	}
	return qs
}

// ready is the earliest time at which the budget has a hello for t.
func (q *queue) ready(now time.Time, t *target) time.Time {
	at := q.second.ready(now)
	if q.hour != nil {
		at = latest(at, q.hour.ready(now, reserve(t)))
	}
	return at
}

// take spends a hello on t.
func (q *queue) take(now time.Time, t *target) bool {
	if q.ready(now, t).After(now) {
		return false
	}
	q.second.add(now)
	return q.hour == nil || q.hour.take(now, reserve(t))
}

func reserve(t *target) float64 {
	if t.sends < freshSends {
		return 0
	}
	return dhtReserve
}
