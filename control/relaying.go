package control

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/relay/client"
	relaywire "github.com/credant/credant/relay/wire"
)

// A pair that has no direct path gets an allocation on up to two relays that
// both sides choose alike: first those where both are registered, then each
// side's home relay. The allocated port is checked as any other candidate.

const (
	pairRelayLimit = 2
	// relayKept is how long an allocation outlives the move to a direct path.
	relayKept = 30 * time.Second
	// relayHope is how long an allocation is asked for after the last sign of
	// life of a peer that cannot be reached.
	relayHope = 2 * time.Minute
	// Measurements of relayed paths, while the pair talks and while it does not.
	measureUsed = time.Second
	measureIdle = time.Minute
	// formerLife is how long a relay can make use of a packet that it holds back: a
	// WireGuard session's keys live for 180 s.
	formerLife = 5 * time.Minute
	maxFormer  = 4
	// backAfter is what the client takes, after a relay's last moment, to find out
	// that it is gone.
	backAfter = 10 * time.Second
)

// relayedAddr is where a relay holds an allocation for this node and a peer.
type relayedAddr struct {
	addr  netip.AddrPort
	ready bool // both sides are bound
}

// viaRelay tells whether the peer's path leads through a relay.
func (p *peer) viaRelay() bool { return p.path.Kind == natpunch.Relay }

// isRelayed tells whether a relay holds the address for the pair, or did a moment
// ago.
func (p *peer) isRelayed(now time.Time, addr netip.AddrPort) bool {
	for _, a := range p.relayed {
		if a.addr == addr {
			return true
		}
	}
	return slices.ContainsFunc(p.former, func(s sighting) bool { return s.addr == addr && now.Sub(s.at) < formerLife })
}

// relayOf is the relay that the peer's path leads through, nil where none does.
func (p *peer) relayOf() *relayServer {
	for s, a := range p.relayed {
		if p.viaRelay() && a.addr == p.path.Addr {
			return s
		}
	}
	return nil
}

// wantsRelay tells whether the pair should have an allocation.
func (m *mesh) wantsRelay(now time.Time, p *peer) bool {
	switch {
	case p.working() && !p.viaRelay():
		return len(p.relayed) > 0 && now.Sub(p.movedAt) < relayKept
	case p.working(), now.Sub(p.heardAt) < relayHope:
		return true
	}
	return slices.ContainsFunc(m.relays.all, func(s *relayServer) bool { return s.home && s.seen[p.node] })
}

// pairRelays are the relays for a pair. The peer comes to the same ones.
func (m *mesh) pairRelays(now time.Time, p *peer) []*relayServer {
	var list []*relayServer
	add := func(s *relayServer) {
		if !s.leaving && len(list) < pairRelayLimit && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	mine := m.relays.homes()
	var theirs []*relayServer
	for _, r := range p.record.Relays {
		if s := m.addRelay(now, memberRelay, r.Key, r.Addr); s != nil && !slices.Contains(theirs, s) {
			theirs = append(theirs, s)
		}
	}
	for _, s := range mine {
		if s.seen[p.node] || slices.Contains(theirs, s) {
			add(s)
		}
	}
	if m.self.public.Compare(p.node) > 0 {
		mine, theirs = theirs, mine
	}
	for i := range max(len(mine), len(theirs)) {
		for _, of := range [][]*relayServer{mine, theirs} {
			if i < len(of) {
				add(of[i])
			}
		}
	}
	return list
}

// assignPairs tells each relay's client which pairs want an allocation there.
func (m *mesh) assignPairs(now time.Time) {
	wanted := make(map[*relayServer][]keys.NodePublic)
	for _, p := range m.peers {
		if !m.wantsRelay(now, p) {
			continue
		}
		relays := m.pairRelays(now, p)
		if !slices.Equal(relays, p.relays) {
			p.relays = relays
			m.tellAgent(now, p)
		}
		for s, a := range p.relayed {
			// What is still on its way must arrive.
			if (p.path.Addr == a.addr || now.Sub(p.movedAt) < relayKept) && !slices.Contains(relays, s) {
				relays = append(relays, s)
			}
		}
		for _, s := range relays {
			wanted[s] = append(wanted[s], p.node)
		}
		if now.Sub(p.movedAt) < relayKept { // to be reviewed when that is over
			m.relays.reviewAt(p.movedAt.Add(relayKept))
		}
	}
	for _, s := range m.relays.all {
		pairs := wanted[s]
		slices.SortFunc(pairs, keys.NodePublic.Compare)
		if len(pairs) > 0 {
			s.used = now
		}
		if slices.Equal(pairs, s.pairs) {
			continue
		}
		for _, node := range s.pairs {
			if p := m.peers[node]; p != nil && !slices.Contains(pairs, node) {
				m.dropRelayed(now, s, p)
			}
		}
		s.pairs = pairs
		if s.client == nil {
			s.client = client.New(m.relays.config, client.Server{Key: s.key, Addrs: s.addrs})
		}
		s.client.SetPeers(now, pairs)
	}
}

func (r *relays) reviewAt(t time.Time) {
	if t.Before(r.next) {
		r.next = t
	}
}

// stepRelays reviews who relays what and carries out what the clients want.
func (m *mesh) stepRelays(now, wall time.Time) (more bool) {
	more = m.reviewRelays(now)
	for _, s := range slices.Clone(m.relays.all) {
		if s.client == nil {
			continue
		}
		for _, o := range s.client.Advance(now) {
			more = m.relaySaid(now, wall, s, o) || more
		}
	}
	return more
}

// nextRelays is when stepRelays has something to do.
func (m *mesh) nextRelays(sooner func(time.Time)) {
	for _, s := range m.relays.all {
		if s.client == nil {
			continue
		}
		if t, ok := s.client.Next(); ok {
			sooner(t)
		}
	}
	if len(m.relays.all) > 0 || len(m.peers) > 0 {
		sooner(m.relays.next)
	}
}

// relaySaid carries out what came of the talk with one relay.
func (m *mesh) relaySaid(now, wall time.Time, s *relayServer, o client.Output) (more bool) {
	switch o := o.(type) {
	case client.Send:
		m.send(o.To, o.Data)
		return false
	case client.Up:
		m.relayUp(now, s, o)
	case client.Registered:
		s.public, s.regular, s.refused = o.Addrs, true, time.Time{}
		m.publisher.dirty = true
		m.joinAddresses(now, s)
	case client.Found:
		m.foundAt(now, wall, s, o)
	case client.Gone:
		delete(s.seen, o.Node)
	case client.Allocated:
		m.setRelayed(now, s, o.Peer, relayedAddr{addr: o.Addr})
		return true
	case client.Bound:
		m.setRelayed(now, s, o.Peer, relayedAddr{o.Addr, o.Ready})
		return true
	case client.Lost:
		if p := m.peers[o.Peer]; p != nil {
			m.dropRelayed(now, s, p)
		}
	case client.Leaving:
		s.leaving, s.back = true, now.Add(o.Grace+backAfter)
		m.event("relay", "", "relay "+s.name()+" is about to stop", false)
		m.tellRelayed(now, s)
	case client.Down:
		m.relayDown(now, s, o.Reason)
	}
	m.relays.dirty = true
	return true
}

func (m *mesh) relayUp(now time.Time, s *relayServer, o client.Up) {
	if m.identified(now, s, o.Key) {
		return
	}
	if !s.up {
		m.event("relay", "", fmt.Sprintf("relay %s answers in %s", o.Addr, o.RTT.Round(time.Millisecond/10)), false)
	}
	s.up, s.addr, s.rtt, s.error, s.silent = true, o.Addr, o.RTT, "", time.Time{}
	if m.stun != nil {
		m.addSTUN(o.Addr)
		if o.Addr.Port() == relaywire.DefaultPort { // a second port tells most NATs apart
			m.addSTUN(netip.AddrPortFrom(o.Addr.Addr(), relaywire.DefaultSTUNPort))
		}
	}
	m.publisher.observed(now, o.Observed)
}

func (m *mesh) relayDown(now time.Time, s *relayServer, reason string) {
	if s.up {
		m.event("relay", "", "relay "+s.name()+" does not answer any more: "+reason, false)
	}
	if s.silent.IsZero() {
		s.silent = now
	}
	s.up, s.error = false, reason
	clear(s.seen)
	m.tellRelayed(now, s)
}

// foundAt learns of a member that is registered at the same relay.
func (m *mesh) foundAt(now, wall time.Time, s *relayServer, o client.Found) {
	signed, err := wire.OpenSealedRecord(o.Blob, m.network.RecordKey())
	if err != nil {
		m.drops.count(wire.DropReason(err))
		return
	}
	r, err := signed.Verify(m.prefix6)
	switch {
	case err != nil:
		m.drops.count(wire.DropReason(err))
		return
	case r.Node != o.Node || r.Node == m.self.public:
		m.drops.count("rendezvous-node")
		return
	}
	known := m.peers[r.Node] != nil
	p := m.learn(now, wall, r, signed, o.Age, keys.NodePublic{})
	if p == nil {
		return
	}
	s.seen[r.Node] = true
	p.heardAt = now
	if !known {
		m.event("found", p.name(), "relay "+s.name()+" knows "+p.name(), false)
	}
}

// setRelayed takes an allocation, or what became of one.
func (m *mesh) setRelayed(now time.Time, s *relayServer, node keys.NodePublic, a relayedAddr) {
	p := m.peers[node]
	if _, wanted := slices.BinarySearchFunc(s.pairs, node, keys.NodePublic.Compare); p == nil || !wanted {
		return // given up since the client said so
	}
	if p.relayed == nil {
		p.relayed = make(map[*relayServer]relayedAddr)
	}
	p.relayed[s] = a
	if p.path.Addr == a.addr { // adopted, or followed, before it was known for what it is
		p.path.Kind = natpunch.Relay
	}
	m.tellAgent(now, p)
}

func (m *mesh) dropRelayed(now time.Time, s *relayServer, p *peer) {
	if a, ok := p.relayed[s]; ok {
		p.former = append(p.former[max(0, len(p.former)-maxFormer+1):], sighting{a.addr, now})
		delete(p.relayed, s)
		m.tellAgent(now, p)
	}
}

// tellRelayed tells the agent anew of all pairs at the relay.
func (m *mesh) tellRelayed(now time.Time, s *relayServer) {
	for _, p := range m.peers {
		if _, ok := p.relayed[s]; ok {
			m.tellAgent(now, p)
		}
	}
}

// tellAgent lists the peer's relayed addresses. What is about to stop, does not
// answer or is not the pair's choice any more is left out as soon as there is
// something else.
func (m *mesh) tellAgent(now time.Time, p *peer) {
	var sound, rest []natpunch.Relayed
	ready := false
	for _, s := range m.relays.all { // in the same order each time
		a, ok := p.relayed[s]
		switch {
		case !ok:
		case s.usable() && slices.Contains(p.relays, s):
			sound = append(sound, natpunch.Relayed{Addr: a.addr, Ready: a.ready})
			ready = ready || a.ready
		default:
			rest = append(rest, natpunch.Relayed{Addr: a.addr, Ready: a.ready})
		}
	}
	if !ready {
		sound = append(sound, rest...)
	}
	m.agent.SetRelayed(now, p.node, sound)
}

// receiveRelay takes a relay's frame.
func (m *mesh) receiveRelay(now time.Time, from netip.AddrPort, b []byte) string {
	reason := "unknown-relay"
	for _, s := range m.relays.all {
		// Two may be said to be at one address, and one of them is not.
		if s.client != nil && s.client.Owns(from) {
			if reason = s.client.Receive(now, from, b); reason == "" {
				break
			}
		}
	}
	return reason
}

// measure lets the relayed paths of a peer be measured when that is due.
func (m *mesh) measure(now time.Time, p *peer) {
	every := measureIdle
	if p.activity.used || p.activity.busy() {
		every = measureUsed
	}
	if p.viaRelay() && now.Sub(p.measuredAt) >= every {
		p.measuredAt = now
		m.agent.Measure(now, p.node)
	}
}

// relayRecords are this node's home relays for its record, best first.
func (m *mesh) relayRecords() []wire.Relay {
	var all []wire.Relay
	for _, s := range m.relays.homes() {
		if !s.regular {
			continue
		}
		for _, a := range s.tellable() {
			all = append(all, wire.Relay{Key: s.key, Addr: a})
		}
	}
	return all
}

// tellable are the relay's addresses that are worth telling others: where it
// answers this node, and what it says itself of the internet's.
func (r *relayServer) tellable() []netip.AddrPort {
	var all []netip.AddrPort
	add := func(a netip.AddrPort) {
		if a.IsValid() && len(all) < wire.MaxRelays/homeRelays && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	if isGlobal(r.addr.Addr()) {
		add(r.addr)
	}
	for _, a := range r.public {
		if isGlobal(a.Addr()) {
			add(a)
		}
	}
	add(r.addr)
	return all
}

// register hands the newest record to the home relays.
func (m *mesh) register(now time.Time) {
	blob, err := wire.AppendSealedRecord(nil, m.publisher.signed, m.network.RecordKey())
	if err != nil {
		m.notice("rendezvous", fmt.Sprintf("this node's record is too long for a relay: %v", err))
		return
	}
	m.notice("rendezvous", "")
	m.blob = blob
	for _, s := range m.relays.all {
		if s.home {
			s.client.SetBlob(now, blob)
		}
	}
}

// suspectRelay asks a relay anew, which may have started anew and know of nothing.
func (m *mesh) suspectRelay(now time.Time, s *relayServer) {
	if s != nil && now.Sub(s.suspect) >= suspectAfter {
		s.suspect = now
		s.client.Recheck(now)
	}
}

// recheckRelays asks all relays anew: this node may come from elsewhere now.
func (m *mesh) recheckRelays(now time.Time) {
	for _, s := range m.relays.all {
		if s.client != nil {
			s.client.Recheck(now)
		}
	}
}
