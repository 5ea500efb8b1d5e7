package hostdns

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	// settle lets what changes the host come to its end: a resolver's restart, a
	// file written in several steps.
	settle = 150 * time.Millisecond
	// absence is how long systemd-resolved may be away before it counts as gone;
	// restarting takes it about a second.
	absence = 10 * time.Second
	// undoing bounds what the end of Run may take.
	undoing = 25 * time.Second
)

// Run points the host at the servers of the last Set, keeps it so until ctx
// ends, and then restores the host, unless ctx's cause is ErrKeep. What the host
// refuses is in Status; the error is what could not be restored. It is called
// once.
func (h *Host) Run(ctx context.Context) error {
	k, err := newKeeper(h)
	if err != nil {
		return err
	}
	defer func() { k.bus.close() }()
	k.run(ctx)
	if errors.Is(context.Cause(ctx), ErrKeep) {
		return nil
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoing)
	defer cancel()
	done, err := k.undo(end, "")
	if len(done) > 0 {
		h.c.Log.Info("host no longer finds the network's names", "undone", done)
	}
	h.mu.Lock()
	h.status = Status{Mode: ModeOff, Why: "stopped"}
	h.mu.Unlock()
	return err
}

// keeper is what a Run has.
type keeper struct {
	h     *Host
	c     Config
	hosts hostsFile
	watch *watcher
	bus   *bus
	busy  chan struct{} // a file changed

	record record
	pace   pace
	mode   string    // in use
	told   string    // of mode and error, last logged
	lost   time.Time // when systemd-resolved went away; zero: it is not missed
	// ruled is whose link has got its DefaultRoute by us: the owner of the name
	// on the bus and the index.
	ruled string
}

func newKeeper(h *Host) (*keeper, error) {
	w, err := newWatcher()
	if err != nil {
		return nil, err
	}
	k := &keeper{
		h: h, c: h.c, watch: w, busy: make(chan struct{}, 1),
		hosts: newHostsFile(h.c.Root, h.c.Network, h.c.Domain, h.c.Record),
	}
	if k.record, err = loadRecord(h.c.Record); err != nil {
		h.c.Log.Warn("resolver's record not read", "err", err)
	}
	return k, nil
}

func (k *keeper) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer k.watch.close()
	wg.Go(func() { k.watch.run(func() { signal(k.busy) }) })
	// What nothing can be done for any more, like a write that a crash cut off.
	k.recoverHosts(ctx)
	told := true // by Set, so that a change is no repair
	for {
		// Before the host is looked at, so that no change is missed.
		k.watch.set(k.files())
		changed, again := k.step(ctx, time.Now())
		if changed && !told {
			k.pace.repaired(time.Now())
		}
		told = false
		var timer <-chan time.Time
		if again > 0 {
			timer = time.After(again)
		}
		select {
		case <-ctx.Done():
			return
		case <-k.h.changed:
			told = true
			continue // at once: names should be found as soon as they are known
		case <-k.busy:
		case _, ok := <-k.signals():
			if !ok {
				k.bus = nil
			}
		case <-timer:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(k.pace.wait()):
		}
		k.drain()
	}
}

func (k *keeper) signals() <-chan *dbus.Signal {
	if k.bus == nil {
		return nil
	}
	return k.bus.signals
}

// drain forgets what the next look at the host will see anyway.
func (k *keeper) drain() {
	for {
		select {
		case <-k.busy:
		case _, ok := <-k.signals():
			if !ok {
				k.bus = nil
			}
		default:
			return
		}
	}
}

// files are those that tell which resolver the host uses, and what ways of ours
// live in.
func (k *keeper) files() []string {
	if k.c.Mode == ModeOff {
		return nil
	}
	paths := []string{
		"/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/resolvconf.conf", busSocket,
		// systemd-resolved writes it anew when a link's servers change, which no signal tells.
		"/run/systemd/resolve/resolv.conf",
		// What openresolv and Debian's resolvconf were told.
		"/run/resolvconf/interfaces", "/run/resolvconf/interface",
	}
	if to, err := os.Readlink(filepath.Join(k.c.Root, "/etc/resolv.conf")); err == nil {
		if !filepath.IsAbs(to) {
			to = filepath.Join("/etc", to)
		}
		paths = append(paths, to)
	}
	for i := range paths {
		paths[i] = filepath.Join(k.c.Root, paths[i])
	}
	return paths
}

// report is what Status says from now on, and the log where it is news.
func (k *keeper) report(s Status) {
	k.h.mu.Lock()
	k.h.status = s
	k.h.mu.Unlock()
	told := s.Mode + "\n" + s.Error
	if told == k.told {
		return
	}
	k.told = told
	if s.Error != "" {
		k.c.Log.Warn("host cannot find the network's names", "mode", s.Mode, "err", s.Error)
		return
	}
	if s.Mode == ModeOff {
		return
	}
	k.c.Log.Info("host finds the network's names", "mode", s.Mode, "why", s.Why)
}

// recoverHosts finishes what a crash cut off, in whichever mode.
func (k *keeper) recoverHosts(ctx context.Context) {
	if err := k.hosts.finish(ctx); err != nil {
		k.c.Log.Warn("hosts file not mended", "err", err)
	}
}
