package control

import (
	"fmt"
	"time"
)

// Supervisor is who watches the daemon from outside, such as a service manager.
// Its functions are called by the loop, and must not block.
type Supervisor struct {
	// Alive says that the loop runs and does its work, at least once in Every;
	// 0: never.
	Every time.Duration
	Alive func()
	// Summary says in a line how the network is, when that changes. Nil: nobody
	// asks.
	Summary func(string)
}

// supervision is what the supervisor has heard.
type supervision struct {
	told    time.Time // when Alive was called last
	summary string
	changed bool // something happened since the last summary
}

// supervise tells the supervisor what it wants to hear. It runs in the loop,
// after the work is done.
func (d *daemon) supervise(now time.Time) {
	s := d.config.Supervisor
	if s.Every > 0 && now.Sub(d.supervision.told) >= s.Every {
		d.supervision.told = now
		s.Alive()
	}
	if s.Summary == nil || !d.supervision.changed && d.supervision.summary != "" {
		return
	}
	d.supervision.changed = false
	if text := d.mesh.summary(); text != d.supervision.summary {
		d.supervision.summary = text
		s.Summary(text)
	}
}

// nextSupervision is how long the loop may sleep before Alive is due.
func (d *daemon) nextSupervision(sleep time.Duration) time.Duration {
	if every := d.config.Supervisor.Every; every > 0 {
		return min(sleep, time.Until(d.supervision.told.Add(every)))
	}
	return sleep
}

// summary is the network in a line.
func (m *mesh) summary() string {
	working := 0
	for _, p := range m.peers {
		if p.working() {
			working++
		}
	}
	if len(m.peers) == 0 {
		return "no other node found yet"
	}
	return fmt.Sprintf("%d of %d other nodes reachable", working, len(m.peers))
}
