package static

import (
	"context"
	"errors"
	"net/netip"
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
	addrs []netip.AddrPort
	times []time.Duration
}

func (r *recorder) found(a netip.AddrPort) {
	r.addrs = append(r.addrs, a)
	r.times = append(r.times, time.Since(r.start))
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
			if len(r.times) != 1 {
				t.Fatalf("found %d times at once, want once", len(r.times))
			}
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			late := r.times[len(r.times)-3:]
			if gap := late[1] - late[0]; gap != maxInterval {
				t.Errorf("late gap %v, want %v", gap, maxInterval)
			}
			n := len(r.times)
			s.Kick()
			synctest.Wait()
			if len(r.times) != n+1 {
				t.Error("a kick does not name the address at once")
			}
			time.Sleep(firstInterval)
			synctest.Wait()
			if len(r.times) != n+2 {
				t.Error("a kick does not bring the fast pace back")
			}
		})
		for i := 1; r.times[i] < fastPhase; i++ {
			if gap := r.times[i] - r.times[i-1]; gap != firstInterval {
				t.Fatalf("gap %d is %v, want %v", i, gap, firstInterval)
			}
		}
		if want := netip.MustParseAddrPort("192.0.2.1:7000"); r.addrs[0] != want {
			t.Errorf("found %v, want %v", r.addrs[0], want)
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
			if len(r.addrs) != 2 || r.addrs[0] != netip.MustParseAddrPort("192.0.2.1:7000") {
				t.Fatalf("found %v", r.addrs)
			}
			asked := res.asked
			time.Sleep(nameLifetime - 2*time.Second)
			synctest.Wait()
			if res.asked != asked {
				t.Error("asked again before the name's lifetime was over")
			}
			res.set(nil, "192.0.2.2")
			time.Sleep(3 * time.Second)
			synctest.Wait()
			if got := r.addrs[len(r.addrs)-1]; got.Addr().String() != "192.0.2.2" {
				t.Errorf("still at %v after the name moved", got)
			}
			res.mu.Lock()
			res.hang = true
			res.mu.Unlock()
			s.Kick()
			n := len(r.addrs)
			time.Sleep(lookupTimeout + time.Second)
			synctest.Wait()
			if len(r.addrs) == n {
				t.Error("a resolver that hangs stops the old address from being named")
			}
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
