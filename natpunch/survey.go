package natpunch

import (
	"encoding/binary"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/natpunch/demux"
)

const (
	// wantedAnswers are enough to compare; two decide, when the third is slow.
	wantedAnswers = 3
	decisive      = 2
	decideAfter   = time.Second
	// maxInFlight requests at once; a server that has not answered its third
	// request no longer holds the next one up.
	maxInFlight = 6
	slowAfter   = 3
	// maxFollowed tests of RFC 5780 follow a measurement that leaves questions.
	maxFollowed = 3
	// maxReflexiveAddrs bounds what a status holds.
	maxReflexiveAddrs = 4
)

// requestGaps are RFC 8489's, Section 6.2.1, with a faster first step and fewer
// repetitions: requests leave at 0, 250, 750, 1750 and 3750 ms, and are given up
// 2 s later.
var requestGaps = []time.Duration{
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 2 * time.Second,
}

// survey asks the servers of one family.
type survey struct {
	servers []netip.AddrPort
	queue   []netip.AddrPort // not asked yet in this measurement
	asked   []*request
	answers []answer
	wanted  int       // answers; zero: no measurement is under way
	started time.Time // zero: at the next advance
	refresh time.Time // the next measurement; zero: none
	silent  int       // measurements in a row that nobody answered
	// followed are the addresses that tests of RFC 5780 in this measurement went to.
	followed []netip.AddrPort

	status FamilyStatus
}

// request is one STUN transaction. It belongs to the server's address: what the
// same id brings from elsewhere is no answer.
type request struct {
	server netip.AddrPort
	by     netip.AddrPort // the server in the list whose address that is, be it its other one
	id     stunID
	sent   int
	next   time.Time
}

type answer struct {
	server, mapped netip.AddrPort
	by             netip.AddrPort
	discover       bool
	other          netip.AddrPort
}

func (f *survey) setServers(servers []netip.AddrPort) {
	if slices.Equal(f.servers, servers) {
		return
	}
	old := f.servers
	f.servers = servers
	f.answers = slices.DeleteFunc(f.answers, func(a answer) bool { return !slices.Contains(servers, a.by) })
	f.asked = slices.DeleteFunc(f.asked, func(r *request) bool { return !slices.Contains(servers, r.by) })
	switch {
	case len(servers) == 0:
		*f = survey{}
	case f.wanted > 0: // under way: go on with what is new
		f.queue = slices.DeleteFunc(f.queue, func(a netip.AddrPort) bool { return !slices.Contains(servers, a) })
		for _, a := range servers {
			if !slices.Contains(old, a) {
				f.queue = append(f.queue, a)
			}
		}
	case f.status.Servers < decisive:
		f.start(wantedAnswers)
	}
}

// start begins a measurement, at the next advance. One answer is wanted to see whether all is as it
// was, several to judge.
func (f *survey) start(wanted int) {
	if len(f.servers) == 0 {
		return
	}
	f.wanted, f.started, f.refresh, f.followed = wanted, time.Time{}, time.Time{}, nil
	f.asked = nil
	f.queue = f.order()
	if wanted > 1 {
		f.answers = nil
	}
}

// order returns the servers in the order in which they are asked: those that
// answered last, then the others, and a second port of one address last of all.
func (f *survey) order() []netip.AddrPort {
	var first, second []netip.AddrPort
	add := func(a netip.AddrPort) {
		switch {
		case slices.Contains(first, a) || slices.Contains(second, a):
		case slices.ContainsFunc(first, func(b netip.AddrPort) bool { return b.Addr() == a.Addr() }):
			second = append(second, a)
		default:
			first = append(first, a)
		}
	}
	for _, a := range f.answers {
		if a.server == a.by {
			add(a.server)
		}
	}
	for _, a := range f.servers {
		add(a)
	}
	return append(first, second...)
}

func (f *survey) advance(now time.Time, s *STUN) (out []Send) {
	if f.wanted == 0 && !f.refresh.IsZero() && !f.refresh.After(now) {
		f.start(f.refreshWants())
	}
	if f.wanted == 0 {
		return nil
	}
	if f.started.IsZero() {
		f.started = now
	}
	f.fill(now, s)
	for _, r := range f.asked {
		if r.next.After(now) || r.sent == len(requestGaps) {
			continue
		}
		out = append(out, Send{To: r.server, Data: bindingRequest(r.id, question{})})
		r.next = now.Add(requestGaps[r.sent])
		r.sent++
	}
	f.finish(now, s)
	return out
}

// refreshWants is one answer while the last measurement was clear.
func (f *survey) refreshWants() int {
	if f.status.Servers >= decisive {
		return 1
	}
	return wantedAnswers
}

// fill asks the next servers while answers are missing that nobody is about to
// give.
func (f *survey) fill(now time.Time, s *STUN) {
	f.asked = slices.DeleteFunc(f.asked, func(r *request) bool {
		return r.sent == len(requestGaps) && !r.next.After(now)
	})
	hopeful := 0
	for _, r := range f.asked {
		if r.sent < slowAfter {
			hopeful++
		}
	}
	for len(f.queue) > 0 && f.heard()+hopeful < f.wanted && len(f.asked) < maxInFlight {
		f.ask(now, s, f.queue[0], f.queue[0])
		f.queue = f.queue[1:]
		hopeful++
	}
}

func (f *survey) ask(now time.Time, s *STUN, server, by netip.AddrPort) {
	f.asked = append(f.asked, &request{server: server, by: by, id: newSTUNID(s.random), next: now})
}

// heard counts the answers that this measurement got. A light one ends with its
// first.
func (f *survey) heard() int {
	if f.wanted == 1 {
		return 0
	}
	return len(f.answers)
}

func (f *survey) receive(now time.Time, s *STUN, from netip.AddrPort, b binding) string {
	i := slices.IndexFunc(f.asked, func(r *request) bool { return r.id == b.id && r.server == from })
	if i < 0 || b.request || b.mapped.IsValid() && b.mapped.Addr().Is4() != from.Addr().Is4() {
		return demux.DropUnsolicited
	}
	by := f.asked[i].by
	f.asked = slices.Delete(f.asked, i, i+1)
	if b.failed {
		return "" // the next one is asked
	}
	a := answer{server: from, mapped: b.mapped, by: by, discover: b.discover}
	if askable(from, b.other) {
		a.other = b.other
	}
	if f.wanted == 1 {
		if !slices.Contains(f.status.Reflexive, a.mapped) {
			f.start(wantedAnswers)
			f.started = now
			f.queue = slices.DeleteFunc(f.queue, func(q netip.AddrPort) bool { return q == from })
			f.answers = []answer{a}
			f.evaluate(s)
			return ""
		}
		f.end(now, s)
		return ""
	}
	f.answers = append(f.answers, a)
	f.evaluate(s) // the first address is worth telling at once
	f.finish(now, s)
	return ""
}

// finish ends the measurement when it has what it wants, or can get no more.
func (f *survey) finish(now time.Time, s *STUN) {
	n := f.heard()
	over := len(f.asked) == 0 && len(f.queue) == 0
	if len(f.followed) > 0 && !over || n < f.wanted && !over && (n < decisive || now.Sub(f.started) < decideAfter) {
		return
	}
	if f.wanted > 1 && f.follow(now, s) {
		return
	}
	if over && n == 0 {
		f.answers = nil
	}
	f.end(now, s)
}

// follow makes the tests of RFC 5780, Section 4.3, that are still needed: where
// only one server answered, at its other address; where the mapping depends on
// the address, at another port of one.
func (f *survey) follow(now time.Time, s *STUN) bool {
	if len(f.followed) >= maxFollowed {
		return false
	}
	behavior := mapping(f.answers)
	for _, a := range f.answers {
		var target netip.AddrPort
		switch {
		case !a.other.IsValid() || a.server != a.by:
			continue
		case behavior == UnknownBehavior:
			target = netip.AddrPortFrom(a.other.Addr(), a.server.Port()) // test II
		case behavior == AddressDependent:
			target = netip.AddrPortFrom(a.server.Addr(), a.other.Port()) // test III, at the first address
		default:
			return false
		}
		if slices.Contains(f.followed, target) || slices.ContainsFunc(f.answers, func(b answer) bool { return b.server == target }) {
			continue
		}
		f.followed = append(f.followed, target)
		f.queue, f.asked = nil, nil
		f.ask(now, s, target, a.by)
		return true
	}
	return false
}

func (f *survey) end(now time.Time, s *STUN) {
	f.wanted, f.asked, f.queue = 0, nil, nil
	f.evaluate(s)
	wait := refreshInterval
	if len(f.answers) == 0 {
		wait = min(firstRetry<<min(f.silent, 10), refreshInterval)
		f.silent++
	} else {
		f.silent = 0
	}
	var b [8]byte
	if _, err := io.ReadFull(s.random, b[:]); err != nil {
		panic("natpunch: read random bytes: " + err.Error())
	}
	jitter := time.Duration(binary.BigEndian.Uint64(b[:]) % uint64(wait/5))
	f.refresh = now.Add(wait - wait/10 + jitter)
}

func (f *survey) due() (next time.Time) {
	if f.wanted == 0 {
		return f.refresh
	}
	if f.started.IsZero() {
		return time.Unix(0, 0) // at once
	}
	if len(f.asked) == 0 {
		return f.started // fill comes first
	}
	next = f.asked[0].next
	for _, r := range f.asked[1:] {
		if r.next.Before(next) {
			next = r.next
		}
	}
	if decide := f.started.Add(decideAfter); len(f.followed) == 0 && f.heard() >= decisive && decide.Before(next) {
		next = decide
	}
	return next
}
