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
	offered chan []node      // from the sibling: nodes of this family
	refresh chan struct{}    // from the resolver: addresses came in
	results chan result      // from the queries
	last    shared[snapshot] // for all
	queries sync.WaitGroup

	server   *server
	groups   []*group // those that the configuration asks for
	fetching []*group
	table    table
	vantage  vantage
	known    []netip.AddrPort
	searches int // that began while nobody answered
	found    map[netip.AddrPort]struct{}
	foundAt  time.Time
}

// A result is what came of one query.
type result struct {
	query
	group  *group
	answer answer
	other  []node // of the other family
	err    error
}

func newFamily(conn net.PacketConn, is4 bool, s *Source) *family {
	f := &family{
		source: s, is4: is4,
		kicked:  make(chan struct{}, 1),
		woken:   make(chan struct{}, 1),
		fetches: make(chan *fetch),
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
	for _, g := range f.groups {
		if !g.wake(now) {
			continue
		}
		if g.refresh(now) && g.purpose == toPut {
			g.changed(now, f.source.item.value())
		}
		f.advance(ctx, now, g)
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
		seeds = append(seeds, f.serving.routing.closest(l.hash, closestK)...)
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

// query sends one query and hands back what came of it.
func (f *family) query(ctx context.Context, g *group, q query) {
	r := result{query: q, group: g}
	both := f.sibling != nil && f.sibling.last.get().live == 0
	switch {
	case q.token != "" && g.purpose == toPut:
		r.err = f.server.put(ctx, q, f.source.item)
	case q.token != "":
		r.err = f.server.announcePeer(ctx, q)
	case g.purpose == toPut || g.purpose == toGet:
		r.answer, r.other, r.err = f.server.get(ctx, q, both)
	case g.purpose == toServe:
		r.answer, r.other, r.err = f.server.findNode(ctx, q, both)
	default:
		r.answer, r.other, r.err = f.server.getPeers(ctx, q, both)
	}
	select {
	case f.results <- r:
	case <-ctx.Done():
	}
}

// take hands a result to its lookup, and yields what is in it.
func (f *family) take(now time.Time, r result) {
	if f.serving != nil && r.token == "" {
		f.serving.heard(now, r)
	}
	l := r.group.lookup(r.hash)
	if l == nil {
		return // yesterday's
	}
	if r.err != nil {
		l.Fail(now, r.query)
		return
	}
	if r.token != "" {
		l.Accept(now, r.query)
		return
	}
	f.table.add(now, node{r.answer.id, r.to})
	f.see(now, r)
	found := l.Answer(now, r.query, r.answer)
	switch r.group.purpose {
	case toMeet, toLook:
		f.yield(now, r.group, found)
	case toPut:
		f.source.item.stored(r.answer.item)
	case toGet:
		r.group.fetch.add(r.answer.item)
	}
	f.offer(r)
}

func (f *family) yield(now time.Time, g *group, found []netip.AddrPort) {
	if !g.on || g.found == nil {
		return
	}
	for _, a := range found {
		if g.purpose == toMeet {
			if len(f.found) < maxFound {
				f.found[a] = struct{}{}
			}
			f.foundAt = now
		}
		f.source.found(a, g.found)
	}
}

// see takes the answering node's word on where this host is.
func (f *family) see(now time.Time, r result) {
	f.source.seen(r.to, r.answer.seen)
	agreed, moved := f.vantage.see(now, r.to.Addr(), r.answer.seen)
	if agreed {
		f.source.located(r.answer.seen, moved)
	}
	if moved {
		for _, g := range f.groups {
			if g.on {
				g.kick(now)
			}
		}
	}
}

// offer passes nodes of the other family on, which may have nobody to begin from.
func (f *family) offer(r result) {
	if f.sibling == nil || len(r.other) == 0 {
		return
	}
	nodes := slices.DeleteFunc(r.other, func(n node) bool {
		return n.id == nodeID{} || n.addr.Addr().Is4() == f.is4 || !learnable(r.to, n.addr)
	})
	select {
	case f.sibling.offered <- nodes[:min(len(nodes), maxLearned)]:
	default:
	}
}

func (f *family) next(now time.Time) time.Time {
	next := now.Add(time.Hour)
	for _, gs := range [][]*group{f.groups, f.fetching} {
		for _, g := range gs {
			if t := g.next(now); t.Before(next) {
				next = t
			}
		}
	}
	return next
}
