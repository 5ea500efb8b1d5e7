package static

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/credant/credant/discovery"
)

const (
	// The pace. Behind two NATs each side's hello opens its own NAT, so both
	// must go on saying hello for as long as the other may just be starting.
	firstInterval = time.Second
	fastPhase     = 2 * time.Minute
	maxInterval   = time.Minute
	// nameLifetime is how long a name's addresses are used without asking again.
	nameLifetime = 30 * time.Second
	// lookupTimeout ends a look-up that hangs: no uplink, or no resolver.
	lookupTimeout = 5 * time.Second
	// maxPerName bounds what one name may resolve to.
	maxPerName = 16
)

var errNoAddress = errors.New("it has no address")

// Resolver looks names up. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Config configures a Source. Found is needed.
type Config struct {
	// Addresses are HOST:PORT; Check says which are valid. Others are reported
	// in Status and not used.
	Addresses []string
	// Found is called with each address, again and again. Calls do not overlap.
	Found func(netip.AddrPort)
	// Resolver is net.DefaultResolver if nil.
	Resolver Resolver
	// Log may be nil.
	Log *slog.Logger
}

// Source names the configured addresses while it runs.
type Source struct {
	config Config
	hosts  []*host

	finding sync.Mutex // held during Found

	mu      sync.Mutex // guards what follows, and the hosts' results
	kicked  chan struct{}
	found   map[netip.AddrPort]struct{}
	last    time.Time
	invalid error
}

// host is one configured address. Its fields but the results belong to watch.
type host struct {
	name string
	port uint16

	addrs    []netip.AddrPort
	resolved time.Time // zero: ask

	// The results, guarded by Source.mu.
	count int
	err   error
}

// New returns a Source that does nothing before Run.
func New(c Config) *Source {
	if c.Resolver == nil {
		c.Resolver = net.DefaultResolver
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Source{config: c, kicked: make(chan struct{}), found: make(map[netip.AddrPort]struct{})}
	for _, a := range c.Addresses {
		h, err := parseHost(a)
		if err != nil {
			s.invalid = err
			continue
		}
		s.hosts = append(s.hosts, h)
	}
	return s
}

// Check says what is wrong with a HOST:PORT, or returns nil.
func Check(address string) error {
	_, err := parseHost(address)
	return err
}

func parseHost(address string) (*host, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("parse address %q: want HOST:PORT or [IPV6]:PORT", address)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("parse address %q: port must be 1 to 65535", address)
	}
	if name == "" {
		return nil, fmt.Errorf("parse address %q: host is missing", address)
	}
	h := &host{name: name, port: uint16(n)}
	if a, err := netip.ParseAddr(name); err == nil {
		h.addrs = []netip.AddrPort{netip.AddrPortFrom(a.Unmap(), h.port)}
	}
	return h, nil
}

func (h *host) literal() bool { return h.resolved.IsZero() && len(h.addrs) > 0 }

// Run names addresses until ctx ends. It returns nil.
func (s *Source) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, h := range s.hosts {
		wg.Go(func() { s.watch(ctx, h) })
	}
	wg.Wait()
	<-ctx.Done()
	return nil
}

// Kick asks the resolver anew and goes back to the first pace.
func (s *Source) Kick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.kicked)
	s.kicked = make(chan struct{})
}

func (s *Source) watch(ctx context.Context, h *host) {
	literal := h.literal()
	started, interval := time.Now(), firstInterval
	for {
		s.mu.Lock()
		kicked := s.kicked
		s.mu.Unlock()

		s.announce(ctx, h)
		if !literal && time.Since(h.resolved) >= nameLifetime && s.resolve(ctx, h) {
			s.announce(ctx, h)
		}

		if time.Since(started) >= fastPhase {
			interval = min(interval*2, maxInterval)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(interval):
		case <-kicked:
			started, interval = time.Now(), firstInterval
			if !literal {
				h.resolved = time.Time{}
			}
		}
	}
}

// resolve asks for h's addresses and reports whether they changed. Where it
// fails the old ones are kept: a member does not move because a resolver is down.
func (s *Source) resolve(ctx context.Context, h *host) (moved bool) {
	lookup, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addrs, err := s.config.Resolver.LookupNetIP(lookup, "ip", h.name)
	if ctx.Err() != nil {
		return false
	}
	if err == nil && len(addrs) == 0 {
		err = errNoAddress
	}
	if err == nil {
		now := make([]netip.AddrPort, 0, maxPerName)
		for _, a := range addrs[:min(len(addrs), maxPerName)] {
			now = append(now, netip.AddrPortFrom(a.Unmap(), h.port))
		}
		slices.SortFunc(now, netip.AddrPort.Compare) // servers rotate their answers
		moved = !slices.Equal(now, h.addrs)
		h.addrs, h.resolved = now, time.Now()
	} else {
		err = fmt.Errorf("resolve %s: %w", h.name, err)
	}
	s.mu.Lock()
	changed := (err == nil) != (h.err == nil)
	h.err = err
	s.mu.Unlock()
	switch {
	case err != nil && changed:
		// Whoever gave the resolver sees that all names fail, and warns of it once.
		s.config.Log.Debug("host name does not resolve", "addr", h.name, "err", err)
	case changed:
		s.config.Log.Debug("host name resolves again", "addr", h.name)
	}
	return moved
}

// announce names h's addresses, if it has any yet.
func (s *Source) announce(ctx context.Context, h *host) {
	s.finding.Lock()
	defer s.finding.Unlock()
	for _, a := range h.addrs {
		if ctx.Err() != nil {
			return
		}
		s.config.Found(a)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h.count = len(h.addrs)
	for _, a := range h.addrs {
		s.last = time.Now()
		if _, ok := s.found[a]; !ok && len(s.found) < maxFound {
			s.found[a] = struct{}{}
		}
	}
}

// maxFound bounds the addresses that are counted: a name may resolve to new
// ones for ever.
const maxFound = 4096

// Status says how the configured addresses are doing.
func (s *Source) Status() discovery.SourceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := discovery.SourceStatus{State: discovery.StateOff, Found: len(s.found), LastFound: s.last}
	err := s.invalid
	for _, h := range s.hosts {
		st.Nodes += h.count
		if h.err != nil {
			err = h.err
		}
	}
	switch {
	case len(s.config.Addresses) == 0:
		st.Detail = "no address given"
	case st.Nodes > 0:
		st.State = discovery.StateWorking
		st.Detail = fmt.Sprintf("%d addresses", st.Nodes)
		if st.Nodes == 1 {
			st.Detail = "1 address"
		}
	case err != nil:
		st.State = discovery.StateFailing
	default:
		st.State = discovery.StateStarting
	}
	if err != nil {
		st.LastError = err.Error()
	}
	return st
}
