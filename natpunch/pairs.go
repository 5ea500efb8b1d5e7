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
	wanted := l.wanted()
	fresh = l.reconcileRelayed()
	l.rebase()
	l.pairs = slices.DeleteFunc(l.pairs, func(p *candidatePair) bool {
		switch {
		case p == l.selected, p == l.exchange.pair:
			return false
		case p.relayed():
			return l.find(netip.Addr{}, p.remote) != p // it was of another uplink
		}
		still := slices.ContainsFunc(wanted, func(w candidatePair) bool { return w.base == p.base && w.remote == p.remote })
		return p.gone || !l.mayComeFrom(p.remote) || p.typ != wire.PeerReflexive && !still
	})
	for _, w := range wanted {
		if p := l.find(w.base, w.remote); p != nil {
			if !p.relayed() {
				p.typ = w.typ
			}
			continue
		}
		p := &candidatePair{base: w.base, remote: w.remote, typ: w.typ}
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

// find returns the pair; nil is that there is none. Without a base it is the
// selected one of those with the remote, or else the best.
func (l *checkList) find(base netip.Addr, remote netip.AddrPort) *candidatePair {
	var other *candidatePair
	for _, p := range l.pairs {
		switch {
		case p.remote != remote:
		case p.base == base:
			return p
		case !base.IsValid() && !p.gone && (other == nil || p == l.selected):
			other = p
		}
	}
	return other
}

// mayLearn counts what a peer may make us learn a round. Where both NATs map per
// destination, each check comes from a new address, and would call for another.
func (l *checkList) mayLearn() bool {
	l.round.learned++
	return l.round.learned <= 2*maxReflexive
}

// learn returns the pair of an address that the peer was heard from: a known one,
// or a new peer-reflexive one, in the place of the least useful when all are taken.
func (l *checkList) learn(base netip.Addr, remote netip.AddrPort) *candidatePair {
	if p := l.find(base, remote); p != nil {
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
	if !base.IsValid() {
		base = l.bases(remote)[0]
	}
	p := &candidatePair{base: base, remote: remote, typ: wire.PeerReflexive}
	l.pairs = append(l.pairs, p)
	l.sort()
	return p
}
