package natpunch

import "time"

// idleTimes are what mappings are tested for, as far as asked. They are close
// where the intervals of keepalives are chosen.
var idleTimes = []time.Duration{
	5 * time.Second, 10 * time.Second, 15 * time.Second, 20 * time.Second, 25 * time.Second, 30 * time.Second, 40 * time.Second,
	60 * time.Second, 90 * time.Second, 120 * time.Second, 180 * time.Second, 240 * time.Second, 300 * time.Second,
}

// confirmAfter: routers hold a flow longer that is seen in both directions some
// seconds after it began, as every path of ours is.
const confirmAfter = 3 * time.Second

// lifetimeTest is RFC 5780, Section 4.6, for all idle times side by side: for
// each, a port that is left alone, and once the time is over an answer that
// another port sends there by RESPONSE-PORT.
type lifetimeTest struct {
	asker   int
	begun   time.Time
	seen    *ask // how the asker is seen
	control *ask // whether the server knows RESPONSE-PORT, on a port that is not idle
	idle    []idlePort
	dead    int // tests in a row that brought nothing
}

type idlePort struct {
	after   time.Duration
	port    int
	first   *ask
	confirm *ask
	since   time.Time
	test    *ask
	judged  bool
}

func (p *Probe) testLifetime(now time.Time) bool {
	t, s := &p.life, p.offer
	open := p.result.Translated != nil && !*p.result.Translated && p.result.Filtering == EndpointIndependent
	if p.config.Lifetime <= 0 || s == nil || open {
		return true
	}
	if t.begun.IsZero() {
		t.begun = now
		t.asker = p.openPort()
		t.seen = p.ask(now, t.asker, s.to, question{})
		for _, after := range append([]time.Duration{0}, idleTimes...) {
			if after <= p.config.Lifetime {
				i := idlePort{after: after, port: p.openPort()}
				i.first = p.ask(now, i.port, s.to, question{})
				t.idle = append(t.idle, i)
			}
		}
	}
	if !t.seen.settled || !t.idle[0].first.settled {
		return false
	}
	// The first port proves that the server sends where it is asked to.
	if t.control == nil {
		first := t.idle[0].first
		if !t.seen.heard || !first.heard || t.seen.mapped.Addr() != first.mapped.Addr() {
			return true
		}
		t.control = p.askTo(now, t.idle[0].port, first)
	}
	if !t.control.settled {
		return false
	}
	if !t.control.heard {
		return true
	}
	for i := range t.idle[1:] {
		if p.watchIdle(now, &t.idle[1+i]) {
			return true
		}
	}
	return t.idle[len(t.idle)-1].judged
}

// askTo has the server answer to a port as it was seen there.
func (p *Probe) askTo(now time.Time, port int, seen *ask) *ask {
	a := p.ask(now, p.life.asker, p.offer.to, question{responsePort: seen.mapped.Port()})
	a.at = port
	return a
}

// watchIdle carries one idle port through its time. It returns true when longer
// times need no look.
func (p *Probe) watchIdle(now time.Time, i *idlePort) bool {
	t := &p.life
	due := func(at time.Time) bool {
		if !at.After(now) {
			return true
		}
		if p.wake.IsZero() || at.Before(p.wake) {
			p.wake = at
		}
		return false
	}
	switch {
	case i.judged || !i.first.settled:
		return false
	case i.confirm == nil:
		if due(t.begun.Add(confirmAfter)) {
			i.confirm = p.ask(now, i.port, p.offer.to, question{})
		}
		return false
	case !i.confirm.settled:
		return false
	case i.since.IsZero():
		i.since = now
		fallthrough
	case i.test == nil:
		if !i.confirm.heard { // lost: this time stays unknown
			i.judged = true
			return false
		}
		if due(i.since.Add(i.after)) {
			i.test = p.askTo(now, i.port, i.confirm)
		}
		return false
	case !i.test.settled:
		return false
	}
	i.judged = true
	p.closePort(i.port)
	if i.test.heard {
		p.result.Lifetime, t.dead = i.after, 0
		return false
	}
	t.dead++
	return t.dead == 2
}
