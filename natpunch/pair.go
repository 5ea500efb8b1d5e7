package natpunch

import (
	"net/netip"
	"time"

	"github.com/credant/credant/discovery/wire"
)

// pairState is RFC 8445's, Section 6.1.2.6, without Frozen: there is nothing
// to unfreeze with one component.
type pairState uint8

const (
	idle pairState = iota // not part of the current round
	waiting
	inProgress
	succeeded
	failed
)

const (
	// answerTimeout after the last ping, the pair has failed. A later pong
	// still counts.
	answerTimeout = time.Second
	// pongWindow is how long a ping's answer is waited for.
	pongWindow = 5 * time.Second
	// maxTriggered bounds the checks of a pair that the peer's pings trigger.
	maxTriggered = 4
	// maxSent pings of a pair are remembered: those of half a second and more, at
	// the pace of retries through a relay.
	maxSent = 6
)

var (
	// pingGaps come after each ping of a round, the next one at its end: pings
	// leave at 0, 200 and 500 ms. What punching does, it does at once or never.
	pingGaps = []time.Duration{200 * time.Millisecond, 300 * time.Millisecond, answerTimeout}
	// relayGaps are those of a relayed pair: pings at 0, 100, 200 and 400 ms. What
	// is lost there is lost because the other side was not ready yet.
	relayGaps = []time.Duration{100 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, answerTimeout}
)

// candidatePair is a remote candidate together with a local base: the node's
// port, at whatever address the host's routes choose or, where there are several
// uplinks, at one of them. Of a relayed pair, remote is the relayed address that
// leads to the peer, and the base is never one uplink's.
type candidatePair struct {
	base   netip.Addr // zero: the routes choose
	remote netip.AddrPort
	typ    wire.CandidateType
	rank   rank

	state     pairState
	began     time.Time // its checks of this round
	pings     int       // in this round
	next      time.Time // the next ping, or after the last the end; zero: never
	triggered int
	validAt   time.Time // the last pong
	rtt       time.Duration
	sent      [maxSent]transaction

	// nomination is the transaction of a nominating ping that waits for this
	// side's own check to succeed, if it came a short while ago.
	nomination  transactionID
	nominatedAt time.Time

	gone  bool // its relayed address is not ready, or its base not this host's, any more
	gauge gauge
}

func (p *candidatePair) relayed() bool { return p.typ == wire.Relayed }

// gaps are those after each of the pair's pings in a round.
func (p *candidatePair) gaps() []time.Duration {
	if p.relayed() {
		return relayGaps
	}
	return pingGaps
}

// exhausted reports whether the round's pings have all been sent.
func (p *candidatePair) exhausted() bool { return p.pings == len(p.gaps()) }

type transaction struct {
	id        transactionID
	at        time.Time // zero: free
	nominates bool
	calls     bool // for a round
}

// start makes the pair part of a round: its first ping is due.
func (p *candidatePair) start(now time.Time) {
	if p.gone {
		return
	}
	p.state, p.began, p.pings, p.next, p.triggered = waiting, now, 0, now, 0
}

func (p *candidatePair) stop() {
	if p.pending() {
		p.state = idle
	}
	p.next = time.Time{}
}

// pending reports whether the pair may yet succeed in this round.
func (p *candidatePair) pending() bool { return p.state == waiting || p.state == inProgress }

// trigger makes a ping due at once, because the peer's own came through
// (RFC 8445, Section 7.3.1.4). It tells whether it did.
func (p *candidatePair) trigger(now time.Time) bool {
	if p.gone || p.triggered == maxTriggered && p.pending() {
		return false
	}
	if !p.pending() {
		p.start(now)
	}
	p.triggered++
	p.pings = min(p.pings, len(p.gaps())-1)
	p.next = now
	return true
}

// remember notes a ping that leaves now, in the place of the oldest.
func (p *candidatePair) remember(t transaction) {
	oldest := 0
	for i := range p.sent {
		if p.sent[i].at.Before(p.sent[oldest].at) {
			oldest = i
		}
	}
	p.sent[oldest] = t
}

// answered takes the transaction of a pong, which counts once.
func (p *candidatePair) answered(now time.Time, id transactionID) (transaction, bool) {
	for i, t := range p.sent {
		if !t.at.IsZero() && t.id == id {
			p.sent[i] = transaction{}
			return t, now.Sub(t.at) <= pongWindow
		}
	}
	return transaction{}, false
}
