package natpunch

import (
	"slices"
	"time"
)

func (l *checkList) startRound(now time.Time) {
	l.round.started, l.round.retry = now, time.Time{}
	l.round.window, l.round.grace = time.Time{}, time.Time{}
	l.round.learned, l.round.lost = 0, nil
	l.spray.roundMade()
	for _, p := range l.pairs {
		if p != l.exchange.pair {
			l.start(now, p)
		}
	}
}

// start makes p part of the round, unless it is to be avoided.
func (l *checkList) start(now time.Time, p *candidatePair) {
	if !l.avoids(now, p.base, p.remote) {
		p.start(now)
	}
}

// extendRound checks fresh pairs too, or everything where the round is over.
func (l *checkList) extendRound(now time.Time, fresh []*candidatePair) {
	l.round.failures = 0
	if !l.searching() && l.round.grace.IsZero() {
		l.startRound(now)
		return
	}
	for _, p := range fresh {
		if p.state == idle || p.state == failed {
			l.start(now, p)
		}
	}
}

// startBetter checks those of pairs that would be worth leaving the selected one.
func (l *checkList) startBetter(now time.Time, pairs []*candidatePair) {
	for _, p := range pairs {
		if p.rank > l.selected.rank && !p.pending() {
			l.start(now, p)
		}
	}
}

// searching reports whether something may yet come of this round.
func (l *checkList) searching() bool {
	return l.exchange.pair != nil || slices.ContainsFunc(l.pairs, (*candidatePair).pending)
}

// advance does what is due: at most one ping leaves.
func (l *checkList) advance(now time.Time) {
	if l.due.After(now) {
		return
	}
	if r := &l.round; !r.retry.IsZero() && !r.retry.After(now) {
		l.startRound(now)
	}
	for _, p := range l.pairs {
		if p.pending() && p.exhausted() && !p.next.After(now) {
			p.state, p.next = failed, time.Time{}
		}
	}
	if l.controlling {
		l.consider(now)
	}
	l.avoidNoMore(now)
	l.advanceSearch(now)
	if !l.advanceExchange(now) && !l.advanceProbe(now) {
		l.pingDue(now)
	}
	if l.controlling {
		l.consider(now) // the exchange may have failed
	}
	l.judge(now)
	l.advanceSpray(now)
	l.advanceMTU(now)
}

// pingDue sends the ping that has waited longest, the selected pair's first.
// Pings to relays are few, and not paced: they leave between the others.
func (l *checkList) pingDue(now time.Time) {
	var first *candidatePair
	for _, p := range l.pairs {
		if !p.pending() || p.exhausted() || p.next.After(now) || l.mayPing(!p.relayed()).After(now) {
			continue
		}
		if first == nil || p.next.Before(first.next) || p.next.Equal(first.next) && p == l.selected {
			first = p
		}
	}
	if first == nil || !l.sendPing(now, first, check{}) {
		return
	}
	first.state = inProgress
	first.next = now.Add(first.gaps()[first.pings])
	first.pings++
}

// judge ends a round from which nothing more can come.
func (l *checkList) judge(now time.Time) {
	if l.trust == settled || l.searching() || !l.round.retry.IsZero() {
		return
	}
	if !l.controlling && slices.ContainsFunc(l.pairs, func(p *candidatePair) bool { return p.state == succeeded }) {
		if l.round.grace.IsZero() {
			l.round.grace = now.Add(grace)
		}
		if now.Before(l.round.grace) {
			return
		}
		if l.trust == verifying && l.selected.state == succeeded {
			l.selectPair(l.selected, false)
			return
		}
	}
	l.fail(now)
}

// tell says why there is no path, unless it has said just that since the last one.
func (l *checkList) tell() {
	if why := l.missing(); why != l.round.told {
		l.agent.emit(Lost{Node: l.node, Reason: l.reason()})
		l.round.told = why
	}
}

// tellAnew is tell for when something came to be known that may be the reason.
func (l *checkList) tellAnew() {
	if l.round.told != "" && l.selected == nil && !l.searching() {
		l.tell()
	}
}

// fail tells that there is no path, and when to try again.
func (l *checkList) fail(now time.Time) {
	l.round.failures++
	l.round.grace = time.Time{}
	l.round.retry = time.Time{}
	l.tell()
	l.selected, l.trust = nil, seeking
	l.sprayLost(now)
	l.relays.probe, l.relays.search = probe{}, search{asked: l.relays.search.asked}
	l.dropGone()
	switch n := l.round.failures; {
	case len(l.pairs) == 0: // until there is something to try
	case n == 1:
		l.round.retry = now.Add(retryAfter + l.agent.jitter(retryAfter/2))
	default:
		wait := min(firstBackoff<<min(n-2, 10), lastBackoff)
		l.round.retry = now.Add(wait - wait/10 + l.agent.jitter(wait/5))
	}
}

// nextDue is when advance has something to do; false is never.
func (l *checkList) nextDue() (time.Time, bool) {
	var next time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	paced, send := l.mayPing(true), l.mayPing(false)
	for _, p := range l.pairs {
		switch {
		case !p.pending():
		case p.exhausted():
			sooner(p.next)
		case p.relayed():
			sooner(latest(p.next, send))
		default:
			sooner(latest(p.next, paced))
		}
	}
	if l.exchange.pair != nil {
		sooner(latest(l.exchange.next, send))
	}
	l.relaysDue(func(t time.Time) { sooner(latest(t, send)) }, sooner)
	for _, x := range l.avoided {
		if l.trust == settled { // rounds try all again
			sooner(x.until)
		}
	}
	l.sprayDue(sooner)
	if t := l.mtuDue(); !t.IsZero() {
		sooner(latest(t, send))
	}
	sooner(l.round.retry)
	sooner(l.round.window)
	sooner(l.round.grace)
	if next.IsZero() && l.trust != settled && (len(l.pairs) > 0 || l.round.told == "") {
		next = l.round.started // the round is over, and waits to be judged
	}
	return next, !next.IsZero()
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
