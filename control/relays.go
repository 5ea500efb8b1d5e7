package control

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/client"
	relaywire "github.com/credant/credant/relay/wire"
)

// relayClass says why a relay may be used. The lower class is used first.
type relayClass uint8

const (
	ownRelay      relayClass = iota // named by --relay
	networkRelay                    // announces itself in the DHT for this network
	memberRelay                     // named in a member's record
	strangerRelay                   // announces itself in the DHT for everyone
)

// String is what status calls the class.
func (c relayClass) String() string {
	switch c {
	case ownRelay:
		return "own"
	case networkRelay:
		return "network"
	case memberRelay:
		return "member"
	default:
		return "public"
	}
}

const (
	maxRelays      = 16
	maxStrangers   = 4
	maxRelayAddrs  = 4
	homeRelays     = 2               // registered with, and kept warm
	strangerAfter  = 3 * time.Second // without another relay
	unusedRelay    = 10 * time.Minute
	lostAfter      = 10 * time.Second     // a relay may have another address
	suspectAfter   = 2 * time.Second      // the least between two checks of a relay that packets do not come from
	homeAdvantage  = 5 * time.Millisecond // that a relay must be nearer to become home instead of another
	relaysReviewed = 10 * time.Second     // at the latest
)

// relays are those that this node knows of. It registers with two of them, its
// home relays, and has allocations wherever a pair needs one.
type relays struct {
	config client.Config
	all    []*relayServer
	began  time.Time
	lonely time.Time // since when one is needed and none answers; zero: not
	dirty  bool      // something changed that decides who is used for what
	next   time.Time // of the next review without that
}

// relayServer is one relay as this node sees it.
type relayServer struct {
	class   relayClass
	key     relaywire.ServerPublic // zero: whoever answers
	addrs   []netip.AddrPort       // where it is said to be
	client  *client.Client         // nil: never asked yet
	up      bool
	leaving bool
	back    time.Time // when one that left may be used again
	home    bool
	addr    netip.AddrPort   // where it answers
	public  []netip.AddrPort // all its addresses, as it says itself
	rtt     time.Duration
	pairs   []keys.NodePublic // that have, or should have, an allocation
	seen    map[keys.NodePublic]bool
	used    time.Time // when it was last home or had a pair
	error   string
	silent  time.Time // since when it does not answer; zero: it does
	suspect time.Time // when it was last asked because a pair's packets stayed away
}

// name is how people know the relay.
func (r *relayServer) name() string {
	switch {
	case r.addr.IsValid():
		return r.addr.String()
	case len(r.addrs) > 0:
		return r.addrs[0].String()
	default:
		return r.key.String()[:8]
	}
}

// usable tells whether new pairs may go there.
func (r *relayServer) usable() bool { return r.up && !r.leaving }

func (r *relays) byKey(key relaywire.ServerPublic) *relayServer {
	for _, s := range r.all {
		if !key.IsZero() && s.key == key {
			return s
		}
	}
	return nil
}

// owner is the relay that a datagram from the address belongs to.
func (r *relays) owner(from netip.AddrPort) *relayServer {
	for _, s := range r.all {
		if s.client != nil && s.client.Owns(from) {
			return s
		}
	}
	return nil
}

// isRelay tells whether the address is one of a relay's, and so no member's.
func (r *relays) isRelay(a netip.AddrPort) bool { return r.owner(a) != nil }

// addRelay takes an address at which a relay is said to be. A zero key is
// whoever answers there.
func (m *mesh) addRelay(now time.Time, class relayClass, key relaywire.ServerPublic, addr netip.AddrPort) *relayServer {
	r := &m.relays
	s := r.byKey(key)
	if s == nil {
		i := slices.IndexFunc(r.all, func(s *relayServer) bool {
			return slices.Contains(s.addrs, addr) && (key.IsZero() || s.key.IsZero())
		})
		if i >= 0 {
			s = r.all[i]
		}
	}
	if s == nil {
		if !r.room(class) {
			m.drops.count("relays-full")
			return nil
		}
		s = &relayServer{class: class, key: key, used: now, seen: make(map[keys.NodePublic]bool)}
		r.all = append(r.all, s)
		r.dirty = true
	}
	if class < s.class {
		s.class, r.dirty = class, true
	}
	if !slices.Contains(s.addrs, addr) && (len(s.addrs) < maxRelayAddrs || !s.up) {
		s.addrs = append(s.addrs, addr)
		s.addrs = slices.Clone(s.addrs[max(0, len(s.addrs)-maxRelayAddrs):])
		if s.client != nil {
			s.client.SetAddrs(now, s.addrs)
		}
	}
	return s
}

// room makes room for one more relay, and tells whether there is some.
func (r *relays) room(class relayClass) bool {
	limit, of := maxRelays, func(*relayServer) bool { return true }
	if class == strangerRelay {
		limit, of = maxStrangers, func(s *relayServer) bool { return s.class == strangerRelay }
	}
	n, worst := 0, -1
	for i, s := range r.all {
		if !of(s) {
			continue
		}
		n++
		if s.home || len(s.pairs) > 0 || s.class < class || s.class == ownRelay || s.up && s.class == class {
			continue
		}
		if worst < 0 || cmp.Or(cmp.Compare(s.class, r.all[worst].class), r.all[worst].used.Compare(s.used)) > 0 {
			worst = i
		}
	}
	if n < limit {
		return true
	}
	if worst < 0 {
		return false
	}
	r.all = slices.Delete(r.all, worst, worst+1)
	return true
}

// rank orders relays by what they may be used for before, then by distance.
func rank(a, b *relayServer) int {
	near := func(s *relayServer) time.Duration {
		if s.home {
			return s.rtt - min(max(homeAdvantage, s.rtt/5), s.rtt)
		}
		return s.rtt
	}
	return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(near(a), near(b)))
}

// reviewRelays decides which relays are asked, which two are home, and which
// pairs have an allocation where.
func (m *mesh) reviewRelays(now time.Time) (more bool) {
	r := &m.relays
	if !r.dirty && now.Before(r.next) {
		return false
	}
	r.dirty, r.next = false, now.Add(relaysReviewed)
	m.reviewNeed(now)
	for _, s := range r.all {
		if s.leaving && !now.Before(s.back) {
			s.leaving = false // its client has found out by now whether it is there
		}
		if s.client == nil && m.mayAsk(now, s) {
			s.client = client.New(r.config, client.Server{Key: s.key, Addrs: s.addrs})
			s.client.SetAddrs(now, s.addrs)
		}
	}
	changed := m.chooseHomes(now)
	m.assignPairs(now)
	r.forgetUnused(now)
	return changed
}

// reviewNeed finds out whether somebody is needed to relay and nobody is there.
func (m *mesh) reviewNeed(now time.Time) {
	r := &m.relays
	need := len(m.peers) == 0
	for _, p := range m.peers {
		need = need || !p.working() || p.viaRelay()
	}
	have := slices.ContainsFunc(r.all, func(s *relayServer) bool { return s.class < strangerRelay && s.usable() })
	switch {
	case have || !need:
		r.lonely = time.Time{}
	case r.lonely.IsZero():
		r.lonely = now
	}
	if !r.lonely.IsZero() && now.Before(r.lonely.Add(strangerAfter)) {
		r.next = r.lonely.Add(strangerAfter)
	}
}

// strangers tells whether strangers' relays may be used now.
func (r *relays) strangers(now time.Time) bool {
	return !r.lonely.IsZero() && !now.Before(r.lonely.Add(strangerAfter))
}

// mayAsk tells whether the relay should be asked whether it is there. That tells
// it nothing of the network.
func (m *mesh) mayAsk(now time.Time, s *relayServer) bool {
	if s.class == memberRelay {
		return len(s.pairs) > 0 || !slices.ContainsFunc(m.relays.all, func(o *relayServer) bool {
			return o.class < memberRelay && o.usable()
		})
	}
	return true
}

// chooseHomes registers with the best two relays, and reports whether they are
// others than before.
func (m *mesh) chooseHomes(now time.Time) (changed bool) {
	r := &m.relays
	var best []*relayServer
	for _, s := range r.all {
		if s.usable() && (s.class != strangerRelay || s.home && m.needed(s) || r.strangers(now)) {
			best = append(best, s)
		}
	}
	slices.SortStableFunc(best, rank)
	best = best[:min(len(best), homeRelays)]
	for _, s := range r.all {
		home := slices.Contains(best, s)
		if home {
			s.used = now
		}
		if home == s.home {
			continue
		}
		s.home, changed = home, true
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

// needed tells whether peers are reached through the relay.
func (m *mesh) needed(s *relayServer) bool {
	for _, p := range m.peers {
		if p.viaRelay() && p.relayed[s].addr == p.path.Addr {
			return true
		}
	}
	return len(s.pairs) > 0
}

// forgetUnused drops relays of others that nobody has needed for long.
func (r *relays) forgetUnused(now time.Time) {
	r.all = slices.DeleteFunc(r.all, func(s *relayServer) bool {
		return s.class > networkRelay && !s.home && len(s.pairs) == 0 && now.Sub(s.used) > unusedRelay
	})
}

// homes are the relays that this node names in its record.
func (r *relays) homes() []*relayServer {
	var homes []*relayServer
	for _, s := range r.all {
		if s.home && !s.key.IsZero() {
			homes = append(homes, s)
		}
	}
	slices.SortStableFunc(homes, rank)
	return homes
}

// lost are relays that do not answer any more where they were.
func (r *relays) lost(now time.Time) []relaywire.ServerPublic {
	var keys []relaywire.ServerPublic
	for _, s := range r.all {
		if !s.key.IsZero() && !s.silent.IsZero() && now.Sub(s.silent) > lostAfter {
			keys = append(keys, s.key)
		}
	}
	return keys
}

// seeks tells which relays should be searched for in the DHT: those that serve
// this network while none of ours answers, and strangers' while none does.
func (r *relays) seeks(now time.Time) (network, strangers bool) {
	up := func(below relayClass) bool {
		return slices.ContainsFunc(r.all, func(s *relayServer) bool { return s.class < below && s.usable() })
	}
	return !up(memberRelay), !r.lonely.IsZero() && !up(strangerRelay)
}
