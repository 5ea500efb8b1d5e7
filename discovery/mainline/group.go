package mainline

import (
	"net/netip"
	"slices"
	"time"
)

const (
	hashesEvery = 30 * time.Second // how often the day is looked at
	// activeEvery is how often Active is looked at, unless Wake says so; an item's
	// value, of which nobody says that it has changed, is looked at each valueEvery.
	activeEvery  = 30 * time.Second
	valueEvery   = time.Second
	maxHashes    = 4
	maxAnnounced = 128
	// startsAtOnce is how many new lookups of one group begin in one step. A relay of
	// many networks would spend its whole pace on the first second otherwise.
	startsAtOnce = 4
	startPause   = time.Second
)

// A group is lookups that are for one thing.
type group struct {
	purpose purpose
	hashes  func(now time.Time) [][20]byte
	active  func() bool          // nil: always
	found   func(netip.AddrPort) // nil: nobody wants to know
	fetch   *fetch               // of toGet
	item    *publisher           // of toPut

	lookups  []*lookup
	hashesAt time.Time // when to look at hashes
	on       bool      // as active last said
	value    string    // of toPut: what was last put
}

// newGroups makes the groups that a configuration asks for, the one that status
// speaks of first.
func newGroups(c *Config, id nodeID, p *publisher) []*group {
	var gs []*group
	add := func(purpose purpose, hashes func(time.Time) [][20]byte, active func() bool, found func(netip.AddrPort)) {
		if hashes != nil {
			gs = append(gs, &group{purpose: purpose, hashes: hashes, active: active, found: found})
		}
	}
	add(toMeet, c.InfoHashes, nil, c.Found)
	add(toAnnounce, c.Announce, nil, nil)
	if c.Serve {
		add(toServe, func(time.Time) [][20]byte { return [][20]byte{id} }, nil, nil)
	}
	for _, l := range c.Lookups {
		add(toLook, l.InfoHashes, l.Active, l.Found)
	}
	if p != nil {
		gs = append(gs, putGroup(p))
	}
	return gs
}

// putGroup keeps an item stored.
func putGroup(p *publisher) *group {
	return &group{
		purpose: toPut, item: p,
		hashes: func(time.Time) [][20]byte { return [][20]byte{p.target} },
		active: func() bool { return p.value() != "" },
	}
}

// wake looks whether the group is active. What was known when it last was is where
// it begins.
func (g *group) wake(now time.Time) bool {
	was := g.on
	g.on = g.active == nil || g.active()
	if g.on && !was && len(g.lookups) > 0 {
		g.hashesAt = time.Time{}
		g.kick(now)
	}
	return g.on
}

func (g *group) kick(now time.Time) {
	for _, l := range g.lookups {
		l.Kick(now)
	}
}

// refresh takes the hashes of this time of day, now and then.
func (g *group) refresh(now time.Time) {
	if now.Before(g.hashesAt) {
		return
	}
	g.hashesAt = now.Add(hashesEvery)
	hashes := g.hashes(now)
	hashes = hashes[:min(len(hashes), g.purpose.limit())]
	slot := g.purpose.slot(len(hashes))
	lookups := make([]*lookup, 0, len(hashes))
	starts := 0
	for i, h := range hashes {
		if slices.Contains(hashes[:i], h) {
			continue
		}
		l := g.lookup(h)
		if l == nil {
			if starts++; starts > startsAtOnce {
				g.hashesAt = now.Add(startPause)
				continue
			}
			l = newLookupFor(now, g.purpose, h, slot)
		}
		l.slot = slot
		lookups = append(lookups, l)
	}
	g.lookups = lookups
}

func (g *group) lookup(h infoHash) *lookup {
	for _, l := range g.lookups {
		if l.hash == h {
			return l
		}
	}
	return nil
}

func (g *group) next(now time.Time) time.Time {
	every := activeEvery
	if g.purpose == toPut {
		every = valueEvery
	}
	if !g.on {
		return now.Add(every)
	}
	next := now.Add(searchEvery)
	if g.hashes != nil {
		next = g.hashesAt
	}
	if g.active != nil && now.Add(every).Before(next) {
		next = now.Add(every)
	}
	for _, l := range g.lookups {
		if t := l.Next(now); t.Before(next) {
			next = t
		}
	}
	return next
}

// changed puts the item anew where its value is another one.
func (g *group) changed(now time.Time, value string) {
	if g.value != "" && g.value != value {
		g.kick(now)
	}
	g.value = value
}
