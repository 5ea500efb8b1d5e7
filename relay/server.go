package relay

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/relay/wire"
)

// Server is the relay's engine. It is not safe for concurrent use; the Buckets
// that it hands out in flows are.
type Server struct {
	cfg      Config
	exchange *wire.Exchange
	clock    clock
	leaving  bool

	gate    gate
	cookies *cookieJar
	sources *sources
	*directory
	board  *switchboard
	timers *schedule
	outbox outbox
	stats  Stats
}

// limits bound the tables.
type limits struct{ sources, nodes, registrations, allocations int }

// tableLimits bound what a flood from everywhere can make the server hold, to
// about 70 MB.
var tableLimits = limits{sources: 8192, nodes: 40000, registrations: 16384, allocations: 16384}

// New returns a server that holds nothing yet.
func New(cfg Config) *Server { return newServer(cfg, tableLimits) }

func newServer(cfg Config, most limits) *Server {
	cfg = cfg.fill()
	var seed [32]byte
	mustRead(cfg.Rand, seed[:])
	rng := rand.New(rand.NewChaCha8(seed))
	timers := new(schedule)
	return &Server{
		cfg:       cfg,
		exchange:  wire.NewExchange(cfg.Identity),
		gate:      newGate(cfg.Rand),
		cookies:   newCookieJar(cfg.Rand),
		sources:   newSources(most.sources, rng),
		directory: newDirectory(most, rng, randomKey(cfg.Rand), timers),
		board:     newSwitchboard(most.allocations, cfg.Ports, rng),
		timers:    timers,
		stats:     Stats{Refused: make(map[string]uint64)},
	}
}

// clock turns times into nanoseconds, which never go back. The first is 1: what
// is 0 has never been.
type clock struct {
	epoch time.Time
	last  int64
}

func (c *clock) tick(now time.Time) int64 {
	if c.epoch.IsZero() {
		c.epoch = now.Add(-1)
	}
	c.last = max(c.last, int64(now.Sub(c.epoch)))
	return c.last
}

// Receive takes in a relay frame that came to at, an address and port of the
// relay's own. The reason is empty where it was served, else a short constant to
// count it under. It keeps nothing of b.
func (s *Server) Receive(now time.Time, at, from netip.AddrPort, b []byte) (reason string) {
	t := s.clock.tick(now)
	at, from = plain(at), plain(from)
	kind, ok := wire.ParseHeader(b)
	switch {
	case !ok:
		return wire.DropReason(wire.ErrVersion)
	case !s.plausible(at, from):
		return dropSource
	case s.cfg.Ports.Contains(at.Port()) && !s.board.uses(at.Port()):
		return dropPort // it has just been closed
	case kind == wire.KindAsk:
		return s.receiveAsk(t, at, from, b)
	case kind == wire.KindRequest:
		return s.receiveRequest(t, at, from, b)
	}
	return wire.DropReason(wire.ErrKind)
}

// plausible says that an answer to a source can arrive, and is not the relay's
// own to receive: two of its ports must not feed each other.
func (s *Server) plausible(at, from netip.AddrPort) bool {
	ip := from.Addr()
	switch {
	case !from.IsValid() || !at.IsValid() || from.Port() == 0 || ip.IsUnspecified() || ip.IsMulticast() || ip == broadcast:
		return false
	case ip.Is6() && ip.IsLinkLocalUnicast():
		return false // another family's side could not tell the link
	case ip != at.Addr() && !slices.Contains(s.cfg.Locals, ip):
		return true
	}
	return !s.cfg.Ports.Contains(from.Port()) && !slices.Contains(s.cfg.Fronts, from.Port()) && from.Port() != at.Port()
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// plain gives an address its one form.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// receiveAsk answers with a challenge and keeps nothing.
func (s *Server) receiveAsk(now int64, at, from netip.AddrPort, b []byte) string {
	tx, err := wire.ParseAsk(b)
	switch {
	case err != nil:
		return wire.DropReason(err)
	case s.leaving && !s.cfg.Ports.Contains(at.Port()):
		return dropLeaving
	case s.outbox.full() || !s.gate.ask(now, from, s.sources.holds(from.Addr())):
		return dropRate
	}
	cookie := s.cookies.issue(now, from, at.Port())
	data := make([]byte, 0, wire.ChallengeSize)
	s.outbox.send(at, from, s.exchange.AppendChallenge(data, tx, cookie, from))
	s.stats.Challenges++
	return ""
}

// Unknown takes in a datagram that came to a relay port and that no flow claims.
// Its sender may be told so, that it binds again.
func (s *Server) Unknown(now time.Time, at, from netip.AddrPort, b []byte) {
	t := s.clock.tick(now)
	at, from = plain(at), plain(from)
	if s.plausible(at, from) && s.board.uses(at.Port()) && wire.Forwardable(b) {
		s.reset(t, at, from, b)
	}
}

// reset tells the sender of b that nothing is known of it: a hint, shorter than
// b.
func (s *Server) reset(now int64, at, from netip.AddrPort, b []byte) {
	if len(b) <= wire.ResetSize || s.outbox.full() || !s.gate.reset(now, from, s.sources.holds(from.Addr())) {
		return
	}
	s.outbox.send(at, from, wire.AppendReset(make([]byte, 0, wire.ResetSize), b))
	s.stats.Resets++
}

// source is that of a request with a cookie.
func (s *Server) source(now int64, a netip.Addr) *source {
	src, fresh := s.sources.get(now, a)
	if fresh {
		for c := range src.of {
			src.of[c].bytes.SetRate(s.cfg.quota(class(c)).Source.Bytes)
		}
	}
	return src
}

// Advance returns what is to be done now, and is to be called after every other
// method and at the time that Next names.
func (s *Server) Advance(now time.Time) []Output {
	t := s.clock.tick(now)
	for {
		at, ok := s.timers.next()
		if !ok || at > t {
			break
		}
		switch due := (*s.timers)[0].(type) {
		case *node:
			s.expireNode(t, due)
		case *allocation:
			s.expireAllocation(t, due)
		}
	}
	s.board.tend(t, &s.outbox)
	return s.outbox.take(t)
}

// Next is when Advance has something to do; false where nothing is waited for.
func (s *Server) Next() (time.Time, bool) {
	var next int64
	found := false
	for _, f := range []func() (int64, bool){s.timers.next, s.outbox.next, s.board.next} {
		if at, ok := f(); ok && (!found || at < next) {
			next, found = at, true
		}
	}
	if !found {
		return time.Time{}, false
	}
	return s.clock.epoch.Add(time.Duration(max(next, s.clock.last))), true
}
