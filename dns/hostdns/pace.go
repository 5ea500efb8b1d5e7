package hostdns

import "time"

const (
	maxSettle = 30 * time.Second
	minRetry  = time.Second
	maxRetry  = 5 * time.Minute
)

// pace keeps this from fighting with a program that undoes the same again and
// again, and from trying again too often what does not work.
type pace struct {
	last   time.Time // of a repair
	settle time.Duration
	again  time.Duration
}

// wait is how long to let the host settle after an event.
func (p *pace) wait() time.Duration { return max(p.settle, settle) }

// repaired makes the wait longer when the last repair was not long ago.
func (p *pace) repaired(now time.Time) {
	if now.Sub(p.last) < 10*p.wait() && !p.last.IsZero() {
		p.settle = min(2*p.wait(), maxSettle)
	} else {
		p.settle = settle
	}
	p.last = now
}

// retry is when to try again what failed, each time later.
func (p *pace) retry() time.Duration {
	p.again = min(max(2*p.again, minRetry), maxRetry)
	return p.again
}

func (p *pace) succeeded() { p.again = 0 }
