package natpunch

import (
	"net/netip"
	"slices"
	"time"
)

// probeGaps are shorter than those of the own port's survey: a test that waits
// for what never comes holds all others up. Requests leave at 0, 250 and 750 ms
// and are given up at 1.5 s.
var probeGaps = []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, 750 * time.Millisecond}

// ask is one STUN transaction of a Probe.
type ask struct {
	port     int
	to       netip.AddrPort
	question question
	id       stunID
	from     netip.AddrPort // whence the answer has to come
	at       int            // the port to which it has to come
	returns  bool           // the request itself has to come there, turned back by the NAT

	sent  int
	next  time.Time
	last  time.Time // when it was sent last
	tried bool      // a trial says when it is sent: when due
	due   bool

	settled   bool // heard, refused or given up
	heard     bool
	refused   bool // by an error response
	misplaced bool // the answer came, but not whence it was asked to
	discover  bool
	mapped    netip.AddrPort
	other     netip.AddrPort // may be asked as well (RFC 5780)
}

// ask sends a request from the port to a server, as soon as the port is open.
func (p *Probe) ask(now time.Time, port int, to netip.AddrPort, q question) *ask {
	a := &ask{port: port, to: to, question: q, id: newSTUNID(p.random), from: to, at: port, next: now}
	session := probeSession{port, to}
	if _, known := p.sessions[session]; !known && len(p.sessions) >= maxProbeSessions || p.ports[port].closed {
		a.settled, p.changed = true, true
		return a
	}
	p.sessions[session] = struct{}{}
	p.asks = append(p.asks, a)
	return a
}

// accepts an answer from elsewhere, too, if the server does not know where to
// send it from: that settles the ask.
func (a *ask) accepts(port int, from netip.AddrPort, b binding) bool {
	if port != a.at || b.request != a.returns {
		return false
	}
	return b.request || (from == a.from || from == a.to) && (!b.mapped.IsValid() || b.mapped.Addr().Is4() == from.Addr().Is4())
}

// transmit opens what is needed, sends what is due and gives up what nobody
// answers.
func (p *Probe) transmit(now time.Time) {
	for _, a := range p.asks {
		port := &p.ports[a.port]
		switch {
		case a.settled:
		case !port.asked:
			port.asked = true
			p.actions.Open = append(p.actions.Open, a.port)
		case !port.open: // soon
		case port.local == 0:
			a.settled, p.changed = true, true
		case a.tried && !a.due, a.next.After(now):
		case a.sent == len(probeGaps) && !a.tried && p.stall.until.After(now):
			a.next = p.stall.until
		case a.sent == len(probeGaps) && !a.tried:
			a.settled, p.changed = true, true
		default:
			p.actions.Send = append(p.actions.Send, ProbeSend{Port: a.port, To: a.to, Data: bindingRequest(a.id, a.question)})
			if a.due = false; !a.tried {
				a.next = now.Add(probeGaps[a.sent])
			}
			a.last = now
			a.sent++
		}
	}
	p.asks = slices.DeleteFunc(p.asks, func(a *ask) bool { return a.settled })
}

const (
	// late is more than a timer of a busy host is, and readFirst as long as is
	// listened after such a pause.
	late      = 100 * time.Millisecond
	readFirst = 300 * time.Millisecond
	// maxStalls bounds that, for a host that is never in time.
	maxStalls = 50
)

// stall notices that this process was held up: what came meanwhile lies in the
// sockets, and is read before anything is taken for lost.
type stall struct {
	expected time.Time // the next Advance; zero: none
	until    time.Time // nothing is given up before
	times    int
}

func (s *stall) notice(now time.Time) {
	if !s.expected.IsZero() && now.Sub(s.expected) > late && s.times < maxStalls {
		s.until = now.Add(readFirst)
		s.times++
	}
}

func allSettled(asks []*ask) bool {
	return !slices.ContainsFunc(asks, func(a *ask) bool { return !a.settled })
}
