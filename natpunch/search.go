package natpunch

import (
	"net/netip"
	"slices"
	"time"
)

// searchGaps lie between the rounds that are made while a relay is the path: at 0,
// 2, 5, 10, 30 s, 1, 2, 5 min, then at twice the gap up to one an hour.
var searchGaps = []time.Duration{
	2 * time.Second, 3 * time.Second, 5 * time.Second, 20 * time.Second,
	30 * time.Second, time.Minute, 3 * time.Minute, 5 * time.Minute,
}

// searchLag is what the controlled agent waits longer, so that rounds are called
// for by one side, as long as its calls arrive.
const searchLag = time.Second

// search goes on while the path leads through a relay, because NATs and networks
// change. Both sides have to check at one moment: a ping through the relay calls
// for a round, and its sender begins half a round trip later.
type search struct {
	step  int       // rounds since something was new
	next  time.Time // the next call; zero: none
	begin time.Time // this side's part of a round; zero: none
	asked bucket    // calls of the peer that are followed
}

func searchGap(step int) time.Duration {
	if last := len(searchGaps) - 1; step > last {
		return min(searchGaps[last]<<min(step-last, 6), lastBackoff)
	}
	return searchGaps[step]
}

// again makes the next call due at t, and those after it frequent.
func (s *search) again(t time.Time) { s.step, s.next = 0, t }

// wait sets the time of the next call, after a round.
func (s *search) wait(now time.Time, l *checkList) {
	gap := searchGap(s.step)
	s.step++
	s.next = now.Add(gap + l.agent.jitter(gap/10))
	if !l.controlling {
		s.next = s.next.Add(searchLag + gap/4)
	}
}

// relaySelected begins to search when the path has come to be a relay's, and ends
// it when it has come to be another.
func (l *checkList) relaySelected(moved bool) {
	now, s := l.agent.now, &l.relays.search
	if l.relays.probe.pair != l.selected {
		l.relays.probe = probe{}
	}
	for _, p := range l.pairs {
		p.gauge.faster = time.Time{}
	}
	l.dropGone()
	switch {
	case !l.selected.relayed():
		s.next, s.begin = time.Time{}, time.Time{}
	case moved && l.controlling:
		s.again(now)
	case moved:
		s.again(now.Add(searchLag))
	}
}

// tryBetter checks those of fresh that are worth leaving the selected pair for. On
// a relay all that are better are checked anew: something has changed.
func (l *checkList) tryBetter(now time.Time, fresh []*candidatePair) {
	if !l.selected.relayed() {
		l.startBetter(now, fresh)
	} else if slices.ContainsFunc(fresh, func(p *candidatePair) bool { return p.rank > rankRelay }) {
		l.relays.search.again(now)
	}
}

// advanceSearch calls for the round that is due, and begins the one that is.
func (l *checkList) advanceSearch(now time.Time) {
	s, x := &l.relays.search, &l.relays.probe
	if !l.onRelay() {
		return
	}
	if !s.next.IsZero() && !s.next.After(now) {
		s.wait(now, l)
		if l.hasBetter(now) && x.tries < 2 { // else something is wrong with the relay
			*x = probe{pair: l.selected, next: now, calls: true, urgent: x.urgent}
		}
	}
	if !s.begin.IsZero() && !s.begin.After(now) {
		l.betterRound(now)
	}
}

func (l *checkList) hasBetter(now time.Time) bool {
	return slices.ContainsFunc(l.pairs, func(p *candidatePair) bool {
		return p.rank > rankRelay && !l.avoids(now, p.base, p.remote)
	})
}

// betterRound checks everything that is better than a relay.
func (l *checkList) betterRound(now time.Time) {
	l.relays.search.begin = time.Time{}
	l.spray.roundMade()
	l.round.learned = 0
	for _, p := range l.pairs {
		answered := p.state == succeeded && now.Sub(p.validAt) < pongWindow
		if p.rank > rankRelay && p != l.exchange.pair && !answered {
			l.start(now, p)
		}
	}
}

// called begins a round because the peer, on a relay's path, calls for it. A call
// that comes on another path than the selected one shows that the two sides do
// not agree: the controlling agent nominates what it has.
func (l *checkList) called(now time.Time, from netip.AddrPort) {
	s, x := &l.relays.search, &l.relays.probe
	if l.trust != settled || !s.asked.take(now) {
		return
	}
	switch {
	case l.selected.relayed() && from == l.selected.remote:
		s.wait(now, l)
		l.betterRound(now)
	case l.controlling && l.exchange.pair == nil:
		l.nominate(now, l.selected)
	case l.selected.relayed() && x.pair == nil:
		*x = probe{pair: l.selected, next: now, calls: true}
	}
}

// relaysDue tells when the next ping that has to do with relays is due, and when
// something else is.
func (l *checkList) relaysDue(ping, other func(time.Time)) {
	if !l.onRelay() {
		return
	}
	if l.relays.probe.pair != nil {
		ping(l.relays.probe.next)
	}
	other(l.relays.search.next)
	other(l.relays.search.begin)
}
