package natpunch

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// probeParallel servers are asked at once, probeServers in all.
	probeParallel = 4
	probeServers  = 8
	// maxOffers servers that offer RFC 5780 are tried.
	maxOffers = 2
)

// finding is the search for servers that answer.
type finding struct {
	queue []netip.AddrPort
	asked []*ask
	tests []*ask // at the other addresses of offers
	offer []*ask // those of them that belong to the one under test
	tried int    // offers
}

// findServers asks until two answer of which one offers RFC 5780.
func (p *Probe) findServers(now time.Time) bool {
	f := &p.find
	if len(f.queue) == 0 && len(f.asked) == 0 {
		return true
	}
	if len(p.ports) == 0 {
		p.openPort()
	}
	waiting := 0
	for _, a := range f.asked {
		if !a.settled {
			waiting++
		}
	}
	if p.tellAnswers(); p.result.Servers >= decisive && len(p.offers()) > 0 {
		return true
	}
	for len(f.queue) > 0 && waiting < probeParallel && len(f.asked) < probeServers {
		f.asked = append(f.asked, p.ask(now, 0, f.queue[0], question{}))
		f.queue = f.queue[1:]
		waiting++
	}
	return waiting == 0
}

// offers are the answers of servers whose other addresses can be asked.
func (p *Probe) offers() (out []*ask) {
	for _, a := range p.find.asked {
		if a.heard && a.other.IsValid() {
			out = append(out, a)
		}
	}
	return out[:min(len(out), maxOffers)]
}

// tellAnswers says what the answers to the first port tell.
func (p *Probe) tellAnswers() {
	var answers []answer
	r := &p.result
	r.Reflexive, r.BehaviorDiscovery = nil, 0
	var servers []netip.Addr
	for _, a := range slices.Concat(p.find.asked, p.find.tests) {
		if !a.heard {
			continue
		}
		answers = append(answers, answer{server: a.to, mapped: a.mapped})
		if !slices.Contains(r.Reflexive, a.mapped) && len(r.Reflexive) < maxReflexiveAddrs {
			r.Reflexive = append(r.Reflexive, a.mapped)
		}
		if a.discover && slices.Contains(p.find.asked, a) {
			r.BehaviorDiscovery++
		}
		if !slices.Contains(servers, a.to.Addr()) {
			servers = append(servers, a.to.Addr())
		}
	}
	r.Servers = len(servers)
	if len(answers) == 0 {
		return
	}
	mapped := answers[0].mapped
	preserved := mapped.Port() == p.ports[0].local
	r.PortPreserved = &preserved
	if len(p.config.Own) > 0 {
		translated := !slices.Contains(p.config.Own, mapped.Addr())
		r.Translated = &translated
	}
	r.Mapping = mapping(answers)
	if r.Translated != nil && !*r.Translated && preserved {
		r.Mapping = EndpointIndependent
	}
	r.Detail = r.detail(true)
}

// testOffers makes the tests for which a server needs two addresses, with the
// first that turns out to have them.
func (p *Probe) testOffers(now time.Time) bool {
	for p.testMapping(now) {
		if p.offer == nil {
			return true
		}
		if done, trusted := p.testFiltering(now); !done || trusted {
			return done
		}
		p.offer, p.find.offer, p.filter = nil, nil, filterTest{}
	}
	return false
}

// testMapping makes the tests II and III of RFC 5780, Section 4.3. They also
// show whether the server's other addresses answer.
func (p *Probe) testMapping(now time.Time) bool {
	f := &p.find
	if p.offer != nil {
		return true
	}
	if !allSettled(f.offer) {
		return false
	}
	p.tellAnswers()
	if p.result.Detail == "" {
		p.result.Detail = p.result.detail(len(f.asked) > 0)
	}
	if len(f.offer) > 0 && f.offer[1].heard {
		p.offer = p.offers()[f.tried-1]
		return true
	}
	if f.tried >= len(p.offers()) {
		return true
	}
	s := p.offers()[f.tried]
	f.tried++
	f.offer = nil
	for _, to := range []netip.AddrPort{netip.AddrPortFrom(s.other.Addr(), s.to.Port()), s.other} {
		f.offer = append(f.offer, p.ask(now, 0, to, question{}))
	}
	f.tests = append(f.tests, f.offer...)
	return allSettled(f.offer) // out of budget
}

// dependent: more than one mapping for one port.
func (p *Probe) dependent() bool { return p.result.Mapping > EndpointIndependent }

// filterTest is RFC 5780, Section 4.4, from a port that nothing but the server's
// first address was asked from.
type filterTest struct {
	port          int
	first         *ask
	address, only *ask // tests II and III
	// control asks the same of the server from a port whose mapping lets its answer
	// in: a server that cannot do what it offers looks like a NAT that filters.
	control *ask
}

// testFiltering returns whether it is over, and whether the server does what it
// offers.
func (p *Probe) testFiltering(now time.Time) (done, trusted bool) {
	t, s := &p.filter, p.offer
	if t.first == nil {
		t.port = p.openPort()
		t.first = p.ask(now, t.port, s.to, question{})
	}
	if !t.first.settled {
		return false, false
	}
	if !t.first.heard {
		return true, false
	}
	if t.address == nil {
		t.address = p.ask(now, t.port, s.to, question{changeIP: true, changePort: true})
		t.address.from = s.other
		t.only = p.ask(now, t.port, s.to, question{changePort: true})
		t.only.from = netip.AddrPortFrom(s.to.Addr(), s.other.Port())
		t.control = p.ask(now, 0, s.to, question{changeIP: true, changePort: true})
		t.control.from = s.other
	}
	switch {
	case t.address.heard:
		p.result.Filtering = EndpointIndependent
	case !allSettled([]*ask{t.address, t.only, t.control}):
		return false, false
	case t.address.misplaced || t.only.misplaced:
		return true, false
	case t.only.heard:
		p.result.Filtering = AddressDependent
	case t.control.heard || p.dependent():
		// A mapping of its own for the other address hides what the control would
		// show; such NATs filter, though.
		p.result.Filtering = AddressAndPortDependent
	default:
		return true, false
	}
	p.closePort(t.port)
	return true, true
}

// hairpinTest is RFC 5780, Section 4.5, between two ports that both send, so that
// a filter does not hide it.
type hairpinTest struct {
	ports [2]int
	first [2]*ask
	turns [2]*ask
}

func (p *Probe) testHairpinning(now time.Time) bool {
	t := &p.hairpin
	if p.result.Translated == nil || !*p.result.Translated || p.result.Mapping != EndpointIndependent {
		return true
	}
	server := p.anyServer()
	for i := range t.ports {
		if t.first[i] == nil {
			t.ports[i] = p.openPort()
			t.first[i] = p.ask(now, t.ports[i], server, question{})
		}
	}
	if !allSettled(t.first[:]) {
		return false
	}
	for i := range t.turns {
		if t.turns[i] != nil {
			continue
		}
		if other := t.first[1-i]; !t.first[i].heard || !other.heard {
			return true
		}
		t.turns[i] = p.ask(now, t.ports[i], t.first[1-i].mapped, question{})
		t.turns[i].at, t.turns[i].returns = t.ports[1-i], true
	}
	heard := t.turns[0].heard || t.turns[1].heard
	if !heard && !allSettled(t.turns[:]) {
		return false
	}
	p.result.Hairpin = &heard
	for _, port := range t.ports {
		p.closePort(port)
	}
	return true
}

// anyServer is one that answered; there is one where a mapping is known.
func (p *Probe) anyServer() netip.AddrPort {
	for _, a := range p.find.asked {
		if a.heard {
			return a.to
		}
	}
	return netip.AddrPort{}
}
