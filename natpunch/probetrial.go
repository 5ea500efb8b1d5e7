package natpunch

import (
	"math"
	"net/netip"
	"time"
)

const (
	// A trial's rounds are trialGap apart, ten between two looks at what came. Servers
	// answer one address some twenty times a second, and sixty times at once.
	trialGap    = 80 * time.Millisecond
	trialRounds = 10
	trialListen = 750 * time.Millisecond
	maxRounds   = 4 * trialRounds
	// doubt is how likely it may be, by the pilots, that all of a trial's requests
	// were lost.
	doubt = 1e-5
)

// A trial makes asks whose silence says as much as an answer does: what a NAT
// filters looks like what the network lost. Each round repeats them beside a
// pilot, an ask of its own that is always answered. How many pilots come back
// tells how much silence is enough.
type trial struct {
	asks   []*ask
	port   int            // of the pilots
	to     netip.AddrPort // where they go
	pilots []*ask
	next   time.Time // round
	listen time.Time // until then, after the last round; zero: rounds are due
	// certain: nothing came for what was not heard, and that was not chance.
	certain bool
}

func (p *Probe) newTrial(now time.Time, port int, to netip.AddrPort, asks ...*ask) *trial {
	for _, a := range asks {
		a.tried = true
	}
	return &trial{asks: asks, port: port, to: to, next: now}
}

// carry carries a trial on and tells whether it is over: all is answered, or
// enough silence heard.
func (p *Probe) carry(now time.Time, t *trial) (over bool) {
	for !allSettled(t.asks) {
		if t.listen.IsZero() {
			if !p.due(now, t.next) {
				return false
			}
			p.round(now, t)
			continue
		}
		if p.stall.until.After(t.listen) {
			t.listen = p.stall.until
		}
		if !p.due(now, t.listen) {
			return false
		}
		if t.certain = t.enough(); t.certain || len(t.pilots) >= maxRounds {
			break
		}
		t.listen, t.next = time.Time{}, now
	}
	t.end()
	return true
}

func (p *Probe) round(now time.Time, t *trial) {
	for _, a := range t.asks {
		a.next, a.due = now, !a.settled
	}
	pilot := p.ask(now, t.port, t.to, question{})
	pilot.tried, pilot.due = true, true
	t.pilots = append(t.pilots, pilot)
	if t.next = now.Add(trialGap); len(t.pilots)%trialRounds == 0 {
		t.listen = now.Add(trialListen)
	}
	p.changed = true // what is due is sent
}

// enough judges the silence by the pilots, of which one more came back and one
// more was lost than did: few of them prove little.
func (t *trial) enough() bool {
	heard := 0
	for _, a := range t.pilots {
		if a.heard {
			heard++
		}
	}
	rounds := len(t.pilots)
	lost := 1 - float64(heard+1)/float64(rounds+2)
	return math.Pow(lost, float64(rounds)) < doubt
}

// end gives up what nobody answered.
func (t *trial) end() {
	for _, a := range t.asks {
		a.settled = true
	}
	for _, a := range t.pilots {
		a.settled = true
	}
}

// maxSeats is how many ports are tried for one seat.
const maxSeats = 3

// A seat is a fresh port at which a server answered. Where no answer comes,
// because it was lost or the NAT has no way for this port, another is tried.
type seat struct {
	port  int
	first *ask // heard, once it is taken
	ports int  // that were tried
}

// take returns whether all is settled: the seat's ask was heard, or it never will
// be. Where mapped is valid, the NAT has to give the port that address.
func (p *Probe) take(now time.Time, s *seat, to netip.AddrPort, mapped netip.Addr) bool {
	for {
		if s.first == nil {
			s.port = p.openPort()
			s.first = p.ask(now, s.port, to, question{})
			s.ports++
		}
		fits := !mapped.IsValid() || s.first.mapped.Addr() == mapped
		if !s.first.settled || s.first.heard && fits {
			return s.first.settled
		}
		if s.first.heard = false; s.ports >= maxSeats {
			return true
		}
		p.closePort(s.port)
		s.first = nil
	}
}
