package natpunch

import (
	"net/netip"
	"slices"
	"time"
)

// A host with several uplinks measures the selected path and those from its other
// uplinks side by side, and moves where one has been clearly better for a while.
// The controlling agent nominates it; the controlled one tells the other side.

const (
	// maxRivals of the selected path are measured.
	maxRivals = 4
	// A lost ping in sixteen makes a path as bad as lossWorth/16 more of round
	// trip: what is lost is sent again after several of them.
	lossWeight = 16
	lossWorth  = 150 * time.Millisecond
	// betterTimes measurements, betterFor long, have to agree. Without traffic
	// they are rarer than oftenMeasured, tell little and move nothing.
	betterTimes   = 10
	oftenMeasured = 10 * time.Second
	// What does not answer is asked at twice the gap each time, up to
	// rarelyMeasured.
	rarelyMeasured = 10 * time.Minute
	// preferAgain bounds how often a peer's preference moves the path, openAgain
	// how often its other addresses are pinged for it.
	preferAgain = 10 * time.Second
	openAgain   = time.Second
)

// uplinks is what a check list knows of several uplinks, its own or the peer's.
type uplinks struct {
	often bool // the path is measured, because traffic flows
	// When was done last what a peer of several uplinks asked for.
	preferred, opened time.Time
}

// asked counts a ping that leaves.
func (g *gauge) asked(now time.Time) {
	if g.waits {
		g.missed++
		g.loss += (1 - g.loss) / lossWeight
	}
	g.waits, g.left = true, now
}

func (g *gauge) answered() {
	if g.waits {
		g.loss -= g.loss / lossWeight
	}
	g.waits, g.missed = false, 0
}

// cost is the round trip, and what losses make of it.
func (g *gauge) cost() time.Duration {
	return g.rtt + time.Duration(g.loss*float64(lossWorth))
}

// rests reports whether it is too soon to ask again what did not answer.
func (g *gauge) rests(now time.Time) bool {
	return g.missed > 0 && now.Sub(g.left) < min(time.Second<<min(g.missed, 20), rarelyMeasured)
}

// rivals reports whether p leads to the peer by another uplink, and is as good as
// the selected path but for what is measured.
func (l *checkList) rivals(now time.Time, p *candidatePair) bool {
	own := l.selected
	return own.base.IsValid() && p.base.IsValid() && p.base != own.base && p.rank == own.rank &&
		!p.gone && !p.relayed() && !l.avoids(now, p.base, p.remote)
}

// waitsFor reports whether p is to be asked, and did not answer when it was last.
func (l *checkList) waitsFor(now time.Time, p *candidatePair) bool {
	return l.rivals(now, p) && !p.gauge.rests(now) && (p.gauge.waits || p.gauge.at.IsZero())
}

// wantsOpen reports whether the peer has to let one of the other uplinks in.
func (l *checkList) wantsOpen(now time.Time) bool {
	return l.selected.base.IsValid() && slices.ContainsFunc(l.pairs, func(p *candidatePair) bool { return l.waitsFor(now, p) })
}

// open lets a peer of several uplinks in by those that are not in use.
func (l *checkList) open(now time.Time) {
	if l.trust != settled || l.selected.relayed() || now.Sub(l.uplinks.opened) < openAgain {
		return
	}
	l.uplinks.opened = now
	opened := 0
	for _, p := range l.pairs {
		if p == l.selected || p.rank != l.selected.rank || p.gone || l.avoids(now, p.base, p.remote) {
			continue
		}
		if opened == maxRivals || !l.spare(2*reserve) || !l.sendUnpaced(now, p, check{}) {
			return
		}
		opened++
	}
}

// rivalHeard takes a ping by another uplink from a peer that has just let it in:
// what was asked before that was lost.
func (l *checkList) rivalHeard(now time.Time, base netip.Addr, from netip.AddrPort) {
	if l.trust != settled || !l.selected.base.IsValid() {
		return
	}
	p := l.find(base, from)
	if p == nil || !l.rivals(now, p) || !p.gauge.waits || !l.spare(2*reserve) {
		return
	}
	if l.sendUnpaced(now, p, check{}) {
		p.gauge.left = now
	}
}

// measureRivals follows the ping of the selected path.
func (l *checkList) measureRivals(now time.Time) {
	if !l.selected.base.IsValid() {
		return
	}
	l.selected.gauge.asked(now)
	measured := 0
	for _, p := range l.pairs {
		if measured == maxRivals || !l.spare(2*reserve) {
			return
		}
		if !l.rivals(now, p) || p.gauge.rests(now) {
			continue
		}
		measured++
		if l.sendUnpaced(now, p, check{}) {
			p.gauge.asked(now)
		}
	}
}

// weighRival takes a measured round trip of a direct pair.
func (l *checkList) weighRival(now time.Time, p *candidatePair, rtt time.Duration) {
	if !p.base.IsValid() {
		return
	}
	g := &p.gauge
	g.add(now, rtt)
	if l.trust != settled || p == l.selected || !l.rivals(now, p) {
		return
	}
	own := &l.selected.gauge
	if !l.uplinks.often || !own.recent(now) || !faster(g.cost(), own.cost()) {
		g.faster = time.Time{}
		return
	}
	if g.faster.IsZero() {
		g.faster, g.times = now, 0
	}
	g.times++
	if now.Sub(g.faster) < betterFor || g.times < betterTimes || l.exchange.pair != nil {
		return
	}
	g.faster = time.Time{}
	if l.controlling {
		l.nominate(now, p)
	} else {
		l.sendUnpaced(now, p, check{Prefers: true})
	}
}

// preferred takes a peer's word that it is better reached at from. The nomination
// is a check as any other, and the path stays where it fails.
func (l *checkList) preferred(now time.Time, base netip.Addr, from netip.AddrPort) {
	if l.trust != settled || l.exchange.pair != nil || now.Sub(l.uplinks.preferred) < preferAgain ||
		l.selected.relayed() || l.rankOf(from) != l.selected.rank || l.avoids(now, base, from) {
		return
	}
	p := l.find(base, from)
	if p == nil && l.mayLearn() {
		p = l.learn(base, from)
	}
	if p != nil && p != l.selected {
		l.uplinks.preferred = now
		l.nominate(now, p)
	}
}
