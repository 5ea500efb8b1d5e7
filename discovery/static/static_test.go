package static

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/credant/credant/discovery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeResolver plays the host's resolver.
type fakeResolver struct {
	mu    sync.Mutex
	addrs []netip.Addr
	err   error
	hang  bool
	asked int
}

func (r *fakeResolver) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	r.mu.Lock()
	addrs, err, hang := r.addrs, r.err, r.hang
	r.asked++
	r.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return addrs, err
}

func (r *fakeResolver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

func (r *fakeResolver) set(err error, addrs ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err, r.addrs = err, nil
	for _, a := range addrs {
		r.addrs = append(r.addrs, netip.MustParseAddr(a))
	}
}

// recorder notes what was found, and when.
type recorder struct {
	start time.Time

	mu     sync.Mutex
	all    []netip.AddrPort
	whenAt []time.Duration
}

func (r *recorder) found(a netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, a)
	r.whenAt = append(r.whenAt, time.Since(r.start))
}

func (r *recorder) addrs() []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

func (r *recorder) times() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.whenAt)
}

func run(t *testing.T, c Config, r *recorder, during func(*Source)) *Source {
	t.Helper()
	r.start = time.Now()
	c.Found = r.found
	s := New(c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	synctest.Wait()
	during(s)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	return s
}

// A literal address is named at once, each second for two minutes, then ever
// more rarely; a kick starts that over.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		run(t, Config{Addresses: []string{"192.0.2.1:7000"}}, &r, func(s *Source) {
			if n := len(r.times()); n != 1 {
				t.Fatalf("found %d times at once, want once", n)
			}
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			late := r.times()
			late = late[len(late)-3:]
			if gap := late[1] - late[0]; gap != maxInterval {
				t.Errorf("late gap %v, want %v", gap, maxInterval)
			}
			n := len(r.times())
			s.Kick()
			synctest.Wait()
			if len(r.times()) != n+1 {
				t.Error("a kick does not name the address at once")
			}
			time.Sleep(firstInterval)
			synctest.Wait()
			if len(r.times()) != n+2 {
				t.Error("a kick does not bring the fast pace back")
			}
		})
		times := r.times()
		for i := 1; times[i] < fastPhase; i++ {
			if gap := times[i] - times[i-1]; gap != firstInterval {
				t.Fatalf("gap %d is %v, want %v", i, gap, firstInterval)
			}
		}
		if want := netip.MustParseAddrPort("192.0.2.1:7000"); r.addrs()[0] != want {
			t.Errorf("found %v, want %v", r.addrs()[0], want)
		}
	})
}

// A name follows its addresses, is not asked for each time, and survives a
// resolver that fails or hangs.
func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var res fakeResolver
		res.set(errors.New("no uplink"))
		var r recorder
		s := run(t, Config{Addresses: []string{"nas.example:7000"}, Resolver: &res}, &r, func(s *Source) {
			if st := s.Status(); st.State != discovery.StateFailing || st.LastError == "" {
				t.Errorf("status while nothing resolves: %+v", st)
			}
			res.set(nil, "::ffff:192.0.2.1", "2001:db8::1")
			time.Sleep(firstInterval)
			synctest.Wait()
			if got := r.addrs(); len(got) != 2 || got[0] != netip.MustParseAddrPort("192.0.2.1:7000") {
				t.Fatalf("found %v", got)
			}
			asked := res.count()
			time.Sleep(nameLifetime - 2*time.Second)
			synctest.Wait()
			if res.count() != asked {
				t.Error("asked again before the name's lifetime was over")
			}
			res.set(nil, "192.0.2.2")
			time.Sleep(3 * time.Second)
			synctest.Wait()
			all := r.addrs()
			if got := all[len(all)-1]; got.Addr().String() != "192.0.2.2" {
				t.Errorf("still at %v after the name moved", got)
			}
			res.mu.Lock()
			res.hang = true
			res.mu.Unlock()
			s.Kick()
			synctest.Wait()
			if len(r.addrs()) != len(all)+1 {
				t.Error("a resolver that hangs keeps the old address from being named")
			}
			time.Sleep(lookupTimeout + time.Second)
			synctest.Wait()
		})
		if st := s.Status(); st.State != discovery.StateWorking || st.Found != 3 || st.LastError == "" {
			t.Errorf("status with a dead resolver and an old address: %+v", st)
		}
	})
}

func TestCheck(t *testing.T) {
	for _, a := range []string{"192.0.2.1:1", "[2001:db8::1]:65535", "nas.example:7000"} {
		if err := Check(a); err != nil {
			t.Errorf("Check(%q) = %v", a, err)
		}
	}
	for _, a := range []string{"", "nas.example", "2001:db8::1:7000", "nas.example:0", "nas.example:65536", "nas.example:ssh", ":7000"} {
		if Check(a) == nil {
			t.Errorf("Check(%q) accepts it", a)
		}
	}
	st := New(Config{Addresses: []string{"nonsense"}}).Status()
	if st.State != discovery.StateFailing || st.LastError == "" {
		t.Errorf("status with an invalid address: %+v", st)
	}
	if st := New(Config{}).Status(); st.State != discovery.StateOff {
		t.Errorf("status without addresses: %+v", st)
	}
}
