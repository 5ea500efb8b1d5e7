package discovery

import (
	"cmp"
	"io"
	"net/netip"
	"slices"
	"time"
)

const (
	// negativeTime is how long an address is refused that never answered
	// negativeSends hellos and had to make room.
	negativeTime  = 10 * time.Minute
	negativeSends = 6
	maxNegative   = 4096
	// staleHint is when a hint counts as not repeated: polls come each second at
	// first, and later so rarely that no flood fits in between.
	staleHint = 10 * time.Second
)

// targets is the table of addresses to ask.
type targets struct {
	byAddr   map[netip.AddrPort]*target
	byTx     map[txPrefix]*target
	queues   map[Source]*queue
	negative map[netip.AddrPort]time.Time // not to be asked until then
	// wake is when something may be due. It may be too early, never too late.
	wake time.Time
}

func newTargets() *targets {
	return &targets{
		byAddr:   make(map[netip.AddrPort]*target),
		byTx:     make(map[txPrefix]*target),
		queues:   newQueues(),
		negative: make(map[netip.AddrPort]time.Time),
	}
}

// hint notes that src named addr. It returns the reason if that changes nothing.
func (ts *targets) hint(now time.Time, src Source, addr netip.AddrPort) string {
	t := ts.byAddr[addr]
	if t == nil {
		if until, ok := ts.negative[addr]; ok && src == SourceDHT && until.After(now) {
			return dropNegative
		}
		q := ts.queues[src]
		if q == nil {
			return dropInvalid
		}
		if q.count >= q.limit && !ts.evict(now, src) {
			return dropFull
		}
		t = &target{addr: addr, source: src, first: now}
		ts.byAddr[addr] = t
		q.count++
	} else if t.source != src && src != SourceDHT && t.source == SourceDHT {
		// Someone better than the DHT names it too: that one's budget from here.
		if q := ts.queues[src]; q != nil && q.count < q.limit {
			ts.queues[t.source].count--
			q.count++
			t.source = src
		}
	}
	t.hint(now)
	ts.plan(now, t)
	return ""
}

// evict makes room for new targets of src: first goes what is not named any
// more, then what was named least often. An address that several polls agree on
// outlasts a flood of addresses that each came up once. It drops several at a
// time, so that a flood does not cost a look at all of them for each address.
func (ts *targets) evict(now time.Time, src Source) bool {
	var all []*target
	for _, t := range ts.byAddr {
		if t.source == src && t.confirm == nil {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b *target) int { return compareWorth(now, a, b) })
	for _, t := range all[:min(len(all), ts.queues[src].limit/8)] {
		if t.sends >= negativeSends {
			ts.refuse(now, t.addr)
		}
		ts.remove(t)
	}
	return len(all) > 0
}

func compareWorth(now time.Time, a, b *target) int {
	live := func(t *target) int {
		if now.Sub(t.hinted) < staleHint {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(live(a), live(b)),
		cmp.Compare(a.hints, b.hints),
		-cmp.Compare(a.sends, b.sends),
		a.addr.Compare(b.addr), // the same choice in each run
	)
}

// refuse enters addr in the negative cache.
func (ts *targets) refuse(now time.Time, addr netip.AddrPort) {
	if len(ts.negative) >= maxNegative {
		for a, until := range ts.negative {
			if !until.After(now) || len(ts.negative) >= maxNegative {
				delete(ts.negative, a)
			}
		}
	}
	ts.negative[addr] = now.Add(negativeTime)
}

func (ts *targets) remove(t *target) {
	delete(ts.byAddr, t.addr)
	delete(ts.byTx, txPrefix(t.tx[:15]))
	ts.queues[t.source].count--
}

func (ts *targets) wakeAt(at time.Time) {
	if !at.IsZero() && (ts.wake.IsZero() || at.Before(ts.wake)) {
		ts.wake = at
	}
}

// renew gives t a transaction id that nobody has seen.
func (ts *targets) renew(rand io.Reader, t *target) {
	delete(ts.byTx, txPrefix(t.tx[:15]))
	mustRead(rand, t.tx[:])
	t.sentAt = [len(t.sentAt)]time.Time{}
	ts.byTx[txPrefix(t.tx[:15])] = t
}

// find returns the target whose hello an answer answers.
func (ts *targets) find(txA [16]byte) *target { return ts.byTx[txPrefix(txA[:15])] }

func (ts *targets) idle(now time.Time) bool { return ts.wake.IsZero() || ts.wake.After(now) }

// due returns the targets to be sent to now, in that order, with their hellos
// paid for. It forgets targets that nobody names any more. After the sending,
// schedule is to be called.
func (ts *targets) due(now time.Time) []*target {
	var waiting []*target
	for _, t := range ts.byAddr {
		switch {
		case t.confirm == nil && now.Sub(t.hinted) > targetLifetime:
			ts.remove(t)
		case !t.due.IsZero() && !t.due.After(now):
			waiting = append(waiting, t)
		}
	}
	slices.SortFunc(waiting, compareTurn)
	return slices.DeleteFunc(waiting, func(t *target) bool {
		return t.confirm == nil && !ts.queues[t.source].take(now, t)
	})
}

// compareTurn puts first who was asked least; among those, whom most polls name.
func compareTurn(a, b *target) int {
	return cmp.Or(
		cmp.Compare(a.sends, b.sends),
		-cmp.Compare(a.hints, b.hints),
		a.due.Compare(b.due),
		a.addr.Compare(b.addr),
	)
}

// schedule works out when to look again.
func (ts *targets) schedule(now time.Time) {
	ts.wake = time.Time{}
	for _, t := range ts.byAddr {
		ts.plan(now, t)
	}
}

// plan makes sure that t is looked at in time, and not before it can be sent to.
func (ts *targets) plan(now time.Time, t *target) {
	at := t.due
	switch {
	case t.confirm != nil:
	case at.IsZero():
		at = t.hinted.Add(targetLifetime + time.Second)
	case !at.After(now):
		at = ts.queues[t.source].ready(now, t)
	}
	ts.wakeAt(at)
}

// kick takes up every address anew, as after a change of network.
func (ts *targets) kick(now time.Time) {
	clear(ts.negative)
	for _, t := range ts.byAddr {
		if t.confirm != nil {
			continue
		}
		t.first, t.slow, t.burst, t.echoed = now, 0, 0, false
		t.due = latest(now, t.last.Add(repeatInterval))
		ts.wakeAt(t.due)
	}
}
