package control

import (
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/wgsetup"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// learning bounds what is learnt of members, and for how long.
type learning struct {
	renewals  renewals
	forgotten map[keys.NodePublic]uint64 // see forgetUntilNewer
	expireAt  time.Time                  // when to look for members whose record has run out
	clock     clockOpinion
}

// learn takes a verified record into the book and into the peers. From is the
// member that sent it, its own node or another one; zero is none. It returns nil
// where the record is this node's own, too old, or one too many.
func (m *mesh) learn(now, wall time.Time, r wire.Record, signed wire.SignedRecord, age time.Duration, from keys.NodePublic) *peer {
	if r.Node != m.self.public && m.blocked.has(r.Node) {
		m.shelve(now, r, signed, age, from)
		return nil
	}
	var before uint64
	var candidates []wire.Candidate
	if known := m.peers[r.Node]; known != nil {
		before, candidates = known.record.Seq, known.record.Candidates
	}
	p := m.file(now, wall, r, signed, age, from == r.Node)
	if p == nil {
		m.passOn(now, r, from)
		return nil
	}
	if r.Seq >= before && r.Seq <= p.record.Seq {
		m.gossip.Learned(now, p.node, from) // old news says who has it already
	}
	if p.record.Seq > before {
		p.heardAt = now
		m.relays.dirty = true
	}
	if !m.agent.SetPeer(now, natpunch.Peer{Node: p.node, Pair: p.pair, Candidates: p.record.Candidates, NAT4: p.record.NAT4, Version: p.version}) {
		m.drops.count("agent-full")
	}
	if p.hasLeft(candidates) {
		m.agent.Restart(now, p.node, "the peer has another address")
	}
	return p
}

// recall takes a record of an earlier run: the member is known by name, but has
// another probe key by now, or takes this process for the one before.
func (m *mesh) recall(now, wall time.Time, signed wire.SignedRecord, age time.Duration, addr netip.AddrPort, device map[wgtypes.Key]wgsetup.PeerState) {
	r, err := signed.Verify(m.prefix6)
	if err != nil {
		m.drops.count(wire.DropReason(err))
		return
	}
	if m.blocked.has(r.Node) {
		return
	}
	p := m.file(now, wall, r, signed, age, false)
	if p == nil {
		return
	}
	p.reason, p.lastAddr = whyNotMet, addr
	if state, ok := device[r.WireGuard]; ok { // adopted with its session
		p.installed, p.keepalive, p.adopted = true, true, true
		p.path.Addr = addr
		if state.Endpoint.IsValid() {
			p.path.Addr = state.Endpoint
		}
	}
}

// file is learn without a word to the agent.
func (m *mesh) file(now, wall time.Time, r wire.Record, signed wire.SignedRecord, age time.Duration, firsthand bool) *peer {
	if r.Node == m.self.public {
		return nil
	}
	if known, ok := m.book.Get(r.Node); ok && r.Seq > known.Record.Seq && !m.renewals.allows(now, r.Node) {
		m.drops.count("record-rate")
		return m.peers[r.Node]
	}
	put := m.book.Put
	if firsthand {
		put = m.book.PutFirsthand
	}
	_, change, err := put(now, signed, age)
	if err != nil {
		m.drops.count("book-full")
		return nil
	}
	current, ok := m.book.Get(r.Node)
	if !ok {
		m.drops.count("record-expired")
		return nil
	}
	firsthand = firsthand && r.Seq == current.Record.Seq
	r, signed = current.Record, current.Signed
	m.clock.heard(wall, r, current.AgeAt(now))
	if change == discovery.New && m.book.Len() >= maxMembers {
		m.dropEvicted(now)
	}
	if m.isAway(r, firsthand) {
		m.gone(now, r)
		return nil
	}
	p := m.peers[r.Node]
	if p == nil {
		p = &peer{node: r.Node} // in the table once nothing is wrong with it
	}
	if p.record.Seq == r.Seq && p.record.Probe == r.Probe {
		return p
	}
	if p.record.WireGuard != r.WireGuard && m.usesWireGuard(r.WireGuard) {
		m.drops.count("wireguard-key") // a device has one peer a key
		return nil
	}
	if p.record.Probe != r.Probe {
		pair, err := keys.NewPair(m.network, m.self.probe, r.Probe)
		if err != nil {
			m.drops.count("probe-key")
			return nil
		}
		if other := m.byTag[pair.RecvTag]; other != nil && other != p {
			m.drops.count("probe-key") // somebody shows another node's key as its own
			return nil
		}
		delete(m.byTag, p.pair.RecvTag)
		p.pair = pair
		m.byTag[pair.RecvTag] = p
	}
	m.peers[r.Node] = p
	if p.installed && p.record.WireGuard != r.WireGuard {
		p.installed, p.session, p.move = false, nil, nil // the device's peer is another one now
		p.state, p.alive, p.handshake = wgsetup.PeerState{}, false, time.Time{}
	}
	if _, known := m.names.Of(string(r.Node.ID())); !known || p.record.Name != r.Name || !slices.Equal(p.record.Aliases, r.Aliases) {
		m.namesChanged = true
	}
	if p.record.Subnet != r.Subnet || p.record.Name != r.Name || !slices.Equal(p.record.Addresses, r.Addresses) {
		m.claimsChanged = true
	}
	p.record, p.signed = r, signed
	m.routes.changed = true
	m.out.apply = m.out.apply || p.installed
	return p
}

// usesWireGuard tells whether this node or a peer has the WireGuard key. A
// member that shows it as its own too cannot use it, and must not spoil the
// device for the others.
func (m *mesh) usesWireGuard(key wgtypes.Key) bool {
	if key == m.self.wireGuard {
		return true
	}
	for _, p := range m.peers {
		if p.record.WireGuard == key {
			return true
		}
	}
	return false
}

// forget takes the peer out of everything.
func (m *mesh) forget(now time.Time, p *peer) {
	delete(m.peers, p.node)
	delete(m.byTag, p.pair.RecvTag)
	m.agent.RemovePeer(p.node)
	m.gossip.SetPeer(now, p.node, false)
	m.relays.dirty = true
	m.claimsChanged, m.namesChanged = true, true
	m.out.apply = m.out.apply || p.installed
}

// dropEvicted forgets the peers that the book gave up for want of room.
func (m *mesh) dropEvicted(now time.Time) {
	for _, p := range m.peers {
		if _, ok := m.book.Get(p.node); !ok {
			m.forget(now, p)
		}
	}
}

// expire forgets members whose record has run out.
func (m *mesh) expire(now time.Time) {
	if now.Before(m.expireAt) {
		return
	}
	m.expireAt = now.Add(time.Second)
	m.renewals.rest(now)
	for _, node := range m.book.Expire(now) {
		delete(m.forgotten, node)
	}
	for _, p := range m.peers {
		// One that works may stay; its record comes again, or it goes silent.
		if _, known := m.book.Get(p.node); !known && !p.working() {
			m.event("lost", p.name(), p.name()+" has not been heard of for "+lifeInWords(p.record.Lifetime)+" and is forgotten", false)
			m.forget(now, p)
		}
	}
}

// lifeInWords says how long a record lives.
func lifeInWords(d time.Duration) string {
	switch {
	case d == 24*time.Hour:
		return "a day"
	case d == time.Hour:
		return "an hour"
	default:
		return d.String()
	}
}
