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
	// patience is how many nominating pings may be lost before something else
	// that works is nominated meanwhile.
	patience = 2
	// maxConsent pings are lost before a path is suspect.
	maxConsent = 3
)

// exchange is the one question at a time that is about a single pair: a
// nomination, or whether the selected path still works.
type exchange struct {
	pair      *candidatePair // nil: none
	nominates bool
	eager     bool // the pair is a relayed one that was not checked before
	firm      bool // nothing better takes its place
	tries     int
	next      time.Time
	gap       time.Duration
}

func (l *checkList) nominate(now time.Time, p *candidatePair) {
	p.stop()
	l.round.window = time.Time{}
	l.exchange = exchange{
		pair: p, nominates: true, eager: p.relayed() && p.state != succeeded,
		next: now, gap: clampGap(2 * p.rtt),
	}
}

func (l *checkList) checkConsent(now time.Time) {
	switch {
	case l.trust != settled:
	case l.selected.relayed():
		l.hurryProbe(now)
	case l.exchange.pair == nil:
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
	if x.tries == x.limit() {
		l.exchangeFailed(now)
		return false
	}
	if x.nominates && l.trust != settled && x.tries == patience && x.pair.rank > rankRelay {
		if r := l.workingRelay(now); r != nil {
			l.nominate(now, r)
			x.firm = true
		}
	}
	if l.sendPing(now, x.pair, check{Nominated: x.nominates}) {
		if !x.nominates && x.tries == 1 {
			l.agent.emit(Doubt{Node: l.node})
		}
		x.next = now.Add(x.gap)
		switch {
		case x.eager:
			x.next = now.Add(relayGaps[x.tries])
		case x.nominates:
			x.gap = clampGap(2 * x.gap)
		}
		x.tries++
	}
	return true
}

func (x *exchange) limit() int {
	switch {
	case x.eager:
		return len(relayGaps)
	case x.nominates:
		return maxNominations
	default:
		return maxConsent
	}
}

// nominationAnswered takes the answer to a nominating ping: that the peer followed,
// or that it will not.
func (l *checkList) nominationAnswered(now time.Time, p *candidatePair, followed bool) {
	mine := l.exchange.nominates && l.exchange.pair == p
	switch {
	case mine && followed:
		l.exchange = exchange{}
		p.state = succeeded
		l.selectPair(p, true)
		l.consider(now)
	case mine:
		l.refused(now, p)
	case followed && p.relayed() && l.trust != settled && !p.gone:
		p.stop()
		p.state = succeeded
		l.consider(now)
	}
}

func (l *checkList) exchangeFailed(now time.Time) {
	x := l.exchange
	l.exchange = exchange{}
	x.pair.state = failed
	switch {
	case !x.nominates:
		l.restart(now, "three checks of the path were lost")
		l.round.lost = x.pair
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
// Where there is no path, a relayed pair is nominated unchecked.
func (l *checkList) consider(now time.Time) {
	best := l.best(now)
	if best == nil {
		best = l.hope(now)
	}
	if best == nil || l.exchange.nominates && !l.preempts(best) || l.trust == settled && best.rank <= l.selected.rank {
		l.round.window = time.Time{}
		return
	}
	if until := l.waitUntil(now, best); !until.IsZero() {
		if l.round.window.IsZero() || l.round.awaiting != best.rank {
			l.round.window, l.round.awaiting = until, best.rank
		}
		if now.Before(l.round.window) {
			return
		}
	}
	before := l.exchange
	l.nominate(now, best)
	if before.eager && before.pair.state == idle {
		l.start(now, before.pair) // it goes on as any other
	}
}

// preempts reports whether best takes the place of the nomination under way: that
// of a relay, which was unchecked and is silent, or which is the lesser one.
func (l *checkList) preempts(best *candidatePair) bool {
	x := &l.exchange
	if !x.pair.relayed() || x.firm || best == x.pair || best.state != succeeded {
		return false
	}
	return best.rank > rankRelay || x.eager && x.tries >= patience
}

// waitUntil is how long something better than best may take to answer; zero is
// nothing. A relay waits only for what has just begun.
func (l *checkList) waitUntil(now time.Time, best *candidatePair) (until time.Time) {
	for _, p := range l.pairs {
		begin := now
		if best.relayed() {
			begin = p.began
		}
		switch {
		case !p.pending(), best.relayed() && p == l.round.lost:
		case p == l.selected && p.rank >= best.rank:
			until = latest(until, begin.Add(max(suspectWindow, min(2*p.rtt, longestGap))))
		case p.rank > best.rank:
			until = latest(until, begin.Add(nominationWindow))
		}
	}
	return until
}

// best is the best pair that succeeded in this round: of the highest rank, there
// the selected one, else the fastest by a margin that noise does not make.
func (l *checkList) best(now time.Time) *candidatePair {
	var best *candidatePair
	for _, p := range l.pairs { // best first
		switch {
		case p.state != succeeded, p.gone, l.avoids(now, p.base, p.remote):
		case best == nil:
			best = p
		case p.rank < best.rank || best == l.selected:
		case p == l.selected, p.rtt < best.rtt-best.rtt/5-2*time.Millisecond:
			best = p
		}
	}
	return best
}
