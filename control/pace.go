package control

import (
	"time"

	"github.com/credant/credant/discovery/keys"
	"golang.org/x/time/rate"
)

// What members say of themselves is looked at together, written down and told to
// the host. They may be thousands that come at once, or one that says something
// else a thousand times a second: the first looks are made at once, and then one a
// second, which sees all that came meanwhile.
const (
	looksAtOnce = 32
	anotherLook = time.Second
	// A member signs a new record twice a second at most, but for the first few.
	recordRate, recordBurst = 4, 32
)

// pace bounds how often something is looked at. The zero value is ready.
type pace struct {
	limit *rate.Limiter
	again time.Time // when it may be looked at that was refused; zero: now
}

// allows tells whether to look now, and counts that.
func (p *pace) allows(now time.Time) bool {
	if now.Before(p.again) {
		return false
	}
	if p.limit == nil {
		p.limit = rate.NewLimiter(rate.Every(anotherLook), looksAtOnce)
	}
	p.again = time.Time{}
	if !p.limit.AllowN(now, 1) {
		missing := 1 - p.limit.TokensAt(now)
		p.again = now.Add(time.Duration(missing*float64(anotherLook)) + time.Millisecond)
		return false
	}
	return true
}

// at is when something that is due then may be looked at.
func (p *pace) at(due time.Time) time.Time {
	if !due.IsZero() && due.Before(p.again) {
		return p.again
	}
	return due
}

// nextReviews is when addresses and names are to be looked at.
func (m *mesh) nextReviews(sooner func(time.Time)) {
	sooner(m.claimsPace.at(m.addressing.due()))
	if m.claimsChanged {
		sooner(m.claimsPace.again)
	}
	if m.namesChanged {
		sooner(m.namesPace.again)
	}
}

// renewals bounds how often each member's newer records are taken. Who is not in it
// has not renewed lately.
type renewals map[keys.NodePublic]*rate.Limiter

func (r renewals) allows(now time.Time, node keys.NodePublic) bool {
	l := r[node]
	if l == nil {
		l = rate.NewLimiter(recordRate, recordBurst)
		r[node] = l
	}
	return l.AllowN(now, 1)
}

// rest lets go of those that have been quiet.
func (r renewals) rest(now time.Time) {
	for node, l := range r {
		if l.TokensAt(now) >= recordBurst {
			delete(r, node)
		}
	}
}
