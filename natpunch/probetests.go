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
	again bool   // who was silent is asked once more
	tests []*ask // at the other addresses of offers
	offer []*ask // those of them that belong to the one under test
	trial *trial // that asks them
	tried int    // offers
}

// findServers asks until two answer of which one offers RFC 5780.
func (p *Probe) findServers(now time.Time) bool {
	f := &p.find
	if len(f.queue) == 0 && len(f.asked) == 0 {
		return true
	}
	if len(p.ports) == 0 {
		p.main = p.openPort()
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
		f.asked = append(f.asked, p.ask(now, p.main, f.queue[0], question{}))
		f.queue = f.queue[1:]
		waiting++
	}
	if waiting > 0 || f.again {
		return waiting == 0
	}
	f.again = true
	p.askAgain(now)
	return false
}

// askAgain asks who was silent once more, all at once. Where everybody was, the
// NAT may have no way for this port, and another is taken.
func (p *Probe) askAgain(now time.Time) {
	f := &p.find
	if p.result.Servers == 0 {
		p.closePort(p.main)
		p.main = p.openPort()
	}
	for _, a := range f.asked {
		if !a.heard && !a.refused {
			f.asked = append(f.asked, p.ask(now, p.main, a.to, question{}))
		}
	}
	p.changed = true
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
	preserved := mapped.Port() == p.ports[p.main].local
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
		p.offer, p.find.trial, p.filter = nil, nil, filterTest{}
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
	if f.trial != nil && !p.carry(now, f.trial) {
		return false
	}
	p.tellAnswers()
	if p.result.Detail == "" {
		p.result.Detail = p.result.detail(len(f.asked) > 0)
	}
	if f.trial != nil && f.offer[1].heard {
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
		f.offer = append(f.offer, p.ask(now, p.main, to, question{}))
	}
	f.tests = append(f.tests, f.offer...)
	f.trial = p.newTrial(now, p.main, s.to, f.offer...)
	return p.testMapping(now)
}

// dependent: more than one mapping for one port.
func (p *Probe) dependent() bool { return p.result.Mapping > EndpointIndependent }

// anyServer is one that answered; there is one where a mapping is known.
func (p *Probe) anyServer() netip.AddrPort {
	for _, a := range p.find.asked {
		if a.heard {
			return a.to
		}
	}
	return netip.AddrPort{}
}
