package control

import (
	"cmp"
	"slices"
	"time"
)

// A node registers with its home relays and names them in its record. Two nodes that
// have no other way to meet do so if they share one.

// chooseHomes registers with the best two relays, and reports whether they are
// others than before.
func (m *mesh) chooseHomes(now time.Time) (changed bool) {
	r := &m.relays
	var best []*relayServer
	for _, s := range r.all {
		s.meets = s.home && m.meetsAt(s)
		if s.usable() && (s.class != strangerRelay || s.home && m.needed(s) || s.meets || r.strangers(now)) {
			best = append(best, s)
		}
	}
	slices.SortStableFunc(best, rank)
	best = sharedHome(best)
	for _, s := range r.all {
		home := slices.Contains(best, s)
		if home {
			s.used = now
		}
		if home == s.home {
			continue
		}
		s.home, s.homeAt, s.regular, changed = home, now, false, true
		if home {
			s.client.SetBlob(now, m.blob)
		} else {
			clear(s.seen)
			s.client.SetBlob(now, nil)
		}
	}
	for i, s := range best {
		s.client.SetStandby(now, i > 0)
	}
	if changed {
		m.publisher.dirty = true
	}
	return changed
}

// sharedHome takes the homes of all that may be: the first, and the next one. Of two
// out of three, any two nodes share one. Where there are more, the second is the one
// that all nodes of the network take, so that those who are far from each other meet.
func sharedHome(best []*relayServer) []*relayServer {
	if len(best) <= homeRelays+1 {
		return best[:min(len(best), homeRelays)]
	}
	second := best[1]
	for _, s := range best[2:] {
		if s.class == second.class && s.refused.IsZero() == second.refused.IsZero() && s.score < second.score {
			second = s
		}
	}
	return []*relayServer{best[0], second}
}

// meetsAt tells whether a member is registered at the relay that has no path yet.
func (m *mesh) meetsAt(s *relayServer) bool {
	for node := range s.seen {
		if p := m.peers[node]; p != nil && !p.working() {
			return true
		}
	}
	return false
}

// needed tells whether peers are reached through the relay.
func (m *mesh) needed(s *relayServer) bool {
	for _, p := range m.peers {
		if p.viaRelay() && p.relayed[s].addr == p.path.Addr {
			return true
		}
	}
	return len(s.pairs) > 0
}

// rank orders relays by what they may be used for before, then by distance, and
// strangers' as all nodes do. Those that do not serve this node come last. Two nodes
// that have met at some relay stay there until they have a path: if each went to the
// relays that the other names, they would miss each other.
func rank(a, b *relayServer) int {
	near := func(s *relayServer) time.Duration {
		if s.home {
			return s.rtt - min(max(homeAdvantage, s.rtt/5), s.rtt)
		}
		return s.rtt
	}
	first := func(is bool) int {
		if is {
			return -1
		}
		return 1
	}
	if serves := a.refused.IsZero(); serves != b.refused.IsZero() {
		return first(serves)
	}
	if a.class >= memberRelay && b.class >= memberRelay && a.meets != b.meets {
		return first(a.meets)
	}
	if a.class == strangerRelay && b.class == strangerRelay {
		return cmp.Compare(a.score, b.score)
	}
	return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(near(a), near(b)))
}

// homes are the relays that this node names in its record.
func (r *relays) homes() []*relayServer {
	var homes []*relayServer
	for _, s := range r.all {
		if s.home {
			homes = append(homes, s)
		}
	}
	slices.SortStableFunc(homes, rank)
	return homes
}
