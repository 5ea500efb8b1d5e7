package natpunch

import (
	"net/netip"
	"time"
)

// filterTest is RFC 5780, Section 4.4, from a port that nothing but the server's
// first address was asked from.
type filterTest struct {
	seat
	again         bool // the silence of the first time proved nothing
	address, only *ask // tests II and III
	trial         *trial
	// control asks the same of the server from a port whose mapping lets its answer
	// in: a server that cannot do what it offers looks like a NAT that filters.
	control *ask
}

// testFiltering returns whether it is over, and whether the server does what it
// offers.
func (p *Probe) testFiltering(now time.Time) (done, trusted bool) {
	t, s := &p.filter, p.offer
	if !p.take(now, &t.seat, s.to, netip.Addr{}) {
		return false, false
	}
	if !t.first.heard {
		return true, false
	}
	if t.trial == nil {
		t.address = p.ask(now, t.port, s.to, question{changeIP: true, changePort: true})
		t.address.from = s.other
		t.only = p.ask(now, t.port, s.to, question{changePort: true})
		t.only.from = netip.AddrPortFrom(s.to.Addr(), s.other.Port())
		t.control = p.ask(now, p.main, s.to, question{changeIP: true, changePort: true})
		t.control.from = s.other
		t.trial = p.newTrial(now, t.port, s.to, t.address, t.only, t.control)
	}
	over := p.carry(now, t.trial)
	switch {
	case t.address.heard:
		p.result.Filtering = EndpointIndependent
	case t.address.misplaced || t.only.misplaced:
		over = true
	case !over:
		return false, false
	case !t.trial.certain && !t.again:
		p.closePort(t.port)
		*t = filterTest{again: true}
		return p.testFiltering(now)
	case !t.trial.certain, !t.control.heard && !p.dependent():
		// A NAT whose mappings depend on the destination has one of its own for the
		// other address, which hides what the control would show.
	case t.only.heard:
		p.result.Filtering = AddressDependent
	default:
		p.result.Filtering = AddressAndPortDependent
	}
	t.trial.end()
	p.closePort(t.port)
	return true, p.result.Filtering != UnknownBehavior
}

// hairpinTest is RFC 5780, Section 4.5, between two ports that both send, so that
// a filter does not hide it.
type hairpinTest struct {
	seats [2]seat
	turns []*ask
	trial *trial
}

func (p *Probe) testHairpinning(now time.Time) bool {
	t := &p.hairpin
	if p.result.Translated == nil || !*p.result.Translated || p.result.Mapping != EndpointIndependent {
		return true
	}
	server, taken := p.anyServer(), true
	for i := range t.seats {
		taken = p.take(now, &t.seats[i], server, netip.Addr{}) && taken
	}
	a, b := &t.seats[0], &t.seats[1]
	switch {
	case !taken:
		return false
	case !a.first.heard || !b.first.heard:
		return true
	case t.trial == nil:
		for _, pair := range [][2]*seat{{a, b}, {b, a}} {
			turn := p.ask(now, pair[0].port, pair[1].first.mapped, question{})
			turn.at, turn.returns = pair[1].port, true
			t.turns = append(t.turns, turn)
		}
		t.trial = p.newTrial(now, a.port, server, t.turns...)
	}
	over := p.carry(now, t.trial)
	heard := t.turns[0].heard || t.turns[1].heard
	if !heard && !over {
		return false
	}
	if heard || t.trial.certain {
		p.result.Hairpin = &heard
	}
	t.trial.end()
	p.closePort(a.port)
	p.closePort(b.port)
	return true
}
