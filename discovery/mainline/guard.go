package mainline

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A guard is the net.PacketConn that the library reads and writes. It passes on
// answers that the library survives (see examine) from whom it asked. Queries it gives
// to the responder, if there is one, and never to the library. It never fails a read
// before Close, since any failing read panics there: so the server is to be closed
// first.
type guard struct {
	conn    net.PacketConn
	serving *responder // nil: this node is read-only

	closeOnce sync.Once
	closed    chan struct{}
	reading   sync.Mutex // held by ReadFrom

	asked    asked
	drops    drops
	writeErr shared[error] // of the last write
}

// newGuard guards conn, which it closes with itself.
func newGuard(conn net.PacketConn, serving *responder) *guard {
	return &guard{conn: conn, serving: serving, closed: make(chan struct{})}
}

// The pauses between reads that fail: the first ones are most likely ICMP errors
// of a datagram sent, the last ones a network that is gone.
const (
	firstReadPause = time.Millisecond
	lastReadPause  = time.Second
)

// ReadFrom implements net.PacketConn. Its only error is net.ErrClosed, after Close.
func (g *guard) ReadFrom(p []byte) (int, net.Addr, error) {
	g.reading.Lock()
	defer g.reading.Unlock()
	pause := firstReadPause
	for {
		n, from, err := g.conn.ReadFrom(p)
		select {
		case <-g.closed:
			return 0, nil, net.ErrClosed
		default:
		}
		if err != nil {
			// A socket that somebody else closed fails for ever: there is nothing to
			// read until the guard is closed too.
			if errors.Is(err, net.ErrClosed) {
				pause = lastReadPause
			}
			select {
			case <-g.closed:
			case <-time.After(pause):
			}
			pause = min(2*pause, lastReadPause)
			continue
		}
		pause = firstReadPause
		// The library panics on addresses that it cannot split, and tells nodes apart
		// by how their address prints.
		addr, ok := addrPortOf(from)
		if !ok || addr.Port() == 0 {
			g.drops.add(dropMalformed)
			continue
		}
		msg, reason := examine(p[:n], g.serving == nil)
		switch {
		case reason != "":
			g.drops.add(reason)
			continue
		case msg.query():
			g.answer(addr, msg)
			continue
		case !g.asked.lately(time.Now(), addr):
			g.drops.add(dropUnsolicited)
			continue
		}
		return n, net.UDPAddrFromAddrPort(addr), nil
	}
}

// answer answers a query. A write that fails is the asker's loss.
func (g *guard) answer(from netip.AddrPort, query message) {
	b, reason := g.serving.Receive(time.Now(), from, query)
	if reason != "" {
		g.drops.add(reason)
	}
	if len(b) > 0 {
		_, _ = g.conn.WriteTo(b, net.UDPAddrFromAddrPort(from))
	}
}

// WriteTo implements net.PacketConn.
func (g *guard) WriteTo(p []byte, to net.Addr) (int, error) {
	select {
	case <-g.closed:
		return 0, net.ErrClosed
	default:
	}
	if addr, ok := addrPortOf(to); ok {
		g.asked.add(time.Now(), addr)
	}
	n, err := g.conn.WriteTo(p, to)
	g.writeErr.set(err)
	return n, err
}

// Close closes the guarded socket too, and returns once nothing reads it.
func (g *guard) Close() error {
	var err error
	g.closeOnce.Do(func() {
		close(g.closed)
		err = g.conn.Close()
		g.reading.Lock()
		defer g.reading.Unlock()
	})
	return err
}

// LocalAddr implements net.PacketConn.
func (g *guard) LocalAddr() net.Addr { return g.conn.LocalAddr() }

// The library sets no deadlines, and one that expired would be a read error.
func (g *guard) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (g *guard) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (g *guard) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

// addrPortOf reads a UDP address, unmapped.
func addrPortOf(a net.Addr) (netip.AddrPort, bool) {
	if a == nil {
		return netip.AddrPort{}, false
	}
	var ap netip.AddrPort
	if udp, ok := a.(*net.UDPAddr); ok {
		ap = udp.AddrPort()
	} else {
		var err error
		if ap, err = netip.ParseAddrPort(a.String()); err != nil {
			return netip.AddrPort{}, false
		}
	}
	if !ap.Addr().IsValid() {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), true
}

// asked remembers whom the library wrote to, so that strangers' datagrams do not
// even reach its decoder. The zero value is ready.
type asked struct {
	mu sync.Mutex
	at map[netip.AddrPort]time.Time
}

const (
	answerWithin = 2 * queryTimeout
	// maxAsked is more than can be sent within answerWithin.
	maxAsked = 2 * sendsPerSecond * int(answerWithin/time.Second)
)

func (a *asked) add(now time.Time, to netip.AddrPort) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at == nil {
		a.at = make(map[netip.AddrPort]time.Time)
	}
	if len(a.at) >= maxAsked {
		for addr, at := range a.at {
			if now.Sub(at) > answerWithin {
				delete(a.at, addr)
			}
		}
	}
	a.at[to] = now
}

func (a *asked) lately(now time.Time, from netip.AddrPort) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.at[from]
	return ok && now.Sub(at) <= answerWithin
}

// drops counts dropped datagrams by reason. The zero value is ready.
type drops struct {
	mu       sync.Mutex
	byReason map[string]uint64 // keyed by this package's constants only
}

func (d *drops) add(reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byReason == nil {
		d.byReason = make(map[string]uint64)
	}
	d.byReason[reason]++
}

// addTo adds the counts to sum.
func (d *drops) addTo(sum map[string]uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for reason, n := range d.byReason {
		sum[reason] += n
	}
}
