package natpunch

import (
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/wire"
)

// sprayRole is this node's part in punching to a peer. Both sides take it from both
// records, and so agree.
type sprayRole uint8

const (
	noRole sprayRole = iota
	dependentSide
	independentSide
	bothDependent
)

// sprayRole is noRole where ordinary checks are all that is sensible.
func (l *checkList) sprayRole() sprayRole {
	own, its := &l.agent.site.NAT4, &l.nat4
	switch {
	case !l.agent.spray, !l.agent.site.HasIPv4:
	case own.Mapping == UnknownBehavior, its.Mapping == UnknownBehavior:
	case dependent(*own) && !dependent(*its):
		return dependentSide
	case !dependent(*own) && dependent(*its):
		return independentSide
	case dependent(*own) && predictable(own) && predictable(its):
		return bothDependent
	}
	return noRole
}

// otherMapping reports whether what was tried with one NAT says nothing of the other.
// What it depends on, beyond the address, is found out late.
func otherMapping(a, b wire.NATBehavior) bool {
	return dependent(a) != dependent(b)
}

func predictable(n *wire.NATBehavior) bool {
	return n.Step != 0 && abs(int(n.Step)) <= largestStep
}

// plan is in which ways the side that asks tries, one after the other.
func (l *checkList) plan() []punchKind {
	switch l.sprayRole() {
	case dependentSide:
		if predictable(&l.agent.site.NAT4) {
			return []punchKind{predicting, manyPorts}
		}
		return []punchKind{manyPorts}
	case bothDependent:
		return slices.Repeat([]punchKind{matching}, matchedTries)
	}
	return nil
}

// asks reports whether it is for this side to ask.
func (l *checkList) asks() bool {
	role := l.sprayRole()
	return role == dependentSide || role == bothDependent && l.controlling
}

// sprayTarget is where the peer is in front of its NAT: of a dependent one only the
// address counts. It is always an address that the peer's record tells; zero is none
// that a spray may go to.
func (l *checkList) sprayTarget() netip.AddrPort {
	s := &l.agent.site
	for _, typ := range []wire.CandidateType{wire.ServerReflexive, wire.Host} {
		for _, c := range l.announced {
			addr := plain(c.Addr)
			ip := addr.Addr()
			behindOurs := slices.ContainsFunc(s.reflexive, func(o netip.AddrPort) bool { return o.Addr() == ip })
			if c.Type == typ && ip.Is4() && ip.IsGlobalUnicast() && !private(ip) && !behindOurs &&
				l.agent.relayed[addr] == 0 && s.usable(addr) {
				return addr
			}
		}
	}
	return netip.AddrPort{}
}

// facts are what the peer needs to know of this node's mappings. For matching that is
// where the next one will be; else it is where the one to the peer may be, which is as
// old as the first check.
func (l *checkList) facts(kind punchKind) offer {
	n := &l.agent.site.NAT4
	o := offer{Step: n.Step, Low: n.Low, High: n.High}
	for _, r := range l.agent.site.reflexive {
		switch {
		case !r.Addr().Is4():
		case o.Next == 0, n.Step > 0 && r.Port() > o.Next, n.Step < 0 && r.Port() < o.Next:
			o.Next = r.Port()
		}
	}
	ahead := 1
	if kind == matching && n.Mapping == AddressAndPortDependent {
		ahead += l.agent.sprays.fresh
	}
	o.Next += uint16(ahead * int(n.Step))
	return o
}

// hasDirect reports whether there is a path that no punching improves.
func (l *checkList) hasDirect() bool { return l.trust == settled && l.selected.rank > rankRelay }

// mayAsk reports whether a round of ordinary checks came to nothing, and it is for
// this side to ask the peer to punch, at l.spray.next or later.
func (l *checkList) mayAsk() bool {
	x := &l.spray
	if !x.wanted || x.attempt.state != resting || !l.asks() || l.hasDirect() {
		return false
	}
	if l.onRelay() {
		if l.exchange.pair != nil || !l.relays.search.begin.IsZero() {
			return false
		}
		for _, p := range l.pairs {
			if p.rank > rankRelay && p.pending() {
				return false
			}
		}
		return true
	}
	return l.trust == seeking && l.selected == nil && !l.searching()
}

// destination counts the mappings that checks have made since a survey.
func (a *Agent) destination(to netip.AddrPort) {
	x := &a.sprays
	if !a.spray || !to.Addr().Is4() || !dependent(a.site.NAT4) || !predictable(&a.site.NAT4) {
		return
	}
	if _, ok := x.reached[to]; ok {
		return
	}
	if len(x.reached) >= maxReached {
		clear(x.reached)
	}
	x.reached[to] = struct{}{}
	x.fresh++
}

// sprayAllowed takes one of the sprays that may go to ip, whichever peer wants it.
func (a *Agent) sprayAllowed(now time.Time, ip netip.Addr) bool {
	b, ok := a.sprays.targets[ip]
	if !ok {
		for old, o := range a.sprays.targets {
			if o.fill(now); o.tokens >= o.burst {
				delete(a.sprays.targets, old)
			}
		}
		if len(a.sprays.targets) >= maxSprayTargets {
			return false
		}
		fresh := newBucket(targetBurst, targetRate)
		b = &fresh
		a.sprays.targets[ip] = b
	}
	return b.take(now)
}
