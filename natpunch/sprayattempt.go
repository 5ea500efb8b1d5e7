package natpunch

import (
	"encoding/binary"
	"net/netip"
	"time"
)

const (
	// An offer is repeated until it is answered: through a relay, then through
	// another member.
	offerTries   = 4
	offerGap     = 300 * time.Millisecond
	offerTellGap = 1500 * time.Millisecond
	askPatience  = 30 * time.Second
	// A peer that does not answer is asked again after this, doubling to lastAsk.
	firstAsk, lastAsk = 10 * time.Second, 10 * time.Minute
	askBusyAgain      = 3 * time.Second

	hostPatience    = 3 * time.Second // with opening and keeping ports
	predictPatience = 1500 * time.Millisecond
	readyPatience   = 15 * time.Second // with the other side's call to begin
	hitPatience     = 10 * time.Second // with datagrams that meet a port
	tryPatience     = 4 * time.Second  // with ordinary checks from the kept port
	lingerFor       = 3 * time.Second
	// Where nobody carries offers the independent side begins this much after the
	// dependent one, whose mappings live for 30 s or more.
	alignedLag, alignedPatience = 10 * time.Second, 30 * time.Second
	// Two that have not begun together must still meet: several attempts at first.
	alignedBurst, alignedRate = 6, 1.0 / 900
	// A kept port that is no path, or not any more, is held this long: what comes
	// back after an outage comes back there.
	keptTrial, keptAfter = 6 * time.Second, 3 * time.Minute
	// maxAnswering ports of an attempt are checked back.
	maxAnswering = 16
	// askBurst, askRate bound the attempts that a peer may ask for.
	askBurst, askRate = 9, 1.0 / 300
)

// attemptState is how far an attempt is.
type attemptState uint8

const (
	resting  attemptState = iota
	asking                // for the peer's agreement
	opening               // ports
	sending               // from all of them
	calling               // the peer to begin
	lurking               // for what meets a port
	keeping               // the port that was met
	trying                // ordinary checks from it
	awaiting              // the dependent side's call to begin
	spraying              // from the own port to many
	lingering
)

// sprayOutcome is how the last attempt ended.
type sprayOutcome uint8

const (
	noOutcome sprayOutcome = iota
	succeededBySpray
	unanswered // the peer does not take part, or does not hear
	peerBusy
	missed     // nothing met
	hostFailed // ports could not be opened or kept
	abandoned
)

// spray is what a check list has to do with punching through dependent mappings.
type spray struct {
	attempt  attempt
	wanted   bool      // a round of ordinary checks was made since the last attempt
	next     time.Time // no attempt before this
	step     int       // in the plan
	failures int       // plans that failed in a row
	silences int       // asks in a row without an answer
	last     sprayOutcome
	aligned  aligned
	asked    bucket // what the peer may ask for

	kept      netip.AddrPort // towards it one of our other ports is used; zero: none
	keptUntil time.Time      // zero: it is in use
}

// aligned is what the owners agree on.
type aligned struct {
	at     time.Time // the next attempt; zero: none
	budget bucket
}

func newAligned() aligned { return aligned{budget: newBucket(alignedBurst, alignedRate)} }

type attempt struct {
	state    attemptState
	kind     punchKind
	id       uint32
	secret   [6]byte
	asker    bool
	aligned  bool
	opened   bool // ports
	target   netip.AddrPort
	next     time.Time // zero: never
	deadline time.Time
	tries    int
	ports    int // many
	answered int // of them
	list     []uint16
	sent     int // from ports, or to those of the list
}

// roundMade notes that ordinary checks are made: if nothing comes of them, an
// attempt may follow.
func (s *spray) roundMade() { s.wanted = true }

// sprayAnew forgets what was tried elsewhere.
func (l *checkList) sprayAnew() {
	l.sprayOver(l.agent.now, abandoned)
	s := &l.spray
	s.next, s.step, s.failures, s.silences, s.last = time.Time{}, 0, 0, 0, noOutcome
	s.aligned = newAligned()
}

// advanceSpray does what is due.
func (l *checkList) advanceSpray(now time.Time) {
	s := &l.spray
	a := &s.attempt
	if s.kept.IsValid() && !s.keptUntil.IsZero() && !s.keptUntil.After(now) {
		l.release()
	}
	if x := &s.aligned; !x.at.IsZero() && !x.at.After(now) {
		x.at = time.Time{}
		l.beginAligned(now)
	}
	switch {
	case a.state == resting:
		if l.agent.sprays.busy == nil && !s.next.After(now) && l.mayAsk() {
			l.ask(now)
		}
	case !a.deadline.After(now):
		l.timeUp(now)
	case !a.next.IsZero() && !a.next.After(now):
		l.stepSpray(now)
	}
}

// sprayDue tells when advanceSpray has something to do.
func (l *checkList) sprayDue(sooner func(time.Time)) {
	s := &l.spray
	if s.kept.IsValid() {
		sooner(s.keptUntil)
	}
	sooner(s.aligned.at)
	switch {
	case s.attempt.state != resting:
		sooner(s.attempt.next)
		sooner(s.attempt.deadline)
	case l.agent.sprays.busy == nil && l.mayAsk():
		sooner(latest(s.next, l.agent.now))
	}
}

// begin makes an attempt the one of this process.
func (l *checkList) begin(now time.Time, kind punchKind, id uint32, target netip.AddrPort) *attempt {
	a := &l.spray.attempt
	random := l.agent.transactionID()
	*a = attempt{kind: kind, id: id, secret: [6]byte(random[:6]), target: target, next: now, deadline: now.Add(askPatience)}
	l.spray.wanted = false
	l.agent.sprays.busy = l
	return a
}

func (l *checkList) ask(now time.Time) {
	s := &l.spray
	target, plan := l.sprayTarget(), l.plan()
	if !target.IsValid() {
		s.wanted = false
		return
	}
	random := l.agent.transactionID()
	a := l.begin(now, plan[s.step%len(plan)], binary.BigEndian.Uint32(random[:4])|1, target)
	a.state, a.asker = asking, true
	l.stepSpray(now)
}

// beginAligned begins what the owners have agreed on. Nobody can tell the other side
// that there was no attempt, so one that waits for an answer to its question gives way.
func (l *checkList) beginAligned(now time.Time) {
	target, role, s := l.sprayTarget(), l.sprayRole(), &l.spray
	if s.attempt.state == asking {
		l.sprayOver(now, abandoned)
	}
	if l.hasDirect() || l.agent.sprays.busy != nil || !target.IsValid() || role != dependentSide && role != independentSide ||
		!s.aligned.budget.take(now) || !l.agent.sprayAllowed(now, target.Addr()) {
		return
	}
	own, its := l.pair.SendTag, l.pair.RecvTag
	id := (binary.BigEndian.Uint32(own[:]) ^ binary.BigEndian.Uint32(its[:])) | 1
	a := l.begin(now, manyPorts, id, target)
	a.aligned = true
	if role == dependentSide {
		a.asker = true
		l.openPorts(now)
		return
	}
	a.state, a.next, a.deadline = awaiting, now.Add(alignedLag), now.Add(alignedPatience)
	a.list = l.portsToTry(offer{Kind: manyPorts, Step: l.nat4.Step, Low: l.nat4.Low, High: l.nat4.High})
}

// stepSpray does the next thing of an attempt.
func (l *checkList) stepSpray(now time.Time) {
	a := &l.spray.attempt
	switch a.state {
	case asking:
		if a.tries == offerTries {
			l.sprayOver(now, unanswered)
			return
		}
		l.repeatOffer(now, phaseAsked)
	case calling:
		if a.tries == offerTries {
			a.next = time.Time{}
			return
		}
		l.repeatOffer(now, phaseReady)
	case sending:
		for range min(sprayBatch, a.ports-a.sent) {
			if !l.takeSpray(now) {
				break
			}
			l.punchFrom(a.sent, a.target)
			a.sent++
		}
		a.next = now.Add(sprayTick)
		if a.sent == a.ports {
			a.state, a.tries, a.next, a.deadline = calling, 0, now, now.Add(hitPatience)
			if a.aligned {
				a.state, a.next, a.deadline = lurking, time.Time{}, now.Add(alignedPatience)
			}
		}
	case awaiting:
		l.beginSpray(now)
	case spraying:
		for range min(sprayBatch, len(a.list)-a.sent) {
			if !l.takeSpray(now) {
				break
			}
			if to := netip.AddrPortFrom(a.target.Addr(), a.list[a.sent]); l.mayComeFrom(to) {
				l.sendOn(l.bases(to)[0], to, check{Type: punch, ID: a.punchID(int(a.list[a.sent]))})
			}
			a.sent++
		}
		a.next = now.Add(sprayTick)
		if a.sent == len(a.list) {
			a.state, a.next, a.deadline = lingering, time.Time{}, now.Add(lingerFor)
		}
	default:
		a.next = time.Time{}
	}
}

// timeUp ends what took too long.
func (l *checkList) timeUp(now time.Time) {
	switch a := &l.spray.attempt; {
	case !a.asker:
		if a.state == lingering {
			l.spray.last = missed
		}
		l.sprayOver(now, abandoned)
	case a.state == asking:
		l.sprayOver(now, unanswered)
	case a.state == opening, a.state == keeping:
		l.sprayOver(now, hostFailed)
	default:
		l.sprayOver(now, missed)
	}
}

// sprayOver ends an attempt, if there is one, and says when the next may be.
func (l *checkList) sprayOver(now time.Time, outcome sprayOutcome) {
	s := &l.spray
	if s.attempt.state == resting {
		return
	}
	asker, kind := s.attempt.asker && !s.attempt.aligned, s.attempt.kind
	if s.attempt.opened {
		l.agent.emit(ClosePorts{Node: l.node})
	}
	s.attempt = attempt{}
	l.agent.sprays.busy = nil
	if asker {
		l.pauseAfter(now, kind, outcome)
	}
	for _, c := range l.agent.peers {
		if c != l && c.spray.wanted {
			l.agent.reschedule(c)
		}
	}
}

// pauseAfter sets the time of the next attempt.
func (l *checkList) pauseAfter(now time.Time, kind punchKind, outcome sprayOutcome) {
	s := &l.spray
	s.last, s.wanted = outcome, true
	if outcome != unanswered {
		s.silences = 0
	}
	switch outcome {
	case succeededBySpray:
		s.wanted, s.step, s.failures, s.next = false, 0, 0, now.Add(sprayPauses[0])
	case unanswered:
		s.next = now.Add(min(firstAsk<<min(s.silences, 10), lastAsk))
		s.silences++
	case peerBusy:
		s.next = now.Add(askBusyAgain + l.agent.jitter(askBusyAgain))
	case missed, hostFailed:
		// The plan may have grown since, with what was measured: many ports are the
		// last resort all the same, and once is what the routers can be asked for.
		if s.step++; outcome == missed && kind != manyPorts && s.step < len(l.plan()) {
			s.next = now
			return
		}
		s.next = now.Add(sprayPauses[min(s.failures, len(sprayPauses)-1)])
		s.step = 0
		s.failures++
	}
	if l.selected == nil {
		l.tellAnew()
	}
}
