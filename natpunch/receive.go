package natpunch

import (
	"net/netip"
	"time"

	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch/demux"
)

// mayPing is when the next ping may leave, as far as this peer's budget goes. The
// few pings of an exchange, of the selected path and to relays are not paced: each
// of them is what somebody waits for.
func (l *checkList) mayPing(paced bool) time.Time {
	if !paced {
		return l.link.pings.ready()
	}
	t := l.link.pings.holds(1 + reserve)
	if !l.link.lastPing.IsZero() {
		t = latest(t, l.link.lastPing.Add(pace))
	}
	return t
}

// sendPing sends a ping, nominating or calling for a round as m says, if the
// budgets have one left.
func (l *checkList) sendPing(now time.Time, p *candidatePair, m check) bool {
	paced := p != l.exchange.pair && p != l.selected && !p.relayed()
	return !l.mayPing(paced).After(now) && l.sendUnpaced(now, p, m)
}

// sendUnpaced is sendPing for the few that are measured with, side by side.
func (l *checkList) sendUnpaced(now time.Time, p *candidatePair, m check) bool {
	if l.mayPing(false).After(now) || !l.agent.pings.take(now) {
		return false
	}
	l.link.pings.take(now)
	if !p.relayed() {
		l.link.lastPing = now
	}
	l.link.number++
	l.agent.number = max(l.agent.number, l.link.number)
	m.Type, m.Number, m.ID, m.Seeking = ping, l.link.number, l.agent.transactionID(), l.trust == seeking
	p.remember(transaction{id: m.ID, at: now, nominates: m.Nominated, calls: m.Round})
	l.sendOn(p.base, p.remote, m)
	return true
}

func (l *checkList) sendOn(base netip.Addr, to netip.AddrPort, m check) {
	l.sendSized(base, to, m, wire.CheckSize)
}

func (l *checkList) sendSized(base netip.Addr, to netip.AddrPort, m check, size int) {
	b, err := sealSized(&l.pair, m, size)
	if err != nil {
		panic("natpunch: " + err.Error()) // a check always fits
	}
	l.agent.emit(Send{From: base, To: to, Data: b})
}

// receivePing answers a ping of the peer, and checks back where that may help.
// A settled list keeps nothing of a ping that offers nothing better.
func (l *checkList) receivePing(now time.Time, base netip.Addr, from netip.AddrPort, m check) string {
	if !l.link.seen.accept(m.Number) {
		return demux.DropReplayed
	}
	l.link.pongs.fill(now)
	if l.link.pongs.tokens < 1 || !l.agent.pongs.take(now) {
		return demux.DropRateLimited
	}
	l.link.pongs.take(now)

	if m.Sized {
		l.answer(base, from, m.ID, false)
		return ""
	}
	l.heardThrough(from)
	if m.Seeking {
		l.verify(now)
	}
	if m.Nominated && !l.controlling {
		l.receiveNomination(now, base, from, m)
		return ""
	}
	l.answer(base, from, m.ID, false)
	if m.Round {
		l.called(now, from)
	}
	if m.Prefers && l.controlling {
		l.preferred(now, base, from)
	}
	if m.Opens {
		l.open(now)
	}
	l.offered(now, m.Offer)
	if l.trust == settled && l.rankOf(from) <= l.selected.rank || l.avoids(now, base, from) {
		l.rivalHeard(now, base, from)
		return ""
	}
	p := l.find(base, from)
	if p == nil && l.mayLearn() {
		p = l.learn(base, from)
	}
	if p != nil && p.state != succeeded {
		l.checkBack(now, p)
	}
	return ""
}

// checkBack makes a triggered check due. Where the list had given up, the peer
// shows that it has not: all pairs are checked again. A relayed pair that is being
// nominated unchecked gets another ping, if the last one may have come too early.
func (l *checkList) checkBack(now time.Time, p *candidatePair) {
	if x := &l.exchange; x.pair == p && x.eager {
		if x.tries == x.limit() && p.triggered < maxTriggered {
			p.triggered++
			x.tries, x.next = x.tries-1, now
		}
		return
	}
	if l.trust == seeking && !l.searching() && now.Sub(l.round.started) > answerEvery {
		l.startRound(now)
	}
	if p.trigger(now) {
		l.round.retry = time.Time{}
	}
}

// receiveNomination follows a nomination (RFC 8445, Section 7.3.1.5), but not
// before this side's own check of the pair succeeded: until then whoever carried
// the ping here might be all there is at that address.
//
// Through a relay there is nobody else, because the relayed address is of this
// pair alone: where a side has no path, it follows at once.
func (l *checkList) receiveNomination(now time.Time, base netip.Addr, from netip.AddrPort, m check) {
	p := l.find(base, from)
	switch {
	case l.avoids(now, base, from):
		l.answer(base, from, m.ID, false) // refused
		return
	case (p == nil || p != l.selected) && m.Number < l.link.settled:
		return // overtaken by the choice that was made since, or kept back by a relay
	case p == nil:
		if !l.mayLearn() {
			return
		}
		p = l.learn(base, from)
	}
	p.nomination, p.nominatedAt = m.ID, now
	switch {
	case p == l.selected && l.trust == settled, p.state == succeeded && now.Sub(p.validAt) < pongWindow:
		l.follow(p)
	case p.relayed() && (l.trust != settled || m.Seeking):
		l.follow(p)
		l.relays.probe = probe{pair: p, next: now} // its own check, afterwards
	default:
		l.checkBack(now, p)
	}
}

func (l *checkList) follow(p *candidatePair) {
	p.nominatedAt = time.Time{}
	if l.exchange.pair != p {
		l.exchange = exchange{}
	}
	l.selectPair(p, false)
	l.answer(p.base, p.remote, p.nomination, true)
}

func (l *checkList) answer(base netip.Addr, to netip.AddrPort, id transactionID, nominated bool) {
	l.sendOn(base, to, check{Type: pong, ID: id, Nominated: nominated, Observed: to})
}

// receivePong takes the answer to a ping. It counts only from where the ping was
// sent, and to where it was sent from (RFC 8445, Section 7.2.5.2.1).
func (l *checkList) receivePong(now time.Time, base netip.Addr, from netip.AddrPort, m check) string {
	if l.spray.attempt.has(m.ID) {
		return l.punchAnswered(now, -1, from, m)
	}
	if l.probeAnswered(now, from, m.ID) {
		return ""
	}
	p, t, ok := l.answered(now, base, from, m.ID)
	if !ok {
		return demux.DropUnsolicited
	}
	if !p.relayed() {
		l.observed(p.base, m.Observed)
	}
	rtt := now.Sub(t.at)
	if !t.nominates || p.rtt == 0 {
		// The controlled agent may hold a nomination's answer back.
		p.rtt = rtt
	}
	p.validAt = now
	l.relays.probe.answered(p, t.calls)

	if t.nominates {
		l.nominationAnswered(now, p, m.Nominated)
		return ""
	}
	if l.exchange.pair == p && !l.exchange.nominates {
		l.exchange = exchange{}
	}
	p.stop()
	p.state = succeeded
	l.weigh(now, p, rtt)
	switch {
	case l.controlling:
		l.consider(now)
	case now.Sub(p.nominatedAt) < pongWindow:
		l.follow(p)
	}
	return ""
}

// observed tells where the peer saw this node, when that is news.
func (l *checkList) observed(base netip.Addr, addr netip.AddrPort) {
	if !l.link.observed(base, addr) {
		return
	}
	if l.agent.site.isReflexive(addr) && l.agent.relayed[addr] == 0 {
		l.agent.emit(Reflexive{Node: l.node, Addr: addr})
	}
}
