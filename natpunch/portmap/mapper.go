package portmap

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// A Config says what to map and where.
type Config struct {
	Port     func() uint16             // WireGuard's UDP port; zero: none yet
	Gateways func() ([]Gateway, error) // the ways out as they are now
	State    State                     // as last saved
	Save     func(State)               // keeps it; nil: nowhere
	Changed  func()                    // called after Mappings changed; must not block; nil: nobody is told
	Log      *slog.Logger              // nil: slog.Default
	// Seen returns the addresses that servers on the internet saw this host come from, as far as known. A mapping on any
	// other address of that family is Nested, whatever the gateway says. Nil: not known.
	Seen func() []netip.Addr
	// Leave is asked at the end, with the cause of the end of Run's context, whether the mappings are to stay for a next
	// process that goes on with this one's work. Nil: never.
	Leave func(cause error) bool
}

const (
	// maxGateways bounds the work for a host with many default routes.
	maxGateways = 4
	// maxLeases bounds the state: the networks a laptop comes back to.
	maxLeases = 16
	// settle is how long a change of routes goes on: a burst of netlink messages is one.
	settle = 200 * time.Millisecond
)

// A Mapper keeps a port mapping on each gateway.
type Mapper struct {
	config  Config
	log     *slog.Logger
	changed chan struct{}
	pace    pace
	// saving keeps two states from being saved in the wrong order.
	saving sync.Mutex

	mu      sync.Mutex
	workers []*worker
	leases  []Lease // the last used first
}

// New returns a Mapper that does nothing before Run.
func New(c Config) *Mapper {
	m := &Mapper{config: c, log: c.Log, changed: make(chan struct{}, 1), pace: usualPace}
	if m.log == nil {
		m.log = slog.Default()
	}
	m.leases = slices.Clone(c.State.Leases[:min(len(c.State.Leases), maxLeases)])
	return m
}

// Run keeps the mappings until ctx ends, then gives them back (see Leave), for which it takes about a second at most.
func (m *Mapper) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	stop := make(map[*worker]context.CancelFunc)
	defer func() {
		for _, cancel := range stop {
			cancel()
		}
	}()
	silent := false
	for {
		gateways, err := m.gateways()
		if err != nil && !silent {
			m.log.Warn("list gateways", "err", err)
		}
		silent = err != nil
		if err == nil {
			gone, added := m.reconcile(gateways)
			for _, w := range gone {
				stop[w]()
				delete(stop, w)
			}
			if len(gone) > 0 {
				m.tell()
			}
			for _, w := range added {
				own, cancel := context.WithCancel(ctx)
				stop[w] = cancel
				running.Go(func() { w.run(own) })
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.changed:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(settle):
		}
		select {
		case <-m.changed:
		default:
		}
	}
}

// gateways returns those that can be asked at all.
func (m *Mapper) gateways() ([]Gateway, error) {
	list, err := m.config.Gateways()
	if err != nil {
		return nil, err
	}
	var usable []Gateway
	for _, g := range list {
		g.Local, g.Addr = g.Local.Unmap().WithZone(""), g.Addr.Unmap().WithZone("")
		if g.Local.IsValid() && g.Addr.IsValid() && g.Local.Is4() == g.Addr.Is4() && !slices.Contains(usable, g) {
			usable = append(usable, g)
		}
	}
	return usable[:min(len(usable), maxGateways)], nil
}

// reconcile drops the workers whose gateway is gone, makes those of new ones and has the others look anew.
func (m *Mapper) reconcile(gateways []Gateway) (gone, added []*worker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var kept []*worker
	for _, w := range m.workers {
		if slices.Contains(gateways, w.gateway) {
			kept = append(kept, w)
			w.lookAnew()
		} else {
			gone = append(gone, w)
		}
	}
	for _, g := range gateways {
		if !slices.ContainsFunc(kept, func(w *worker) bool { return w.gateway == g }) {
			added = append(added, newWorker(m, g))
		}
	}
	m.workers = append(kept, added...)
	return gone, added
}

// HostChanged says that routes, addresses or WireGuard's port changed, or that what is mapped does not work: it is asked
// for anew.
func (m *Mapper) HostChanged() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Mappings returns what is mapped now.
func (m *Mapper) Mappings() []Mapping {
	var seen []netip.Addr
	if m.config.Seen != nil {
		seen = m.config.Seen()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []Mapping
	for _, w := range m.workers {
		if w.held != nil {
			list = append(list, w.held.mapping(w.gateway, seen))
		}
	}
	return list
}

// Status returns what the gateways said last.
func (m *Mapper) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Status{Gateways: []Report{}}
	for _, w := range m.workers {
		s.Gateways = append(s.Gateways, Report{
			Gateway: w.gateway.Addr, Iface: w.gateway.Iface, Local: w.gateway.Local, Protocols: slices.Clone(w.reports),
		})
	}
	return s
}

// lease returns what was agreed with a gateway before, or the zero Lease.
func (m *Mapper) lease(g Gateway) Lease {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.leases {
		if l.Gateway == g.Addr && l.Local == g.Local {
			return l
		}
	}
	return Lease{Gateway: g.Addr, Local: g.Local}
}

// keep remembers a lease over restarts.
func (m *Mapper) keep(l Lease) {
	m.saving.Lock()
	defer m.saving.Unlock()
	m.mu.Lock()
	before := slices.Clone(m.leases)
	m.leases = slices.DeleteFunc(m.leases, func(old Lease) bool { return old.Gateway == l.Gateway && old.Local == l.Local })
	m.leases = slices.Insert(m.leases, 0, l)
	m.leases = m.leases[:min(len(m.leases), maxLeases)]
	now := slices.Clone(m.leases)
	m.mu.Unlock()
	if m.config.Save != nil && !slices.EqualFunc(before, now, Lease.equal) {
		m.config.Save(State{Leases: now})
	}
}

func (m *Mapper) tell() {
	if m.config.Changed != nil {
		m.config.Changed()
	}
}
