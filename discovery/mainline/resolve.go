package mainline

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	resolveTimeout = 10 * time.Second
	resolveAgain   = time.Hour // a name that was resolved may have moved
	maxBootstrap   = 32        // addresses kept

	// Pauses after a look-up that failed. A name that is gone for good must not cost
	// datagrams for ever while others work.
	firstResolvePause = time.Second
	lastResolvePause  = maxSearchPause / 2 // so that each search finds it due
)

// A resolver turns HOST:PORT into addresses in the background, when a family that
// nobody answers asks for it. Literal addresses are there from the start.
type resolver struct {
	literal []netip.AddrPort
	names   []*bootstrapName
	lookup  func(ctx context.Context, host string) ([]netip.Addr, error)
	log     *slog.Logger

	wanted  chan struct{}
	changed func() // called when addresses came in, and after each round

	mu       sync.Mutex
	resolved []netip.AddrPort
	busy     bool
	err      error // of the last round, where it brought nothing
}

type bootstrapName struct {
	host  string
	port  uint16
	due   time.Time // before this it is not looked up
	pause time.Duration
}

// newResolver skips what is no HOST:PORT, and says so in its error.
func newResolver(hostPorts []string, lookup func(context.Context, string) ([]netip.Addr, error), log *slog.Logger) *resolver {
	r := &resolver{lookup: lookup, log: log, wanted: make(chan struct{}, 1), changed: func() {}}
	for _, s := range hostPorts {
		host, portText, err := net.SplitHostPort(s)
		port, perr := strconv.ParseUint(portText, 10, 16)
		if err != nil || perr != nil || port == 0 {
			r.err = fmt.Errorf("parse DHT bootstrap node %q: want HOST:PORT", s)
			continue
		}
		if ip, err := netip.ParseAddr(host); err == nil {
			r.literal = append(r.literal, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
		} else {
			r.names = append(r.names, &bootstrapName{host: host, port: uint16(port)})
		}
	}
	return r
}

// want asks for fresh addresses. It never blocks.
func (r *resolver) want() {
	if len(r.names) == 0 {
		return
	}
	r.mu.Lock()
	r.busy = true
	r.mu.Unlock()
	notify(r.wanted)
}

// addrs returns what is known by now.
func (r *resolver) addrs() []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Concat(r.literal, r.resolved)
}

// state tells whether names are being resolved, and why the last round brought none.
func (r *resolver) state() (busy bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.busy, r.err
}

func (r *resolver) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.wanted:
		}
		r.round(ctx)
	}
}

// round resolves every name that is due, all at once: one that hangs holds up none.
func (r *resolver) round(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, n := range r.names {
		if time.Now().Before(n.due) {
			continue
		}
		wg.Go(func() {
			ips, err := r.lookup(ctx, n.host)
			r.add(n, ips, err)
		})
	}
	wg.Wait()
	r.mu.Lock()
	r.busy = false
	r.mu.Unlock()
	r.changed()
}

func (r *resolver) add(n *bootstrapName, ips []netip.Addr, err error) {
	r.mu.Lock()
	if err != nil {
		r.log.Debug("resolve dht bootstrap node", "addr", n.host, "err", err)
		r.err = fmt.Errorf("resolve %s: %w", n.host, err)
		n.pause = max(min(2*n.pause, lastResolvePause), firstResolvePause)
		if len(r.literal)+len(r.resolved) > 0 {
			n.pause = resolveAgain
		}
	} else {
		r.err = nil
		n.pause = resolveAgain
	}
	n.due = time.Now().Add(n.pause)
	for _, ip := range ips {
		a := netip.AddrPortFrom(ip.Unmap(), n.port)
		if !slices.Contains(r.resolved, a) {
			r.resolved = append(r.resolved, a)
		}
	}
	// The newest are kept: an old one may be gone.
	if extra := len(r.resolved) - maxBootstrap; extra > 0 {
		r.resolved = slices.Delete(r.resolved, 0, extra)
	}
	r.mu.Unlock()
	if len(ips) > 0 {
		r.changed() // the first to come in is used at once
	}
}
