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
	registerWithin = 3 * time.Second      // a relay that answers
	refusedAgain   = 10 * time.Minute     // to try one that did not
	homeAdvantage  = 5 * time.Millisecond // that a relay must be nearer to become home instead of another
	relaysReviewed = 10 * time.Second     // at the latest
	// An idle node without relays is not to wake up for them.
	noRelaysReviewed = time.Minute
)

// relays are those that this node knows of. It registers with two of them, its
// home relays, and has allocations wherever a pair needs one.
type relays struct {
	config client.Config
	all    []*relayServer
	lonely time.Time // since when one is needed and none answers; zero: not
	need   bool      // there is nobody, or somebody without a direct path
	dirty  bool      // something changed that decides who is used for what
	next   time.Time // of the next review without that
	spent  [strangerRelay + 1]askBudget
	dead   []sighting // addresses at which nobody answered
}

// relayServer is one relay as this node sees it.
type relayServer struct {
	relayHearsay
	relayLink
	relayService
	pairs []keys.NodePublic // that have, or should have, an allocation
	used  time.Time         // when it was last home or had a pair

	routeSight relaySight
}

// relayHearsay is what is said of a relay.
type relayHearsay struct {
	class   relayClass
	key     relaywire.ServerPublic // zero: not known yet
	anyKey  bool                   // named by its address alone: whoever answers there
	addrs   []netip.AddrPort       // where it is said to be, by members alone last
	hearsay int                    // how many of addrs members alone say
	added   time.Time
	score   uint64 // by which all nodes of the network prefer the same relays
}

// relayLink is whether and how a relay answers.
type relayLink struct {
	client  *client.Client // nil: never asked yet
	up      bool
	leaving bool
	back    time.Time        // when one that left may be used again
	addr    netip.AddrPort   // where it answers
	public  []netip.AddrPort // all its addresses, as it says itself
	rtt     time.Duration
	error   string
	silent  time.Time // since when it does not answer; zero: it does
	suspect time.Time // when it was last asked because a pair's packets stayed away
	views   askBudget // of what it says that this node's address is
}

// relayService is a relay as the place where this node meets others.
type relayService struct {
	home    bool
	homeAt  time.Time // since when
	meets   bool      // it is home, and a member is there that has no path yet
	regular bool      // it has registered this node
	refused time.Time // when it was given up for not doing so; zero: it was not
	seen    map[keys.NodePublic]bool
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

// serves tells whether it is not known to be of little use.
func (r *relayServer) serves() bool { return r.usable() && r.refused.IsZero() }

func (r *relays) byKey(key relaywire.ServerPublic) *relayServer {
	for _, s := range r.all {
		if !key.IsZero() && s.key == key {
			return s
		}
	}
	return nil
}

// reviewRelays decides which relays are asked, which two are home, and which
// pairs have an allocation where.
func (m *mesh) reviewRelays(now time.Time) (more bool) {
	r := &m.relays
	if !r.dirty && now.Before(r.next) {
		return false
	}
	r.dirty, r.next = false, now.Add(relaysReviewed)
	if len(r.all) == 0 {
		r.next = now.Add(noRelaysReviewed)
	}
	for _, s := range r.all {
		if s.leaving && !now.Before(s.back) {
			s.leaving = false // its client has found out by now whether it is there
		} else if s.leaving {
			r.reviewAt(s.back)
		}
		m.reviewService(now, s)
	}
	m.reviewNeed(now)
	for _, s := range r.all {
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

// reviewService finds out which relays answer and do not register this node, so
// that they do not stand in the way of those that do.
func (m *mesh) reviewService(now time.Time, s *relayServer) {
	switch {
	case !s.refused.IsZero():
		if now.Sub(s.refused) >= refusedAgain && !s.home {
			s.refused = time.Time{}
		}
	case !s.home || s.regular:
	case now.Sub(s.homeAt) < registerWithin:
		m.relays.reviewAt(s.homeAt.Add(registerWithin))
	default:
		s.refused = now
		why := cmp.Or(s.client.Status().LastError, "no answer")
		m.event("relay", "", "relay "+s.name()+" does not register this node: "+why, false)
	}
}

// reviewNeed finds out whether somebody is needed to relay and nobody is there.
func (m *mesh) reviewNeed(now time.Time) {
	r := &m.relays
	need := len(m.peers) == 0
	for _, p := range m.peers {
		need = need || !p.working() || p.viaRelay()
	}
	r.need = need
	have := slices.ContainsFunc(r.all, func(s *relayServer) bool { return s.class < strangerRelay && s.serves() })
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
			return o.class < memberRelay && o.serves()
		})
	}
	return true
}

// forgetUnused drops relays of others that nobody has needed for long.
func (r *relays) forgetUnused(now time.Time) {
	r.all = slices.DeleteFunc(r.all, func(s *relayServer) bool {
		return s.class > networkRelay && !s.home && len(s.pairs) == 0 && now.Sub(s.used) > unusedRelay
	})
}

// lost are relays that do not answer any more where they were. One that a member
// names and that never did is not worth a search.
func (r *relays) lost(now time.Time) []relaywire.ServerPublic {
	var keys []relaywire.ServerPublic
	for _, s := range r.all {
		if !s.key.IsZero() && (s.class < memberRelay || s.addr.IsValid()) && !s.silent.IsZero() && now.Sub(s.silent) > lostAfter {
			keys = append(keys, s.key)
		}
	}
	return keys
}

// seeks tells which relays should be searched for in the DHT while somebody needs
// one: those that serve this network while none of ours answers, and strangers'
// while none does.
func (r *relays) seeks(now time.Time) (network, strangers bool) {
	up := func(below relayClass) bool {
		return slices.ContainsFunc(r.all, func(s *relayServer) bool { return s.class < below && s.serves() })
	}
	return r.need && !up(memberRelay), !r.lonely.IsZero() && !up(strangerRelay)
}
