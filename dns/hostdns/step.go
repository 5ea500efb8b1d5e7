package hostdns

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// step looks at the host once and makes it as it should be. changed tells that it
// was not, again when to look again though nothing happens; 0: never.
func (k *keeper) step(ctx context.Context, now time.Time) (changed bool, again time.Duration) {
	k.h.mu.Lock()
	servers, entries := k.h.servers, k.h.entries
	k.c.Reverse = k.h.reverse
	k.h.mu.Unlock()
	if k.c.Mode == ModeOff {
		if _, err := k.undo(ctx, ""); err != nil {
			k.report(Status{Mode: ModeOff, Why: "it was asked for", Error: err.Error()})
			return false, k.pace.retry()
		}
		k.report(Status{Mode: ModeOff, Why: "it was asked for"})
		return false, 0
	}
	if len(servers) == 0 && len(entries) == 0 {
		return false, 0 // what a crash left stays until it is known what is wanted
	}

	f := readFacts(ctx, k.c.Root, k.c.Mode)
	owner, busErr := k.findResolved(ctx)
	f.resolved = owner != ""
	if wait := k.awaitResolved(f.resolved, now); wait > 0 {
		return false, wait
	}
	try, not := choose(k.c.Mode, f, servers)
	var failed []string
	if busErr != nil {
		failed = append(failed, busErr.Error())
	}
	for _, c := range try {
		changed, s, err := k.use(ctx, c, owner, entries)
		if ctx.Err() != nil {
			return changed, 0
		}
		if err != nil && c.mode == k.mode && isGone(err) {
			if again := k.await(now); again > 0 {
				return changed, min(again, minRetry)
			}
		}
		if err != nil {
			failed = append(failed, err.Error())
			continue
		}
		k.lost = time.Time{}
		if k.c.Mode == ModeAuto && c.mode == ModeHosts && len(failed) > 0 {
			s.Why = strings.Join(failed, "; ")
		}
		k.report(s)
		if len(failed) > 0 || s.Error != "" {
			return changed, k.pace.retry()
		}
		k.pace.succeeded()
		return changed, 0
	}
	return false, k.useNone(ctx, failed, not)
}

// use points the host at the network in one way, and in no other.
func (k *keeper) use(ctx context.Context, c choice, owner string, entries []Entry) (changed bool, s Status, err error) {
	s = Status{Mode: c.mode, Why: c.why, Lacks: c.lacks}
	for _, server := range c.servers {
		s.Servers = append(s.Servers, server.String())
	}
	changed, more, err := k.apply(ctx, c, owner, entries)
	if err != nil {
		return changed, s, err
	}
	if more > 0 {
		s.Lacks += fmt.Sprintf("; %d more addresses have no room in /etc/hosts", more)
	}
	k.mode = c.mode
	if _, err := k.undo(ctx, c.mode); err != nil {
		s.Error = err.Error()
	}
	return changed, s, nil
}

// useNone says why no way is to be had.
func (k *keeper) useNone(ctx context.Context, failed, not []string) (again time.Duration) {
	reasons := append(slices.Clone(failed), not...)
	if _, err := k.undo(ctx, k.c.Mode); err != nil {
		reasons = append(reasons, err.Error())
	}
	s := Status{Mode: k.c.Mode, Why: "it was asked for"}
	if s.Mode == ModeAuto {
		s.Mode, s.Why = "", ""
	}
	s.Error = strings.Join(reasons, "; ") + ": mend that, or choose another way with --dns"
	k.report(s)
	if len(failed) == 0 {
		return 0 // a change of the host is an event
	}
	return k.pace.retry()
}

// findResolved returns who systemd-resolved is on the bus; empty: nobody. A host
// without a bus has none, which is no error.
func (k *keeper) findResolved(ctx context.Context) (owner string, err error) {
	if k.c.Mode != ModeAuto && k.c.Mode != ModeResolved && k.record.Link == "" {
		return "", nil
	}
	if k.bus == nil {
		if _, err := os.Stat(filepath.Join(k.c.Root, busSocket)); err != nil && os.Getenv("DBUS_SYSTEM_BUS_ADDRESS") == "" {
			return "", nil
		}
		if k.bus, err = dialBus(ctx, k.c.Root); err != nil {
			return "", err
		}
	}
	owner, err = k.bus.owner(ctx)
	if err != nil {
		k.bus.close()
		k.bus = nil
		return "", fmt.Errorf("ask D-Bus for systemd-resolved: %w", err)
	}
	return owner, nil
}

// awaitResolved tells how long to wait for a systemd-resolved that is being
// restarted before the host is pointed elsewhere.
func (k *keeper) awaitResolved(there bool, now time.Time) time.Duration {
	if there || k.mode != ModeResolved {
		return 0
	}
	return k.await(now)
}

// await is what is left of the time that systemd-resolved may be away.
func (k *keeper) await(now time.Time) time.Duration {
	if k.lost.IsZero() {
		k.lost = now
	}
	return max(absence-now.Sub(k.lost), 0)
}
