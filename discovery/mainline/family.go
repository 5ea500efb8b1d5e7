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
	hashesEvery  = 30 * time.Second // how often the day is looked at
	maxHashes    = 4
	maxFound     = 1024 // addresses counted as found
	tableSeeds   = 16   // remembered nodes that a search begins from
	retrySeeds   = 16   // nodes of the cache for one of many searches that nobody answers
)

// A family announces and asks in one address family. Fields without a remark belong
// to the goroutine in run.
type family struct {
	source  *Source
	guard   *guard  // for all
	sibling *family // the other family, nil without one; its channels and last only
	is4     bool

	kicked  chan struct{}    // from any goroutine
	offered chan []node      // from the sibling: nodes of this family
	refresh chan struct{}    // from the resolver: addresses came in
	results chan result      // from the queries
	last    shared[snapshot] // for all
	queries sync.WaitGroup

	server   *server
	lookups  []*lookup
	hashesAt time.Time
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
	answer answer
	other  []node // of the other family
	err    error
}

func newFamily(conn net.PacketConn, is4 bool, s *Source) *family {
	f := &family{
		source: s, guard: newGuard(conn, true), is4: is4,
		kicked:  make(chan struct{}, 1),
		offered: make(chan []node, 1),
		refresh: make(chan struct{}, 1),
		results: make(chan result),
		found:   make(map[netip.AddrPort]struct{}),
	}
	f.known = f.ours(s.config.KnownNodes)
	f.known = f.known[:min(len(f.known), MaxNodes)]
	f.publish(time.Time{})
	return f
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
	server, err := newServer(f.guard, f.source.config.Log)
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
			f.hashesAt = time.Time{}
			for _, l := range f.lookups {
				l.Kick(time.Now())
			}
		case <-f.refresh:
			f.seedSilent(seedsOf(f.ours(f.source.resolver.addrs())))
		case nodes := <-f.offered:
			f.seedSilent(nodes)
		case r := <-f.results:
			f.take(time.Now(), r)
		case <-timer.C:
		}
		now := time.Now()
		f.step(ctx, now)
		f.publish(now)
		f.source.observe()
		timer.Reset(f.next(now).Sub(now))
	}
}

// step looks at the day, begins searches and sends what is due.
func (f *family) step(ctx context.Context, now time.Time) {
	if !now.Before(f.hashesAt) {
		f.setHashes(now, f.source.config.InfoHashes(now))
		f.hashesAt = now.Add(hashesEvery)
	}
	for _, l := range f.lookups {
		if l.SearchDue(now) {
			l.Search(now, f.seeds(l))
		}
		for _, q := range l.Advance(now) {
			f.queries.Go(func() { f.query(ctx, q) })
		}
	}
}

func (f *family) setHashes(now time.Time, hashes [][20]byte) {
	hashes = hashes[:min(len(hashes), maxHashes)]
	slot := settledEvery * time.Duration(max(len(hashes), 1))
	lookups := make([]*lookup, 0, len(hashes))
	for _, h := range hashes {
		l := f.lookup(h)
		if l == nil {
			l = newLookup(now, h, slot)
		}
		l.slot = slot // two hashes share the pace of one
		lookups = append(lookups, l)
	}
	f.lookups = lookups
}

func (f *family) lookup(h infoHash) *lookup {
	for _, l := range f.lookups {
		if l.hash == h {
			return l
		}
	}
	return nil
}

// seeds returns what a search begins from: nodes that answered before and, where too
// few do now, those of the cache and the bootstrap nodes side by side.
func (f *family) seeds(l *lookup) []node {
	seeds := f.table.closest(l.hash, tableSeeds)
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
	for _, l := range f.lookups {
		if l.Live() == 0 {
			l.Seed(time.Now(), seeds)
		}
	}
}

// query sends one query and hands back what came of it.
func (f *family) query(ctx context.Context, q query) {
	r := result{query: q}
	if q.token != "" {
		r.err = f.server.announcePeer(ctx, q)
	} else {
		both := f.sibling != nil && f.sibling.last.get().live == 0
		r.answer, r.other, r.err = f.server.getPeers(ctx, q, both)
	}
	select {
	case f.results <- r:
	case <-ctx.Done():
	}
}

// take hands a result to its lookup, and yields the addresses in it.
func (f *family) take(now time.Time, r result) {
	l := f.lookup(r.hash)
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
	for _, a := range l.Answer(now, r.query, r.answer) {
		if len(f.found) < maxFound {
			f.found[a] = struct{}{}
		}
		f.foundAt = now
		f.source.found(a)
	}
	f.offer(r)
}

// see takes the answering node's word on where this host is.
func (f *family) see(now time.Time, r result) {
	f.source.seen(r.to, r.answer.seen)
	agreed, moved := f.vantage.see(now, r.to.Addr(), r.answer.seen)
	if agreed {
		f.source.located(r.answer.seen, moved)
	}
	if moved {
		for _, l := range f.lookups {
			l.Kick(now)
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
	next := f.hashesAt
	for _, l := range f.lookups {
		if t := l.Next(now); t.Before(next) {
			next = t
		}
	}
	return next
}
