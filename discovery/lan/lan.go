package lan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

const (
	rescanEvery = 30 * time.Second // for what nobody kicked about
	queueSize   = 64               // beacons that wait; more are dropped
	readPause   = 100 * time.Millisecond
)

// Config is what a Source works with.
type Config struct {
	BeaconKey [32]byte
	Node      keys.NodePublic
	// Port returns the port at which this node answers hellos; 0 sends nothing.
	Port func() uint16
	// Skip names interfaces to leave alone, such as our own; nil skips none.
	Skip func(iface string) bool
	// Refuse tells of a node whose beacons are neither answered nor told of; nil: of
	// none.
	Refuse func(keys.NodePublic) bool
	// Found is called with an address where a member may answer, again with each
	// beacon. It must not block.
	Found func(netip.AddrPort)
	Log   *slog.Logger // nil means slog.Default()
}

// A Source is the LAN as a source of addresses.
type Source struct {
	config Config
	kicked chan struct{}

	mu     sync.Mutex
	status discovery.SourceStatus
	drops  map[string]uint64 // keyed by constants only
}

// New makes a Source. Nothing happens before Run.
func New(c Config) *Source {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Source{
		config: c,
		kicked: make(chan struct{}, 1),
		status: discovery.SourceStatus{State: discovery.StateStarting},
		drops:  make(map[string]uint64),
	}
}

// Kick looks at the interfaces anew and sends a burst of beacons.
func (s *Source) Kick() {
	select {
	case s.kicked <- struct{}{}:
	default:
	}
}

// Status tells how it goes.
func (s *Source) Status() discovery.SourceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Drops returns how many beacons were dropped, by reason.
func (s *Source) Drops() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := make(map[string]uint64, len(s.drops))
	for reason, n := range s.drops {
		sum[reason] = n
	}
	return sum
}

func (s *Source) drop(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drops[reason]++
}

// A run is what lives between the begin and the end of Run, and belongs to its
// goroutine.
type run struct {
	*Source
	presence *presence
	links    []link
	sockets  map[scope]socket
	packets  chan packet
	readers  sync.WaitGroup
	problem  error // of the last scan or send; nil where all went well
	seen     map[netip.AddrPort]struct{}
}

// Run sends and hears beacons until ctx is done, and returns nil then. What does not
// work it tries again.
func (s *Source) Run(ctx context.Context) error {
	r := &run{
		Source:   s,
		presence: newPresence(time.Now(), s.config.Node),
		sockets:  make(map[scope]socket),
		packets:  make(chan packet, queueSize),
		seen:     make(map[netip.AddrPort]struct{}),
	}
	ctx, cancel := context.WithCancel(ctx)
	defer r.readers.Wait()
	defer func() {
		cancel()
		for _, sock := range r.sockets {
			_ = sock.Close()
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var scanAt time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.kicked:
			scanAt = time.Time{}
			r.presence.Kick(time.Now())
		case p := <-r.packets:
			r.hear(time.Now(), p)
		case <-timer.C:
		}
		now := time.Now()
		if !now.Before(scanAt) {
			r.scan(ctx, now)
			scanAt = now.Add(rescanEvery)
		}
		for _, b := range r.presence.Advance(now) {
			r.send(b)
		}
		timer.Reset(min(r.presence.Next().Sub(now), scanAt.Sub(now)))
	}
}

// scan looks at the interfaces, joins the groups on new ones and opens the sockets
// that are missing.
func (r *run) scan(ctx context.Context, now time.Time) {
	old := r.links
	links, err := scanLinks(r.config.Skip)
	if err != nil {
		r.report(fmt.Errorf("list interfaces: %w", err))
		return
	}
	r.links = links
	r.problem = nil
	r.open(ctx, onIPv4, listen4)
	r.open(ctx, onIPv6, listen6)
	for sc, sock := range r.sockets {
		for _, l := range old {
			if r.link(l.Index) == nil {
				sock.leave(l)
			}
		}
		for _, l := range links {
			if l.has(sc) {
				if err := sock.join(l); err != nil {
					r.problem = fmt.Errorf("join the beacon group on %s: %w", l.Name, err)
				}
			}
		}
	}
	// Those on a new link have not heard of us.
	for _, l := range links {
		if !slices.ContainsFunc(old, func(o link) bool { return o.Index == l.Index && slices.Equal(o.prefixes, l.prefixes) }) {
			r.presence.Kick(now)
			break
		}
	}
	r.report(r.problem)
}

func (r *run) open(ctx context.Context, sc scope, listen func(context.Context) (socket, error)) {
	if r.sockets[sc] != nil {
		return
	}
	sock, err := listen(ctx)
	if err != nil {
		if r.problem = err; sc == onIPv6 && len(r.sockets) > 0 {
			r.problem = nil // a host without IPv6
		}
		return
	}
	r.sockets[sc] = sock
	r.readers.Go(func() { r.read(ctx, sock) })
}

// read queues what sock receives until ctx is done.
func (r *run) read(ctx context.Context, sock socket) {
	for {
		p, err := sock.receive()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			// An interface that went down; a socket does not fail for good.
			select {
			case <-ctx.Done():
				return
			case <-time.After(readPause):
			}
			continue
		}
		select {
		case r.packets <- p:
		default:
			r.drop(dropBusy)
		}
	}
}

func (r *run) link(index int) *link {
	for i := range r.links {
		if r.links[i].Index == index {
			return &r.links[i]
		}
	}
	return nil
}

// hear checks a datagram and does what the beacon in it asks for.
func (r *run) hear(now time.Time, p packet) {
	l := r.link(p.iface)
	if l == nil || !l.onLink(p.from) {
		r.drop(dropOffLink)
		return
	}
	b, err := wire.OpenBeacon(p.data, r.config.BeaconKey)
	if err != nil {
		r.drop(wire.DropReason(err))
		return
	}
	if r.config.Refuse != nil && r.config.Refuse(b.Node) {
		r.drop(dropRefused)
		return
	}
	from := p.from
	if from.IsLinkLocalUnicast() && from.Is6() {
		from = from.WithZone(l.Name)
	}
	found, answer, reason := r.presence.Heard(now, heard{b, p.iface, from})
	if reason != "" {
		r.drop(reason)
	}
	for _, s := range answer {
		r.send(s)
	}
	if found.IsValid() {
		r.yield(now, found)
	}
}

func (r *run) yield(now time.Time, found netip.AddrPort) {
	if len(r.seen) < maxYielded {
		r.seen[found] = struct{}{}
	}
	r.mu.Lock()
	r.status.Found = len(r.seen)
	r.status.LastFound = now
	r.mu.Unlock()
	r.config.Found(found)
}

// send sends one beacon over each link that it is for.
func (r *run) send(s send) {
	port := r.config.Port()
	if port == 0 {
		return
	}
	b, err := wire.SealBeacon(wire.Beacon{Node: r.config.Node, Port: port, Tx: s.tx, WantReply: s.wantReply}, r.config.BeaconKey)
	if err != nil {
		r.report(err)
		return
	}
	var failed error
	sent := false
	for _, l := range r.links {
		if s.iface != 0 && s.iface != l.Index {
			continue
		}
		for _, sock := range r.socketsFor(l, s.scope) {
			if err := sock.send(l, b); err != nil {
				failed = fmt.Errorf("send a beacon on %s: %w", l.Name, err)
			} else {
				sent = true
			}
		}
	}
	// An IPv6 address is tentative for a second, so one family that works will do.
	if sent {
		failed = nil
	}
	r.report(failed)
}

// socketsFor returns the sockets of the families in sc that work on the link or,
// where none of them does, of those that do.
func (r *run) socketsFor(l link, sc scope) []socket {
	var wanted, others []socket
	for own, sock := range r.sockets {
		switch {
		case !l.has(own):
		case own&sc != 0:
			wanted = append(wanted, sock)
		default:
			others = append(others, sock)
		}
	}
	if len(wanted) == 0 {
		return others
	}
	return wanted
}

// report puts the state into the status.
func (r *run) report(problem error) {
	st := discovery.SourceStatus{State: discovery.StateWorking, Nodes: len(r.links)}
	switch {
	case problem != nil:
		st.State, st.Detail = discovery.StateFailing, "beacons do not go out"
		st.LastError = problem.Error() + "; trying again in " + rescanEvery.String()
		if !errors.Is(problem, net.ErrClosed) {
			r.config.Log.Debug("lan beacons fail", "err", problem)
		}
	case len(r.links) == 0:
		st.State, st.Detail = discovery.StateWaiting, "no interface with multicast and an address"
	default:
		st.Detail = "beacons on " + names(r.links)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	st.Found, st.LastFound = r.status.Found, r.status.LastFound
	r.status = st
}
