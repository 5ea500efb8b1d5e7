package gossip

import (
	"slices"
	"time"

	"github.com/credant/credant/discovery/wire"
)

const (
	// maxAllPushes is how many records wait to be pushed at most, 0.6 s of
	// them. Where there is more news than that it is announced: each peer then
	// gets each record once, from one of those who have it.
	maxAllPushes = 64
	// announceWait gathers news to announce, announcePause what comes later.
	announceWait  = 50 * time.Millisecond
	announcePause = 500 * time.Millisecond
)

// spread tells the neighbours a record that is news; not its own node, and not
// who sent it.
func (g *Gossip) spread(now time.Time, h wire.NodeHash, sender *peer, inFull bool) {
	waiting := 0
	for _, p := range g.order {
		waiting += len(p.pushes)
	}
	for _, p := range g.order {
		if !p.told() || p == sender || p.hash == h {
			continue
		}
		p.unsure = true
		if inFull && waiting < maxAllPushes && p.push(h) {
			waiting++
			continue
		}
		if !p.tell(later(now.Add(announceWait), p.announced.Add(announcePause)), h) {
			p.announce = nil // a comparison says it all
			p.compare(now)
		}
	}
}

// send is what is to be sent now and fits the budgets. The peers have turns, so
// that none keeps the others waiting.
func (g *Gossip) send(now time.Time) (out []Output) {
	var busy []*peer
	n := len(g.order)
	for i := range n {
		if p := g.order[(g.turn+i)%n]; p.busy() {
			busy = append(busy, p)
		}
	}
	for _, p := range busy {
		out = g.sendTalk(now, p, out)
	}
	for more := true; more; {
		more = false
		for _, p := range busy {
			more = g.sendPush(now, p, &out) || more
			more = g.sendCopy(now, p, &out) || more
		}
	}
	if len(out) > 0 {
		g.turn = (g.turn + 1) % n
	}
	return out
}

// busy says whether there may be something to send to the peer.
func (p *peer) busy() bool {
	return len(p.pushes) > 0 || len(p.copies) > 0 || len(p.pages) > 0 || len(p.offers) > 0 || p.gained >= bulk ||
		!p.compareAt.IsZero() || !p.announceAt.IsZero()
}

// sendTalk appends what this node asks the peer and tells it of its set.
func (g *Gossip) sendTalk(now time.Time, p *peer, out []Output) []Output {
	say := func(s wire.Signal) {
		out = append(out, Output{p.node, s})
		if s.Digest != nil {
			s.Digest.Follow, p.toldUpstream = p.upstream, p.upstream
		}
	}
	if w := g.wanted(now, p); len(w.Entries) > 0 {
		g.talk.take(now, talkLimit, 1)
		say(wire.Signal{Want: &w})
	}
	if p.emptied() {
		p.compare(now)
	}
	for len(p.pages) > 0 && g.talk.take(now, talkLimit, 1) {
		r := p.pages[0]
		p.pages = p.pages[1:]
		entries := g.set.view(now).within(r.first, r.last)
		if len(entries) > wire.MaxEntries { // more than when the page was cut
			entries = entries[:wire.MaxEntries]
			r.last = entries[len(entries)-1].Node
		}
		say(wire.Signal{Digest: &wire.Digest{From: r.first, Last: r.last, Entries: slices.Clone(entries)}})
	}
	if !p.announceAt.IsZero() && !now.Before(p.announceAt) {
		g.sendAnnounce(now, p, say)
	}
	if !p.compareAt.IsZero() && !now.Before(p.compareAt) && g.talk.take(now, talkLimit, 1) {
		p.compareAt, p.comparedAt, p.gained = time.Time{}, now, 0
		if p.fresh && p.upstream {
			p.compare(now.Add(settleAfter)) // for this one may be lost
		}
		p.unsure, p.fresh = false, false
		d := g.digest(now)
		say(wire.Signal{Digest: &d})
	}
	return out
}

// sendAnnounce tells the peer what this node has.
func (g *Gossip) sendAnnounce(now time.Time, p *peer, say func(wire.Signal)) {
	v := g.set.view(now)
	for len(p.announce) > 0 && !g.talk.ready(now, talkLimit).After(now) {
		n := min(len(p.announce), wire.MaxEntries)
		var entries []wire.Entry
		for _, h := range p.announce[:n] {
			entries = append(entries, v.within(h, h)...)
		}
		p.announce = slices.Delete(p.announce, 0, n)
		if len(entries) > 0 {
			g.talk.take(now, talkLimit, 1)
			say(wire.Signal{Digest: &wire.Digest{Entries: entries}})
		}
	}
	if len(p.announce) == 0 {
		p.announce, p.announceAt, p.announced = nil, time.Time{}, now
	}
}

// sendPush appends a record that is news to the peer, and reports whether it
// did.
func (g *Gossip) sendPush(now time.Time, p *peer, out *[]Output) bool {
	for len(p.pushes) > 0 {
		h := p.pushes[0]
		intro := g.set.introduce(now, h)
		if intro != nil && !g.pushes.take(now, pushLimit, 1) {
			return false
		}
		p.pushes = p.pushes[1:]
		if intro == nil {
			continue
		}
		p.hasPushed(now, wire.Entry{Node: h, Seq: g.set.seq(h)})
		*out = append(*out, Output{p.node, wire.Signal{Introduce: intro}})
		return true
	}
	return false
}

// sendCopy appends a record that the peer asked for, and reports whether it did.
func (g *Gossip) sendCopy(now time.Time, p *peer, out *[]Output) bool {
	for len(p.copies) > 0 {
		intro := g.set.introduce(now, p.copies[0])
		if intro != nil {
			if g.copies.ready(now, copyLimit).After(now) {
				return false
			}
			if !p.owed.take(now, owedLimit(len(g.set.byHash)), 1) {
				p.copies = nil // it will ask again, or has asked too often
				return false
			}
			g.copies.take(now, copyLimit, 1)
		}
		p.copies = p.copies[1:]
		if intro == nil {
			continue
		}
		*out = append(*out, Output{p.node, wire.Signal{Introduce: intro}})
		return true
	}
	return false
}

// nextWake is when Advance has something to do; zero: when something changes.
func (g *Gossip) nextWake(now time.Time) (wake time.Time) {
	sooner := func(at time.Time) {
		if !at.IsZero() && (wake.IsZero() || at.Before(wake)) {
			wake = at
		}
	}
	sooner(g.chooseAt)
	sooner(g.settleAt)
	if len(g.order) > 0 {
		sooner(g.beatAt)
	}
	if len(g.greets) > 0 {
		sooner(later(g.greets[0].at, g.greeting.ready(now, greetLimit)))
	}
	talk := g.talk.ready(now, talkLimit)
	for _, p := range g.order {
		if p.asked > 0 {
			sooner(p.progressAt.Add(answerWait))
		}
		if !p.busy() {
			continue
		}
		if len(p.pushes) > 0 {
			sooner(g.pushes.ready(now, pushLimit))
		}
		if len(p.copies) > 0 {
			sooner(g.copies.ready(now, copyLimit))
		}
		if len(p.pages) > 0 {
			sooner(talk)
		}
		if !p.announceAt.IsZero() {
			sooner(later(p.announceAt, talk))
		}
		if !p.compareAt.IsZero() {
			sooner(later(p.compareAt, talk))
		}
		if p.askable() {
			sooner(g.wantAt(now, p))
		}
	}
	return wake
}
