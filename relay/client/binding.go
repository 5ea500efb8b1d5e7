package client

import (
	"fmt"
	"time"

	"github.com/credant/credant/relay/wire"
)

const (
	// bindEvery keeps the allocation where no packet does. While the peer has
	// not bound, the allocation lives for 30 s only.
	bindEvery = 55 * time.Second
	bindHalf  = 20 * time.Second
	// grantEvery is how often at most one pair is allocated anew.
	grantEvery = 5 * time.Second
)

// binding is how far this half of a pair is bound at its port.
type binding struct {
	ask     *asking // for a cookie of that port
	began   time.Time
	cookie  cookie
	call    *call     // the bind
	resetAt time.Time // when the relay last did not know us there
	silent  bool      // nobody has answered there
	vain    int       // binds in a row that were not answered

	bound  bool
	at     time.Time // when last bound
	ready  bool      // and so has the peer
	pushed time.Time // when the relay said so unasked
}

// bindAgain asks at the port for a cookie, and binds with it.
func (c *Client) bindAgain(now time.Time, p *pair) {
	c.unbind(p)
	p.ask, p.began = &asking{to: p.addr, next: now}, now
}

// bindAnew does so at all ports where it has not begun since the relay was last
// asked.
func (c *Client) bindAnew(now time.Time) {
	for _, p := range c.pairs.list {
		if p.granted && p.began.Before(c.link.began) {
			c.bindAgain(now, p)
		}
	}
}

// unbind stops what is being said at the port.
func (c *Client) unbind(p *pair) {
	c.drop(p.call)
	p.ask, p.cookie = nil, cookie{}
}

// setBound tells what changed.
func (c *Client) setBound(p *pair, bound, ready bool) {
	changed := ready != p.ready || bound && !p.bound
	p.bound, p.ready = bound, ready
	if changed && p.addr.IsValid() {
		c.tell(Bound{p.peer, p.addr, ready})
	}
}

func (c *Client) advanceBinding(now time.Time, p *pair) {
	switch {
	case p.ask != nil:
		if !p.ask.isDue(now) {
			return
		}
		if p.ask.n < asksUnanswered {
			p.ask.send(c, now)
			return
		}
		// The port may be closed because the allocation is gone; where another
		// one does not help, something is in the way.
		p.trouble = fmt.Sprintf("port %d of the relay does not answer: is it open in its firewall?", p.addr.Port())
		next := later(now, p.since.Add(grantEvery))
		if p.silent {
			next = now.Add(unanswered)
		}
		p.silent = true
		c.ungrant(p, next)
	case p.call != nil:
		switch {
		case now.Before(p.call.next):
		case p.call.tries < bindsUnanswered:
			c.send(now, p.call)
		default: // the mapping may be another one, so the cookie of no use
			c.bindAgain(now, p)
			p.ask.next = now.Add(pause(p.vain))
			p.vain++
		}
	case now.Before(p.next):
	case p.cookie.isGood(now):
		c.start(now, &call{op: bind, pair: p})
	default:
		c.bindAgain(now, p)
		p.ask.send(c, now)
	}
}

// pause is how long to leave a relay alone that has so often not answered what
// it should.
func pause(vain int) time.Duration {
	if vain == 0 {
		return 0
	}
	return min(time.Second<<min(vain, 6), maxPause)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// challengedAt takes the challenge of an allocated port.
func (c *Client) challengedAt(now time.Time, p *pair, b []byte) string {
	challenge, _, err := p.ask.open(now, b, c.link.want)
	if err != nil {
		return wire.DropReason(err)
	}
	if c.link.state != StateUp || !p.granted {
		return "unasked"
	}
	if !c.session.isWith(challenge) || c.isStale(now) {
		c.askSoon(now) // the relay has restarted, or this host has slept
		return ""
	}
	p.ask, p.silent = nil, false
	p.cookie.renew(now, challenge.Cookie, c.session.number)
	c.start(now, &call{op: bind, pair: p})
	return ""
}

// boundAt takes the answer to a bind that began at that time.
func (c *Client) boundAt(now, began time.Time, p *pair, peerBound bool) {
	// The word that the peer has bound may have overtaken an older answer.
	ready := peerBound || !p.pushed.Before(began)
	p.at, p.vain = now, 0
	p.trouble = ""
	c.setBound(p, true, ready)
	p.next = now.Add(p.every())
}

// every is how often to bind again.
func (b *binding) every() time.Duration {
	if b.ready {
		return bindEvery
	}
	return bindHalf
}

func (c *Client) refusedBind(now time.Time, p *pair, e *wire.Error, again time.Time) {
	switch e.Code {
	case wire.CodeUnknown:
		c.ungrant(p, later(now, p.since.Add(grantEvery)))
	case wire.CodeQuota:
		p.next = again
	default:
		c.refusePair(p, "bind: "+c.refusal(e), again)
	}
}

// peerBound takes the relay's word about the other half of a pair, which may
// have a newer allocation than this node knows of.
func (c *Client) peerBound(now time.Time, m *wire.PeerBound) string {
	p := c.pairs.by[m.Peer]
	if p == nil || c.link.state != StateUp {
		return "unwanted"
	}
	here := p.granted && p.addr.Port() == m.Port
	switch {
	case !m.Bound:
		if here && p.bound {
			p.pushed = time.Time{}
			c.setBound(p, true, false)
			p.next = now.Add(askEvery) // is the allocation still there?
		}
	case here:
		p.pushed = now
		if p.bound {
			c.setBound(p, true, true)
			p.next = p.at.Add(p.every())
		} else if p.ask == nil && p.call == nil {
			c.bindAgain(now, p)
		}
	case now.Before(p.since.Add(askEvery)) || !c.mayBeAt(p, m.Port):
		return "unwanted"
	default:
		p.pushed = now
		c.grant(now, p, m.Port)
	}
	return ""
}
