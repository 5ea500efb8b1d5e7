package client

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

const (
	refreshEvery = 25 * time.Second // under the 30 s for which the strictest NATs keep a mapping
	// standbyEvery is for a registration in reserve: most NATs keep a mapping that
	// has carried answers for longer than a minute.
	standbyEvery = 55 * time.Second
	// maxFound is how many other nodes a relay can name.
	maxFound = 64
)

// registration is what the relay has of this node, and what it says of others.
type registration struct {
	blob       []byte // nil: not to be registered
	registered bool   // with blob, or the one before
	current    bool   // with blob
	again      time.Time
	refreshAt  time.Time
	lifetime   time.Duration // that the relay grants; zero: not known
	standby    bool
	trouble    string // why the node is not registered

	others      int
	addrs       []netip.AddrPort // as told last
	first, last uint16           // relay ports; zero: not known

	found map[keys.NodePublic]found
	have  wire.Have
	stale time.Time // what was not pushed since may be gone; zero: all is well
}

// found is what the relay has said of another node.
type found struct {
	sum    wire.Have // of the blob
	pushed time.Time
}

func (c *Client) setBlob(now time.Time, blob []byte) {
	r := &c.registration
	if len(blob) > wire.MaxBlob {
		c.setBlob(now, nil)
		r.trouble = fmt.Sprintf("register: a blob of %d bytes, at most %d fit", len(blob), wire.MaxBlob)
		return
	}
	if len(blob) == 0 {
		r.trouble = ""
		if r.blob == nil {
			return
		}
		r.blob, r.found, r.have, r.others = nil, nil, wire.Have{}, 0
		was := r.registered || c.calls.main[register] != nil
		r.registered, r.current, r.stale = false, false, time.Time{}
		c.drop(c.calls.main[register])
		if was && len(c.pairs.list) == 0 {
			c.leave(now)
		}
		return
	}
	if bytes.Equal(blob, r.blob) {
		return
	}
	r.blob, r.current = slices.Clone(blob), false
	c.drop(c.calls.main[leave])
	if k := c.calls.main[register]; k != nil && (k.tries == 0 || k.tries > callsUnanswered) {
		c.drop(k)
	}
}

// toRegister reports whether the blob is still to be said. One waits for the
// answer to the one before: they must not overtake each other.
func (c *Client) toRegister() bool {
	r := &c.registration
	return r.blob != nil && !r.current && c.calls.main[register] == nil
}

func (c *Client) register(now time.Time) {
	c.registration.again = time.Time{}
	c.drop(c.calls.main[refresh])
	c.start(now, &call{op: register, blob: c.registration.blob})
}

// refresh keeps what the relay has for this node, and tells it where the node
// is. Where that is allocations alone, asking for some of them again does so.
func (c *Client) refresh(now time.Time) {
	if c.registration.registered {
		c.start(now, &call{op: refresh})
	} else if peers := c.pairs.granted(); len(peers) > 0 && c.calls.main[allocate] == nil {
		c.start(now, &call{op: allocate, peers: peers})
	}
}

// unregistered has everything registered again.
func (r *registration) unregistered() { r.registered, r.current = false, false }

// leave tells the relay to forget this node, unless it is down.
func (c *Client) leave(now time.Time) {
	if c.link.state == StateUp && c.session != nil {
		c.drop(c.calls.main[refresh])
		c.start(now, &call{op: leave})
	}
}

// toRefresh reports whether the relay keeps something for this node.
func (c *Client) toRefresh() bool { return c.registration.registered || c.pairs.anyGranted() }

// mayRefresh reports whether that is not being said already.
func (c *Client) mayRefresh() bool {
	return c.toRefresh() && c.calls.main[refresh] == nil && (c.registration.registered || c.calls.main[allocate] == nil)
}

func (c *Client) advanceRegistration(now time.Time) {
	r := &c.registration
	if c.link.state != StateUp || c.session == nil {
		return
	}
	switch {
	case c.calls.main[register] != nil && c.calls.main[register].tries <= callsUnanswered:
	case c.toRegister() && !now.Before(r.again):
		c.register(now)
	case c.mayRefresh() && !now.Before(r.refreshAt):
		c.refresh(now)
	}
}

func (c *Client) nextRegistration(sooner func(time.Time)) {
	r := &c.registration
	if k := c.calls.main[register]; c.link.state != StateUp || k != nil && k.tries <= callsUnanswered {
		return
	}
	if c.toRegister() {
		sooner(r.again)
	}
	if c.mayRefresh() {
		sooner(r.refreshAt)
	}
}

func (c *Client) registered(now time.Time, k *call, g *wire.Registered) {
	r := &c.registration
	r.trouble = ""
	again := r.registered && slices.Equal(r.addrs, g.Addrs)
	r.registered, r.current = true, bytes.Equal(k.blob, r.blob)
	r.addrs, r.first, r.last = g.Addrs, g.First, g.Last
	r.lifetime = g.Lifetime
	c.kept(now)
	if !again {
		c.tell(Registered{slices.Clone(g.Addrs)})
	}
	c.checkPorts(now)
	c.sweep(k.began, g.Others)
}

// SetStandby keeps the registration in reserve: it is refreshed so seldom that a
// strict NAT may not let in what the relay pushes. That comes with the next
// refresh, which is at once when the reserve is called in.
func (c *Client) SetStandby(now time.Time, standby bool) {
	r := &c.registration
	if r.standby == standby {
		return
	}
	r.standby = standby
	if !standby && r.registered {
		r.refreshAt = now
	}
}

// kept sets the next refresh.
func (c *Client) kept(now time.Time) {
	r := &c.registration
	every := refreshEvery
	if r.standby {
		every = standbyEvery
	}
	if r.lifetime > 0 {
		every = max(min(every, r.lifetime/2), 5*time.Second)
	}
	r.refreshAt = now.Add(every)
}

func (c *Client) refreshed(now, sent time.Time, others int) {
	c.registration.trouble = ""
	c.kept(now)
	c.sweep(sent, others)
}

// sweep finds those that are gone without that the relay's word of it arrived.
// Where both sides hold different blobs, the relay pushes all again; so what it
// has not pushed since the last time that there were too many here is gone.
func (c *Client) sweep(sent time.Time, others int) {
	r := &c.registration
	r.others = others
	if others >= len(r.found) {
		r.stale = time.Time{}
		return
	}
	if r.stale.IsZero() {
		r.stale = sent
		return
	}
	var gone []keys.NodePublic
	for node, f := range r.found {
		if f.pushed.Before(r.stale) {
			gone = append(gone, node)
		}
	}
	slices.SortFunc(gone, keys.NodePublic.Compare)
	for _, node := range gone {
		c.gone(node)
	}
	r.stale = time.Time{}
}

func (c *Client) gone(node keys.NodePublic) {
	r := &c.registration
	f, ok := r.found[node]
	if !ok {
		return
	}
	r.have.Add(f.sum)
	delete(r.found, node)
	c.tell(Gone{node})
}

func (c *Client) foundNode(now time.Time, b *wire.Blob) string {
	r := &c.registration
	old, known := r.found[b.Node]
	switch {
	case r.blob == nil || b.Node == c.signer.Node.Public():
		return "unwanted"
	case !known && len(r.found) >= maxFound:
		return "found-full"
	}
	var sum wire.Have
	sum.Toggle(b.Node, b.Data)
	if r.found == nil {
		r.found = make(map[keys.NodePublic]found)
	}
	r.found[b.Node] = found{sum, now}
	if known && old.sum == sum {
		return ""
	}
	if known {
		r.have.Add(old.sum)
	}
	r.have.Add(sum)
	c.tell(Found{b.Node, b.Data, b.Age})
	return ""
}

func (c *Client) receivePush(now time.Time, b []byte) string {
	if c.session == nil {
		return "unasked"
	}
	p, err := c.session.OpenPush(b)
	if err != nil {
		return wire.DropReason(err)
	}
	if !c.session.pushes.Take(p.Number) {
		return "" // each comes twice
	}
	if c.link.state == StateUp {
		c.link.heard = now
	}
	switch {
	case p.Blob != nil:
		return c.foundNode(now, p.Blob)
	case p.Gone != nil:
		c.gone(p.Gone.Node)
	case p.PeerBound != nil:
		return c.peerBound(now, p.PeerBound)
	case p.Leaving != nil:
		c.leaving(now, p.Leaving.Grace)
	}
	return ""
}
