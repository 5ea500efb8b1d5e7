package natpunch

import (
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// Relayed is an address at which a relay holds an allocation for this node and a
// peer: what is sent there reaches the peer.
type Relayed struct {
	Addr netip.AddrPort
	// Ready: both sides are bound to it. Until then the address is known, so that
	// it is never taken for the peer's own, and not checked.
	Ready bool
}

// relays is what a check list has to do with relays.
type relays struct {
	known    []knownRelay
	probe    probe
	search   search
	measured time.Time
}

// retiredFor is how long an address that is no relayed one any more is not taken
// for the peer's own: the other side may use it for a while.
const retiredFor = 5 * time.Minute

// knownRelay is a Relayed. A ping that came through proves that it is ready,
// whatever the relay has told.
type knownRelay struct {
	addr         netip.AddrPort
	ready, heard bool
	retired      time.Time // it was given up; zero: it was not
}

func (k *knownRelay) open() bool { return k.retired.IsZero() && (k.ready || k.heard) }

// forgotten reports whether the address was given up long ago.
func (k *knownRelay) forgotten(now time.Time) bool {
	return !k.retired.IsZero() && now.Sub(k.retired) > retiredFor
}

// SetRelayed says at which relayed addresses a peer can be reached: all of them,
// best first where nothing is measured. Those that have become ready are checked
// at once where there is no path. Without the selected one, a Select or a Lost
// follows. It does nothing for a peer that is not set.
func (a *Agent) SetRelayed(now time.Time, node keys.NodePublic, relayed []Relayed) {
	a.now = now
	if c, ok := a.peers[node]; ok {
		c.setRelayed(now, relayed)
		a.reschedule(c)
	}
}

func (l *checkList) setRelayed(now time.Time, relayed []Relayed) {
	var known []knownRelay
	for _, r := range relayed {
		k := knownRelay{addr: plain(r.Addr), ready: r.Ready}
		if len(known) == maxRelayed || slices.ContainsFunc(known, func(o knownRelay) bool { return o.addr == k.addr }) {
			continue
		}
		if old := l.relay(k.addr); old != nil && old.retired.IsZero() {
			k.heard = old.heard && (k.ready || !old.ready) // until the relay takes it back
		}
		known = append(known, k)
	}
	l.setKnown(append(known, l.retired(now, known)...))
	var before rank
	if l.selected != nil {
		before = l.selected.rank
	}
	fresh := l.reconcile()
	if x := l.exchange.pair; x != nil && x.gone {
		l.exchange = exchange{}
	}
	switch {
	case l.selected == nil:
	case l.selected.gone:
		l.selected.state = failed
		l.restart(now, "the relay gave the path up")
	case l.selected.rank != before && l.trust == settled:
		l.relaySelected(true)
		l.agent.emit(Select{Node: l.node, Path: l.path()})
	}
	if l.trust == settled {
		return
	}
	for _, p := range fresh {
		if p.relayed() {
			l.round.failures = 0
			l.start(now, p)
		}
	}
}

// retired returns what was known and is not any more, the latest last.
func (l *checkList) retired(now time.Time, known []knownRelay) (old []knownRelay) {
	for _, k := range l.relays.known {
		switch {
		case slices.ContainsFunc(known, func(o knownRelay) bool { return o.addr == k.addr }):
			continue
		case k.retired.IsZero():
			k.retired = now
		case k.forgotten(now):
			continue
		}
		old = append(old, k)
	}
	return old[max(0, len(old)-maxRelayed):]
}

// setKnown keeps the list, and the agent's count of it.
func (l *checkList) setKnown(known []knownRelay) {
	count := l.agent.relayed
	for _, k := range known {
		count[k.addr]++
	}
	for _, k := range l.relays.known {
		if count[k.addr]--; count[k.addr] == 0 {
			delete(count, k.addr)
		}
	}
	l.relays.known = known
}

// relay returns what is known of a relayed address; nil is that it is none and was
// none lately.
func (l *checkList) relay(addr netip.AddrPort) *knownRelay {
	for i := range l.relays.known {
		if l.relays.known[i].addr == addr {
			return &l.relays.known[i]
		}
	}
	return nil
}

// mayComeFrom reports whether this peer's datagrams may go to and come from addr.
// What a relay forwards for another peer is not this one's.
func (l *checkList) mayComeFrom(addr netip.AddrPort) bool {
	switch k := l.relay(addr); {
	case k == nil:
	case k.retired.IsZero():
		return l.agent.site.reachable(addr)
	case !k.forgotten(l.agent.now):
		return false
	default:
		l.setKnown(slices.DeleteFunc(slices.Clone(l.relays.known), func(o knownRelay) bool { return o.addr == addr }))
	}
	return l.agent.relayed[addr] == 0 && l.agent.site.usable(addr)
}

// rankOf is the rank of a path to addr.
func (l *checkList) rankOf(addr netip.AddrPort) rank {
	if l.relay(addr) != nil {
		return rankRelay
	}
	return l.agent.site.rank(addr)
}

// direct returns what the peer announced, but for addresses that are a relay's.
func (l *checkList) direct() []wire.Candidate {
	if len(l.agent.relayed) == 0 {
		return l.announced
	}
	return slices.DeleteFunc(slices.Clone(l.announced), func(c wire.Candidate) bool {
		return l.agent.relayed[plain(c.Addr)] > 0
	})
}

// heardThrough takes a ping through a relay that has not said that it is ready.
func (l *checkList) heardThrough(from netip.AddrPort) {
	if k := l.relay(from); k != nil && k.retired.IsZero() && !k.open() {
		k.heard = true
		l.reconcile()
	}
}

// reconcileRelayed makes the relayed pairs fit what is known of relays, and returns
// those that have become ready.
func (l *checkList) reconcileRelayed() (fresh []*candidatePair) {
	for _, p := range l.pairs {
		k := l.relay(p.remote)
		if k != nil {
			p.typ = wire.Relayed // whatever it was taken for
		}
		if !p.relayed() {
			continue
		}
		was := p.gone
		p.gone = k == nil || !k.open()
		if p.gone {
			p.stop()
			p.gauge = gauge{}
		} else if was {
			fresh = append(fresh, p)
		}
	}
	l.pairs = slices.DeleteFunc(l.pairs, func(p *candidatePair) bool {
		inUse := p == l.selected || p == l.exchange.pair
		return p.relayed() && !inUse && (p.gone || !l.agent.site.reachable(p.remote))
	})
	for _, k := range l.relays.known {
		if k.open() && l.find(netip.Addr{}, k.addr) == nil && l.agent.site.reachable(k.addr) {
			p := &candidatePair{remote: k.addr, typ: wire.Relayed}
			l.pairs = append(l.pairs, p)
			fresh = append(fresh, p)
		}
	}
	return fresh
}

// dropGone forgets relayed pairs that were kept because they were in use.
func (l *checkList) dropGone() {
	l.pairs = slices.DeleteFunc(l.pairs, func(p *candidatePair) bool {
		return p.gone && p != l.selected && p != l.exchange.pair
	})
}

// hope is the relayed pair that is nominated unchecked, because there is no path
// and it is likely to work; nil is none.
func (l *checkList) hope(now time.Time) *candidatePair {
	if l.trust == settled {
		return nil
	}
	var best *candidatePair
	for _, p := range l.pairs {
		switch {
		case !p.relayed(), p.gone, !p.pending(), p == l.round.lost:
		case best == nil, p.gauge.recent(now) && (!best.gauge.recent(now) || p.gauge.rtt < best.gauge.rtt):
			best = p
		}
	}
	return best
}

// workingRelay returns a relayed pair that answered a moment ago.
func (l *checkList) workingRelay(now time.Time) *candidatePair {
	for _, p := range l.pairs {
		if p.relayed() && !p.gone && p.state == succeeded && now.Sub(p.validAt) < pongWindow && !l.avoids(now, p.base, p.remote) {
			return p
		}
	}
	return nil
}

// onRelay reports whether the path is trusted and leads through a relay.
func (l *checkList) onRelay() bool { return l.trust == settled && l.selected.relayed() }
