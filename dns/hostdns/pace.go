package hostdns

import "time"

const (
	// burst is how many repairs, none a minute after the one before, are made at
	// once: a resolver that is set up anew takes two or three.
	burst     = 8
	maxSettle = 30 * time.Second
	minRetry  = time.Second
	maxRetry  = 5 * time.Minute
)

// pace keeps this from fighting with a program that undoes the same again and
// again, and from trying again too often what does not work.
type pace struct {
	repairs int
	last    time.Time // of the repairs
	again   time.Duration
}

// wait is how long to let the host settle after an event.
func (p *pace) wait() time.Duration {
	if p.repairs <= burst {
		return settle
	}
	return min(settle<<min(p.repairs-burst, 16), maxSettle)
}

// repaired counts what was put back after others took it away.
func (p *pace) repaired(now time.Time) {
	if now.Sub(p.last) > time.Minute {
		p.repairs = 0
	}
	p.repairs++
	p.last = now
}

// retry is when to try again what failed, each time later.
func (p *pace) retry() time.Duration {
	p.again = min(max(2*p.again, minRetry), maxRetry)
	return p.again
}

func (p *pace) succeeded() { p.again = 0 }
