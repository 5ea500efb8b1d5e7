package client

import (
	"fmt"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

const (
	// Requests are sent again after two round trips and some, within these.
	minWait = 200 * time.Millisecond
	maxWait = time.Second
	// A relay that has answered none of so many is down, unless something else
	// came from it: then they are sent ever more rarely.
	callsUnanswered = 3
	bindsUnanswered = 2
	maxPause        = time.Minute
)

// operation is what a call asks for.
type operation uint8

const (
	register operation = iota
	allocate
	refresh
	release
	leave
	mainCalls // those to the main port, one each at a time
	bind
)

func (o operation) String() string {
	return [...]string{"register", "allocate", "refresh", "release", "leave", "", "bind"}[o]
}

// call is one thing that is asked until it is answered. Each time it is another
// request, with a number of its own: the relay takes a number once.
type call struct {
	op    operation
	peers []keys.NodePublic // allocate, release
	blob  []byte            // register
	pair  *pair             // bind

	sent [4]struct {
		number uint32
		at     time.Time
	}
	cause   [16]byte // how the last one began
	tries   int
	began   time.Time
	next    time.Time
	waiting bool // for a cookie
}

// last is the number of the last request.
func (k *call) last() uint32 { return k.sent[(k.tries+len(k.sent)-1)%len(k.sent)].number }

// calls are those under way.
type calls struct {
	main    [mainCalls]*call
	pending map[uint32]*call // by the numbers of their last requests
}

func (k *calls) all() []*call {
	var all []*call
	for _, one := range k.main {
		if one != nil {
			all = append(all, one)
		}
	}
	return all
}

// start begins a call, in place of the one with the same operation.
func (c *Client) start(now time.Time, k *call) {
	k.began = now
	if k.pair != nil {
		c.drop(k.pair.call)
		k.pair.call = k
	} else {
		c.drop(c.calls.main[k.op])
		c.calls.main[k.op] = k
		k.waiting = len(c.link.asks) > 0 || !c.link.again.IsZero() || !c.session.cookie.isGood(now)
	}
	if !k.waiting {
		c.send(now, k)
	} else if len(c.link.asks) == 0 {
		c.link.askSoon(now)
	}
}

// drop forgets a call, answered or not.
func (c *Client) drop(k *call) {
	if k == nil {
		return
	}
	for _, s := range k.sent {
		if c.calls.pending[s.number] == k {
			delete(c.calls.pending, s.number)
		}
	}
	if k.pair != nil {
		if k.pair.call == k {
			k.pair.call = nil
		}
	} else if c.calls.main[k.op] == k {
		c.calls.main[k.op] = nil
	}
}

func (c *Client) dropCalls() {
	for _, k := range c.calls.all() {
		c.drop(k)
	}
}

// resumeCalls sends at once what has waited for a cookie.
func (c *Client) resumeCalls(now time.Time) {
	for _, k := range c.calls.all() {
		if k.waiting {
			k.waiting, k.tries, k.began = false, 0, now
		}
		c.send(now, k)
	}
}

// send sends the call's request once more.
func (c *Client) send(now time.Time, k *call) {
	cookie, to := &c.session.cookie, c.link.addr
	if k.pair != nil {
		cookie, to = &k.pair.cookie, k.pair.addr
	}
	c.session.number++
	r := c.request(k)
	r.Number = c.session.number
	b, err := c.session.SealRequest(cookie.Cookie, to.Port(), r, c.signer)
	if err != nil {
		// Nothing here makes one that cannot be said, so it is a defect, and one
		// that would repeat.
		c.trouble(k, err.Error())
		c.drop(k)
		return
	}
	s := &k.sent[k.tries%len(k.sent)]
	delete(c.calls.pending, s.number)
	s.number, s.at = r.Number, now
	c.calls.pending[r.Number] = k
	k.cause = wire.CauseOf(b)
	k.tries++
	k.next = now.Add(c.wait(k))
	c.tell(Send{to, b})
}

func (c *Client) request(k *call) (r wire.Request) {
	switch k.op {
	case register:
		r.Register = &wire.Register{Blob: k.blob, Have: c.registration.have}
	case allocate:
		r.Allocate = &wire.Allocate{Peers: k.peers}
	case refresh:
		r.Refresh = &wire.Refresh{Have: c.registration.have}
	case release:
		r.Release = &wire.Release{Peers: k.peers}
	case leave:
		r.Leave = true
	case bind:
		r.Bind = &wire.Bind{Peer: k.pair.peer}
	}
	return r
}

// wait is how long the call's last request may take.
func (c *Client) wait(k *call) time.Duration {
	switch {
	case k.tries > callsUnanswered:
		return pause(k.tries - callsUnanswered)
	case k.op == refresh:
		return maxWait
	}
	first := min(max(2*c.link.rtt+50*time.Millisecond, minWait), maxWait)
	return min(first<<(k.tries-1), maxWait)
}

func (c *Client) advanceCalls(now time.Time) {
	if c.link.state != StateUp {
		return
	}
	for _, k := range c.calls.all() {
		if k.waiting || now.Before(k.next) {
			continue
		}
		if k.tries >= callsUnanswered {
			switch {
			case k.op == release || k.op == leave:
				c.drop(k) // the relay finds out by itself
				continue
			case k.op == refresh && c.link.heard.Before(k.began):
				c.down(now, fmt.Sprintf("%d refreshes were not answered", k.tries))
				return
			}
			c.trouble(k, k.op.String()+" is not answered")
			if !now.Before(c.link.heard.Add(maxWait)) {
				c.link.askSoon(now) // is anybody there at all?
			}
		}
		if !c.session.cookie.isGood(now) {
			c.askSoon(now)
			return
		}
		c.send(now, k)
	}
}

func (c *Client) nextCalls(sooner func(time.Time)) {
	if c.link.state != StateUp {
		return
	}
	for _, k := range c.calls.all() {
		if !k.waiting {
			sooner(k.next)
		}
	}
}
