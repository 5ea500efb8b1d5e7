package dns

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/credant/credant/dns/zone"
)

// Port is where resolvers look for a name server.
const Port = 53

// retryTaken is how often addresses that another program had are tried again: nothing
// tells that it has gone.
const retryTaken = 2 * time.Minute

// Config says where to serve.
type Config struct {
	// Listen are the overlay's addresses, which must be the host's (they may still be on their way), all of which are
	// served; then a loopback address, which is served where none of the others can be. See Loopback.
	Listen []netip.AddrPort
	// Changed is called by Run when what is served has changed, the first time before any query is answered. nil:
	// nobody wants to know. It must not block.
	Changed func(served []netip.AddrPort)
	Log     *slog.Logger // nil: nothing is logged
}

// Server is a name server for one network.
type Server struct {
	log     *slog.Logger
	changed func([]netip.AddrPort)
	table   atomic.Pointer[zone.Table]
	limits  *limits
	rebind  chan struct{} // holds one token when want has changed
	retry   time.Duration // retryTaken; tests have no time

	mu     sync.Mutex
	want   []netip.AddrPort
	served []netip.AddrPort
}

// NewServer makes a server that refuses every query until it is given a table.
func NewServer(c Config) *Server {
	s := &Server{
		log: c.Log, changed: c.Changed, limits: newLimits(), retry: retryTaken,
		rebind: make(chan struct{}, 1), want: slices.Clone(c.Listen),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.changed == nil {
		s.changed = func([]netip.AddrPort) {}
	}
	s.table.Store(zone.New(zone.Zone{}))
	return s
}

// SetZone replaces what is answered.
func (s *Server) SetZone(t *zone.Table) { s.table.Store(t) }

// Addrs are the addresses where Run serves now, by UDP and TCP both; none before Run, or where nothing could be bound.
func (s *Server) Addrs() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.served)
}

// Rebind replaces Config.Listen. Sockets that stay stay open. The same addresses again make Run try those anew, at once,
// that it could not have.
func (s *Server) Rebind(listen []netip.AddrPort) {
	s.mu.Lock()
	s.want = slices.Clone(listen)
	s.mu.Unlock()
	select {
	case s.rebind <- struct{}{}:
	default:
	}
}

// Run serves until ctx ends. It returns nil then, and no other error: a host without names is better than none.
func (s *Server) Run(ctx context.Context) error {
	var open listeners
	var warned string
	defer func() {
		open.close()
		s.setServed(nil)
	}()
	for {
		s.mu.Lock()
		want := s.want
		s.mu.Unlock()
		fresh, refusal := open.bind(ctx, want)
		switch {
		case refusal == nil:
			warned = ""
		case refusal.Error() != warned && ctx.Err() == nil:
			warned = refusal.Error()
			s.log.Warn("some addresses cannot serve names", "addr", open.addrs(), "err", refusal)
		}
		if s.setServed(open.addrs()) {
			s.log.Info("names served", "addr", open.addrs())
			s.changed(open.addrs())
		}
		for _, l := range fresh {
			l.serve(s)
		}
		var again <-chan time.Time
		if refusal != nil {
			again = time.After(s.retry)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.rebind:
		case <-again:
		}
	}
}

func (s *Server) setServed(addrs []netip.AddrPort) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed = s.served == nil || !slices.Equal(s.served, addrs)
	s.served = addrs
	return changed
}

// Loopback is the loopback address that a network serves on where its own addresses cannot be used. Two networks
// of a host have different ones, but for one pair in four million; those of other software, which are in
// 127.0.0.0/16, are never taken.
func Loopback(network string) netip.AddrPort {
	sum := sha256.Sum256([]byte("credant loopback resolver " + network))
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 64 | sum[0]&63, sum[1], 1 + sum[2]%254}), Port)
}
