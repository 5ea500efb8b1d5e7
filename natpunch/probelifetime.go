package natpunch

import (
	"net/netip"
	"time"
)

// idleTimes are what mappings are tested for, as far as asked. They are close
// where the intervals of keepalives are chosen.
var idleTimes = []time.Duration{
	5 * time.Second, 10 * time.Second, 15 * time.Second, 20 * time.Second, 25 * time.Second, 30 * time.Second, 40 * time.Second,
	60 * time.Second, 90 * time.Second, 120 * time.Second, 180 * time.Second, 240 * time.Second, 300 * time.Second,
}

// confirmAfter: routers hold a flow longer that is seen in both directions some
// seconds after it began, as every path of ours is.
const confirmAfter = 3 * time.Second

// Why the lifetime is unknown, and what helps.
const (
	lifetimeNoServer = "the lifetime of mappings is unknown: none of the STUN servers that answer makes all tests of RFC 5780; others may"
	lifetimeNoPort   = "the lifetime of mappings is unknown: the STUN server sends to no port but the one that asks (RESPONSE-PORT); others may"
	lifetimePool     = "the lifetime of mappings is unknown: the NAT gives the ports of this host different addresses"
	lifetimeLost     = "the lifetime of mappings is unknown: too many answers of the STUN server were lost; try again later"
)

const (
	// maxExtra is how much longer than meant a mapping may have been idle when it
	// is found dead: more, and this process or the network was held up.
	maxExtra = 2500 * time.Millisecond
	// patientUpTo is the longest idle time that is begun again when its end brings
	// no certainty; those of minutes are left unknown.
	patientUpTo = time.Minute
	// maxTouch bounds for how long answers that come late put an idle time off.
	maxTouch = 10 * time.Second
)

// lifetimeTest is RFC 5780, Section 4.6, for all idle times side by side: for
// each, a port that is left alone, and once the time is over an answer that
// another port sends there by RESPONSE-PORT.
type lifetimeTest struct {
	asker   seat
	control seat   // not idle
	known   *ask   // shows, there, whether the server knows RESPONSE-PORT
	trial   *trial // of it
	idle    []idlePort
}

// idlePort tests one idle time.
type idlePort struct {
	after time.Duration
	seat
	taken   time.Time
	confirm *ask
	since   time.Time
	test    *ask
	trial   *trial
	verdict verdict
}

type verdict uint8

const (
	noVerdict verdict = iota
	alive
	dead
	uncertain // for good
)

func (p *Probe) testLifetime(now time.Time) bool {
	t, s := &p.life, p.offer
	open := p.result.Translated != nil && !*p.result.Translated && p.result.Filtering == EndpointIndependent
	if p.config.Lifetime < idleTimes[0] || open || p.result.Servers == 0 {
		return true
	}
	if s == nil {
		p.result.LifetimeDetail = lifetimeNoServer
		return true
	}
	if t.idle == nil {
		over, reason := p.readyLifetime(now)
		if reason != "" {
			p.result.LifetimeDetail = reason
			return true
		}
		if !over {
			return false
		}
	}
	for i := range t.idle {
		p.watchIdle(now, &t.idle[i])
	}
	return p.judgeLifetime()
}

// readyLifetime proves that the server sends where it is asked to, and then begins
// to test all idle times. It returns why that cannot be, once it is over.
func (p *Probe) readyLifetime(now time.Time) (over bool, reason string) {
	t, s := &p.life, p.offer
	if !p.take(now, &t.asker, s.to, netip.Addr{}) {
		return false, ""
	}
	if !t.asker.first.heard {
		return true, lifetimeLost
	}
	if !p.take(now, &t.control, s.to, t.asker.first.mapped.Addr()) {
		return false, ""
	}
	if !t.control.first.heard {
		if t.control.first.mapped.IsValid() {
			return true, lifetimePool
		}
		return true, lifetimeLost
	}
	if t.trial == nil {
		t.known = p.askTo(now, t.control.port, t.control.first)
		t.trial = p.newTrial(now, t.asker.port, s.to, t.known)
	}
	switch {
	case !p.carry(now, t.trial):
		return false, ""
	case !t.known.heard && !t.known.refused && !t.trial.certain:
		return true, lifetimeLost
	case !t.known.heard:
		return true, lifetimeNoPort
	}
	for _, after := range idleTimes {
		if after <= p.config.Lifetime {
			t.idle = append(t.idle, idlePort{after: after})
		}
	}
	return true, ""
}

// askTo has the server answer to a port as it was seen there.
func (p *Probe) askTo(now time.Time, port int, seen *ask) *ask {
	a := p.ask(now, p.life.asker.port, p.offer.to, question{responsePort: seen.mapped.Port()})
	a.at = port
	return a
}

// watchIdle carries one idle port through its time.
func (p *Probe) watchIdle(now time.Time, i *idlePort) {
	t, s := &p.life, p.offer
	mapped := t.asker.first.mapped.Addr()
	for i.verdict == noVerdict {
		switch {
		case i.confirm == nil:
			if !p.take(now, &i.seat, s.to, mapped) {
				return
			}
			if !i.first.heard {
				i.verdict = uncertain
				return
			}
			if i.taken.IsZero() {
				i.taken = now
			}
			if !p.due(now, i.taken.Add(confirmAfter)) {
				return
			}
			i.confirm = p.ask(now, i.port, s.to, question{})
		case !i.confirm.settled:
			return
		case !i.confirm.heard || i.confirm.mapped.Addr() != mapped:
			p.beginAgain(i)
		case i.trial == nil:
			port := &p.ports[i.port]
			if i.since.IsZero() || port.touched && now.Sub(i.confirm.last) < maxTouch {
				i.since = now
			}
			if port.touched = false; !p.due(now, i.since.Add(i.after)) {
				return
			}
			i.test = p.askTo(now, i.port, i.confirm)
			i.trial = p.newTrial(now, t.asker.port, s.to, i.test)
		case !p.carry(now, i.trial):
			return
		case i.test.heard:
			i.verdict = alive
			p.closePort(i.port)
		case i.trial.certain && i.test.last.Sub(i.confirm.last) <= i.after+maxExtra:
			i.verdict = dead
			p.closePort(i.port)
		default:
			p.beginAgain(i)
		}
	}
}

// beginAgain tests an idle time from its beginning, at another port.
func (p *Probe) beginAgain(i *idlePort) {
	p.closePort(i.port)
	if i.ports >= maxSeats || i.trial != nil && i.after > patientUpTo {
		i.verdict = uncertain
		return
	}
	*i = idlePort{after: i.after, seat: seat{ports: i.ports}}
}

// judgeLifetime tells what the idle ports have shown, and whether more need not
// be seen: that two times in a row are too long is enough.
func (p *Probe) judgeLifetime() (over bool) {
	r, idle := &p.result, p.life.idle
	for _, i := range idle {
		if i.verdict == alive {
			r.Lifetime = max(r.Lifetime, i.after)
		}
	}
	var tooLong []time.Duration
	for _, i := range idle {
		switch {
		case i.after <= r.Lifetime || i.verdict == uncertain:
			continue
		case i.verdict == noVerdict:
			return false
		}
		if tooLong = append(tooLong, i.after); len(tooLong) == 2 {
			break
		}
	}
	switch {
	case r.Lifetime > 0:
	case len(tooLong) > 0:
		r.LifetimeDetail = "the NAT forgets an idle mapping within " + tooLong[0].String() + ", sooner than any keepalive comes"
	default:
		r.LifetimeDetail = lifetimeLost
	}
	return true
}

// touch notes an answer that came late, of a request that was sent twice: it has
// kept the mapping alive.
func (p *Probe) touch(port int, from netip.AddrPort) {
	if p.offer != nil && from == p.offer.to && port >= 0 && port < len(p.ports) && p.ports[port].open {
		p.ports[port].touched, p.changed = true, true
	}
}
