package natpunch

import (
	"time"

	"github.com/credant/credant/discovery/keys"
)

const (
	// measureEvery bounds how often a peer's paths are measured.
	measureEvery = 200 * time.Millisecond
	// A ping through the selected relay may take this long, or three round trips;
	// then two more follow, probeGap apart, and then the path is suspect.
	probePatience = 150 * time.Millisecond
	probeGap      = 100 * time.Millisecond

	// Among relays, one that is betterShare and betterBy faster for betterFor takes
	// the selected one's place.
	// Both its last and its mean round trip have to be, so that noise does not move
	// it.
	betterShare = 5 // a fifth
	betterBy    = 5 * time.Millisecond
	betterFor   = 30 * time.Second
	// recently is how long a measurement counts: a little more than the time
	// between two when a peer is idle.
	recently = 90 * time.Second
)

// gauge measures a relayed pair, and is the round trip's smooth form.
type gauge struct {
	waits  bool      // the last ping, of a rival or of the path it rivals with
	missed int       // pings in a row
	loss   float64   // the share of pings that are lost, smooth
	times  int       // faster was confirmed
	left   time.Time // the last ping did
	at     time.Time // it was answered
	rtt    time.Duration
	faster time.Time // since when than the selected relay's; zero: not
}

func (g *gauge) recent(now time.Time) bool { return !g.at.IsZero() && now.Sub(g.at) < recently }

func (g *gauge) add(now time.Time, rtt time.Duration) {
	if !g.recent(now) {
		g.rtt = rtt
	}
	g.rtt += (rtt - g.rtt) / 4
	g.at = now
	g.answered()
}

// Measure pings the selected path once, on the controlling side every ready relayed
// address, and on a host of several uplinks the same peer by the others: each second
// while traffic flows, each minute when not. A selected relay that does not answer is
// suspect soon, and a path that is better for a while is selected in its place. It
// does nothing while a path is searched.
func (a *Agent) Measure(now time.Time, node keys.NodePublic) {
	a.now = now
	if c, ok := a.peers[node]; ok {
		c.measure(now)
		a.reschedule(c)
	}
}

// measure sends at once or not at all: what is not urgent does not wait in line
// before what is.
func (l *checkList) measure(now time.Time) {
	if l.trust != settled || now.Sub(l.relays.measured) < measureEvery {
		return
	}
	l.uplinks.often = now.Sub(l.relays.measured) < oftenMeasured
	l.relays.measured = now
	l.agent.pings.fill(now)
	l.link.pings.fill(now)
	if x := &l.relays.probe; x.pair == nil && l.spare(reserve) && l.sendPing(now, l.selected, check{Opens: l.wantsOpen(now)}) {
		if l.selected.relayed() {
			*x = probe{pair: l.selected, tries: 1, next: now.Add(patienceWith(l.selected))}
		} else {
			l.measureRivals(now)
		}
	}
	for _, p := range l.pairs {
		// Only the controlling agent chooses among relays.
		if !l.controlling || !p.relayed() || p.gone || p == l.selected || !l.spare(2*reserve) {
			continue
		}
		if p.gauge.left.After(p.validAt) { // the last one was lost
			p.gauge.faster = time.Time{}
		}
		if l.sendPing(now, p, check{}) {
			p.gauge.left = now
		}
	}
}

// spare reports whether more than n pings are left to this peer, and enough to all.
func (l *checkList) spare(n float64) bool {
	return l.link.pings.tokens > n && l.agent.pings.tokens > totalBurst/2
}

// weigh takes a measured round trip. The controlling agent moves from one relay to
// another that has been clearly faster for long enough.
func (l *checkList) weigh(now time.Time, p *candidatePair, rtt time.Duration) {
	if !p.relayed() {
		l.weighRival(now, p, rtt)
		return
	}
	p.gauge.add(now, rtt)
	if !l.controlling || !l.onRelay() || p == l.selected {
		return
	}
	own := l.selected
	switch {
	case !own.gauge.recent(now), !faster(p.gauge.rtt, own.gauge.rtt), !faster(p.rtt, own.rtt), l.avoids(now, p.base, p.remote):
		p.gauge.faster = time.Time{}
	case p.gauge.faster.IsZero():
		p.gauge.faster = now
	case now.Sub(p.gauge.faster) >= betterFor && l.exchange.pair == nil:
		p.gauge.faster = time.Time{}
		l.nominate(now, p)
	}
}

func faster(a, b time.Duration) bool { return b-a >= max(betterBy, b/betterShare) }

// probe asks whether the selected relay still works: pings until one is answered,
// or three are lost.
type probe struct {
	pair   *candidatePair // nil: none
	tries  int
	next   time.Time
	urgent bool // something has been lost already
	calls  bool // the pings call for a round of better pairs
	called bool // one did
}

func patienceWith(p *candidatePair) time.Duration { return max(probePatience, 3*p.rtt) }

// hurryProbe is CheckConsent for a path through a relay.
func (l *checkList) hurryProbe(now time.Time) {
	x := &l.relays.probe
	if x.pair == nil {
		*x = probe{pair: l.selected, next: now}
	}
	if !x.urgent {
		x.urgent, x.next = true, now
	}
}

// answered takes a pong. One to a ping that did not call for a round shows that the
// relay works, and not that the call was heard.
func (x *probe) answered(p *candidatePair, calls bool) {
	switch {
	case x.pair != p:
	case x.calls && !calls:
		x.tries, x.urgent = min(x.tries, 1), false
	default:
		*x = probe{}
	}
}

// advanceProbe sends what the probe has due, or ends it. It tells whether it used
// this moment's ping.
func (l *checkList) advanceProbe(now time.Time) bool {
	x := &l.relays.probe
	if x.pair == nil || x.next.After(now) {
		return false
	}
	if x.tries >= maxConsent {
		lost := l.selected
		lost.state = failed
		l.restart(now, "three checks through the relay were lost")
		l.round.lost = lost
		return false
	}
	if !l.sendPing(now, x.pair, check{Round: x.calls}) {
		return true
	}
	if x.tries++; x.tries == 2 {
		l.agent.emit(Doubt{Node: l.node})
	}
	switch {
	case x.tries == 1 && !x.urgent:
		x.next = now.Add(patienceWith(x.pair))
	case x.tries == maxConsent && x.urgent:
		x.next = now.Add(max(probeGap, 2*x.pair.rtt))
	default:
		x.next = now.Add(probeGap)
	}
	if x.calls && !x.called {
		x.called = true
		l.relays.search.begin = now.Add(x.pair.rtt / 2)
	}
	return true
}
