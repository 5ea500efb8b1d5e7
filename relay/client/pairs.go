package client

import (
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

const (
	// maxPairs is how many allocations one client wants: no relay has more ports.
	maxPairs = 1024
	// boundLifetime is how long a relay keeps an allocation that nobody uses.
	boundLifetime = 5 * time.Minute
	// leastPort keeps this node away from well-known services at the relay's
	// address, as long as the relay has not said which ports are its own.
	leastPort = 1024
	// unanswered is how long to leave a port alone at which nobody answers.
	unanswered = time.Minute
)

// pairs are those that want an allocation, in the order of their keys.
type pairs struct {
	by      map[keys.NodePublic]*pair
	list    []*pair
	release []keys.NodePublic // not wanted any more
}

// pair is this node and one peer.
type pair struct {
	peer    keys.NodePublic
	addr    netip.AddrPort // of the allocation, as told; zero: none
	granted bool           // by the relay as it is now
	since   time.Time      // of the last grant
	next    time.Time      // to allocate, or to bind again
	trouble string         // why it is not bound
	binding
}

func (s *pairs) at(addr netip.AddrPort) *pair {
	i := slices.IndexFunc(s.list, func(p *pair) bool { return p.addr == addr })
	if i < 0 {
		return nil
	}
	return s.list[i]
}

func (s *pairs) anyGranted() bool {
	return slices.ContainsFunc(s.list, func(p *pair) bool { return p.granted })
}

// granted are the first of those that the relay has an allocation for.
func (s *pairs) granted() (peers []keys.NodePublic) {
	for _, p := range s.list {
		if p.granted && len(peers) < wire.MaxPeers {
			peers = append(peers, p.peer)
		}
	}
	return peers
}

func (s *pairs) anyKnown() bool {
	return slices.ContainsFunc(s.list, func(p *pair) bool { return p.addr.IsValid() })
}

func (c *Client) setPeers(now time.Time, peers []keys.NodePublic) {
	s := &c.pairs
	wanted := make(map[keys.NodePublic]bool, len(peers))
	for _, peer := range peers {
		if !peer.IsZero() && peer != c.signer.Node.Public() && len(wanted) < maxPairs {
			wanted[peer] = true
		}
	}
	s.list = slices.DeleteFunc(s.list, func(p *pair) bool {
		if wanted[p.peer] {
			return false
		}
		c.unbind(p)
		delete(s.by, p.peer)
		if p.granted && len(s.release) < maxPairs {
			s.release = append(s.release, p.peer)
		}
		return true
	})
	s.release = slices.DeleteFunc(s.release, func(peer keys.NodePublic) bool { return wanted[peer] })
	for peer := range wanted {
		if s.by[peer] == nil {
			p := &pair{peer: peer}
			s.by[peer], s.list = p, append(s.list, p)
		}
	}
	slices.SortFunc(s.list, func(a, b *pair) int { return a.peer.Compare(b.peer) })
	if len(s.list) == 0 && c.registration.blob == nil && len(s.release) > 0 {
		s.release = nil
		c.leave(now)
	}
}

// allocateAnew has everything allocated again, which changes nothing where the
// relay still has it. Where it has forgotten all, nothing is bound.
func (c *Client) allocateAnew(forgotten bool) {
	for _, p := range c.pairs.list {
		c.unbind(p)
		if p.granted || forgotten {
			p.granted, p.next = false, time.Time{}
		}
		if forgotten {
			c.setBound(p, false, false)
		}
	}
	if forgotten {
		c.pairs.release = nil
	}
}

// pausePairs stops what is being said about pairs.
func (c *Client) pausePairs() {
	for _, p := range c.pairs.list {
		c.unbind(p)
	}
	c.pairs.release = nil // they expire before long
}

func (c *Client) loseAll(reason string) {
	for _, p := range c.pairs.list {
		c.lose(p, reason)
	}
}

// lose takes an allocation back that was told.
func (c *Client) lose(p *pair, reason string) {
	c.unbind(p)
	p.granted, p.bound, p.ready = false, false, false
	if p.addr.IsValid() {
		c.tell(Lost{p.peer, p.addr, reason})
		p.addr = netip.AddrPort{}
	}
}

// readdress follows the relay to another address.
func (c *Client) readdress(now time.Time) {
	for _, p := range c.pairs.list {
		if !p.addr.IsValid() || p.addr.Addr() == c.link.addr.Addr() {
			continue
		}
		port, granted := p.addr.Port(), p.granted
		c.lose(p, "relay answers at another address")
		if granted {
			c.grant(now, p, port)
		}
	}
}

func (c *Client) advancePairs(now time.Time) {
	if c.link.state != StateUp {
		return
	}
	s := &c.pairs
	if n := min(len(s.release), wire.MaxPeers); n > 0 && c.calls.main[release] == nil {
		c.start(now, &call{op: release, peers: slices.Clone(s.release[:n])})
		s.release = s.release[n:]
	}
	if c.calls.main[allocate] == nil {
		var peers []keys.NodePublic
		for _, p := range s.list {
			if !p.granted && !now.Before(p.next) && len(peers) < wire.MaxPeers {
				peers = append(peers, p.peer)
			}
		}
		if len(peers) > 0 {
			c.start(now, &call{op: allocate, peers: peers})
		}
	}
	for _, p := range s.list {
		if p.granted {
			c.advanceBinding(now, p)
		}
	}
}

func (c *Client) nextPairs(sooner func(time.Time)) {
	if c.link.state != StateUp {
		return
	}
	for _, p := range c.pairs.list {
		switch {
		case !p.granted && c.calls.main[allocate] == nil:
			sooner(p.next)
		case p.granted && p.ask != nil:
			sooner(p.ask.next)
		case p.granted && p.call != nil:
			sooner(p.call.next)
		case p.granted:
			sooner(p.next)
		}
	}
}

// allocated takes the answer for the peers that were asked for.
func (c *Client) allocated(now time.Time, peers []keys.NodePublic, list []wire.Allocated) {
	for _, a := range list {
		if !slices.Contains(peers, a.Peer) {
			continue
		}
		p := c.pairs.by[a.Peer]
		switch {
		case p == nil:
			if a.Port != 0 && len(c.pairs.release) < maxPairs {
				c.pairs.release = append(c.pairs.release, a.Peer)
			}
		case p.granted && a.Port == p.addr.Port():
			if p.bound {
				p.trouble = ""
			}
		case a.Code != 0:
			c.refusePair(p, "allocate: "+a.Code.String(), now.Add(retryAfter(a.Code, 0)))
		case !c.mayBeAt(p, a.Port):
			c.refusePair(p, "allocate: a port that is not the relay's to give", now.Add(unanswered))
		default:
			c.grant(now, p, a.Port)
		}
	}
	if !c.registration.registered {
		c.kept(now)
	}
	for _, peer := range peers {
		if p := c.pairs.by[peer]; p != nil && !p.granted && !p.next.After(now) {
			c.refusePair(p, "allocate: no answer for a peer", now.Add(retryAfter(0, 0)))
		}
	}
}

// mayBeAt reports whether the relay may give the port to the pair.
func (c *Client) mayBeAt(p *pair, port uint16) bool {
	r := &c.registration
	if r.first == 0 && port < leastPort || r.first != 0 && (port < r.first || port > r.last) || port == c.link.addr.Port() {
		return false
	}
	other := c.pairs.at(netip.AddrPortFrom(c.link.addr.Addr(), port))
	return other == nil || other == p
}

// checkPorts holds what was allocated to the range that the relay now names.
func (c *Client) checkPorts(now time.Time) {
	for _, p := range c.pairs.list {
		if p.granted && !c.mayBeAt(p, p.addr.Port()) {
			c.refusePair(p, "allocate: a port that is not the relay's to give", now.Add(unanswered))
		}
	}
}

// grant takes an allocation, tells it, and binds.
func (c *Client) grant(now time.Time, p *pair, port uint16) {
	addr := netip.AddrPortFrom(c.link.addr.Addr(), port)
	if p.addr.IsValid() && p.addr != addr {
		c.lose(p, "the relay has another port for the pair")
	}
	if p.addr != addr {
		p.addr = addr
		c.tell(Allocated{p.peer, addr})
	}
	p.granted, p.since = true, now
	c.bindAgain(now, p)
}

// ungrant has the pair allocated again, before long.
func (c *Client) ungrant(p *pair, next time.Time) {
	c.unbind(p)
	p.granted, p.next = false, next
	c.setBound(p, false, false)
}

// refusePair gives the pair up for now.
func (c *Client) refusePair(p *pair, reason string, again time.Time) {
	c.lose(p, reason)
	p.trouble = reason
	p.next = again
}
