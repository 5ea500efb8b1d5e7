package mainline

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// closestK is BEP 5's K: how many nodes keep what is announced.
	closestK = 8
	// alpha is how many queries of a search are in flight. All of the closest at
	// once: a search is rare, and the first contact is what people wait for.
	alpha = 8
	// seedAlpha is alpha while nobody has answered yet: most remembered nodes may
	// be gone.
	seedAlpha = 16
	// lateAfter is when a search stops waiting for an answer. Twice the round trip
	// of most of the Internet; the query itself lives on until queryTimeout.
	lateAfter    = 400 * time.Millisecond
	queryTimeout = 2 * time.Second

	maxContacts  = 128
	maxLearned   = 16  // nodes taken from one answer, twice BEP 5's K
	maxValues    = 100 // addresses taken from one answer, as many as libtorrent gives
	maxSeen      = 256 // addresses yielded in one round of polls
	searchBudget = 96  // queries of one search; the answers of liars could go on for ever
	retryBudget  = 24  // of a search after several that nobody answered

	announceEvery = 15 * time.Minute // others forget after 30
	putEvery      = 55 * time.Minute // BEP 44: hourly, since others forget after 2 hours
	// A token lives at least 5 minutes (BEP 5), but used while fresh it also tells
	// that the node still sees us at the address that it gave the token to.
	tokenFresh = time.Minute

	// Fast polls ask every other of the closest nodes in turn: an announce is at all
	// of them, and libtorrent bans an address, behind which several of us may be, at
	// 5 queries a second.
	fastFor   = 2 * time.Minute // after a start, a network change or a lost peer
	fastEvery = time.Second
	fastShare = 2
	// lookFor is fastFor where nobody is announced: who is looked for has been there
	// for a while, and the search finds it.
	lookFor     = 20 * time.Second
	settleAfter = time.Minute // the polls' pace once doubled to this is the settled one
	searchEvery = time.Hour

	minSearchPause     = 500 * time.Millisecond // between searches while nobody answers
	maxSearchPause     = time.Minute            // likewise, at last
	sparseSearchPause  = 5 * time.Minute        // while fewer than enough answer
	enoughLive         = 3
	maxMisses          = 3 // queries in a row that nobody answered
	minAnnounceGap     = 5 * time.Second
	maxAnnounceBackoff = 5 * time.Minute
)

// A query asks one node about hash, as the lookup's purpose wants it or, with a
// token, announces this host or puts the item.
type query struct {
	hash  infoHash
	to    netip.AddrPort
	token string
	at    time.Time // when it was made
}

// An answer is what one node replied to a query without a token.
type answer struct {
	id     nodeID
	token  string // empty: it gave none
	nodes  []node
	values []netip.AddrPort
	item   *item          // nil: it has none
	seen   netip.AddrPort // where it sees this host; invalid: it does not say
}

// A lookup keeps this host announced under one infohash in one address family and
// asks who else is, or does what else its purpose says. It is a state machine: the
// driver passes in the time and what came of each query, sends what Advance returns,
// and begins a search with Search whenever SearchDue says so.
type lookup struct {
	hash     infoHash
	purpose  purpose
	contacts contacts

	searched    time.Time     // begin of the last search
	anew        bool          // to be searched again soon
	searchPause time.Duration // until the next while too few answer
	budget      int           // queries to nodes not asked yet

	fastUntil time.Time
	pace      time.Duration // between polls, before they are settled
	polled    time.Time
	pollAll   bool // at the next poll: the tokens are for an old address
	pollAt    time.Time
	slot      time.Duration // between polls of one node each, once settled
	turn      int           // whose turn it is then
	misses    int           // queries in a row to nodes that used to answer, without one
	silence   int           // queries in a row to anybody, without an answer

	seen map[netip.AddrPort]struct{} // yielded since the last round of polls
}

// newLookup starts a lookup for the network's members, which polls one node each
// slot once settled.
func newLookup(now time.Time, hash infoHash, slot time.Duration) *lookup {
	return newLookupFor(now, toMeet, hash, slot)
}

func newLookupFor(now time.Time, p purpose, hash infoHash, slot time.Duration) *lookup {
	l := &lookup{hash: hash, purpose: p, slot: slot, searchPause: minSearchPause}
	l.Kick(now)
	l.pollAt = now.Add(fastEvery) // the search asks first
	return l
}

// Kick polls fast again and announces anew: the network changed, or a peer is lost
// and may have an address that it found out about as late as we did.
func (l *lookup) Kick(now time.Time) {
	l.fastUntil = now.Add(l.purpose.fastFor())
	l.pace = fastEvery
	l.pollAll = true
	if l.purpose.fastFor() == 0 {
		l.pace = settleAfter
	}
	// Who is not polled fast finds out by a search.
	l.anew = l.purpose != toMeet
	// Not oftener than that, however many changes there are.
	if l.pollAt = l.polled.Add(fastEvery); l.pollAt.Before(now) {
		l.pollAt = now
	}
	l.searchPause = minSearchPause
	for _, c := range l.contacts {
		c.refusals, c.retryAfter = 0, time.Time{}
		if now.Sub(c.announced) < minAnnounceGap {
			c.retryAfter = c.announced.Add(minAnnounceGap)
		}
		c.announced = time.Time{}
		c.token = "" // good for the old address only
	}
}

// SearchDue reports whether the driver is to call Search.
func (l *lookup) SearchDue(now time.Time) bool { return !now.Before(l.searchAt()) }

func (l *lookup) searchAt() time.Time {
	switch {
	case l.searched.IsZero():
		return time.Time{}
	case l.anew:
		return l.searched.Add(minAnnounceGap)
	case l.starving():
		return l.searched.Add(l.searchPause)
	}
	return l.searched.Add(searchEvery)
}

// starving reports whether too few nodes answer.
func (l *lookup) starving() bool { return l.Live() < enoughLive || l.misses >= maxMisses }

// Live counts, of the closest nodes that ever answered, those that still do.
func (l *lookup) Live() int {
	heard, live := 0, 0
	for _, c := range l.contacts {
		if c.answered.IsZero() {
			continue
		}
		if c.live() {
			live++
		}
		if heard++; heard == closestK {
			break
		}
	}
	return live
}

// Silent reports whether nobody answers at all.
func (l *lookup) Silent() bool { return l.Live() == 0 || l.misses >= maxMisses }

// Announced reports whether a node holds our announcement.
func (l *lookup) Announced() bool {
	return slices.ContainsFunc(l.contacts, func(c *contact) bool { return !c.announced.IsZero() })
}

// Search begins a search from the seeds and from what is known already.
func (l *lookup) Search(now time.Time, seeds []node) {
	if l.searched.IsZero() {
		l.searchPause = minSearchPause
	} else if l.starving() {
		longest := maxSearchPause
		if !l.Silent() {
			longest = sparseSearchPause
		}
		l.searchPause = min(2*l.searchPause, longest)
	}
	l.searched, l.anew = now, false
	l.budget = searchBudget
	if l.searchPause > 8*minSearchPause {
		l.budget = retryBudget
	}
	// Who failed is forgotten, unless all did: then it was the network.
	silent := l.Silent()
	for _, c := range l.contacts {
		if c.late(now) {
			c.sent = time.Time{} // to be asked again: the datagram may be lost
		}
	}
	l.contacts = slices.DeleteFunc(l.contacts, func(c *contact) bool {
		switch {
		case !c.sent.IsZero() || c.announcing:
			return false
		case c.id == nodeID{}:
			return true // the driver hands in seeds anew, others in time
		}
		return !silent && !c.usable(now)
	})
	for _, c := range l.contacts {
		c.asked = false
		if silent {
			c.failures = 0
		}
	}
	l.Seed(now, seeds)
}

// Seed adds nodes to begin from, as when a name has been resolved.
func (l *lookup) Seed(now time.Time, seeds []node) {
	for _, s := range seeds {
		l.learn(now, s)
	}
	l.contacts.sort(l.hash)
}

func (l *lookup) learn(now time.Time, n node) {
	if c := l.contacts.byAddr(n.addr); c != nil {
		if c.id == (nodeID{}) {
			c.id = n.id
		}
		return
	}
	if len(l.contacts) >= maxContacts {
		i := l.contacts.worst(now)
		l.contacts = slices.Delete(l.contacts, i, i+1)
	}
	l.contacts = append(l.contacts, &contact{node: n})
}

// Answer takes in what came of a get_peers and returns the addresses that nobody
// yielded since the last round of polls.
func (l *lookup) Answer(now time.Time, q query, a answer) (found []netip.AddrPort) {
	l.misses, l.silence = 0, 0
	if c := l.contacts.byAddr(q.to); c != nil {
		c.id, c.sent, c.answered, c.failures = a.id, time.Time{}, now, 0
		c.token, c.tokenAt = a.token, now
	}
	if !l.starving() {
		l.searchPause = minSearchPause
	}
	for _, n := range a.nodes[:min(len(a.nodes), maxLearned)] {
		if n.id != (nodeID{}) && learnable(q.to, n.addr) {
			l.learn(now, n)
		}
	}
	l.contacts.sort(l.hash)
	for _, v := range a.values[:min(len(a.values), maxValues)] {
		if _, seen := l.seen[v]; seen || len(l.seen) >= maxSeen {
			continue
		}
		if l.seen == nil {
			l.seen = make(map[netip.AddrPort]struct{})
		}
		l.seen[v] = struct{}{}
		found = append(found, v)
	}
	return found
}

// Accept takes in that a node accepted an announce.
func (l *lookup) Accept(now time.Time, q query) {
	l.misses, l.silence = 0, 0
	if c := l.contacts.byAddr(q.to); c != nil {
		c.announcing, c.announced, c.refusals = false, now, 0
	}
}

// Fail takes in that a query got no answer, or an error for one.
func (l *lookup) Fail(now time.Time, q query) {
	c := l.contacts.byAddr(q.to)
	if c == nil {
		return
	}
	if q.token != "" {
		c.announcing = false
		c.retryAfter = now.Add(min(time.Second<<min(c.refusals, 10), maxAnnounceBackoff))
		c.refusals++
		return
	}
	if !c.sent.Equal(q.at) {
		return // asked again since, or answered after all
	}
	c.sent = time.Time{}
	c.failures++
	l.silence++
	if c.answered.IsZero() {
		return // who never answered says nothing about the network
	}
	l.misses++
	if l.settled(now) && l.misses < maxMisses {
		l.pollAt = now // whoever is next in turn tells whether it is the node or the network
	}
}
