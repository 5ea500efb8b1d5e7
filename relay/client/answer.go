package client

import (
	"net/netip"
	"time"

	"github.com/credant/credant/relay/wire"
)

// Limits of how long a relay can put this node off.
const (
	minRetry = time.Second
	maxRetry = 5 * time.Minute
)

func (c *Client) receiveResponse(now time.Time, from netip.AddrPort, b []byte) string {
	if c.session == nil {
		return "unasked"
	}
	r, err := c.session.OpenResponse(b)
	if err != nil {
		return wire.DropReason(err)
	}
	k := c.calls.pending[r.Number]
	if k == nil {
		return "unasked"
	}
	if k.pair != nil {
		k.pair.cookie.renew(now, r.Cookie, r.Number)
	} else {
		c.session.cookie.renew(now, r.Cookie, r.Number)
		c.link.heard = now
		for _, s := range k.sent {
			if s.number == r.Number {
				c.link.rtt += (now.Sub(s.at) - c.link.rtt) / 8
			}
		}
	}
	return c.answered(now, k, r)
}

// answered hands a response to what asked for it.
func (c *Client) answered(now time.Time, k *call, r wire.Response) string {
	if r.Error != nil {
		if r.Error.Code == wire.CodeCookie && r.Number != k.last() {
			return "" // of a cookie that has been replaced since
		}
		c.refusedCall(now, k, r.Error)
		return ""
	}
	switch {
	case k.op == register && r.Registered != nil:
		c.drop(k)
		c.registered(now, k, r.Registered)
	case k.op == allocate && r.Allocated != nil:
		c.drop(k)
		c.allocated(now, k.peers, r.Allocated)
	case k.op == bind && r.Bound != nil && r.Bound.Peer == k.pair.peer:
		c.drop(k)
		c.boundAt(now, k.began, k.pair, r.Bound.PeerBound)
	case k.op == refresh && r.Refreshed != nil:
		c.drop(k)
		c.refreshed(now, k.began, r.Refreshed.Others)
	case (k.op == release || k.op == leave) && r.Done:
		c.drop(k)
	default:
		return "mismatch"
	}
	return ""
}

// refusedCall takes the relay's no.
func (c *Client) refusedCall(now time.Time, k *call, e *wire.Error) {
	if e.Code == wire.CodeCookie {
		if k.pair != nil {
			c.bindAgain(now, k.pair)
		} else {
			c.askSoon(now)
		}
		return
	}
	reason := c.refusal(e)
	c.trouble(k, k.op.String()+": "+reason)
	c.drop(k)
	again := now.Add(retryAfter(e.Code, e.RetryAfter))
	switch k.op {
	case register:
		c.registration.again = again
	case allocate:
		c.registration.refreshAt = again
		for _, peer := range k.peers {
			if p := c.pairs.by[peer]; p != nil && !p.granted {
				c.refusePair(p, reason, again)
			}
		}
	case bind:
		c.refusedBind(now, k.pair, e, again)
	case refresh:
		c.registration.refreshAt = again
		if e.Code == wire.CodeUnknown {
			c.session.lost = true
			c.askSoon(now)
		}
	}
}

// refusal says the relay's no to whoever reads the status.
func (c *Client) refusal(e *wire.Error) string {
	if e.Code == wire.CodeForbidden && e.Text == "" {
		return "relay does not serve this network: start it with --allow " + c.signer.Network.String() + ", or take another one"
	}
	return e.Error()
}

// trouble notes what is wrong with what the call is for.
func (c *Client) trouble(k *call, text string) {
	switch k.op {
	case register, refresh:
		c.registration.trouble = text
	case allocate:
		for _, peer := range k.peers {
			if p := c.pairs.by[peer]; p != nil {
				p.trouble = text
			}
		}
	case bind:
		k.pair.trouble = text
	}
}

// retryAfter is how long to leave the relay alone after a refusal.
func retryAfter(code wire.Code, asked time.Duration) time.Duration {
	if asked <= 0 {
		switch code {
		case wire.CodeForbidden, wire.CodeUnsupported:
			asked = maxRetry
		case wire.CodeFull, wire.CodeLeaving:
			asked = 10 * time.Second
		default:
			asked = 5 * time.Second
		}
	}
	return min(max(asked, minRetry), maxRetry)
}
