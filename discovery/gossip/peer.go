package gossip

import (
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// What is kept for one peer at most, whatever it sends.
const (
	maxPushes   = 16
	maxPages    = 8
	maxAnnounce = maxPages * wire.MaxEntries
	maxOwed     = wire.MaxEntries
	maxOffers   = maxPages * wire.MaxEntries
	maxAsked    = 24
)

// peer is a node that can be spoken to, or could lately.
type peer struct {
	node    keys.NodePublic
	hash    wire.NodeHash
	rank    uint64 // among the random neighbours: the lowest are chosen
	working bool
	since   time.Time // it works
	// neighbor: this node tells the peer the news, as it has chosen. upstream:
	// it has asked the peer to do the same. follows: the peer has asked for it.
	neighbor, upstream, follows bool
	// toldUpstream is what the peer was told last of upstream.
	toldUpstream bool

	heard, wants, news, ask, owed bucket

	sending
	comparing
	fetching
}

// sending is what waits to be sent to the peer.
type sending struct {
	pushes     []wire.NodeHash // in full, unasked
	announce   []wire.NodeHash // in order
	announceAt time.Time       // zero: nothing to announce
	announced  time.Time       // the last time
	copies     []wire.NodeHash // that it asked for
	pages      []pageRange
	pushed     []sent // the last ones
}

type pageRange struct{ first, last wire.NodeHash }

// sent is a record that was pushed a moment ago.
type sent struct {
	entry wire.Entry
	at    time.Time
}

// comparing is when sets are compared with the peer next.
type comparing struct {
	compareAt  time.Time // zero: when its turn comes
	comparedAt time.Time
	// unsure: something was sent that may be lost.
	unsure bool
	// fresh: neither side has compared since it works.
	fresh bool
}

// fetching is what the peer has that this node lacks.
type fetching struct {
	offers []wire.Entry // by node hash
	looked bool         // through the offers: all are asked for
	asked  int          // of them; no answer yet
	// progressAt is when the first of them was asked for, or the last came.
	progressAt time.Time
	came       bool // something of it
	gained     int  // records since the last comparison
	fruitless  int  // times in a row that nothing came
	// pausedTill: offers are passed over until then.
	pausedTill time.Time
}

// told says whether the peer is told the news.
func (p *peer) told() bool { return p.working && (p.neighbor || p.follows) }

// shown takes it that the peer has a record: it need not be told of it.
func (p *peer) shown(e wire.Entry, have uint64) {
	if e.Seq < have {
		return
	}
	p.untell(e.Node)
	p.pushes = slices.DeleteFunc(p.pushes, func(h wire.NodeHash) bool { return h == e.Node })
	p.copies = slices.DeleteFunc(p.copies, func(h wire.NodeHash) bool { return h == e.Node })
}

// push queues a record for the peer, if there is room.
func (p *peer) push(h wire.NodeHash) bool {
	if slices.Contains(p.pushes, h) {
		return true // the newest is sent
	}
	if len(p.pushes) >= maxPushes {
		return false
	}
	p.untell(h)
	p.pushes = append(p.pushes, h)
	return true
}

// tell announces a record to the peer, from at on. It is false where there is
// too much to announce: to compare says it in fewer bytes.
func (p *peer) tell(at time.Time, h wire.NodeHash) bool {
	if len(p.announce) >= maxAnnounce {
		return false
	}
	if len(p.announce) == 0 || at.Before(p.announceAt) {
		p.announceAt = at
	}
	if i, found := slices.BinarySearch(p.announce, h); !found {
		p.announce = slices.Insert(p.announce, i, h)
	}
	return true
}

// untell takes a record out of what is announced.
func (p *peer) untell(h wire.NodeHash) {
	if i, found := slices.BinarySearch(p.announce, h); found {
		p.announce = slices.Delete(p.announce, i, i+1)
	}
}

// owe queues a record that the peer asked for, if there is room.
func (p *peer) owe(now time.Time, e wire.Entry) {
	if len(p.copies) >= maxOwed || slices.Contains(p.copies, e.Node) || slices.Contains(p.pushes, e.Node) {
		return
	}
	for _, s := range p.pushed {
		if s.entry == e && now.Sub(s.at) < onTheWay {
			return // asked for before it arrived
		}
	}
	p.copies = append(p.copies, e.Node)
}

// onTheWay is how long a record that was pushed may still arrive.
const onTheWay = time.Second

// hasPushed remembers a record that was pushed.
func (p *peer) hasPushed(now time.Time, e wire.Entry) {
	if len(p.pushed) >= maxPushes {
		p.pushed = slices.Delete(p.pushed, 0, 1)
	}
	p.pushed = append(p.pushed, sent{e, now})
}

// compare asks for a comparison at the time given, unless it is due sooner, and
// not sooner than comparePause after the last.
func (p *peer) compare(at time.Time) {
	at = later(at, p.comparedAt.Add(comparePause))
	if p.compareAt.IsZero() || at.Before(p.compareAt) {
		p.compareAt = at
	}
}

// stop forgets all but what the peer has used up, and that it follows: it may
// not have noticed.
func (p *peer) stop() {
	p.working, p.neighbor, p.upstream, p.toldUpstream = false, false, false, false
	p.sending, p.fetching = sending{}, fetching{fruitless: p.fruitless, pausedTill: p.pausedTill}
	p.compareAt, p.unsure, p.fresh = time.Time{}, false, false
}

// rested says that the peer has all its budgets again.
func (p *peer) rested(now time.Time, records int) bool {
	return p.heard.full(now, hearLimit) && p.wants.full(now, wantLimit) &&
		p.news.full(now, newsLimit) && p.ask.full(now, askLimit) &&
		p.owed.full(now, owedLimit(records)) && !now.Before(p.pausedTill) &&
		now.Sub(p.comparedAt) >= comparePause
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
