package natpunch

import "time"

const (
	// nominationWindow is how long, after the first success, a better pair is
	// waited for. Round trips of the two families seldom differ by more.
	nominationWindow = 50 * time.Millisecond
	// suspectWindow is how long a suspect path may take to prove itself before
	// one as good replaces it, unless its known round trip asks for more.
	suspectWindow = 100 * time.Millisecond

	// A nominating ping is sent again after twice the round trip, doubling.
	maxNominations = 5
	shortestGap    = 100 * time.Millisecond
	longestGap     = time.Second
	// maxConsent pings are lost before a path is suspect.
	maxConsent = 3
)

// exchange is the one question at a time that is about a single pair: a
// nomination, or whether the selected path still works.
type exchange struct {
	pair      *candidatePair // nil: none
	nominates bool
	tries     int
	next      time.Time
	gap       time.Duration
}

func (l *checkList) nominate(now time.Time, p *candidatePair) {
	p.stop()
	l.round.window = time.Time{}
	l.exchange = exchange{pair: p, nominates: true, next: now, gap: clampGap(2 * p.rtt)}
}

func (l *checkList) checkConsent(now time.Time) {
	if l.trust == settled && l.exchange.pair == nil {
		l.exchange = exchange{pair: l.selected, next: now, gap: clampGap(2 * l.selected.rtt)}
	}
}

func clampGap(d time.Duration) time.Duration { return min(max(d, shortestGap), longestGap) }

// advanceExchange sends what the exchange has due, or ends it. It tells whether
// it used this moment's ping.
func (l *checkList) advanceExchange(now time.Time) bool {
	x := &l.exchange
	if x.pair == nil || x.next.After(now) {
		return false
	}
	limit := maxConsent
	if x.nominates {
		limit = maxNominations
	}
	if x.tries == limit {
		l.exchangeFailed(now)
		return false
	}
	if l.sendPing(now, x.pair, x.nominates) {
		x.tries++
		x.next = now.Add(x.gap)
		if x.nominates {
			x.gap = clampGap(2 * x.gap)
		}
	}
	return true
}

func (l *checkList) exchangeFailed(now time.Time) {
	x := l.exchange
	l.exchange = exchange{}
	x.pair.state = failed
	switch {
	case !x.nominates:
		l.restart(now, "three checks of the path were lost")
	case l.trust != settled:
		// consider takes the next best.
	case x.pair == l.selected:
		l.restart(now, "the peer does not answer on the path")
	default:
		// The peer may have followed the nomination without our hearing of it:
		// make it come back.
		l.nominate(now, l.selected)
	}
}

// consider nominates the best pair that succeeded, once nothing better can be
// expected soon. Only the controlling agent does so (RFC 8445, Section 8.1.1).
func (l *checkList) consider(now time.Time) {
	best := l.best()
	if best == nil || l.exchange.nominates || l.trust == settled && best.rank <= l.selected.rank {
		l.round.window = time.Time{}
		return
	}
	wait, hopeful := l.waitFor(best)
	if hopeful {
		if l.round.window.IsZero() {
			l.round.window = now.Add(wait)
		}
		if now.Before(l.round.window) {
			return
		}
	}
	l.nominate(now, best)
}

// waitFor tells whether, and how long, something better than best may answer.
func (l *checkList) waitFor(best *candidatePair) (time.Duration, bool) {
	var wait time.Duration
	for _, p := range l.pairs {
		switch {
		case !p.pending():
		case p == l.selected && p.rank >= best.rank:
			wait = max(wait, suspectWindow, min(2*p.rtt, longestGap))
		case p.rank > best.rank:
			wait = max(wait, nominationWindow)
		}
	}
	return wait, wait > 0
}

// best is the best pair that succeeded in this round: of the highest rank, there
// the selected one, else the fastest by a margin that noise does not make.
func (l *checkList) best() *candidatePair {
	var best *candidatePair
	for _, p := range l.pairs { // best first
		switch {
		case p.state != succeeded:
		case best == nil:
			best = p
		case p.rank < best.rank || best == l.selected:
		case p == l.selected, p.rtt < best.rtt-best.rtt/5-2*time.Millisecond:
			best = p
		}
	}
	return best
}
