package wgsetup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// settle lets a burst of changes come to its end.
	settle = 50 * time.Millisecond
	// peerCheck is how often WireGuard is asked for peers: no event tells
	// that somebody removed one. Each second it was half of what an idle node
	// costs (0.04 % of a core). With more than manyPeers, which take about a
	// millisecond to list, it is ten times as long.
	peerCheck = 3 * time.Second
	manyPeers = 500
	// fullCheck finds what no event told.
	fullCheck = time.Minute
)

// Run puts back what others take away of what the last Apply wanted, keeps the
// side port working and tells Changes, until ctx ends or the Device does. It is
// called once.
func (d *Device) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	own, others := make(chan struct{}, 1), make(chan struct{}, 1)
	wg.Go(func() {
		err := d.watch.run(func(index int) {
			d.mu.Lock()
			ours := index == d.index
			d.mu.Unlock()
			if ours || index == 0 {
				signal(own)
			}
			if !ours {
				signal(others)
			}
		})
		if err != nil {
			cancel(err)
		}
	})
	wg.Go(func() {
		<-ctx.Done()
		d.watch.stop()
	})
	wg.Go(func() {
		if err := d.backend.run(ctx); err != nil {
			cancel(err)
		}
	})

	wg.Go(func() { d.openings.run(ctx, d) })

	peers := time.NewTicker(peerCheck)
	defer peers.Stop()
	full := time.NewTicker(fullCheck)
	defer full.Stop()
	for ticks := 0; ; {
		select {
		case <-ctx.Done():
			if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("run device %s: %w", d.Name(), err)
			}
			return nil
		case <-d.done:
			return nil
		case table := <-d.hosting.opened:
			wg.Go(func() {
				if err := table.Run(ctx); err != nil {
					cancel(err)
				}
			})
		case <-own:
			wait(ctx, settle)
			d.repair(false)
		case <-others:
			wait(ctx, settle)
			d.compare()
		case <-peers.C:
			if ticks++; ticks%10 != 0 && d.wantedPeers() > manyPeers {
				continue
			}
			if d.peersDiffer() {
				d.repair(false)
			}
		case <-full.C:
			d.repair(true)
			d.openings.again()
			d.compare()
		}
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func wait(ctx context.Context, t time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(t):
	}
}

// repair makes the host again what the last Apply wanted. Before the first one an
// adopted device has what its predecessor wanted, which is nobody's to take away.
// Trying anew also tries what the host refused before.
func (d *Device) repair(anew bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || !d.applied {
		return
	}
	if anew {
		d.target.noIPv6 = false
		d.noUnder, d.noExit = false, false
	}
	d.repairLocked()
}

func (d *Device) repairLocked() {
	done, err := d.reconcile()
	if len(done) > 0 {
		d.log.Info("put back what was removed", "iface", d.target.iface, "steps", done)
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != d.lastErr {
		d.log.Warn("interface not repaired", "iface", d.target.iface, "err", err)
	}
	d.lastErr = text
}

func (d *Device) wantedPeers() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.target.desired.Peers)
}

// peersDiffer asks only WireGuard, which is cheap enough for every second.
func (d *Device) peersDiffer() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || !d.applied {
		return false
	}
	dev, err := d.backend.device()
	if err != nil {
		return true
	}
	var have []actualPeer
	for _, p := range dev.Peers {
		have = append(have, readPeer(p))
	}
	var p planner
	p.peers(d.target.desired.Peers, have)
	return len(p.steps) > 0 || uint16(dev.ListenPort) != d.target.port || dev.FirewallMark != d.mark
}

// compare tells the side port that the rest of the host may not be what it was,
// and Changes if it is not.
func (d *Device) compare() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.backend.hostChanged() // the snapshot has not every route
	if now := d.host.snapshot(); now != d.seen || d.routesDiffer() {
		d.seen = now
		signal(d.changes)
	}
	// Links that came have settings of their own.
	if want := d.target.desired; len(want.Underlay) > 0 || want.Forward != nil || want.Exit != nil {
		d.repairLocked()
	}
}
