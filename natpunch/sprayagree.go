package natpunch

import (
	"net/netip"
	"time"

	"github.com/credant/credant/natpunch/demux"
)

// repeatOffer sends an offer, and sets when to send it again.
func (l *checkList) repeatOffer(now time.Time, phase punchPhase) {
	a := &l.spray.attempt
	l.sendOffer(now, phase)
	gap := offerTellGap
	if l.offersByRelay() {
		gap = max(offerGap, 2*l.selected.rtt)
	}
	a.next = now.Add(gap << a.tries)
	a.tries++
}

func (l *checkList) offersByRelay() bool { return l.selected != nil && l.selected.relayed() }

func (l *checkList) sendOffer(now time.Time, phase punchPhase) {
	a := &l.spray.attempt
	l.say(now, a.kind, phase, a.id)
}

// say sends an offer through the relay that is the path; without one the owner has
// to find a way.
func (l *checkList) say(now time.Time, kind punchKind, phase punchPhase, id uint32) {
	o := l.facts(kind)
	o.Kind, o.Phase, o.Attempt = kind, phase, id
	if l.offersByRelay() {
		l.sendPing(now, l.selected, check{Offer: o})
		return
	}
	l.agent.emit(Tell{Node: l.node, Data: appendOffer(nil, o)})
}

// offered takes what the peer says.
func (l *checkList) offered(now time.Time, o offer) {
	a := &l.spray.attempt
	mine := a.state != resting && a.id == o.Attempt && a.kind == o.Kind
	switch {
	case o.Attempt == 0:
	case o.Phase == phaseAsked:
		l.offerAsked(now, o, mine)
	case !mine:
	case o.Phase == phaseAgreed && a.state == asking:
		l.offerAgreed(now, o)
	case o.Phase == phaseLater && a.state == asking:
		l.sprayOver(now, peerBusy)
	case o.Phase == phaseReady && !a.asker:
		if a.state == awaiting {
			l.beginSpray(now)
		}
		l.sendOffer(now, phaseStarted)
	case o.Phase == phaseStarted && a.state == calling:
		a.state, a.next = lurking, time.Time{}
	}
}

// offerAsked agrees, if both records say that this is what may help and no budget is
// spent. What is not understood is not answered.
func (l *checkList) offerAsked(now time.Time, o offer, mine bool) {
	a := &l.spray.attempt
	if mine {
		if !a.asker {
			l.sendOffer(now, phaseAgreed) // the first answer was lost
		}
		return
	}
	fits := false
	switch role := l.sprayRole(); o.Kind {
	case predicting:
		fits = role == independentSide && o.Step != 0 && o.Next != 0
	case manyPorts:
		fits = role == independentSide
	case matching:
		fits = role == bothDependent && !l.controlling && o.Step != 0 && o.Next != 0
	}
	target := l.sprayTarget()
	if !fits || l.hasDirect() || !target.IsValid() {
		return
	}
	if a.state != resting && !a.asker {
		l.sprayOver(now, abandoned) // the peer has given that one up
	}
	if l.agent.sprays.busy != nil {
		l.say(now, o.Kind, phaseLater, o.Attempt)
		return
	}
	if !l.spray.asked.take(now) || !l.agent.sprayAllowed(now, target.Addr()) {
		return
	}
	a = l.begin(now, o.Kind, o.Attempt, target)
	a.list = l.portsToTry(o)
	if o.Kind == manyPorts {
		a.state, a.next, a.deadline = awaiting, time.Time{}, now.Add(readyPatience)
	} else {
		l.beginSpray(now)
	}
	l.sendOffer(now, phaseAgreed)
}

// offerAgreed begins this side's part.
func (l *checkList) offerAgreed(now time.Time, o offer) {
	a := &l.spray.attempt
	if !l.agent.sprayAllowed(now, a.target.Addr()) {
		l.sprayOver(now, missed)
		return
	}
	switch a.kind {
	case predicting:
		a.state, a.next, a.deadline = lurking, time.Time{}, now.Add(predictPatience)
		if p := l.find(netip.Addr{}, a.target); p != nil {
			l.start(now, p)
		}
	case matching:
		a.list = l.portsToTry(o)
		l.beginSpray(now)
	default:
		l.openPorts(now)
	}
}

// receivePunch takes one of the peer's many datagrams, at one of the short-lived
// ports or (-1) at the node's own.
func (l *checkList) receivePunch(now time.Time, port int, from netip.AddrPort, m check) string {
	a := &l.spray.attempt
	if !a.has(m.ID) || from.Addr() != a.target.Addr() {
		return demux.DropUnsolicited
	}
	l.link.pongs.fill(now)
	if l.link.pongs.tokens < 1 || !l.agent.pongs.take(now) {
		return demux.DropRateLimited
	}
	l.link.pongs.take(now)
	answer := check{Type: pong, ID: m.ID, Observed: from}
	switch {
	case port >= 0:
		l.sendFrom(port, from, answer)
		if a.hunting() && port < a.ports && a.answered < maxAnswering && l.takeSpray(now) {
			a.answered++
			l.punchFrom(port, from)
		}
	case a.kind == manyPorts && !a.asker:
		// It came from a port that is not yet the peer's own.
		l.sendOn(l.bases(from)[0], from, answer)
	default:
		l.sendOn(l.bases(from)[0], from, answer)
		l.met(now, from)
	}
	return ""
}

// hunting: the dependent side has ports that something may meet.
func (a *attempt) hunting() bool {
	return a.state == sending || a.state == calling || a.state == lurking
}

// met checks an address ordinarily at which the peer has just been heard.
func (l *checkList) met(now time.Time, from netip.AddrPort) {
	p := l.find(netip.Addr{}, from)
	if p == nil && l.mayLearn() {
		p = l.learn(netip.Addr{}, from)
	}
	if p != nil && p.state != succeeded && !l.hasDirect() {
		l.checkBack(now, p)
	}
}

// punchAnswered takes the answer to one of many datagrams.
func (l *checkList) punchAnswered(now time.Time, port int, from netip.AddrPort, m check) string {
	a := &l.spray.attempt
	if !a.has(m.ID) || [6]byte(m.ID[6:]) != a.secret || from.Addr() != a.target.Addr() {
		return demux.DropUnsolicited
	}
	switch {
	case port < 0:
		if a.kind == matching {
			l.met(now, from)
		}
	case a.hunting() && m.ID == a.punchID(port) && l.mayComeFrom(from):
		a.state, a.next, a.deadline = keeping, time.Time{}, now.Add(hostPatience)
		l.agent.emit(Keep{Node: l.node, Remote: from, Port: port})
	}
	return ""
}

// kept takes the owner's word that a port is kept towards remote.
func (l *checkList) kept(now time.Time, remote netip.AddrPort, ok bool) {
	s, a := &l.spray, &l.spray.attempt
	mine := a.state == keeping
	switch {
	case !ok && mine:
		l.sprayOver(now, hostFailed)
		return
	case !ok:
		return
	}
	if s.kept.IsValid() && s.kept != remote {
		l.release()
	}
	s.kept, s.keptUntil = remote, now.Add(keptTrial)
	if !mine {
		if l.selected != nil && l.selected.remote == remote {
			s.keptUntil = time.Time{}
		} else {
			s.keptUntil = now.Add(keptAfter)
		}
		return
	}
	l.agent.emit(ClosePorts{Node: l.node})
	a.opened = false
	a.state, a.deadline = trying, now.Add(tryPatience)
	l.start(now, l.learn(netip.Addr{}, remote))
}

func (l *checkList) release() {
	if l.spray.kept.IsValid() {
		l.agent.emit(Release{Node: l.node, Remote: l.spray.kept})
	}
	l.spray.kept, l.spray.keptUntil = netip.AddrPort{}, time.Time{}
}

// spraySelected notes what a choice of path means for attempts and kept ports.
func (l *checkList) spraySelected(p *candidatePair) {
	s, now := &l.spray, l.agent.now
	if !p.relayed() {
		l.sprayOver(now, succeededBySpray)
	}
	switch {
	case !s.kept.IsValid():
	case p.remote == s.kept:
		s.keptUntil = time.Time{}
	case !p.relayed():
		l.release()
	default:
		l.sprayLost(now)
	}
}

// sprayLost: the kept port is not the path now.
func (l *checkList) sprayLost(now time.Time) {
	if s := &l.spray; s.kept.IsValid() && s.keptUntil.IsZero() {
		s.keptUntil = now.Add(keptAfter)
	}
}
