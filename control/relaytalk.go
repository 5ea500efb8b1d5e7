package control

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/relay/client"
	relaywire "github.com/credant/credant/relay/wire"
)

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
	if s.class == ownRelay || s.views.take(now) {
		m.seenAt(now, o.Observed)
	}
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
