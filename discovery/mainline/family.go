package mainline

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	settledEvery = 40 * time.Second // one of the closest nodes is asked; all hold the same
	maxFound     = 1024             // addresses counted as found
	tableSeeds   = 16               // remembered nodes that a search begins from
	retrySeeds   = 16               // nodes of the cache for one of many searches that nobody answers
)

// A family announces and asks in one address family. Fields without a remark belong
// to the goroutine in run.
type family struct {
	source  *Source
	guard   *guard  // for all
	sibling *family // the other family, nil without one; its channels and last only
	is4     bool
	id      nodeID
	serving *responder // for all; nil: this node is read-only

	kicked  chan struct{}    // from any goroutine
	woken   chan struct{}    // from any goroutine
	fetches chan *fetch      // from any goroutine
	keeps   chan *keep       // from any goroutine
	offered chan []node      // from the sibling: nodes of this family
	refresh chan struct{}    // from the resolver: addresses came in
	results chan result      // from the queries
	last    shared[snapshot] // for all
	queries sync.WaitGroup

	server   *server
	groups   []*group // those that the configuration asks for
	fetching []*group
	keeping  []*keep
	table    table
	vantage  vantage
	known    []netip.AddrPort
	searches int // that began while nobody answered
	found    map[netip.AddrPort]struct{}
	foundAt  time.Time
}

func newFamily(conn net.PacketConn, is4 bool, s *Source) *family {
	f := &family{
		source: s, is4: is4,
		kicked:  make(chan struct{}, 1),
		woken:   make(chan struct{}, 1),
		fetches: make(chan *fetch),
		keeps:   make(chan *keep),
		offered: make(chan []node, 1),
		refresh: make(chan struct{}, 1),
		results: make(chan result),
		found:   make(map[netip.AddrPort]struct{}),
	}
	f.id = newNodeID(f.publicAddr(conn))
	if s.config.Serve {
		f.serving = newResponder(f.id)
	}
	f.guard = newGuard(conn, f.serving)
	f.groups = newGroups(&s.config, f.id, s.item)
	f.known = f.ours(s.config.KnownNodes)
	f.known = f.known[:min(len(f.known), MaxNodes)]
	f.publish(time.Time{})
	return f
}

// publicAddr is where others reach this host, as far as it is known from the start.
func (f *family) publicAddr(conn net.PacketConn) netip.Addr {
	for _, a := range f.source.config.Public {
		if a = a.Unmap(); a.Is4() == f.is4 {
			return a
		}
	}
	if local, ok := addrPortOf(conn.LocalAddr()); ok && public(local.Addr()) {
		return local.Addr()
	}
	return netip.Addr{}
}

// ours returns the usable addresses of this family, unmapped.
func (f *family) ours(addrs []netip.AddrPort) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range addrs {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		if a.IsValid() && a.Port() != 0 && a.Addr().Is4() == f.is4 {
			out = append(out, a)
		}
	}
	return out
}

func (f *family) name() string {
	if f.is4 {
		return "IPv4"
	}
	return "IPv6"
}

func (f *family) run(ctx context.Context) error {
	server, err := newServer(f.guard, f.id, f.source.config.Log)
	if err != nil {
		return err
	}
	defer server.Close()
	f.server = server
	ctx, cancel := context.WithCancel(ctx)
	defer f.queries.Wait()
	defer cancel()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.kicked:
			f.kick(time.Now())
		case <-f.woken:
		case <-f.refresh:
			f.seedSilent(seedsOf(f.ours(f.source.resolver.addrs())))
		case nodes := <-f.offered:
			f.seedSilent(nodes)
		case r := <-f.results:
			f.take(time.Now(), r)
		case want := <-f.fetches:
			f.fetch(time.Now(), want)
		case k := <-f.keeps:
			f.keep(k)
		case <-timer.C:
		}
		now := time.Now()
		f.step(ctx, now)
		f.publish(now)
		f.source.observe()
		timer.Reset(f.next(now).Sub(now))
	}
}

func (f *family) kick(now time.Time) {
	for _, g := range f.groups {
		g.hashesAt = time.Time{}
		if g.on {
			g.kick(now)
		}
	}
}

// step looks at the day, begins searches and sends what is due.
func (f *family) step(ctx context.Context, now time.Time) {
	f.endKeeps()
	for _, g := range f.groups {
		if !g.wake(now) {
			continue
		}
		g.refresh(now)
		if g.purpose == toPut {
			g.changed(now, g.item.value())
		}
		f.advance(ctx, now, g)
	}
	if f.serving != nil {
		if p, ok := f.serving.routing.due(now); ok {
			f.queries.Go(func() { f.probe(ctx, p) })
		}
	}
	f.endFetches(now)
	for _, g := range f.fetching {
		f.advance(ctx, now, g)
	}
}

func (f *family) advance(ctx context.Context, now time.Time, g *group) {
	for _, l := range g.lookups {
		if l.SearchDue(now) {
			l.Search(now, f.seeds(l))
		}
		for _, q := range l.Advance(now) {
			f.queries.Go(func() { f.query(ctx, g, q) })
		}
	}
}

// lookups yields those that are active.
func (f *family) lookups(yield func(*lookup) bool) {
	for _, gs := range [][]*group{f.groups, f.fetching} {
		for _, g := range gs {
			for _, l := range g.lookups {
				if g.on && !yield(l) {
					return
				}
			}
		}
	}
}

// seeds returns what a search begins from: nodes that answered before and, where too
// few do now, those of the cache and the bootstrap nodes side by side.
func (f *family) seeds(l *lookup) []node {
	seeds := f.table.closest(l.hash, tableSeeds)
	if f.serving != nil {
		seeds = append(seeds, f.serving.routing.closest(l.hash, closestK, netip.AddrPort{})...)
	}
	if !l.starving() {
		return seeds
	}
	bootstrap := f.ours(f.source.resolver.addrs())
	known := f.known
	if l.Silent() {
		f.source.resolver.want()
		if f.searches++; f.searches > 3 && len(known) > retrySeeds {
			// Long silence: some at a time, others each time.
			turn := f.searches * retrySeeds % len(known)
			known = slices.Concat(known[turn:], known[:turn])[:retrySeeds]
		}
	}
	return append(seeds, seedsOf(interleave(2*MaxNodes, known, bootstrap))...)
}

func seedsOf(addrs []netip.AddrPort) []node {
	nodes := make([]node, len(addrs))
	for i, a := range addrs {
		nodes[i].addr = a
	}
	return nodes
}

func (f *family) seedSilent(seeds []node) {
	for l := range f.lookups {
		if l.Live() == 0 {
			l.Seed(time.Now(), seeds)
		}
	}
}

func (f *family) next(now time.Time) time.Time {
	next := now.Add(time.Hour)
	if f.serving != nil {
		next = now.Add(probeEvery)
	}
	for _, gs := range [][]*group{f.groups, f.fetching} {
		for _, g := range gs {
			if t := g.next(now); t.Before(next) {
				next = t
			}
		}
	}
	return next
}
