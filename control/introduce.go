package control

import (
	"net/netip"
	"time"

	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// Members that have a tunnel introduce others to each other: when a peer
// becomes reachable, it is sent the records of the others, and they its. Both
// then check each other's candidates at the same time, so that a third member
// meets everybody through one contact. New records travel the same way.

const (
	// A letter is 1,150 bytes on the wire; 100 a second are 1 Mbit/s.
	letterPause = 10 * time.Millisecond
	maxLetters  = 2 * maxMembers
	// Letters are not acknowledged: each is sent once more.
	letterAgain = 2 * time.Second
)

// letter is one record on its way to one peer.
type letter struct {
	to, about keys.NodePublic // about may be this node
	due       time.Time
	copies    int
}

// introduce makes the peer and all others who work known to each other.
func (m *mesh) introduce(now time.Time, p *peer) {
	for _, other := range m.peers {
		if other.node == p.node || !other.working() {
			continue
		}
		m.post(now, p.node, other.node)
		m.post(now, other.node, p.node)
	}
}

// spread tells all others who work of a peer's new record, one hop far: they
// may have no path to it to hear it themselves.
func (m *mesh) spread(now time.Time, p *peer) {
	for _, other := range m.peers {
		if other.node != p.node && other.working() {
			m.post(now, other.node, p.node)
		}
	}
}

// tellAll sends this node's record to everybody who works.
func (m *mesh) tellAll(now time.Time) {
	for _, p := range m.peers {
		if p.working() {
			m.post(now, p.node, m.self.public)
		}
	}
}

func (m *mesh) post(now time.Time, to, about keys.NodePublic) {
	if len(m.letters) >= maxLetters {
		m.drops.count("letters-full")
		return
	}
	m.letters = append(m.letters, letter{to: to, about: about, due: now, copies: 2})
	if len(m.letters) == 1 {
		m.lettersAt = now
	}
}

// sendLetters sends what is due, at most one each letterPause on average.
func (m *mesh) sendLetters(now time.Time) {
	burst := 16
	kept := m.letters[:0]
	m.lettersAt = time.Time{}
	for _, l := range m.letters {
		if !l.due.After(now) && burst > 0 {
			burst--
			m.sendLetter(now, l)
			if l.copies--; l.copies == 0 {
				continue
			}
			l.due = now.Add(letterAgain)
		}
		if at := maxTime(l.due, now.Add(letterPause*16)); m.lettersAt.IsZero() || at.Before(m.lettersAt) {
			m.lettersAt = at
		}
		kept = append(kept, l)
	}
	m.letters = kept
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (m *mesh) sendLetter(now time.Time, l letter) {
	to := m.peers[l.to]
	if to == nil || !to.path.Addr.IsValid() {
		return
	}
	intro := &wire.Introduce{Signed: m.publisher.signed}
	if l.about != m.self.public {
		about := m.peers[l.about]
		if about == nil {
			return
		}
		intro.Signed, intro.Observed = about.signed, about.path.Addr
		if stored, ok := m.book.Get(l.about); ok {
			intro.Age = stored.AgeAt(now)
		}
	}
	b, err := wire.SealSignal(&to.pair, wire.Signal{Introduce: intro})
	if err != nil {
		m.drops.count("letter-too-big")
		return
	}
	m.send(to.path.Addr, b)
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
	default:
		return m.called(now, wall, *s.Forwarded)
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
			m.publisher.observed(now, intro.Observed)
		}
		return ""
	}
	known := m.peers[r.Node] != nil
	p := m.learn(now, wall, r, intro.Signed, intro.Age, r.Node == from.node)
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
