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

// DefaultBootstrap is where a node that remembers none begins: public nodes that
// their operators offer for this.
var DefaultBootstrap = []string{
	"router.bittorrent.com:6881",
	"router.utorrent.com:6881",
	"dht.transmissionbt.com:6881",
	"dht.libtorrent.org:25401",
	"dht.aelitis.com:6881",
	"router.silotis.us:6881", // IPv6
	"dht.anacrolix.link:42069",
	"router.bittorrent.cloud:42069",
}

// MaxNodes is how many nodes Nodes returns at most.
const MaxNodes = 64

// Config is what a Source works with.
type Config struct {
	// IPv4 and IPv6 are one socket each, or nil where the host lacks the family.
	// They carry the datagrams that begin with 'd', and their LocalAddr has the port
	// that others see. Run closes them.
	IPv4, IPv6 net.PacketConn
	// Bootstrap are HOST:PORT of DHT nodes; nil means DefaultBootstrap, an empty
	// slice none.
	Bootstrap []string
	// KnownNodes is what Nodes returned in an earlier life.
	KnownNodes []netip.AddrPort
	// InfoHashes gives the hashes to be found under: one, or two around midnight. Nil
	// means none.
	InfoHashes func(now time.Time) [][20]byte
	// Found is called at once with each address that somebody announced under
	// InfoHashes, and again in later polls. It must not block. Calls do not overlap,
	// those to the Found of Lookups included.
	Found func(netip.AddrPort)
	// Announce gives hashes under which this host is announced, at the port that
	// others see, and that nobody else is looked for under. At most 128; nil means none.
	Announce func(now time.Time) [][20]byte
	// Lookups are hashes that are asked for without announcing anything.
	Lookups []Lookup
	// Item is kept stored in the DHT (BEP 44); nil means none.
	Item *Item
	// Serve makes this host a node that answers others and keeps for them what they
	// announce and put. Public are the addresses, one a family, at which it is
	// reached: its node id follows from them (BEP 42). Where a family has none, the
	// socket's own address is taken if it is public, and any id otherwise.
	Serve  bool
	Public []netip.Addr
	// Seen is called with each node that answered and the address at which it sees
	// this host, and Located with one that several agree on; moved says that it was
	// another before. Nil if nobody wants to know. They must not block.
	Seen    func(by, addr netip.AddrPort)
	Located func(addr netip.AddrPort, moved bool)
	// LookupIP resolves a host; nil means net.DefaultResolver.
	LookupIP func(ctx context.Context, host string) ([]netip.Addr, error)
	Log      *slog.Logger // nil means slog.Default()
}

// A Lookup asks for hashes without announcing anything.
type Lookup struct {
	// InfoHashes gives at most four hashes.
	InfoHashes func(now time.Time) [][20]byte
	// Active is looked at each second, and at once after Wake; while it returns false,
	// no datagram is sent for this lookup. Nil means always.
	Active func() bool
	// Found is as Config.Found.
	Found func(netip.AddrPort)
}

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
}

// New makes a Source. Nothing happens before Run.
func New(c Config) *Source {
	if c.Bootstrap == nil {
		c.Bootstrap = DefaultBootstrap
	}
	if c.LookupIP == nil {
		c.LookupIP = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	s := &Source{config: c, ended: make(chan struct{})}
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
		s.families[0].sibling, s.families[1].sibling = s.families[1], s.families[0]
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
	case st.State == discovery.StateFailing && !s.silent:
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
