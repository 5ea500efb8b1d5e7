package control

import (
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/relay/client"
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

// peerRelays are a peer's allocations.
type peerRelays struct {
	relays     []*relayServer // that the pair should use
	relayed    map[*relayServer]relayedAddr
	former     []sighting // allocations of the last minutes
	measuredAt time.Time  // when relayed paths were measured last
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
	case p.working() && !p.viaRelay() && !p.doubtful(now):
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

// measure lets the relayed paths of a peer be measured when that is due.
func (m *mesh) measure(now time.Time, p *peer) {
	every := measureIdle
	if p.activity.lately(now) || p.path.Base.IsValid() && p.inflow.flows() {
		every = measureUsed
	}
	if (p.viaRelay() || p.path.Base.IsValid()) && now.Sub(p.measuredAt) >= every {
		p.measuredAt = now
		m.agent.Measure(now, p.node)
	}
}
