package natpunch

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/credant/credant/discovery/wire"
)

// reconcile makes the pairs fit the candidates and the relayed addresses, and
// returns those that are new.
func (l *checkList) reconcile() (fresh []*candidatePair) {
	wanted := l.agent.site.candidates(l.direct())
	fresh = l.reconcileRelayed()
	l.pairs = slices.DeleteFunc(l.pairs, func(p *candidatePair) bool {
		if p == l.selected || p == l.exchange.pair || p.relayed() {
			return false
		}
		still := slices.ContainsFunc(wanted, func(c wire.Candidate) bool { return c.Addr == p.remote })
		return !l.mayComeFrom(p.remote) || p.typ != wire.PeerReflexive && !still
	})
	for _, c := range wanted {
		if p := l.find(c.Addr); p != nil {
			if !p.relayed() {
				p.typ = c.Type
			}
			continue
		}
		p := &candidatePair{remote: c.Addr, typ: c.Type}
		l.pairs = append(l.pairs, p)
		fresh = append(fresh, p)
	}
	l.sort()
	return fresh
}

func (l *checkList) sort() {
	for _, p := range l.pairs {
		p.rank = l.rankOf(p.remote)
		if p.relayed() {
			p.rank = rankRelay // also when it is gone
		}
	}
	slices.SortStableFunc(l.pairs, func(a, b *candidatePair) int {
		return cmp.Or(-cmp.Compare(a.rank, b.rank), cmp.Compare(a.typ, b.typ))
	})
}

func (l *checkList) find(remote netip.AddrPort) *candidatePair {
	for _, p := range l.pairs {
		if p.remote == remote {
			return p
		}
	}
	return nil
}

// mayLearn counts what a peer may make us learn a round. Where both NATs map per
// destination, each check comes from a new address, and would call for another.
func (l *checkList) mayLearn() bool {
	l.round.learned++
	return l.round.learned <= 2*maxReflexive
}

// learn returns the pair of an address that the peer was heard from: a known one,
// or a new peer-reflexive one, in the place of the least useful when all are taken.
func (l *checkList) learn(remote netip.AddrPort) *candidatePair {
	if p := l.find(remote); p != nil {
		return p
	}
	var learned int
	var oldest *candidatePair
	for _, p := range l.pairs {
		if p.typ != wire.PeerReflexive {
			continue
		}
		learned++
		inUse := p == l.selected || p == l.exchange.pair // fewer than maxReflexive
		if !inUse && (oldest == nil || p.validAt.Before(oldest.validAt)) {
			oldest = p
		}
	}
	if learned >= maxReflexive {
		l.pairs = slices.DeleteFunc(l.pairs, func(p *candidatePair) bool { return p == oldest })
	}
	p := &candidatePair{remote: remote, typ: wire.PeerReflexive}
	l.pairs = append(l.pairs, p)
	l.sort()
	return p
}
