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
	// skipped: a beat was left out because somebody else had compared.
	skipped bool
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
	g.settleAt, g.beatAt = at, time.Time{}
}

// beat asks for the comparisons that are due.
func (g *Gossip) beat(now time.Time) {
	if !g.settleAt.IsZero() && !now.Before(g.settleAt) {
		g.settleAt, g.settleBy = time.Time{}, time.Time{}
		for _, p := range g.order {
			if p.unsure && p.told() {
				p.compare(now)
			}
		}
		g.pause, g.skipped = beatShortest, false
		g.beatAt = now.Add(g.spreadPause())
	}
	if g.beatAt.IsZero() || now.Before(g.beatAt) {
		return
	}
	g.pause, g.skipped = min(2*g.pause, beatLongest), false
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

// agreed takes it that the peer has the same set. Then this node need not ask
// anybody so soon; but not twice in a row, for a peer may say so always.
func (g *Gossip) agreed(now time.Time, p *peer) {
	p.unsure, p.fruitless = false, 0
	if g.pause == beatLongest && !g.skipped && !g.beatAt.IsZero() {
		g.beatAt, g.skipped = now.Add(g.spreadPause()), true
	}
}
