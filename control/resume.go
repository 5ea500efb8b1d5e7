package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// While a host sleeps its mappings expire, its peers give it up, and it may wake
// up somewhere else. CLOCK_MONOTONIC, by which everything here is timed, does not
// notice; CLOCK_BOOTTIME does.

// sleptLeast is more than the two clocks can differ by for other reasons.
const sleptLeast = time.Second

// sleep finds out from both clocks that the host has slept.
type sleep struct {
	ahead time.Duration // CLOCK_BOOTTIME, of CLOCK_MONOTONIC
	known bool
}

// slept takes what both clocks say, and returns for how long the host has slept
// since the last call; zero is not at all.
func (s *sleep) slept(monotonic, boottime time.Duration) time.Duration {
	ahead := boottime - monotonic
	d := ahead - s.ahead
	if s.known && d < sleptLeast {
		return 0
	}
	known := s.known
	s.ahead, s.known = ahead, true
	if !known {
		return 0
	}
	return d
}

// readClocks returns CLOCK_MONOTONIC and CLOCK_BOOTTIME.
func readClocks() (monotonic, boottime time.Duration, err error) {
	var t unix.Timespec
	for _, c := range []struct {
		id   int32
		name string
		to   *time.Duration
	}{{unix.CLOCK_MONOTONIC, "CLOCK_MONOTONIC", &monotonic}, {unix.CLOCK_BOOTTIME, "CLOCK_BOOTTIME", &boottime}} {
		if err := unix.ClockGettime(c.id, &t); err != nil {
			return 0, 0, fmt.Errorf("read %s: %w", c.name, err)
		}
		*c.to = time.Duration(t.Nano())
	}
	return monotonic, boottime, nil
}

// watchResume calls tell whenever the wall clock has jumped, as it does when the
// host resumes, until ctx ends. The kernel says so: nothing is polled.
func watchResume(ctx context.Context, tell func()) error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("watch the clock: %w", err)
	}
	f := os.NewFile(uintptr(fd), "timerfd")
	defer f.Close()
	defer context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })()
	// It never fires; a read of it ends early when the clock is set.
	never := unix.ItimerSpec{Value: unix.Timespec{Sec: 1 << 40}}
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil); err != nil {
		return fmt.Errorf("watch the clock: %w", err)
	}
	for b := make([]byte, 8); ; {
		_, err := f.Read(b)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ECANCELED):
			tell()
		case errors.Is(err, fs.ErrClosed), err != nil:
			return fmt.Errorf("watch the clock: %w", err)
		}
	}
}

// resumed is told that the host has slept.
func (m *mesh) resumed(now time.Time, slept time.Duration) {
	for _, p := range m.peers {
		if !p.handshake.IsZero() {
			p.handshake = p.handshake.Add(-slept) // WireGuard's keys age in their sleep
		}
		p.inflow.began = time.Time{}
	}
	m.where.doubted = now
	m.publisher.dirty, m.publisher.urgent = true, true
	m.event("source", "", "this host has slept for "+slept.Round(time.Second).String()+": looking for the peers anew", false)
	m.askWhere(now, nil)
	m.lookAnew(now)
}

// watchSleep has the clocks read as soon as the host may have slept. Where that
// cannot be watched, they are read whenever the device is looked at.
func (d *daemon) watchSleep(ctx context.Context) error {
	err := watchResume(ctx, func() {
		select {
		case d.woken <- struct{}{}:
		default:
		}
	})
	if err != nil {
		d.log.Debug("watch for resume", "err", err)
		<-ctx.Done()
	}
	return nil
}

// checkSleep tells the mesh when the host has slept.
func (d *daemon) checkSleep(now time.Time) {
	monotonic, boottime, err := readClocks()
	if err != nil {
		return // a kernel without these clocks sleeps as it likes
	}
	if slept := d.sleep.slept(monotonic, boottime); slept > 0 {
		d.mesh.resumed(now, slept)
	}
}
