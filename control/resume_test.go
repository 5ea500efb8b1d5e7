package control

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSleepIsWhatOneClockMisses(t *testing.T) {
	var s sleep
	for i, step := range []struct{ monotonic, boottime, want time.Duration }{
		{5 * time.Second, 900 * time.Second, 0}, // slept before the start
		{10 * time.Second, 905 * time.Second, 0},
		{15 * time.Second, 910*time.Second + 300*time.Millisecond, 0}, // read a little apart
		{20 * time.Second, 1035 * time.Second, 120 * time.Second},
		{25 * time.Second, 1040 * time.Second, 0},
		{25 * time.Second, 1042 * time.Second, 2 * time.Second},
	} {
		if got := s.slept(step.monotonic, step.boottime); got != step.want {
			t.Errorf("step %d: slept %v, want %v", i, got, step.want)
		}
	}
}

func TestReadClocks(t *testing.T) {
	monotonic, boottime, err := readClocks()
	if err != nil || monotonic <= 0 || boottime < monotonic {
		t.Errorf("monotonic %v, boottime %v, %v", monotonic, boottime, err)
	}
}

// Setting the clock to what it is wakes the watcher as a resume does.
func TestWatchResume(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	told, done := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		done <- watchResume(ctx, func() {
			select {
			case told <- struct{}{}:
			default:
			}
		})
	}()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		t.Fatal(err)
	}
	select {
	case <-told:
		t.Error("told of a clock that nobody has set")
	default:
	}
}

// A host that has slept for longer than any mapping and session lives is back as
// soon as it is awake.
func TestResume(t *testing.T) {
	w := newWorld(t, 7)
	a := w.host("a", "192.168.1.10:41000", newNAT("1.0.0.1"))
	b := w.host("b", "2.0.0.2:42000", nil)
	a.hint(b.public())
	if _, ok := w.run(5*time.Second, func() bool { return connected(a, b) }); !ok {
		t.Fatal("they do not meet")
	}
	w.run(time.Minute, nil)
	a.nat.forget()
	const slept = 10 * time.Minute
	a.wall += slept
	before := a.device.sends
	a.mesh.resumed(w.now, slept)
	a.step()
	if a.device.sends == before {
		t.Error("nothing is sent after the resume")
	}
	at := w.now
	if _, ok := w.run(1500*time.Millisecond, func() bool {
		return w.now.Sub(at) > 100*time.Millisecond && b.device.peers[a.device.public].state.Endpoint == a.public()
	}); !ok {
		t.Errorf("b does not know where a is: %v, want %v", b.device.peers[a.device.public].state.Endpoint, a.public())
	}
}
