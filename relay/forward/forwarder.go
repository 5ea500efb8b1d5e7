package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/credant/credant/relay"
)

// maxWorkers is enough for any link a relay hangs on; each costs 4 MiB.
const maxWorkers = 4

// ErrEnded is the error of whatever is asked of a Forwarder that has run.
var ErrEnded = errors.New("the forwarder has ended")

// Config says where a Forwarder works.
type Config struct {
	// Addrs are the own addresses, unmapped: every port opens on each. Serve
	// changes them.
	Addrs []netip.Addr
	// Handle gets relay frames, and some of the datagrams that come from unknown
	// sources (cut to 1,500 bytes). It is called by one goroutine, and b is valid
	// during the call. nil: they are dropped.
	Handle func(at, from netip.AddrPort, b []byte)
	// Log may be nil.
	Log *slog.Logger
	// Workers is how many sockets an address and port has, and how many
	// goroutines forward; 0: as many as CPUs, at most 4.
	Workers int
}

// A Forwarder forwards while Run runs.
type Forwarder struct {
	log   *slog.Logger
	up    *upward
	flows *table

	mu      sync.Mutex // guards what follows, and writing to flows
	state   state
	workers []*worker
	// addrs has holes where an address was given up: the place of one is part of
	// the keys of its flows.
	addrs  []netip.Addr
	ports  map[uint16]bool // open
	locals map[netip.AddrPort]*local
}

type state uint8

const (
	idle state = iota
	running
	ended
)

// New returns a Forwarder without open ports.
func New(c Config) *Forwarder {
	f := &Forwarder{
		addrs:  slices.Clone(c.Addrs),
		log:    c.Log,
		up:     newUpward(c.Handle),
		flows:  newTable(),
		ports:  make(map[uint16]bool),
		locals: make(map[netip.AddrPort]*local),
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	n := c.Workers
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	for i := range min(n, maxWorkers) {
		f.workers = append(f.workers, newWorker(i, f.flows, f.up))
	}
	return f
}

// Install forwards a flow, or changes where the one with its key leads. Both its
// own ports must be open.
func (f *Forwarder) Install(r relay.Flow) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, out := f.locals[r.At], f.locals[r.From]
	if at == nil || out == nil {
		return fmt.Errorf("install flow %v: its port is not open", r)
	}
	if r.Source.Addr().Is4() != r.At.Addr().Is4() || r.Source.Addr().Is4In6() {
		return fmt.Errorf("install flow %v: its source cannot reach it", r)
	}
	target, err := newTarget(r, out)
	if err != nil {
		return err
	}
	k := newKey(r.Source, at)
	if known := f.flows.find(k); known != nil {
		known.target.Store(target)
		return nil
	}
	added := &flow{key: r.FlowKey}
	added.target.Store(target)
	f.flows.insert(k, added)
	return nil
}

// Remove forwards that flow no longer. What was counted since Counters last asked
// is forgotten.
func (f *Forwarder) Remove(flow relay.FlowKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at := f.locals[flow.At]; at != nil {
		f.flows.remove(newKey(flow.Source, at))
	}
}

// Counters tells what each flow has carried since the last call; flows that
// carried nothing are left out.
func (f *Forwarder) Counters(tell func(flow relay.FlowKey, packets, bytes uint64)) {
	for _, flow := range f.flows.all() {
		if packets := flow.packets.Swap(0); packets > 0 {
			tell(flow.key, packets, flow.bytes.Swap(0))
		}
	}
}

// Totals returns what was forwarded since the start.
func (f *Forwarder) Totals() (packets, bytes uint64) {
	for _, w := range f.workers {
		packets += w.counters.packets.Load()
		bytes += w.counters.bytes.Load()
	}
	return packets, bytes
}

// Drops returns how many datagrams were dropped since the start, by reason.
func (f *Forwarder) Drops() map[string]uint64 {
	by := make(map[string]uint64, len(dropNames))
	for _, w := range f.workers {
		for i, name := range dropNames {
			by[name] += w.counters.drops[i].Load()
		}
	}
	return by
}

// Send sends one datagram from an own address whose port is open.
func (f *Forwarder) Send(from, to netip.AddrPort, b []byte) error {
	f.mu.Lock()
	l := f.locals[from]
	f.mu.Unlock()
	if l == nil {
		return fmt.Errorf("send from %v to %v: the port is not open", from, to)
	}
	if err := l.send(to, b); err != nil {
		return fmt.Errorf("send from %v to %v: %w", from, to, err)
	}
	return nil
}

// Run forwards until ctx ends, then closes every port. It can be called once. It
// raises GOMAXPROCS to one more than there are workers.
func (f *Forwarder) Run(ctx context.Context) error {
	if err := f.start(); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { f.up.run(ctx); return nil })
	for _, w := range f.workers {
		group.Go(w.run)
	}
	group.Go(func() error {
		<-ctx.Done()
		f.mu.Lock() // nobody waits for a worker now
		defer f.mu.Unlock()
		f.state = ended
		for _, w := range f.workers {
			w.stop()
		}
		return nil
	})
	err := group.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.release()
	return err
}

func (f *Forwarder) start() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != idle {
		return fmt.Errorf("run the forwarder again: %w", ErrEnded)
	}
	for _, w := range f.workers {
		err := w.open()
		for _, l := range f.locals {
			if err == nil {
				err = w.adopt(l)
			}
		}
		if err != nil {
			f.state = ended
			f.release()
			return err
		}
	}
	f.state = running
	// A worker that waits keeps its P (the runtime takes it away after 20
	// microseconds only where no other is free), which halves what being woken up
	// costs; and the process's other work is never behind all workers, whose raw
	// system calls the scheduler does not see.
	if n := len(f.workers) + 1; runtime.GOMAXPROCS(0) < n {
		runtime.GOMAXPROCS(n)
	}
	return nil
}

// release closes everything, when no worker runs.
func (f *Forwarder) release() {
	for _, l := range f.locals {
		for i := range f.workers {
			l.close(i)
		}
	}
	clear(f.locals)
	clear(f.ports)
	f.flows.clear()
	for _, w := range f.workers {
		w.close()
	}
}
