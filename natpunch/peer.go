package natpunch

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// trust is what a check list thinks of the selected pair.
type trust uint8

const (
	// seeking: there is no path, or it is suspect. Pings say so to the peer.
	seeking trust = iota
	// verifying: the peer has no path; ours is checked anew, with all others.
	verifying
	// settled: there is a path, and nothing is sent.
	settled
)

const (
	// A second round follows a failed one soon, as its start may have missed
	// the peer's; of the attempts that succeed, 97.6 % do so at the first
	// (arXiv 2510.27500), so then it gets rare.
	retryAfter   = time.Second
	firstBackoff = 30 * time.Second
	lastBackoff  = time.Hour
	// verifyEvery bounds the rounds that a peer's seeking pings start.
	verifyEvery = 2 * time.Second
	// answerEvery does so where we have given up too. It is longer than a round:
	// two lists that fail must not wake each other for ever.
	answerEvery = 10 * time.Second
	// grace is how long the controlled agent waits for a nomination after its
	// own checks are done.
	grace = 2 * time.Second
)

// checkList is RFC 8445's: the candidate pairs of one peer and what is known of
// them.
type checkList struct {
	agent       *Agent
	node        keys.NodePublic
	pair        keys.Pair
	controlling bool

	announced []wire.Candidate
	pairs     []*candidatePair // best first
	selected  *candidatePair   // one of pairs; nil: none
	trust     trust
	round     round
	exchange  exchange
	link      link

	due   time.Time // for the agent's heap
	index int       // in it; -1: not in it
}

// round is one go at all pairs.
type round struct {
	started  time.Time
	failures int       // rounds that failed in a row
	learned  int       // peer-reflexive candidates since it started
	retry    time.Time // the next round; zero: none
	window   time.Time // when the best so far is nominated; zero: not open
	grace    time.Time // when a missing nomination is a failure
	why      string    // the path is suspect
	told     bool      // a Lost was emitted since the last Select
}

// link is what of the pair's traffic outlives rounds.
type link struct {
	number       uint64 // of the last ping sent
	seen         window // numbers of pings received
	lastPing     time.Time
	pings, pongs bucket
	reflexive    [2]netip.AddrPort // last told, IPv4 and IPv6
}

func newLink(number uint64) link {
	return link{number: number, pings: newBucket(peerBurst, peerRate), pongs: newBucket(pongBurst, pongRate)}
}

func newCheckList(a *Agent, p Peer) *checkList {
	return &checkList{
		agent: a, node: p.Node, pair: p.Pair,
		controlling: a.self.Compare(p.Node) < 0,
		link:        newLink(a.number),
		index:       -1,
	}
}

// renew takes the pair of a peer that has started anew: it knows of no path, but
// the one there was is likely to work.
func (l *checkList) renew(now time.Time, pair keys.Pair) {
	l.pair = pair
	pings := l.link.pings // a peer cannot refill its budget by starting anew
	l.link = newLink(l.agent.number)
	l.link.pings = pings
	l.exchange = exchange{}
	for _, p := range l.pairs {
		p.sent, p.nominatedAt = [4]transaction{}, time.Time{}
	}
	l.trust, l.round.why, l.round.failures = seeking, "the peer started anew", 0
	l.startRound(now)
}

// setCandidates takes what the peer announces. A settled list checks what is new
// and better than what it has, any other checks everything when something is new.
func (l *checkList) setCandidates(now time.Time, announced []wire.Candidate) {
	l.round.learned = 0
	l.announced = slices.Clone(announced[:min(len(announced), 2*maxCandidates)])
	fresh := l.reconcile()
	if l.trust == settled {
		l.startBetter(now, fresh)
	} else if len(fresh) > 0 || l.round.started.IsZero() {
		l.extendRound(now, fresh)
	}
}

func (l *checkList) localChanged(now time.Time, linksChanged bool) {
	fresh := l.reconcile()
	if linksChanged {
		fresh = l.pairs
	}
	if l.trust == settled {
		l.startBetter(now, fresh)
	} else {
		l.extendRound(now, fresh)
	}
}

// reconcile makes the pairs fit the candidates, and returns those that are new.
func (l *checkList) reconcile() (fresh []*candidatePair) {
	wanted := l.agent.site.candidates(l.announced)
	l.pairs = slices.DeleteFunc(l.pairs, func(p *candidatePair) bool {
		if p == l.selected || p == l.exchange.pair {
			return false
		}
		still := slices.ContainsFunc(wanted, func(c wire.Candidate) bool { return c.Addr == p.remote })
		return !l.agent.site.usable(p.remote) || p.typ != wire.PeerReflexive && !still
	})
	for _, c := range wanted {
		if p := l.find(c.Addr); p != nil {
			p.typ = c.Type
			continue
		}
		p := &candidatePair{remote: c.Addr, typ: c.Type}
		l.pairs = append(l.pairs, p)
		fresh = append(fresh, p)
	}
	l.sort()
	return fresh
}

func (l *checkList) sort() {
	for _, p := range l.pairs {
		p.rank = l.agent.site.rank(p.remote)
	}
	slices.SortStableFunc(l.pairs, func(a, b *candidatePair) int {
		return cmp.Or(-cmp.Compare(a.rank, b.rank), cmp.Compare(a.typ, b.typ))
	})
}

func (l *checkList) find(remote netip.AddrPort) *candidatePair {
	for _, p := range l.pairs {
		if p.remote == remote {
			return p
		}
	}
	return nil
}

// mayLearn counts what a peer may make us learn a round. Where both NATs map per
// destination, each check comes from a new address, and would call for another.
func (l *checkList) mayLearn() bool {
	l.round.learned++
	return l.round.learned <= 2*maxReflexive
}

// learn returns the pair of an address that the peer was heard from: a known one,
// or a new peer-reflexive one, in the place of the least useful when all are taken.
func (l *checkList) learn(remote netip.AddrPort) *candidatePair {
	if p := l.find(remote); p != nil {
		return p
	}
	var learned int
	var oldest *candidatePair
	for _, p := range l.pairs {
		if p.typ != wire.PeerReflexive {
			continue
		}
		learned++
		inUse := p == l.selected || p == l.exchange.pair // fewer than maxReflexive
		if !inUse && (oldest == nil || p.validAt.Before(oldest.validAt)) {
			oldest = p
		}
	}
	if learned >= maxReflexive {
		l.pairs = slices.DeleteFunc(l.pairs, func(p *candidatePair) bool { return p == oldest })
	}
	p := &candidatePair{remote: remote, typ: wire.PeerReflexive}
	l.pairs = append(l.pairs, p)
	l.sort()
	return p
}

func (l *checkList) startRound(now time.Time) {
	l.round.started, l.round.retry = now, time.Time{}
	l.round.window, l.round.grace = time.Time{}, time.Time{}
	l.round.learned = 0
	for _, p := range l.pairs {
		if p != l.exchange.pair {
			p.start(now)
		}
	}
}

// extendRound checks fresh pairs too, or everything where the round is over.
func (l *checkList) extendRound(now time.Time, fresh []*candidatePair) {
	l.round.failures = 0
	if !l.searching() && l.round.grace.IsZero() {
		l.startRound(now)
		return
	}
	for _, p := range fresh {
		if p.state == idle || p.state == failed {
			p.start(now)
		}
	}
}

// startBetter checks those of pairs that would be worth leaving the selected one.
func (l *checkList) startBetter(now time.Time, pairs []*candidatePair) {
	for _, p := range pairs {
		if p.rank > l.selected.rank && !p.pending() {
			p.start(now)
		}
	}
}

// searching reports whether something may yet come of this round.
func (l *checkList) searching() bool {
	return l.exchange.pair != nil || slices.ContainsFunc(l.pairs, (*candidatePair).pending)
}

// restart begins to seek. Asked again while it does, it only notes why.
func (l *checkList) restart(now time.Time, why string) {
	busy := l.trust != settled && l.searching()
	l.trust = seeking
	l.round.why = why
	l.round.failures = 0
	if !l.exchange.nominates {
		l.exchange = exchange{}
	}
	if !busy {
		l.startRound(now)
	}
}

// verify starts a round because the peer has no path.
func (l *checkList) verify(now time.Time) {
	if l.trust != settled {
		return
	}
	if now.Sub(l.round.started) < verifyEvery {
		if l.controlling && l.exchange.pair == nil {
			l.nominate(now, l.selected) // the peer may just have missed it
		}
		return
	}
	l.trust = verifying
	l.round.why = "the peer lost the path"
	if !l.exchange.nominates {
		l.exchange = exchange{}
	}
	l.startRound(now)
}

// selectPair makes p the path; the peer has, or will have, the same.
func (l *checkList) selectPair(p *candidatePair, initiate bool) {
	news := p != l.selected || l.trust == seeking
	l.selected, l.trust = p, settled
	l.round = round{started: l.round.started}
	for _, o := range l.pairs {
		if o.rank <= p.rank {
			o.stop()
		}
	}
	if news {
		l.agent.emit(Select{Node: l.node, Path: l.path(), Initiate: initiate})
	}
}

func (l *checkList) path() Path {
	return Path{Addr: l.selected.remote, Kind: l.selected.rank.kind(), RTT: l.selected.rtt}
}

// validated takes a path that a hello exchange proved. The peer heard the same,
// unless there were several exchanges: then the controlling agent nominates one.
func (l *checkList) validated(now time.Time, addr netip.AddrPort, rtt time.Duration) {
	p := l.learn(addr)
	p.stop()
	p.state, p.validAt = succeeded, now
	if rtt > 0 {
		p.rtt = rtt
	}
	if l.trust != settled {
		l.selectPair(p, false)
		return
	}
	if p != l.selected && l.controlling && !l.exchange.nominates {
		if p.rank <= l.selected.rank {
			p = l.selected
		}
		l.nominate(now, p)
	}
}

// advance does what is due: at most one ping leaves.
func (l *checkList) advance(now time.Time) {
	if l.due.After(now) {
		return
	}
	if r := &l.round; !r.retry.IsZero() && !r.retry.After(now) {
		l.startRound(now)
	}
	for _, p := range l.pairs {
		if p.pending() && p.pings == maxPings && !p.next.After(now) {
			p.state, p.next = failed, time.Time{}
		}
	}
	if l.controlling {
		l.consider(now)
	}
	if !l.advanceExchange(now) {
		l.pingDue(now)
	}
	if l.controlling {
		l.consider(now) // the exchange may have failed
	}
	l.judge(now)
}

// pingDue sends the ping that has waited longest, the selected pair's first.
func (l *checkList) pingDue(now time.Time) {
	var first *candidatePair
	for _, p := range l.pairs {
		if !p.pending() || p.pings == maxPings || p.next.After(now) {
			continue
		}
		if first == nil || p.next.Before(first.next) || p.next.Equal(first.next) && p == l.selected {
			first = p
		}
	}
	if first == nil || !l.sendPing(now, first, false) {
		return
	}
	first.state = inProgress
	first.next = now.Add(pingGaps[first.pings])
	first.pings++
}

// judge ends a round from which nothing more can come.
func (l *checkList) judge(now time.Time) {
	if l.trust == settled || l.searching() || !l.round.retry.IsZero() {
		return
	}
	if !l.controlling && slices.ContainsFunc(l.pairs, func(p *candidatePair) bool { return p.state == succeeded }) {
		if l.round.grace.IsZero() {
			l.round.grace = now.Add(grace)
		}
		if now.Before(l.round.grace) {
			return
		}
		if l.trust == verifying && l.selected.state == succeeded {
			l.selectPair(l.selected, false)
			return
		}
	}
	l.fail(now)
}

// fail tells that there is no path, and when to try again.
func (l *checkList) fail(now time.Time) {
	l.round.failures++
	l.round.grace = time.Time{}
	l.round.retry = time.Time{}
	if !l.round.told {
		l.agent.emit(Lost{Node: l.node, Reason: l.reason()})
	}
	l.selected, l.trust, l.round.told = nil, seeking, true
	switch n := l.round.failures; {
	case len(l.pairs) == 0: // until there is something to try
	case n == 1:
		l.round.retry = now.Add(retryAfter + l.agent.jitter(retryAfter/2))
	default:
		wait := min(firstBackoff<<min(n-2, 10), lastBackoff)
		l.round.retry = now.Add(wait - wait/10 + l.agent.jitter(wait/5))
	}
}

// nextDue is when advance has something to do; false is never.
func (l *checkList) nextDue() (time.Time, bool) {
	var next time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	send := l.mayPing(true)
	for _, p := range l.pairs {
		switch {
		case !p.pending():
		case p.pings == maxPings:
			sooner(p.next)
		default:
			sooner(latest(p.next, send))
		}
	}
	if l.exchange.pair != nil {
		sooner(latest(l.exchange.next, l.mayPing(false)))
	}
	sooner(l.round.retry)
	sooner(l.round.window)
	sooner(l.round.grace)
	if next.IsZero() && l.trust != settled && (len(l.pairs) > 0 || !l.round.told) {
		next = l.round.started // the round is over, and waits to be judged
	}
	return next, !next.IsZero()
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
