package discovery

import (
	"cmp"
	"io"
	"net/netip"
	"slices"
	"time"
)

// How one address is asked. Behind two NATs the hellos are the punch: each
// side's opens its own NAT for the other's, so an address that keeps being
// named is asked about each second while both sides may have just started, and
// then ever more rarely.
const (
	repeatInterval    = time.Second
	fastPhase         = 2 * time.Minute
	maxRepeatInterval = time.Minute
	// echoInterval is for an address from which my own hello came back: mine,
	// most likely, but anyone on the way can reflect a datagram.
	echoInterval = 10 * time.Minute
	// targetLifetime is how long an address is kept that nobody names any more.
	targetLifetime = 5 * time.Minute
	// answerLifetime is how long a hello can be answered.
	answerLifetime = 10 * time.Second
)

var (
	// helloGaps makes hellos go out 0, 250 ms, 500 ms, 1 s, 2 s and 4 s after a hint.
	helloGaps = []time.Duration{250 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second}
	// dhtGaps is a hello less: the DHT's budget is shared with what is dead.
	dhtGaps = []time.Duration{250 * time.Millisecond, 750 * time.Millisecond, time.Second, 2 * time.Second}
	// confirmGaps are added to the round trip time.
	confirmGaps = []time.Duration{200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, 1600 * time.Millisecond}
)

// target is an address where a member may answer, and how far the exchange
// with it has come.
type target struct {
	addr   netip.AddrPort
	source Source

	first, hinted, last time.Time
	hints               int
	sends               int  // never answered
	slow                int  // of these, after the fast phase
	burst               int  // since the exchange was last taken up
	echoed              bool // my own hello came back

	// due is when the next datagram is to go out. Zero: not until hinted again.
	due time.Time

	// tx is the transaction id. Its last byte is the number of the hello, so
	// that an answer tells which hello it answers: without it a round trip that
	// was retransmitted could not be measured (Karn's algorithm).
	tx     [16]byte
	sentAt [8]time.Time

	// confirm is set from the reply to the ready.
	confirm *confirmation
}

// confirmation is what the initiator holds between reply and ready.
type confirmation struct {
	met      Met
	txA, txB [16]byte
	tries    int
}

// txPrefix is the part of a transaction id that all hellos of an exchange share.
type txPrefix [15]byte

func (t *target) gaps() []time.Duration {
	if t.source == SourceDHT {
		return dhtGaps
	}
	return helloGaps
}

// repeat is the pause before an address that was hinted again is asked again.
func (t *target) repeat(now time.Time) time.Duration {
	switch {
	case t.echoed:
		return echoInterval
	case t.source == SourceLAN, now.Sub(t.first) < fastPhase:
		// A beacon is not a memory: its sender was there a moment ago.
		return repeatInterval
	}
	return min(repeatInterval<<min(t.slow+1, 6), maxRepeatInterval)
}

// hint notes that the address was named once more.
func (t *target) hint(now time.Time) {
	t.hinted = now
	t.hints++
	if t.confirm != nil {
		return
	}
	next := now
	if t.sends > 0 {
		next = latest(now, t.last.Add(t.repeat(now)))
	}
	if t.due.IsZero() && t.source != SourceDHT {
		t.burst = 0
	}
	if t.due.IsZero() || next.Before(t.due) {
		t.due = next
	}
}

// sent notes that a hello went out, and plans the next.
func (t *target) sent(now time.Time) {
	t.sentAt[int(t.tx[15])%len(t.sentAt)] = now
	t.last = now
	t.sends++
	if now.Sub(t.first) >= fastPhase {
		t.slow++
	}
	t.due = time.Time{}
	if gaps := t.gaps(); t.burst < len(gaps) && !t.echoed {
		t.due = now.Add(gaps[t.burst])
	}
	t.burst++
}

// restart gives up an exchange that was answered and did not end. The address
// is as good as a new one when it is named again.
func (t *target) restart(now time.Time) {
	t.confirm, t.due = nil, time.Time{}
	t.first, t.sends, t.slow, t.burst = now, 0, 0, 0
}

// echo notes that my own hello came back. A genuine answer is still taken.
func (t *target) echo() {
	if t.confirm != nil {
		return
	}
	t.echoed = true
	t.due = time.Time{}
}

// rtt finds the hello that an answer answers. It reports false if that was too
// long ago, or never sent.
func (t *target) rtt(now time.Time, txA [16]byte) (time.Duration, bool) {
	at := t.sentAt[int(txA[15])%len(t.sentAt)]
	if behind := t.tx[15] - txA[15]; int(behind) >= len(t.sentAt) || at.IsZero() {
		return 0, false
	}
	d := now.Sub(at)
	return d, d >= 0 && d <= answerLifetime
}

// queue holds the targets that one source named, with a budget of their own: a
// hostile DHT must not keep a hello from the LAN waiting.
type queue struct {
	limit  int
	count  int
	second window
	hour   *bucket // nil: no limit
}

// The DHT's budget: 10 hellos in any second and 200 in any hour, as 140 at once
// and one a minute. Of the 140 the last 40 are kept for addresses that were
// asked less than three times: what is dead must not eat what is new.
const (
	dhtPerSecond  = 10
	dhtBurst      = 140
	dhtPerHour    = 60
	dhtReserve    = 40
	freshSends    = 3
	dhtTargets    = 1024
	otherPerSec   = 20
	otherTargets  = 256
	maxNegative   = 4096
	negativeTime  = 10 * time.Minute
	negativeSends = 6
	staleHint     = 10 * time.Second
)

func newQueues() map[Source]*queue {
	qs := make(map[Source]*queue)
	for _, s := range []Source{SourceCache, SourceLAN, SourceStatic, SourceRendezvous, SourceGossip, SourceHello} {
		qs[s] = &queue{limit: otherTargets, second: newWindow(otherPerSec, time.Second)}
	}
	qs[SourceDHT] = &queue{
		limit:  dhtTargets,
		second: newWindow(dhtPerSecond, time.Second),
		hour:   &bucket{rate: dhtPerHour / time.Hour.Seconds(), burst: dhtBurst},
	}
	return qs
}

// ready is the earliest time at which the budget has a hello for t.
func (q *queue) ready(now time.Time, t *target) time.Time {
	at := q.second.ready(now)
	if q.hour != nil {
		at = latest(at, q.hour.ready(now, reserve(t)))
	}
	return at
}

// take spends a hello on t.
func (q *queue) take(now time.Time, t *target) bool {
	if q.ready(now, t).After(now) {
		return false
	}
	q.second.add(now)
	return q.hour == nil || q.hour.take(now, reserve(t))
}

func reserve(t *target) float64 {
	if t.sends < freshSends {
		return 0
	}
	return dhtReserve
}

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

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
