package relay

import (
	"errors"
	"net/netip"
	"time"

	"github.com/credant/credant/relay/wire"
)

// forbiddenRetry is when to ask again after a refusal: the operator may allow the
// network meanwhile.
const forbiddenRetry = time.Minute

// call is a request on its way through the checks.
type call struct {
	now      int64
	at, from netip.AddrPort
	size     int
	keys     *wire.Session
	// issued is when the cookie was, src where it came back from: nil until the
	// cookie has been found good.
	issued int64
	src    *source
	node   *node // nil until the session is known
	wire.Request
}

// receiveRequest takes in a request: the cheap checks first, work on a curve
// only for who has shown a source and a budget.
func (s *Server) receiveRequest(now int64, at, from netip.AddrPort, b []byte) string {
	cookie, client, err := wire.RequestHeader(b)
	if err != nil {
		return wire.DropReason(err)
	}
	c := call{now: now, at: at, from: from, size: len(b), node: s.sessions[client]}
	issued, good := s.cookies.check(now, cookie, from, at.Port())
	if !good {
		if c.node == nil {
			s.reset(now, at, from, b)
			return dropCookie
		}
		return s.receiveStale(&c, b)
	}
	c.issued, c.src = issued, s.source(now, from.Addr())
	switch {
	case c.src == nil:
		return dropSourcesFull
	case c.node == nil:
		return s.receiveFirst(&c, client, b)
	}
	return s.receiveNext(&c, b)
}

// receiveStale answers a request of a known session whose cookie is no longer
// good, as after a change of address, with a fresh one. Nothing is proven of the
// source, so the answer is shorter than the request and changes nothing.
func (s *Server) receiveStale(c *call, b []byte) string {
	c.keys = c.node.keys
	var err error
	if c.Request, err = c.keys.OpenRequest(b); err != nil {
		return wire.DropReason(err)
	}
	// The number stays free: whoever overtakes a request with a copy of it from
	// elsewhere must not have the request taken for the copy.
	if !c.node.window.Fresh(c.Number) {
		return dropReplay
	}
	if !stalesPerNode.take(&c.node.stales, c.now, 1, 0) {
		return dropRate
	}
	return s.refuse(c, wire.CodeCookie, 0)
}

// receiveNext takes in a request of a known session. Its seal proves who sent
// it: the node and the network signed the client's key in the first.
func (s *Server) receiveNext(c *call, b []byte) string {
	c.keys = c.node.keys
	var err error
	c.Request, err = c.keys.OpenRequest(b)
	unsupported := errors.Is(err, wire.ErrKind) && c.Number != 0
	if err != nil && !unsupported {
		return wire.DropReason(err)
	}
	n := c.node
	if !unsupported && c.Refresh == nil && (c.Network != n.network.id || c.Node != n.key) {
		return dropIdentity
	}
	if !n.window.Take(c.Number) {
		return dropReplay
	}
	if !requestsPerNode.take(&n.requests, c.now, 1, 0) {
		return dropRate
	}
	switch {
	case !s.spendSource(c, n.network.class):
		return s.refuseQuota(c, "requests from one /24 or /48", 10*time.Second)
	case !s.spendNetwork(c):
		return s.refuseQuota(c, requestsOfNetwork, 10*time.Second)
	}
	s.heard(c)
	if unsupported {
		return s.refuse(c, wire.CodeUnsupported, 0)
	}
	return s.serve(c)
}

// receiveFirst takes in a request with a client key that is not known.
func (s *Server) receiveFirst(c *call, client [32]byte, b []byte) string {
	if !s.gate.curve(c.now, c.src, agreeWork) {
		return dropWork
	}
	var err error
	if c.keys, err = s.exchange.Session(client); err != nil {
		return wire.DropReason(err)
	}
	if c.Request, err = c.keys.OpenRequest(b); err != nil {
		return wire.DropReason(err)
	}
	of, served := s.cfg.classify(c.Network)
	switch {
	case c.Refresh != nil:
		return s.refuse(c, wire.CodeUnknown, 0)
	case !served:
		return s.refuse(c, wire.CodeForbidden, forbiddenRetry)
	case s.leaving:
		return s.refuse(c, wire.CodeLeaving, 0)
	case c.issued <= s.newest(c.Network, c.Node):
		// Sent before something that the node has sent since: a session that is
		// over, or a copy of its requests.
		return s.refuse(c, wire.CodeCookie, 0)
	case !s.spendSource(c, of):
		return s.refuse(c, wire.CodeQuota, 10*time.Second)
	case !s.gate.curve(c.now, c.src, verifyWork):
		return dropWork
	}
	if err := c.Verify(c.at.Port()); err != nil {
		return wire.DropReason(err)
	}
	if c.node = s.node(c.now, c.Network, of, c.Node); c.node == nil {
		return s.refuse(c, wire.CodeFull, time.Minute)
	}
	s.establish(c.now, c.node, c.keys)
	c.node.window.Take(c.Number)
	s.heard(c)
	if !s.spendNetwork(c) {
		return s.refuseQuota(c, requestsOfNetwork, 10*time.Second)
	}
	return s.serve(c)
}

// spendSource takes a request out of its source's quota.
func (s *Server) spendSource(c *call, of class) bool {
	return perSecond(s.cfg.quota(of).Source.Requests).take(&c.src.of[of].requests, c.now, 1, 0)
}

// spendNetwork takes a request out of its network's quota, which only those who
// proved to be of it may use.
func (s *Server) spendNetwork(c *call) bool {
	w := c.node.network
	return perSecond(s.cfg.quota(w.class).Network.Requests).take(&w.requests, c.now, 1, 0)
}

// heard notes that a node sent a request, and from where.
func (s *Server) heard(c *call) {
	n := c.node
	n.used, n.newest = c.now, max(n.newest, c.issued)
	if !s.cfg.Ports.Contains(c.at.Port()) && c.Number > n.frontNumber {
		n.at, n.front, n.frontNumber, n.frontUsed = c.at, c.from, c.Number, c.now
	}
	s.watch(n)
}

// serve carries out a request whose sender and source are proven.
func (s *Server) serve(c *call) string {
	s.stats.Requests++
	if (c.Bind != nil) != s.cfg.Ports.Contains(c.at.Port()) {
		s.refuse(c, wire.CodeUnsupported, 0)
		return dropPort
	}
	switch {
	case s.leaving && (c.Register != nil || c.Allocate != nil):
		return s.refuse(c, wire.CodeLeaving, 0)
	case c.Register != nil:
		return s.register(c)
	case c.Refresh != nil:
		return s.refresh(c)
	case c.Allocate != nil:
		return s.allocate(c)
	case c.Bind != nil:
		return s.bind(c)
	case c.Release != nil:
		return s.release(c)
	default:
		return s.leave(c)
	}
}

// answer sends a response and a fresh cookie with it.
func (s *Server) answer(c *call, r wire.Response) {
	r.Number, r.Cookie = c.Number, s.cookies.issue(c.now, c.from, c.at.Port())
	data, err := c.keys.SealResponse(r)
	if err != nil {
		panic("relay: " + err.Error()) // the bounds of what it holds are ours, so it is a defect
	}
	if c.src == nil && len(data) > c.size {
		return // nobody has shown to be at c.from
	}
	s.outbox.send(c.at, c.from, data)
}

// refuse answers with an error. It has no text: what it is about may be unproven.
func (s *Server) refuse(c *call, code wire.Code, retry time.Duration) string {
	return s.refuseAs(c, &wire.Error{Code: code, RetryAfter: retry})
}

const requestsOfNetwork = "requests of one network"

// refuseQuota tells a proven sender what there is too much of.
func (s *Server) refuseQuota(c *call, what string, retry time.Duration) string {
	return s.refuseAs(c, &wire.Error{Code: wire.CodeQuota, Text: "too many " + what, RetryAfter: retry})
}

func (s *Server) refuseAs(c *call, e *wire.Error) string {
	s.answer(c, wire.Response{Error: e})
	s.stats.Refused[e.Code.String()]++
	return refused[e.Code]
}
