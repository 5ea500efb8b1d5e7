package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/credant/credant/control/localapi"
)

// watchLimit is how long `up` shows what happens while no node was met.
const watchLimit = 20 * time.Second

var errWatched = errors.New("watched long enough")

// follow shows what the daemon does until the first node can be reached, the
// time is over, or a person has seen enough.
func (p *program) follow(ctx context.Context, started time.Time) error {
	watch, cancel := context.WithTimeoutCause(ctx, watchLimit, errWatched)
	defer cancel()
	if started.IsZero() {
		started = time.Now()
	}
	st := p.colours(p.stdout)
	var ready *localapi.Event
	fmt.Fprintln(p.stdout)
	err := p.client().Events(watch, func(e localapi.Event) bool {
		stamp := fmt.Sprintf("%6.1f s  ", max(0, e.Time.Sub(started)).Seconds())
		writeHanging(p.stdout, st.dim(stamp), stamp, e.Text)
		if e.Ready {
			ready = &e
		}
		return !e.Ready
	})
	fmt.Fprintln(p.stdout)
	switch {
	case ready != nil && ready.Peer != "":
		writeWrapped(p.stdout, 0, fmt.Sprintf("%s can be reached: try %q.", ready.Peer, p.withNetwork("credant ping "+ready.Peer)))
		return nil
	case ready != nil:
		return nil
	case ctx.Err() != nil:
		writeWrapped(p.stdout, 0, fmt.Sprintf("Only this display has ended. The network stays up until \"sudo %s\".", p.withNetwork("credant down")))
		return nil
	case errors.Is(context.Cause(watch), errWatched):
		writeWrapped(p.stdout, 0, fmt.Sprintf("No other node yet. The search goes on in the background, \"%s\" shows it. Is the same passphrase up on another machine, with the same check words?", p.withNetwork("credant status")))
		return nil
	case err == nil, errors.Is(err, localapi.ErrNotRunning):
		return fmt.Errorf("the daemon has ended: see %s", p.logPath())
	}
	return err
}
