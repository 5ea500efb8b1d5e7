package natpunch

import (
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
	nat4      wire.NATBehavior
	pairs     []*candidatePair // best first
	selected  *candidatePair   // one of pairs; nil: none
	trust     trust
	round     round
	exchange  exchange
	link      link
	uplinks   uplinks
	relays    relays
	avoided   []avoided
	mtu       pathMTU
	spray     spray

	due   time.Time // for the agent's heap
	index int       // in it; -1: not in it
}

// round is one go at all pairs.
type round struct {
	started  time.Time
	failures int            // rounds that failed in a row
	learned  int            // peer-reflexive candidates since it started
	retry    time.Time      // the next round; zero: none
	window   time.Time      // when the best so far is nominated; zero: not open
	awaiting rank           // of the one that the window was opened for
	lost     *candidatePair // whose checks were lost before it started; nil: none
	grace    time.Time      // when a missing nomination is a failure
	why      string         // the path is suspect
	told     string         // the reason of the Lost since the last Select; empty: none
}

// link is what of the pair's traffic outlives rounds.
type link struct {
	number       uint64 // of the last ping sent
	seen         window // numbers of pings received
	settled      uint64 // the highest of them when the path was selected
	lastPing     time.Time
	pings, pongs bucket
	reflexive    []reflexive
}

func newLink(number uint64) link {
	return link{number: number, pings: newBucket(peerBurst, peerRate), pongs: newBucket(pongBurst, pongRate)}
}

func newCheckList(a *Agent, p Peer) *checkList {
	return &checkList{
		agent: a, node: p.Node, pair: p.Pair,
		controlling: a.self.Compare(p.Node) < 0,
		link:        newLink(a.number),
		relays:      relays{search: search{asked: newBucket(callBurst, callRate)}},
		spray:       spray{asked: newBucket(askBurst, askRate), aligned: newAligned()},
		mtu:         pathMTU{probing: -1},
		index:       -1,
	}
}

// renew takes the pair of a peer that has started anew: it knows of no path, but
// the one there was is likely to work.
func (l *checkList) renew(now time.Time, pair keys.Pair) {
	l.sprayOver(now, abandoned)
	l.spray.aligned = newAligned()
	l.pair = pair
	pings := l.link.pings // a peer cannot refill its budget by starting anew
	l.link = newLink(l.agent.number)
	l.link.pings = pings
	l.exchange = exchange{}
	for _, p := range l.pairs {
		p.sent, p.nominatedAt = [maxSent]transaction{}, time.Time{}
	}
	l.trust, l.round.why, l.round.failures = seeking, "the peer started anew", 0
	l.relays.probe = probe{}
	l.startRound(now)
}

// setCandidates takes what the peer announces. A settled list checks what is new
// and better than what it has, any other checks everything when something is new.
func (l *checkList) setCandidates(now time.Time, announced []wire.Candidate) {
	l.round.learned = 0
	l.announced = slices.Clone(announced[:min(len(announced), 2*maxCandidates)])
	fresh := l.reconcile()
	if l.trust == settled {
		l.tryBetter(now, fresh)
	} else if len(fresh) > 0 || l.round.started.IsZero() {
		l.extendRound(now, fresh)
	}
}

func (l *checkList) localChanged(now time.Time, linksChanged bool) {
	fresh := l.reconcile()
	if linksChanged {
		fresh = l.pairs
	}
	if x := l.exchange.pair; x != nil && x.gone {
		l.exchange = exchange{}
	}
	if l.selected != nil && l.selected.gone && !l.selected.relayed() {
		l.selected.state = failed
		l.restart(now, "the uplink of the path is gone")
		return
	}
	if l.trust == settled {
		l.tryBetter(now, fresh)
	} else {
		l.extendRound(now, fresh)
	}
}

// restart begins to seek. Asked again while it does, it only notes why.
func (l *checkList) restart(now time.Time, why string) {
	busy := l.trust != settled && l.searching()
	l.trust = seeking
	l.round.why = why
	l.round.failures = 0
	l.relays.probe = probe{}
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
	l.relays.probe = probe{}
	if !l.exchange.nominates {
		l.exchange = exchange{}
	}
	l.startRound(now)
}

// selectPair makes p the path; the peer has, or will have, the same.
func (l *checkList) selectPair(p *candidatePair, initiate bool) {
	news := p != l.selected || l.trust == seeking
	moved := l.selected == nil || l.selected.relayed() != p.relayed()
	l.selected, l.trust = p, settled
	l.round = round{started: l.round.started}
	l.link.settled = l.link.seen.highest
	for _, o := range l.pairs {
		if o.rank <= p.rank {
			o.stop()
		}
		if o != p {
			o.nominatedAt = time.Time{} // this one came later
		}
	}
	l.relaySelected(moved)
	l.newPath(l.agent.now)
	l.spraySelected(p)
	if news {
		l.agent.emit(Select{Node: l.node, Path: l.path(), Initiate: initiate})
	} else {
		l.agent.emit(Confirm{Node: l.node})
	}
}

func (l *checkList) path() Path {
	return Path{Addr: l.selected.remote, Kind: l.selected.rank.kind(), RTT: l.selected.rtt, Base: l.selected.base}
}

// validated takes a path that a hello exchange proved. The peer heard the same,
// unless there were several exchanges: then the controlling agent nominates one.
func (l *checkList) validated(now time.Time, addr netip.AddrPort, rtt time.Duration) {
	if l.avoids(now, netip.Addr{}, addr) {
		return
	}
	l.heardThrough(addr)
	p := l.learn(netip.Addr{}, addr)
	p.stop()
	p.state, p.validAt = succeeded, now
	if rtt > 0 {
		p.rtt = rtt
	}
	if l.trust != settled {
		l.selectPair(p, false)
		if x := &l.exchange; x.nominates && x.pair.relayed() && x.pair != p {
			l.nominate(now, p) // the peer may follow the other one yet
		}
		return
	}
	if p != l.selected && l.controlling && !l.exchange.nominates {
		if p.rank <= l.selected.rank {
			p = l.selected
		}
		l.nominate(now, p)
	}
}
