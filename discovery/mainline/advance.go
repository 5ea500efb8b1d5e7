package mainline

import "time"

// closest returns up to closestK nodes of known id that answered, answer or may
// still be asked. Who is late does not hold a place, so dead nodes hold up nobody.
func (l *lookup) closest(now time.Time) contacts {
	var near contacts
	for _, c := range l.contacts {
		if c.id == (nodeID{}) || !c.usable(now) {
			continue
		}
		if c.answered.IsZero() && c.sent.IsZero() && l.budget <= 0 {
			continue
		}
		if near = append(near, c); len(near) == closestK {
			break
		}
	}
	return near
}

func (l *lookup) settled(now time.Time) bool {
	return !now.Before(l.fastUntil) && l.pace >= settleAfter
}

// Advance returns the queries that are due.
func (l *lookup) Advance(now time.Time) []query {
	qs := l.search(now, nil)
	if !now.Before(l.pollAt) {
		qs = l.poll(now, qs)
	}
	if !l.purpose.announces() {
		return qs
	}
	return l.announce(now, qs)
}

// Searching reports whether the search may still turn somebody up.
func (l *lookup) Searching(now time.Time) bool {
	if l.Silent() {
		return true
	}
	for _, c := range l.contacts {
		if !c.sent.IsZero() && !c.late(now) {
			return true
		}
	}
	for _, c := range l.closest(now) {
		if !c.asked && l.budget > 0 {
			return true
		}
	}
	return false
}

func (l *lookup) ask(now time.Time, c *contact, qs []query) []query {
	c.asked, c.sent = true, now
	return append(qs, query{hash: l.hash, to: c.addr, at: now})
}

// search asks who is among the closest and was not asked since the search began;
// while nobody has answered, also those whose place is not known.
func (l *lookup) search(now time.Time, qs []query) []query {
	inFlight, answered := 0, false
	for _, c := range l.contacts {
		if !c.sent.IsZero() && !c.late(now) {
			inFlight++
		}
		answered = answered || !c.answered.Before(l.searched) && !c.answered.IsZero()
	}
	ask := func(c *contact, limit int) {
		if !c.asked && c.sent.IsZero() && c.usable(now) && inFlight < limit && l.budget > 0 {
			inFlight++
			l.budget--
			qs = l.ask(now, c, qs)
		}
	}
	limit := alpha
	if !answered {
		limit = seedAlpha
		for _, c := range l.contacts {
			if c.id == (nodeID{}) {
				ask(c, limit)
			}
		}
	}
	for _, c := range l.closest(now) {
		ask(c, limit)
	}
	return qs
}

// poll asks the closest nodes that answer: a share of them each second, then all at
// a falling pace and, once settled, one in turn.
func (l *lookup) poll(now time.Time, qs []query) []query {
	clear(l.seen)
	l.polled = now
	if l.purpose == toGet {
		l.pollAt = now.Add(searchEvery)
		return qs
	}
	var near contacts
	for _, c := range l.contacts {
		if !c.answered.IsZero() && c.usable(now) && len(near) < closestK {
			near = append(near, c)
		}
	}
	idle := func(c *contact) bool { return c.sent.IsZero() && !c.announcing }
	if l.settled(now) {
		l.pollAt = now.Add(l.slot)
		l.budget = 1
		for range near {
			l.turn++
			if c := near[l.turn%len(near)]; idle(c) {
				return l.ask(now, c, qs)
			}
		}
		return qs
	}
	if !now.Before(l.fastUntil) {
		l.pace *= 2
	}
	l.pollAt = now.Add(l.pace)
	l.budget = max(l.budget, alpha)
	l.turn++
	for i, c := range near {
		if idle(c) && (l.pollAll || l.pace > fastEvery || (i+l.turn)%fastShare == 0) {
			qs = l.ask(now, c, qs)
		}
	}
	l.pollAll = false
	return qs
}

// announce announces to whoever is among the closest and has just given a token:
// also in the middle of a search, since the nodes that turn out to be closer get
// theirs when they answer.
func (l *lookup) announce(now time.Time, qs []query) []query {
	for _, c := range l.closest(now) {
		if !l.announceDue(now, c) || now.Before(c.retryAfter) {
			continue
		}
		if l.settled(now) && !c.announced.IsZero() {
			// It takes the place of a poll, so that the idle pace holds.
			l.pollAt = l.pollAt.Add(l.slot)
		}
		c.announcing = true
		qs = append(qs, query{hash: l.hash, to: c.addr, token: c.token, at: now})
	}
	return qs
}

// announceDue reports whether c may be announced to once retryAfter has passed.
func (l *lookup) announceDue(now time.Time, c *contact) bool {
	return !c.announcing && c.token != "" && c.live() && now.Sub(c.tokenAt) < l.tokenFresh(now) &&
		(c.announced.IsZero() || now.Sub(c.announced) >= l.purpose.announceEvery())
}

// tokenFresh is shorter once settled, so that a node is announced to right after its
// turn and the turns spread the announces.
func (l *lookup) tokenFresh(now time.Time) time.Duration {
	if l.settled(now) {
		return min(tokenFresh, l.slot/2)
	}
	return tokenFresh
}

// Next returns when Advance or Search may have something to do, without events
// before that.
func (l *lookup) Next(now time.Time) time.Time {
	next := l.pollAt
	earlier := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	earlier(l.searchAt())
	for _, c := range l.contacts {
		if !c.sent.IsZero() && !c.late(now) {
			earlier(c.sent.Add(lateAfter))
		}
	}
	if !l.purpose.announces() {
		return next
	}
	for _, c := range l.closest(now) {
		if l.announceDue(now, c) {
			earlier(c.retryAfter)
		}
	}
	return next
}
