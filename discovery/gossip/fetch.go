package gossip

import (
	"maps"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

const (
	// maxAllOffers bounds what all peers offer together.
	maxAllOffers = 16384
	// askFew: a peer is asked for more when it owes so few. With maxAsked a
	// hundred copies a second come without a gap over 120 ms of round trip, and
	// little waits for a peer that is busy with others.
	askFew = maxAsked / 2
	// answerWait is how long a peer may send nothing of what it was asked for.
	answerWait = 2 * time.Second
	// bulk is how many records make it worth to compare again at once: there
	// may be more than a comparison could tell.
	bulk = 32
)

// ask is a record that a peer was asked for.
type ask struct {
	of  *peer
	seq uint64 // that the peer says it has
}

// offer takes it that a peer has a record that this node lacks.
func (g *Gossip) offer(now time.Time, p *peer, e wire.Entry) {
	if now.Before(p.pausedTill) {
		return
	}
	i, known := slices.BinarySearchFunc(p.offers, e.Node, byNode)
	if known {
		p.offers[i] = e
	} else {
		if len(p.offers) >= maxOffers || g.offered >= maxAllOffers {
			return
		}
		p.offers = slices.Insert(p.offers, i, e)
		g.offered++
	}
	p.looked = false
}

// isOffered says whether a peer has offered this very record.
func (g *Gossip) isOffered(e wire.Entry) bool {
	return slices.ContainsFunc(g.order, func(p *peer) bool {
		i, ok := slices.BinarySearchFunc(p.offers, e.Node, byNode)
		return ok && p.offers[i] == e
	})
}

// withdraw takes an offer back.
func (g *Gossip) withdraw(p *peer, h wire.NodeHash) {
	if i, ok := slices.BinarySearchFunc(p.offers, h, byNode); ok {
		p.offers = slices.Delete(p.offers, i, i+1)
		g.offered--
	}
}

// release forgets what a peer offered and was asked for.
func (g *Gossip) release(p *peer) {
	g.offered -= len(p.offers)
	p.offers = nil
	if p.asked > 0 {
		maps.DeleteFunc(g.asked, func(_ wire.NodeHash, a ask) bool { return a.of == p })
		p.asked = 0
		g.lookAgain()
	}
}

// lookAgain lets the peers be asked for what one of them was asked for in vain.
func (g *Gossip) lookAgain() {
	for _, p := range g.order {
		p.looked = false
	}
}

// wanted is the next want for the peer; without entries there is none now.
func (g *Gossip) wanted(now time.Time, p *peer) (w wire.Want) {
	if !p.askable() || g.wantAt(now, p).After(now) {
		return w
	}
	room := min(maxAsked-p.asked, g.limit-len(g.asked))
	n := len(p.offers)
	p.offers = slices.DeleteFunc(p.offers, func(e wire.Entry) bool {
		if !g.set.lacks(e) {
			return true // come from somebody else
		}
		if _, asked := g.asked[e.Node]; !asked && room > 0 {
			w.Entries = append(w.Entries, wire.Entry{Node: e.Node, Seq: g.set.seq(e.Node)})
			g.asked[e.Node] = ask{p, e.Seq}
			room--
		}
		return false
	})
	g.offered -= n - len(p.offers)
	if len(w.Entries) == 0 {
		p.looked = true
		return w
	}
	p.ask.take(now, askLimit, len(w.Entries))
	if p.asked == 0 {
		p.progressAt, p.came = now, false
	}
	p.asked += len(w.Entries)
	return w
}

// askable says whether there may be something to ask the peer for.
func (p *peer) askable() bool { return len(p.offers) > 0 && !p.looked && p.asked <= askFew }

// wantAt is when the budgets let the peer be asked.
func (g *Gossip) wantAt(now time.Time, p *peer) time.Time {
	return later(g.talk.ready(now, talkLimit), p.ask.ready(now, askLimit))
}

// emptied says that a peer has sent so much, and nothing is left to ask it for,
// that there may be more than it could tell.
func (p *peer) emptied() bool { return p.gained >= bulk && p.asked == 0 && len(p.offers) == 0 }

// arrived takes it that a record has come, and reports whether it is what the
// sender was asked for.
func (g *Gossip) arrived(now time.Time, sender *peer, e wire.Entry) bool {
	a, ok := g.asked[e.Node]
	if !ok || e.Seq < a.seq && a.of != sender {
		return false
	}
	delete(g.asked, e.Node)
	g.withdraw(a.of, e.Node)
	a.of.asked--
	if e.Seq < a.seq {
		g.lookAgain() // others may have what it said
	}
	if a.of != sender {
		return false
	}
	sender.progressAt, sender.came, sender.fruitless = now, true, 0
	sender.gained++
	return true
}

// giveUp waits no longer for peers that send nothing of what they were asked
// for. One that has sent something is compared with again, because datagrams
// are lost; one that has not is not asked for a while, and for longer each time.
func (g *Gossip) giveUp(now time.Time) {
	for _, p := range g.order {
		if p.asked == 0 || now.Before(p.progressAt.Add(answerWait)) {
			continue
		}
		g.release(p)
		if p.came {
			p.compare(now)
			continue
		}
		p.pausedTill = now.Add(min(answerWait<<min(p.fruitless, 16), beatLongest))
		p.fruitless++
	}
}

// ReceiveWant takes a want of a peer. It returns the reason for which it was
// dropped, or nothing. What this node does not have is passed over.
func (g *Gossip) ReceiveWant(now time.Time, from keys.NodePublic, w wire.Want) string {
	p := g.peers[from]
	switch {
	case p == nil || !p.working:
		return dropNotWorking
	case !p.wants.take(now, wantLimit, 1):
		return dropRateLimit
	}
	g.changed(now)
	for _, e := range w.Entries {
		if seq := g.set.seq(e.Node); seq > e.Seq {
			p.owe(now, wire.Entry{Node: e.Node, Seq: seq})
		}
	}
	return ""
}
