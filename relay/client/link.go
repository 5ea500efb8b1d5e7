package client

import (
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/relay/wire"
)

// askAfter are the pauses before each ask; the last one goes on for ever.
var askAfter = [...]time.Duration{
	0, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
	2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
}

const (
	// asksUnanswered say that nobody is there: 3.85 s.
	asksUnanswered = 5
	// askedInVain says so too, where the asks are begun anew again and again: by
	// who suspects the relay.
	askedInVain = 6 * time.Second
	// preferIPv6 is its head start (RFC 8305 gives more, but a UDP answer costs
	// no connection).
	preferIPv6 = 50 * time.Millisecond
	// preferKept is the head start of the address that works: moving to another
	// one moves every allocation.
	preferKept = 250 * time.Millisecond
	// askEvery is how often at most the relay can make itself asked anew, on
	// average of two.
	askEvery = time.Second
	// idleEvery is how often a relay is asked that nothing else is said to.
	idleEvery = time.Minute
)

// link is where the relay answers.
type link struct {
	want  wire.ServerPublic // zero: whoever answers
	addrs []netip.AddrPort
	begun bool
	asks  []*asking // none: not asking
	began time.Time // of the asks
	older time.Time // of those before
	vain  time.Time // since when there were always some
	again time.Time // to ask then; zero: not
	over  time.Time // when the relay will have stopped, as it says; zero: it does not

	state    State
	reason   string    // why it is down
	since    time.Time // when it went down
	heard    time.Time // when something proven last came from it
	addr     netip.AddrPort
	key      wire.ServerPublic
	rtt      time.Duration
	observed netip.AddrPort
}

// asking is the asks to one address until a challenge comes.
type asking struct {
	to   netip.AddrPort
	sent [4]struct {
		tx wire.TransactionID
		at time.Time
	}
	n     int
	next  time.Time
	other bool // somebody with another key has answered
}

// unanswered says why there is no answer.
func (a *asking) unanswered() string {
	if a.other {
		return a.to.String() + " has another key: use the line that credant-relay prints there now"
	}
	return "no answer to " + a.to.String()
}

func (a *asking) isDue(now time.Time) bool { return !now.Before(a.next) }

// send asks once more.
func (a *asking) send(c *Client, now time.Time) {
	s := &a.sent[a.n%len(a.sent)]
	if _, err := io.ReadFull(c.rand, s.tx[:]); err != nil {
		panic("read random bytes: " + err.Error()) // crypto/rand never fails
	}
	s.at = now
	a.n++
	a.next = now.Add(askAfter[min(a.n, len(askAfter)-1)])
	c.tell(Send{a.to, wire.AppendAsk(nil, s.tx)})
}

// open reads the challenge to one of the last asks.
func (a *asking) open(now time.Time, b []byte, want wire.ServerPublic) (wire.Challenge, time.Duration, error) {
	tx, err := wire.ChallengeID(b)
	if err != nil {
		return wire.Challenge{}, 0, err
	}
	for i := range a.sent[:min(a.n, len(a.sent))] {
		if s := &a.sent[i]; s.tx == tx {
			challenge, err := wire.OpenChallenge(b, tx, want)
			return challenge, now.Sub(s.at), err
		}
	}
	return wire.Challenge{}, 0, wire.ErrMismatch
}

// ask begins to ask at all addresses.
func (l *link) ask(now time.Time) {
	if len(l.asks) == 0 {
		l.vain = now
	}
	l.asks, l.again, l.over = nil, time.Time{}, time.Time{}
	l.older, l.began = l.began, now
	addrs := slices.Clone(l.addrs)
	if l.addr.IsValid() && !slices.Contains(addrs, l.addr) && (len(addrs) == 0 || l.state == StateUp) {
		addrs = append(addrs, l.addr)
	}
	kept := l.state == StateUp && l.addr.IsValid()
	have6 := slices.ContainsFunc(addrs, func(a netip.AddrPort) bool { return a.Addr().Is6() })
	for _, a := range addrs {
		at := now
		switch {
		case kept && a != l.addr:
			at = now.Add(preferKept)
		case !kept && have6 && a.Addr().Is4():
			at = now.Add(preferIPv6)
		}
		l.asks = append(l.asks, &asking{to: a, next: at})
	}
}

// askSoon asks as soon as the relay may be asked again.
func (l *link) askSoon(now time.Time) {
	if len(l.asks) > 0 || !l.again.IsZero() {
		return
	}
	if l.again = l.older.Add(2 * askEvery); !now.Before(l.again) {
		l.ask(now)
	}
}

func (c *Client) advanceLink(now time.Time) {
	l := &c.link
	if !l.begun {
		l.begun = true
		l.ask(now)
	}
	for _, at := range []time.Time{l.again, l.over} {
		if !at.IsZero() && !now.Before(at) {
			l.ask(now)
		}
	}
	if l.state == StateUp && len(l.asks) == 0 && c.isIdle() && !now.Before(l.heard.Add(idleEvery)) {
		l.ask(now)
	}
	for _, a := range l.asks {
		if !a.isDue(now) {
			continue
		}
		if l.state != StateDown && (a.n >= asksUnanswered || a.n > 0 && now.Sub(l.vain) >= askedInVain) {
			c.down(now, a.unanswered())
			break // asks have begun anew, or go on
		}
		a.send(c, now)
	}
	if l.state == StateDown && !now.Before(l.since.Add(boundLifetime)) {
		c.loseAll("relay is down")
	}
}

func (c *Client) nextLink(sooner func(time.Time)) {
	l := &c.link
	sooner(l.again)
	sooner(l.over)
	for _, a := range l.asks {
		sooner(a.next)
	}
	if l.state == StateUp && len(l.asks) == 0 && c.isIdle() {
		sooner(l.heard.Add(idleEvery))
	}
	if l.state == StateDown && c.pairs.anyKnown() {
		sooner(l.since.Add(boundLifetime))
	}
}

// leaving finds out whether another process has taken the relay's place, when
// this one has stopped.
func (c *Client) leaving(now time.Time, grace time.Duration) {
	c.tell(Leaving{grace})
	if c.link.over.IsZero() {
		c.link.over = now.Add(min(grace+askEvery, maxPause))
	}
}

// isIdle reports whether nothing refreshes the session.
func (c *Client) isIdle() bool { return len(c.calls.all()) == 0 && !c.toRefresh() }

// isStale reports whether the relay may have forgotten the session meanwhile.
func (c *Client) isStale(now time.Time) bool { return now.Sub(c.link.heard) > cookieKept }

// down gives up what was being said and goes on asking.
func (c *Client) down(now time.Time, reason string) {
	l := &c.link
	l.state, l.reason, l.since = StateDown, reason, now
	c.dropCalls()
	c.pausePairs()
	c.registration.unregistered()
	if len(l.asks) == 0 {
		l.ask(now)
	}
	c.tell(Down{reason})
}

func (c *Client) receiveChallenge(now time.Time, from netip.AddrPort, b []byte) string {
	i := slices.IndexFunc(c.link.asks, func(a *asking) bool { return a.to == from })
	if i < 0 {
		if p := c.pairs.at(from); p != nil && p.ask != nil {
			return c.challengedAt(now, p, b)
		}
		return "unasked"
	}
	a := c.link.asks[i]
	challenge, rtt, err := a.open(now, b, c.link.want)
	if err != nil {
		if _, _, wrong := a.open(now, b, wire.ServerPublic{}); wrong == nil {
			a.other = true
			if c.link.state == StateDown {
				c.link.reason = a.unanswered()
			}
		}
		return wire.DropReason(err)
	}
	return c.up(now, from, challenge, rtt)
}

// up takes the first answer of all.
func (c *Client) up(now time.Time, from netip.AddrPort, challenge wire.Challenge, rtt time.Duration) string {
	l := &c.link
	was, moved := *l, l.addr != from
	forgotten := c.session == nil || !c.session.isWith(challenge)
	// A relay that has forgotten a session may count its pushes from 1 again, so
	// one that it may have forgotten is not gone on with.
	anew := forgotten || c.session.lost || was.state == StateDown ||
		c.session.number > 0 && (c.isIdle() || c.isStale(now))
	if anew {
		s, err := newSession(challenge, c.rand)
		if err != nil {
			return wire.DropReason(err)
		}
		c.dropCalls()
		c.session = s
	}
	l.asks, l.state, l.reason, l.heard = nil, StateUp, "", now
	l.addr, l.key, l.observed, l.rtt = from, challenge.Server, challenge.Observed, rtt
	c.session.cookie.renew(now, challenge.Cookie, c.session.number)

	seen := was.observed != l.observed
	if was.state != StateUp || moved || seen || was.key != l.key {
		c.tell(Up{l.key, l.addr, l.rtt, l.observed})
	}
	switch {
	case anew:
		c.registration.unregistered()
		if forgotten {
			c.registration.again = time.Time{}
		}
		c.allocateAnew(forgotten)
	case moved || seen:
		c.bindAnew(now)
	}
	if moved {
		c.readdress(now)
	}
	c.resumeCalls(now)
	if !anew && (moved || seen) && c.calls.main[register] == nil {
		c.refresh(now) // so that what the relay pushes comes here
	}
	return ""
}

func (c *Client) receiveReset(now time.Time, from netip.AddrPort, b []byte) string {
	cause, err := wire.ParseReset(b)
	if err != nil {
		return wire.DropReason(err)
	}
	if from == c.link.addr {
		// Its first bytes are of the cookie, which none but the relay and who
		// sees our datagrams can know.
		for _, k := range c.calls.all() {
			if k.tries > 0 && k.cause == cause {
				c.session.lost = true
				c.askSoon(now)
				return ""
			}
		}
		return "reset-unknown"
	}
	p := c.pairs.at(from)
	if p == nil || !p.granted || p.ask != nil || c.link.state != StateUp {
		return "reset-unknown"
	}
	if now.Before(p.resetAt.Add(askEvery)) {
		return "reset-rate"
	}
	p.resetAt = now
	c.bindAgain(now, p)
	return ""
}

// askSoon asks for a new cookie; what is being said waits for it.
func (c *Client) askSoon(now time.Time) {
	for _, k := range c.calls.all() {
		k.waiting = true
	}
	c.link.askSoon(now)
}
