package netcheck

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/credant/credant/natpunch"
)

var testServer = netip.MustParseAddrPort("198.51.100.1:3478")

// fakeRuns counts measurements that take some time and find what they are told.
type fakeRuns struct {
	mu       sync.Mutex
	begun    []time.Time
	ended    int // before their time
	answers  int
	settling time.Duration
	takes    time.Duration
}

func (f *fakeRuns) measure(ctx context.Context, c MeasureConfig) (natpunch.NATStatus, error) {
	f.mu.Lock()
	f.begun = append(f.begun, time.Now())
	s := natpunch.NATStatus{IPv4: natpunch.FamilyStatus{Servers: f.answers, Mapping: natpunch.EndpointIndependent}}
	f.mu.Unlock()
	select {
	case <-ctx.Done():
		f.mu.Lock()
		f.ended++
		f.mu.Unlock()
		return natpunch.NATStatus{}, ctx.Err()
	case <-time.After(f.settling):
		c.Settled(s)
	}
	select {
	case <-ctx.Done():
		f.mu.Lock()
		f.ended++
		f.mu.Unlock()
		return s, ctx.Err()
	case <-time.After(f.takes):
	}
	s.IPv4.Lifetime = c.Lifetime
	return s, nil
}

func (f *fakeRuns) times() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.begun)
}

func (f *fakeRuns) stopped() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended
}

// told is what Done was called with.
type told struct {
	mu  sync.Mutex
	all []natpunch.NATStatus
}

func (t *told) done(s natpunch.NATStatus) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, s)
}

func (t *told) list() []natpunch.NATStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.all)
}

// running starts a Runner in the bubble of the test.
func running(t *testing.T, f *fakeRuns, servers func() []netip.AddrPort) (*Runner, *told) {
	t.Helper()
	var got told
	r := NewRunner(RunnerConfig{Servers: servers, Lifetime: RunnerLifetime, Done: got.done, measure: f.measure})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r, &got
}

func one() []netip.AddrPort { return []netip.AddrPort{testServer} }

func TestRunnerMeasuresOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRuns{answers: 2, settling: 2 * time.Second, takes: time.Minute}
		_, got := running(t, f, one)
		start := time.Now()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if len(f.times()) != 1 || f.times()[0].Sub(start) != settleTime {
			t.Errorf("begun at %v", f.times())
		}
		if len(got.list()) != 2 || got.list()[0].IPv4.Lifetime != 0 || got.list()[1].IPv4.Lifetime != RunnerLifetime {
			t.Errorf("told %+v", got.list())
		}
	})
}

// A host whose network changes all the time asks its router for no more than
// two measurements an hour, and always the network that it is in.
func TestRunnerKeepsItsBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRuns{answers: 2, settling: 2 * time.Second, takes: time.Minute}
		r, _ := running(t, f, one)
		for range 24 * 60 {
			time.Sleep(time.Minute - time.Second)
			r.HostChanged()
			time.Sleep(time.Second)
		}
		synctest.Wait()
		for i := 2; i < len(f.times()); i++ {
			if d := f.times()[i].Sub(f.times()[i-2]); d < runsPeriod {
				t.Fatalf("three runs in %v", d)
			}
		}
		if len(f.times()) < 24 {
			t.Errorf("%d runs in a day", len(f.times()))
		}
	})
}

// A change ends the measurement under way: what it found is told to nobody.
func TestRunnerBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRuns{answers: 2, settling: 2 * time.Second, takes: time.Minute}
		r, got := running(t, f, one)
		time.Sleep(settleTime + time.Second)
		r.HostChanged()
		synctest.Wait()
		if len(got.list()) != 0 || f.stopped() != 1 {
			t.Errorf("told %d times, %d ended", len(got.list()), f.stopped())
		}
		time.Sleep(time.Hour)
		if len(f.times()) != 2 || len(got.list()) != 2 {
			t.Errorf("begun %d times, told %d", len(f.times()), len(got.list()))
		}
	})
}

// Names may be resolved late, and servers may be out of reach for a while.
func TestRunnerWaitsForServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRuns{settling: 2 * time.Second}
		var mu sync.Mutex
		var servers []netip.AddrPort
		r, got := running(t, f, func() []netip.AddrPort {
			mu.Lock()
			defer mu.Unlock()
			return servers
		})
		time.Sleep(time.Minute)
		if len(f.times()) != 0 {
			t.Errorf("measured with no servers")
		}
		mu.Lock()
		servers = one()
		mu.Unlock()
		r.ServersChanged()
		time.Sleep(time.Minute)
		if len(f.times()) != 1 || len(got.list()) != 0 {
			t.Errorf("begun %d times, told %d, of servers that do not answer", len(f.times()), len(got.list()))
		}
		f.mu.Lock()
		f.answers = 2
		f.mu.Unlock()
		time.Sleep(retryUnanswered)
		if len(f.times()) != 2 || len(got.list()) != 2 {
			t.Errorf("begun %d times, told %d", len(f.times()), len(got.list()))
		}
		r.ServersChanged() // more of them tell nothing new
		time.Sleep(24 * time.Hour)
		if len(f.times()) != 2 {
			t.Errorf("begun %d times", len(f.times()))
		}
	})
}
