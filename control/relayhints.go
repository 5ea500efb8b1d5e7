package control

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	relaywire "github.com/credant/credant/relay/wire"
)

// Where relays are is said by the user, by the DHT and by members. Nobody but the
// user is trusted with more than a few asks: what a member or a DHT node names may
// be a machine that wants nothing of this.

const (
	// A new address that somebody else than the user names costs one of so many asks
	// of its class, and one comes back after each pause. So does each new record that
	// a relay of others causes by what it says of this node's address.
	askBurst = 32
	askPause = 10 * time.Second
	// youngRelay is how long a relay may take to answer before it gives way to
	// another.
	youngRelay = 4 * time.Second
	// deadFor is how long an address is left alone at which no relay answered.
	deadFor = 10 * time.Minute
	maxDead = 64
)

// askBudget bounds how many new addresses are asked.
type askBudget struct {
	used int
	at   time.Time
}

func (b *askBudget) take(now time.Time) bool {
	if spared := int(now.Sub(b.at) / askPause); spared > 0 {
		b.used, b.at = max(0, b.used-spared), now
	}
	if b.used >= askBurst {
		return false
	}
	b.used++
	return true
}

// addRelay takes an address at which a relay is said to be. A zero key is
// whoever answers there. It returns nil where that relay is not to be used.
func (m *mesh) addRelay(now time.Time, class relayClass, key relaywire.ServerPublic, addr netip.AddrPort) *relayServer {
	r := &m.relays
	s, hearsay := r.named(key, addr), class == memberRelay
	if s != nil && !s.lacks(addr, hearsay) {
		return r.is(s, class)
	}
	fresh := &relayServer{
		relayHearsay: relayHearsay{class: class, key: key, anyKey: key.IsZero(), added: now, score: m.score(addr.String())},
		relayService: relayService{seen: make(map[keys.NodePublic]bool)},
		used:         now,
	}
	victim := -1
	if s == nil {
		var ok bool
		if victim, ok = r.room(now, fresh); !ok || class != ownRelay && r.isDead(now, addr) {
			m.drops.count("relays-full")
			return nil
		}
	}
	if class != ownRelay && (!usableHint(addr, m.onLink) || !r.spent[class].take(now)) {
		if s == nil {
			m.drops.count("relay-address")
		}
		return s
	}
	if s == nil {
		if victim >= 0 {
			r.evict(now, victim)
		}
		s = fresh
		r.all = append(r.all, s)
		r.dirty = true
	}
	if s.isAt(addr, hearsay); s.client != nil {
		s.client.SetAddrs(now, s.addrs)
	}
	return r.is(s, class)
}

// is takes what kind of relay somebody says it is.
func (r *relays) is(s *relayServer, class relayClass) *relayServer {
	if class < s.class {
		s.class, r.dirty = class, true
	}
	return s
}

// named finds the relay with the key, or the one that is not told from it yet. A
// relay that is named by its address alone is whoever answers there, which need not
// be the one that somebody else says is there.
func (r *relays) named(key relaywire.ServerPublic, addr netip.AddrPort) *relayServer {
	if s := r.byKey(key); s != nil {
		return s
	}
	i := slices.IndexFunc(r.all, func(s *relayServer) bool {
		if !slices.Contains(s.addrs, addr) {
			return false
		}
		there := s.up && (s.class == ownRelay || s.addr == addr)
		return s.anyKey && (key.IsZero() || s.key.IsZero()) || key.IsZero() && there
	})
	if i < 0 {
		return nil
	}
	return r.all[i]
}

// lacks tells whether the address is worth taking. What members alone say never
// takes the place of what is known otherwise.
func (r *relayServer) lacks(addr netip.AddrPort, hearsay bool) bool {
	sure := len(r.addrs) - r.hearsay
	switch i := slices.Index(r.addrs, addr); {
	case i >= 0:
		return i >= sure && !hearsay
	case r.up:
		return len(r.addrs) < maxRelayAddrs
	default:
		return !hearsay || sure < maxRelayAddrs
	}
}

// isAt takes an address that the relay lacks, in place of the oldest where there are
// too many.
func (r *relayServer) isAt(addr netip.AddrPort, hearsay bool) {
	sure, said := slices.Clone(r.addrs[:len(r.addrs)-r.hearsay]), slices.Clone(r.addrs[len(r.addrs)-r.hearsay:])
	said = slices.DeleteFunc(said, func(a netip.AddrPort) bool { return a == addr })
	if hearsay {
		said = append(said, addr)
	} else {
		sure = append(sure, addr)
	}
	sure = sure[max(0, len(sure)-maxRelayAddrs):]
	said = said[max(0, len(said)-(maxRelayAddrs-len(sure))):]
	r.addrs, r.hearsay = append(sure, said...), len(said)
}

// room tells whether there is room for one more relay, and which one gives way to
// it; -1 is none.
func (r *relays) room(now time.Time, fresh *relayServer) (victim int, ok bool) {
	limit, of := maxRelays, func(*relayServer) bool { return true }
	if fresh.class == strangerRelay {
		limit, of = maxStrangers, func(s *relayServer) bool { return s.class == strangerRelay }
	}
	n := 0
	victim = -1
	for i, s := range r.all {
		if !of(s) {
			continue
		}
		n++
		young := fresh.class != ownRelay && now.Sub(s.added) < youngRelay && !s.up
		if s.home || len(s.pairs) > 0 || s.class < fresh.class || s.class == ownRelay || young || s.up && s.class == fresh.class && !fresh.before(s) {
			continue
		}
		if victim < 0 || s.givesWay(r.all[victim]) {
			victim = i
		}
	}
	if n < limit {
		return -1, true
	}
	return victim, victim >= 0
}

// before tells which of two strangers' relays is to be kept. All nodes of a network
// prefer the same ones, or they would register at different relays and never meet.
func (r *relayServer) before(o *relayServer) bool {
	return r.class == strangerRelay && o.class == strangerRelay && r.score < o.score
}

// givesWay tells whether the relay goes before another one does.
func (r *relayServer) givesWay(o *relayServer) bool {
	switch {
	case r.class != o.class:
		return r.class > o.class
	case r.up != o.up:
		return o.up
	case r.up:
		return o.before(r)
	default:
		return r.used.Before(o.used)
	}
}

// evict forgets a relay for want of room.
func (r *relays) evict(now time.Time, i int) {
	if s := r.all[i]; !s.addr.IsValid() { // it never answered
		for _, a := range s.addrs {
			r.dead = append(r.dead[max(0, len(r.dead)-maxDead+1):], sighting{a, now})
		}
	}
	r.all = slices.Delete(r.all, i, i+1)
}

// isDead tells whether nobody answered there a while ago.
func (r *relays) isDead(now time.Time, addr netip.AddrPort) bool {
	return slices.ContainsFunc(r.dead, func(s sighting) bool { return s.addr == addr && now.Sub(s.at) < deadFor })
}

// score orders relays at random, but for all nodes of the network alike.
func (m *mesh) score(of string) uint64 {
	id := m.network.ID()
	sum := sha256.Sum256(append(id[:], of...))
	return binary.BigEndian.Uint64(sum[:])
}

// identified takes the key of a relay that answers, and tells whether the relay is
// gone, because it turned out to be one that is known already.
func (m *mesh) identified(now time.Time, s *relayServer, key relaywire.ServerPublic) (gone bool) {
	if s.key == key {
		return false
	}
	switch other := m.relays.byKey(key); {
	case other == nil:
	case other.class == memberRelay || other.anyKey: // its word for the address is no better
		m.mergeRelay(now, s, other)
	default:
		m.mergeRelay(now, other, s)
		return true
	}
	if !s.key.IsZero() {
		m.event("relay", "", fmt.Sprintf("relay %s has another key now", s.name()), false)
		m.publisher.dirty = true
	}
	s.key = key
	if s.class < strangerRelay { // which hints are known for is their address
		s.score = m.score(key.String())
	}
	return false
}

// joinAddresses takes a relay's word for all its addresses: what the user named by
// one of them that this host cannot reach is no relay of its own.
func (m *mesh) joinAddresses(now time.Time, s *relayServer) {
	if s.class != ownRelay {
		return
	}
	for _, o := range slices.Clone(m.relays.all) {
		same := func(a netip.AddrPort) bool { return slices.Contains(s.public, a) }
		if o != s && o.key.IsZero() && len(o.addrs) > 0 && !slices.ContainsFunc(o.addrs, func(a netip.AddrPort) bool { return !same(a) }) {
			m.mergeRelay(now, s, o)
		}
	}
}

// mergeRelay gives what was said of one relay to the other, which turned out to
// be the same.
func (m *mesh) mergeRelay(now time.Time, into, from *relayServer) {
	into.class, into.score = min(into.class, from.class), min(into.score, from.score)
	for _, p := range m.peers {
		m.dropRelayed(now, from, p)
	}
	m.relays.all = slices.DeleteFunc(m.relays.all, func(s *relayServer) bool { return s == from })
	for i, a := range from.addrs {
		if hearsay := i >= len(from.addrs)-from.hearsay; into.lacks(a, hearsay) {
			into.isAt(a, hearsay)
		}
	}
	if into.client != nil {
		into.client.SetAddrs(now, into.addrs)
	}
}
