package control

import (
	"net/netip"
	"time"

	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/wire"
)

// Members tell each other who else there is: package gossip decides which record
// goes to whom, and this file carries it over the paths that stand. So a third
// member meets everybody through one contact, and a new record reaches all.

// stepGossip tells the gossip who can be spoken to, and sends what it wants
// said. A lost datagram is healed by its digests.
func (m *mesh) stepGossip(now time.Time) {
	for _, p := range m.peers {
		// One that was adopted does not know this process's key yet.
		if speaks := p.working() && p.met; speaks != p.speaks {
			p.speaks = speaks
			m.gossip.SetPeer(now, p.node, speaks)
		}
	}
	for _, o := range m.gossip.Advance(now) {
		if p := m.peers[o.To]; p != nil {
			m.say(p, o.Signal)
		}
	}
}

// say sends a signal over the peer's path.
func (m *mesh) say(p *peer, s wire.Signal) {
	if !p.path.Addr.IsValid() {
		return
	}
	b, err := wire.SealSignal(&p.pair, s)
	if err != nil {
		m.drops.count("signal-too-big")
		return
	}
	m.send(p.path.Addr, b)
}

// sayWhere tells a peer where this node sees it, which it may not know.
func (m *mesh) sayWhere(p *peer) {
	if p.viaRelay() || !p.path.Addr.IsValid() {
		return
	}
	m.say(p, wire.Signal{Introduce: &wire.Introduce{Signed: p.signed, Observed: p.path.Addr}})
}

// receiveSignal takes a datagram that another member sealed for this one.
func (m *mesh) receiveSignal(now, wall time.Time, b []byte) string {
	tag, ok := wire.PairTag(b)
	if !ok {
		return wire.DropReason(wire.ErrSize)
	}
	from := m.byTag[tag]
	if from == nil {
		return "unknown-pair"
	}
	s, err := wire.OpenSignal(&from.pair, b)
	if err != nil {
		return wire.DropReason(err)
	}
	switch {
	case s.Introduce != nil:
		return m.introduced(now, wall, from, *s.Introduce)
	case s.Forward != nil:
		return m.forward(now, from, *s.Forward)
	case s.Forwarded != nil:
		return m.called(now, wall, *s.Forwarded)
	case s.Digest != nil:
		return m.gossip.ReceiveDigest(now, from.node, *s.Digest)
	default:
		return m.gossip.ReceiveWant(now, from.node, *s.Want)
	}
}

// introduced learns of a member from another one, or from itself.
func (m *mesh) introduced(now, wall time.Time, from *peer, intro wire.Introduce) string {
	r, err := intro.Signed.Verify(m.prefix6)
	if err != nil {
		return wire.DropReason(err)
	}
	if r.Node == m.self.public {
		if intro.Observed.IsValid() { // where the sender sees this node
			m.seenAt(now, intro.Observed)
		}
		return ""
	}
	known := m.peers[r.Node] != nil
	p := m.learn(now, wall, r, intro.Signed, intro.Age, from.node)
	if p == nil {
		return "" // counted by learn
	}
	if !known {
		m.event("found", p.name(), from.name()+" knows "+p.name(), false)
	}
	if !p.working() && intro.Observed.IsValid() && usableHint(intro.Observed, m.onLink) {
		// A mapping that is alive: worth a hello even where checks are lost.
		m.greeter.Hint(now, discovery.SourceGossip, intro.Observed)
	}
	return ""
}

func usableHint(a netip.AddrPort, onLink func(netip.Addr) bool) bool {
	return isGlobal(a.Addr()) || onLink(a.Addr())
}
