package natpunch

import (
	"net/netip"
	"time"

	"github.com/credant/credant/natpunch/demux"
)

// mayPing is when the next ping may leave, as far as this peer's budget goes. The
// few pings of an exchange are not paced: each of them is what somebody waits for.
func (l *checkList) mayPing(paced bool) time.Time {
	t := l.link.pings.ready()
	if paced && !l.link.lastPing.IsZero() {
		t = latest(t, l.link.lastPing.Add(pace))
	}
	return t
}

// sendPing sends a ping if the budgets have one left.
func (l *checkList) sendPing(now time.Time, p *candidatePair, nominates bool) bool {
	if l.mayPing(p != l.exchange.pair).After(now) || !l.agent.pings.take(now) {
		return false
	}
	l.link.pings.take(now)
	l.link.lastPing = now
	l.link.number++
	l.agent.number = max(l.agent.number, l.link.number)
	m := check{
		Type: ping, Number: l.link.number, ID: l.agent.transactionID(),
		Nominated: nominates, Seeking: l.trust == seeking,
	}
	p.remember(transaction{id: m.ID, at: now, nominates: nominates})
	l.send(p.remote, m)
	return true
}

func (l *checkList) send(to netip.AddrPort, m check) {
	b, err := sealCheck(&l.pair, m)
	if err != nil {
		panic("natpunch: " + err.Error()) // a check always fits
	}
	l.agent.emit(Send{To: to, Data: b})
}

// receivePing answers a ping of the peer, and checks back where that may help.
// A settled list keeps nothing of a ping that offers nothing better.
func (l *checkList) receivePing(now time.Time, from netip.AddrPort, m check) string {
	if !l.link.seen.accept(m.Number) {
		return demux.DropReplayed
	}
	l.link.pongs.fill(now)
	if l.link.pongs.tokens < 1 || !l.agent.pongs.take(now) {
		return demux.DropRateLimited
	}
	l.link.pongs.take(now)

	if m.Seeking {
		l.verify(now)
	}
	if m.Nominated && !l.controlling {
		l.receiveNomination(now, from, m)
		return ""
	}
	l.answer(from, m.ID, false)
	if l.trust == settled && l.agent.site.rank(from) <= l.selected.rank {
		return ""
	}
	p := l.find(from)
	if p == nil && l.mayLearn() {
		p = l.learn(from)
	}
	if p != nil && p.state != succeeded {
		l.checkBack(now, p)
	}
	return ""
}

// checkBack makes a triggered check due. Where the list had given up, the peer
// shows that it has not: all pairs are checked again.
func (l *checkList) checkBack(now time.Time, p *candidatePair) {
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
func (l *checkList) receiveNomination(now time.Time, from netip.AddrPort, m check) {
	p := l.find(from)
	if p == nil {
		if !l.mayLearn() {
			return
		}
		p = l.learn(from)
	}
	p.nomination, p.nominatedAt = m.ID, now
	if p == l.selected && l.trust == settled || p.state == succeeded && now.Sub(p.validAt) < pongWindow {
		l.follow(p)
		return
	}
	l.checkBack(now, p)
}

func (l *checkList) follow(p *candidatePair) {
	p.nominatedAt = time.Time{}
	if l.exchange.pair != p {
		l.exchange = exchange{}
	}
	l.selectPair(p, false)
	l.answer(p.remote, p.nomination, true)
}

func (l *checkList) answer(to netip.AddrPort, id transactionID, nominated bool) {
	l.send(to, check{Type: pong, ID: id, Nominated: nominated, Observed: to})
}

// receivePong takes the answer to a ping. It counts only from where the ping was
// sent (RFC 8445, Section 7.2.5.2.1).
func (l *checkList) receivePong(now time.Time, from netip.AddrPort, m check) string {
	p := l.find(from)
	if p == nil {
		return demux.DropUnsolicited
	}
	t, ok := p.answered(now, m.ID)
	if !ok {
		return demux.DropUnsolicited
	}
	l.observed(m.Observed)
	rtt := now.Sub(t.at)
	if !t.nominates || p.rtt == 0 {
		// The controlled agent may hold a nomination's answer back.
		p.rtt = rtt
	}
	p.validAt = now

	if t.nominates {
		if m.Nominated && l.exchange.nominates && l.exchange.pair == p {
			l.exchange = exchange{}
			l.selectPair(p, true)
			l.consider(now)
		}
		return ""
	}
	if l.exchange.pair == p && !l.exchange.nominates {
		l.exchange = exchange{}
	}
	p.stop()
	p.state = succeeded
	switch {
	case l.controlling:
		l.consider(now)
	case now.Sub(p.nominatedAt) < pongWindow:
		l.follow(p)
	}
	return ""
}

// observed tells where the peer saw this node, when that is news.
func (l *checkList) observed(addr netip.AddrPort) {
	told := &l.link.reflexive[0]
	if addr.Addr().Is6() {
		told = &l.link.reflexive[1]
	}
	if addr == *told {
		return
	}
	*told = addr
	if l.agent.site.isReflexive(addr) {
		l.agent.emit(Reflexive{Node: l.node, Addr: addr})
	}
}
