package forward

import (
	"context"
	"net/netip"

	"github.com/credant/credant/relay/wire"
)

const (
	// A frame costs whoever handles it a MAC at least and a few signatures at
	// most: all workers together hand up what one core can bear.
	framesPerSecond = 10_000
	framesAtOnce    = 512
	// Of unknown sources a sample is enough: the answer is a hint that may be
	// lost, and who needs it asks again.
	unknownPerSecond = 1000
	unknownAtOnce    = 64
	// maxHandled is how much of a datagram Handle sees.
	maxHandled = 1500
)

// upward takes datagrams from the workers to Handle, which runs in a goroutine of
// its own: what it does must not delay forwarding. Frames go first.
type upward struct {
	handle          func(at, from netip.AddrPort, b []byte)
	frames, unknown queue
}

// A queue never blocks a worker. Its datagrams go round between two channels.
type queue struct{ empty, full chan *datagram }

type datagram struct {
	at, from netip.AddrPort
	size     int
	b        [maxHandled]byte
}

func newUpward(handle func(at, from netip.AddrPort, b []byte)) *upward {
	return &upward{handle: handle, frames: newQueue(framesAtOnce), unknown: newQueue(unknownAtOnce)}
}

func newQueue(n int) queue {
	q := queue{empty: make(chan *datagram, n), full: make(chan *datagram, n)}
	for range n {
		q.empty <- new(datagram)
	}
	return q
}

// put copies b into the queue, unless that is full.
func (q queue) put(at, from netip.AddrPort, b []byte) bool {
	select {
	case d := <-q.empty:
		d.at, d.from, d.size = at, from, copy(d.b[:], b)
		q.full <- d
		return true
	default:
		return false
	}
}

func (u *upward) run(ctx context.Context) {
	for {
		select {
		case d := <-u.frames.full:
			u.pass(u.frames, d)
			continue
		default:
		}
		select {
		case d := <-u.frames.full:
			u.pass(u.frames, d)
		case d := <-u.unknown.full:
			u.pass(u.unknown, d)
		case <-ctx.Done():
			return
		}
	}
}

func (u *upward) pass(q queue, d *datagram) {
	if u.handle != nil {
		u.handle(d.at, d.from, d.b[:d.size])
	}
	q.empty <- d
}

// A sieve is one worker's way up, with its share of the rates.
type sieve struct {
	up              *upward
	frames, unknown rate
	counters        *counters
}

// frame hands up a relay frame.
func (s *sieve) frame(now int64, at, from netip.AddrPort, b []byte) {
	switch {
	case len(b) > wire.MaxFrame:
		s.counters.drop(dropOversized, 1)
	case !s.frames.take(now, framesPerSecond, framesAtOnce) || !s.up.frames.put(at, from, b):
		s.counters.drop(dropBusy, 1)
	}
}

// stray may hand up a forwardable datagram that no flow claims.
func (s *sieve) stray(now int64, at, from netip.AddrPort, b []byte) {
	if s.unknown.take(now, unknownPerSecond, unknownAtOnce) {
		s.up.unknown.put(at, from, b)
	}
}

// rate is a token bucket of one owner, counted in nanoseconds.
type rate struct{ full int64 }

func (r *rate) take(now, perSecond, atOnce int64) bool {
	each := 1_000_000_000 / perSecond
	next := max(r.full, now) + each
	if next > now+atOnce*each {
		return false
	}
	r.full = next
	return true
}
