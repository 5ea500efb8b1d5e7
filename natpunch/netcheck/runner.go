package netcheck

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/credant/credant/natpunch"
)

const (
	// settleTime lets addresses and routes come to rest, and names be resolved.
	settleTime = 3 * time.Second
	// maxRuns in runsPeriod, however often the network changes: each costs the
	// router some forty mappings.
	maxRuns    = 2
	runsPeriod = time.Hour
	// retryUnanswered, as long as nobody answers.
	retryUnanswered = 30 * time.Minute
	// RunnerLifetime is up to where a daemon wants to know how long mappings live:
	// its keepalives are no further apart.
	RunnerLifetime = time.Minute
)

// RunnerConfig says what a Runner measures and whom it tells.
type RunnerConfig struct {
	Servers  func() []netip.AddrPort // STUN servers as known now
	Mark     int                     // see MeasureConfig
	Lifetime time.Duration           // see MeasureConfig
	// Done is called with each result: first without the lifetime, then with it. It
	// is called on the Runner's goroutine and must not block.
	Done func(natpunch.NATStatus)
	Log  *slog.Logger // nil: slog.Default

	measure func(context.Context, MeasureConfig) (natpunch.NATStatus, error) // tests'
}

// A Runner measures at the start and after each change of network, but seldom.
// While nothing changes it does nothing.
type Runner struct {
	config   RunnerConfig
	changed  chan struct{} // holds one
	servers  chan struct{} // holds one
	measured bool          // somebody answered in the last run
}

// NewRunner returns a Runner that does nothing before Run.
func NewRunner(c RunnerConfig) *Runner {
	if c.measure == nil {
		c.measure = Measure
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Runner{config: c, changed: make(chan struct{}, 1), servers: make(chan struct{}, 1)}
}

// HostChanged says that the network is another one: what was measured is void.
func (r *Runner) HostChanged() { signal(r.changed) }

// ServersChanged says that Servers returns more than it did. It matters only
// while nobody answered.
func (r *Runner) ServersChanged() { signal(r.servers) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run measures until ctx ends, and returns nil.
func (r *Runner) Run(ctx context.Context) error {
	var begun []time.Time // of the last runs
	wait := settleTime
	for {
		if len(begun) == maxRuns {
			wait = max(wait, time.Until(begun[0].Add(runsPeriod)))
		}
		if !r.await(ctx, wait) {
			if ctx.Err() != nil {
				return nil
			}
			wait = settleTime // changed again
			continue
		}
		if servers := r.config.Servers(); len(servers) > 0 {
			if len(begun) == maxRuns {
				begun = begun[1:]
			}
			begun = append(begun, time.Now())
			if changed := r.run(ctx, servers); changed {
				wait = settleTime
				continue
			}
		}
		if wait = r.rest(ctx); ctx.Err() != nil {
			return nil
		}
	}
}

// await returns false when the network changed before the time was over.
func (r *Runner) await(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-r.changed:
		return false
	case <-timer.C:
		return true
	}
}

// rest waits for a reason to measure and returns how long to settle then.
func (r *Runner) rest(ctx context.Context) time.Duration {
	var again <-chan time.Time
	var servers chan struct{}
	if !r.measured {
		timer := time.NewTimer(retryUnanswered)
		defer timer.Stop()
		again, servers = timer.C, r.servers
	}
	select {
	case <-ctx.Done():
	case <-r.changed:
	case <-servers:
	case <-again:
		return 0
	}
	return settleTime
}

// run measures once. It returns true when the network changed meanwhile.
func (r *Runner) run(ctx context.Context, servers []netip.AddrPort) (changed bool) {
	select {
	case <-r.servers: // they are all asked now
	default:
	}
	r.measured = false
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		status natpunch.NATStatus
		err    error
	}
	settled, done := make(chan natpunch.NATStatus, 1), make(chan outcome, 1)
	go func() {
		status, err := r.config.measure(ctx, MeasureConfig{
			Servers: servers, Mark: r.config.Mark, Lifetime: r.config.Lifetime,
			Settled: func(s natpunch.NATStatus) { settled <- s },
		})
		done <- outcome{status, err}
	}()
	for {
		select {
		case s := <-settled:
			if !changed {
				r.tell(s)
			}
		case o := <-done:
			if o.err == nil && !changed {
				r.tell(o.status)
				r.config.Log.Debug("measured the NAT", "ipv4", o.status.IPv4.Detail, "ipv6", o.status.IPv6.Detail)
			}
			return changed
		case <-r.changed:
			changed = true
			cancel()
		}
	}
}

func (r *Runner) tell(s natpunch.NATStatus) {
	if r.measured = s.IPv4.Servers+s.IPv6.Servers > 0; r.measured {
		r.config.Done(s)
	}
}
