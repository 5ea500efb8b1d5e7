package mainline

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/credant/credant/discovery"
)

// A Source is the DHT as a source of addresses.
type Source struct {
	config   Config
	families []*family
	resolver *resolver
	item     *publisher // nil without an item

	ended chan struct{} // closed when Run has returned

	finding sync.Mutex // held during Found

	mu     sync.Mutex
	silent bool // as last logged
	others bool // whoever gave LookupIP tells of names that do not resolve
}

// New makes a Source. Nothing happens before Run.
func New(c Config) *Source {
	if c.Bootstrap == nil {
		c.Bootstrap = DefaultBootstrap
	}
	others := c.LookupIP != nil
	if !others {
		c.LookupIP = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	s := &Source{config: c, ended: make(chan struct{}), others: others}
	if c.Item != nil {
		s.item = newPublisher(*c.Item)
	}
	s.resolver = newResolver(c.Bootstrap, c.LookupIP, c.Log)
	if c.IPv4 != nil {
		s.families = append(s.families, newFamily(c.IPv4, true, s))
	}
	if c.IPv6 != nil {
		s.families = append(s.families, newFamily(c.IPv6, false, s))
	}
	if len(s.families) == 2 {
		a, b := s.families[0], s.families[1]
		a.sibling, b.sibling = b, a
		if c.Serve {
			a.serving.sibling, b.serving.sibling = b.serving, a.serving
		}
	}
	s.resolver.changed = func() {
		for _, f := range s.families {
			notify(f.refresh)
		}
	}
	return s
}

// Run announces and asks until ctx is done, and returns nil then. An error means
// that no server could be started.
//
// It may be called once. It closes the sockets, each after the server that reads it.
func (s *Source) Run(ctx context.Context) error {
	defer close(s.ended)
	if s.item != nil {
		if err := s.item.check(); err != nil {
			for _, f := range s.families {
				_ = f.guard.Close()
			}
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.resolver.run(ctx) })
	for _, f := range s.families {
		g.Go(func() error { return f.run(ctx) })
	}
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (s *Source) seen(by, addr netip.AddrPort) {
	if s.config.Seen != nil && addr.IsValid() && addr.Port() != 0 {
		s.config.Seen(by, addr)
	}
}

func (s *Source) located(addr netip.AddrPort, moved bool) {
	if s.config.Located != nil {
		s.config.Located(addr, moved)
	}
}

// Kick polls fast again for a while, and announces anew.
func (s *Source) Kick() {
	for _, f := range s.families {
		notify(f.kicked)
	}
}

// Wake looks at once at what the Active of each Lookup says.
func (s *Source) Wake() {
	for _, f := range s.families {
		notify(f.woken)
	}
}

// notify leaves a note in a channel that holds one. It never blocks.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Nodes returns nodes worth remembering, the best first: those closest to today's
// hash, then those that answered last.
func (s *Source) Nodes() []netip.AddrPort {
	var lists [][]netip.AddrPort
	for _, f := range s.families {
		lists = append(lists, f.last.get().nodes)
	}
	return interleave(MaxNodes, lists...)
}

// Drops returns how many datagrams the guard dropped, by reason.
func (s *Source) Drops() map[string]uint64 {
	sum := make(map[string]uint64)
	for _, f := range s.families {
		f.guard.drops.addTo(sum)
	}
	return sum
}

// Status tells how it goes. Where both families run, the one that fares better
// speaks.
func (s *Source) Status() discovery.SourceStatus {
	now := time.Now()
	st := discovery.SourceStatus{State: discovery.StateWaiting, Detail: "no socket"}
	for i, f := range s.families {
		snap := f.last.get()
		own := snap.status(now)
		if i == 0 || rank(own.State) > rank(st.State) {
			own.Found, own.Nodes, own.LastFound, st = st.Found, st.Nodes, st.LastFound, own
		}
		st.Found += snap.found
		st.Nodes += snap.live
		if snap.foundAt.After(st.LastFound) {
			st.LastFound = snap.foundAt
		}
	}
	return st
}

func (s *Source) found(a netip.AddrPort, found func(netip.AddrPort)) {
	s.finding.Lock()
	defer s.finding.Unlock()
	found(a)
}

// observe logs when the DHT as a whole goes away or comes back: a host with one
// address family is no news.
func (s *Source) observe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch st := s.Status(); {
	case st.State == discovery.StateFailing && !s.silent && !(s.others && st.Detail == noneKnown):
		s.silent = true
		s.config.Log.Warn("dht does not work", "err", st.LastError)
	case st.State == discovery.StateWorking && s.silent:
		s.silent = false
		s.config.Log.Info("dht works again")
	}
}

func rank(s discovery.State) int {
	switch s {
	case discovery.StateWorking:
		return 3
	case discovery.StateStarting:
		return 2
	case discovery.StateFailing:
		return 1
	}
	return 0
}

// interleave takes from each list in turn, at most limit in all, each address once.
func interleave(limit int, lists ...[]netip.AddrPort) []netip.AddrPort {
	var out []netip.AddrPort
	seen := make(map[netip.AddrPort]struct{})
	for i, more := 0, true; more; i++ {
		more = false
		for _, list := range lists {
			if i >= len(list) {
				continue
			}
			more = true
			if _, dup := seen[list[i]]; !dup && len(out) < limit {
				seen[list[i]] = struct{}{}
				out = append(out, list[i])
			}
		}
	}
	return out
}

// shared is a value that one goroutine sets and others read.
type shared[T any] struct {
	mu sync.Mutex
	v  T
}

func (s *shared[T]) set(v T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.v = v
}

func (s *shared[T]) get() T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.v
}
