package gossip

import "time"

const (
	// settleAfter is how long after news, or a new path, it is made sure that
	// nothing was lost; settleLatest holds where there is news all the time.
	settleAfter  = 2 * time.Second
	settleSpread = 500 * time.Millisecond
	settleLatest = 10 * time.Second
	// After that one peer at a time is compared with, at pauses that double.
	// An idle node sends one datagram in the longest, and hears one.
	beatShortest = 4 * time.Second
	beatLongest  = 5 * time.Minute

	// comparePause is the least between two comparisons with a peer.
	comparePause = 2 * time.Second
)

// rhythm is when this node compares its set with others without being asked.
type rhythm struct {
	settleAt, settleBy time.Time // zero: settled
	beatAt             time.Time // zero: nobody to compare with
	pause              time.Duration
}

// touch begins the rhythm anew: something has changed.
func (g *Gossip) touch(now time.Time) {
	if g.settleBy.IsZero() {
		g.settleBy = now.Add(settleLatest)
	}
	at := now.Add(settleAfter + time.Duration(g.rng.Int64N(int64(settleSpread))))
	if at.After(g.settleBy) {
		at = g.settleBy
	}
	g.settleAt = at
}

// beat asks for the comparisons that are due.
func (g *Gossip) beat(now time.Time) {
	if !g.settleAt.IsZero() && !now.Before(g.settleAt) {
		g.settleAt, g.settleBy = time.Time{}, time.Time{}
		g.choose(now) // who brought what is known now
		for _, p := range g.order {
			// Each node hears the news from several, and has asked some of them:
			// it is for those to make sure.
			if p.unsure && p.follows {
				p.compare(now)
			}
		}
		g.pause = beatShortest
		if at := now.Add(g.spreadPause()); g.beatAt.IsZero() || at.Before(g.beatAt) {
			g.beatAt = at
		}
	}
	if g.beatAt.IsZero() || now.Before(g.beatAt) {
		return
	}
	g.pause = min(2*g.pause, beatLongest)
	g.beatAt = now.Add(g.spreadPause())
	if len(g.order) > 0 {
		g.order[g.rng.IntN(len(g.order))].compare(now)
	}
}

// spreadPause is the pause, give or take a quarter: who starts together must
// not speak together.
func (g *Gossip) spreadPause() time.Duration {
	return g.pause*3/4 + time.Duration(g.rng.Int64N(int64(g.pause/2)))
}

// agreed takes it that the peer has the same set.
func (p *peer) agreed() {
	p.unsure, p.fruitless = false, 0
	if p.upstream == p.toldUpstream {
		p.compareAt = time.Time{}
	}
}
