package control

import (
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// Two members whose NATs keep their hellos out, and who know nobody that would carry
// a signal, find only each other's address in the DHT. There they leave notes for
// each other: their records, as items under keys that follow from the network key,
// the day and the author's address on the internet. Who knows the other's record
// checks like anybody else; only the moment to do so, at which NATs have to be opened
// from both sides, is taken from the wall clock, since nobody can call.

const (
	// unheardFor is how long an address from the DHT may be silent before notes are
	// looked for: a hello and its repetitions take less.
	unheardFor = 4 * time.Second
	// leaveAfter is sooner, so that two that begin together find each other's note at
	// the first look.
	leaveAfter = 2 * time.Second
	fetchFirst = 8 * time.Second // until the next look; it doubles
	// fetchLongest can be long: whoever comes to an address later leaves its note, and
	// looks for others', as soon as the DHT names them to it.
	fetchLongest = time.Hour
	// Anybody can have the DHT name addresses, and to look for the notes of one takes a
	// search for each slot: some hundred datagrams. So there are maxLooks at once,
	// then one in lookAgain.
	maxLooks      = 24
	lookAgain     = 5 * time.Minute
	maxUnheard    = 32
	unheardForget = 15 * time.Minute // after the DHT no longer names it
	// noteAge is what a note may have aged in the DHT, roughly.
	noteAge = time.Hour
	// Members that know of each other by notes check at these moments of the wall
	// clock, and try many ports at every second one.
	noteRound      = 15 * time.Second
	noteRounds     = 5 * time.Minute
	noteRoundLater = 15 * time.Minute
)

// notes is what this node wants of notes. The zero value wants none.
type notes struct {
	unheard map[netip.Addr]*unheard
	round   time.Time // the next common moment; zero: nobody waits for one
	spent   time.Time // by then as many looks as were made may be made again
}

// mayLook takes a look from the budget of all addresses.
func (n *notes) mayLook(now time.Time) bool {
	if n.spent.Before(now) {
		n.spent = now
	}
	if n.spent.Sub(now) > (maxLooks-1)*lookAgain {
		return false
	}
	n.spent = n.spent.Add(lookAgain)
	return true
}

// unheard is an address of the internet that the DHT names and where nobody answers.
type unheard struct {
	since, named time.Time
	next         time.Time     // when to leave a note, then to look for notes
	pause        time.Duration // zero: no note was due yet
}

// named takes an address that the DHT names.
func (m *mesh) named(now time.Time, at netip.AddrPort) {
	if m.mayBeSelf(now, at) || m.knowsOf(at.Addr()) {
		return
	}
	if u := m.notes.unheard[at.Addr()]; u != nil {
		u.named = now
		return
	}
	if m.notes.unheard == nil {
		m.notes.unheard = make(map[netip.Addr]*unheard)
	}
	if len(m.notes.unheard) < maxUnheard {
		m.notes.unheard[at.Addr()] = &unheard{since: now, named: now, next: now.Add(leaveAfter)}
	}
}

// mayBeSelf tells whether the address may be this node's own: behind a NAT that
// takes another port for each destination, any port of its address may.
func (m *mesh) mayBeSelf(now time.Time, at netip.AddrPort) bool {
	nat4, _ := m.behavior(now)
	for _, s := range m.publisher.reflexive {
		if s.addr.Addr() == at.Addr() && (s.addr == at || nat4.Mapping != wire.EndpointIndependent) {
			return true
		}
	}
	return m.outside(now, at.Addr().Is4()) == at.Addr() && nat4.Mapping != wire.EndpointIndependent
}

// knowsOf tells whether a known member is at an address of the internet.
func (m *mesh) knowsOf(at netip.Addr) bool {
	for _, p := range m.peers {
		if p.path.Addr.Addr() == at || slices.ContainsFunc(p.record.Candidates, func(c wire.Candidate) bool { return c.Addr.Addr() == at }) {
			return true
		}
	}
	return false
}

// outside is the address of this node that most DHT nodes see; invalid where none does.
func (m *mesh) outside(now time.Time, is4 bool) netip.Addr {
	v := &m.vantage6
	if is4 {
		v = &m.vantage4
	}
	return v.address(now)
}

// noteWants is what should be done about notes now.
type noteWants struct {
	leave []netip.Addr // where this node's note belongs; none: nowhere
	look  []netip.Addr // whose notes are to be looked for
}

// stepNotes says what is to be done about notes, and checks those that are known by
// notes at the moments that both sides take for it.
func (m *mesh) stepNotes(now, wall time.Time) {
	for at, u := range m.notes.unheard {
		switch {
		case now.Sub(u.named) > unheardForget || m.knowsOf(at):
			delete(m.notes.unheard, at)
		case now.Before(u.next):
		case u.pause == 0:
			u.next, u.pause = u.since.Add(unheardFor), fetchFirst
		case !m.notes.mayLook(now):
			u.next = now.Add(lookAgain)
		default:
			m.out.notes.look = append(m.out.notes.look, at)
			u.next = now.Add(u.pause)
			u.pause = min(2*u.pause, fetchLongest)
		}
	}
	m.out.notes.leave = m.noteAt(now)
	if !m.notes.round.IsZero() && !now.Before(m.notes.round) {
		m.checkNoted(now, wall)
	}
}

// noteAt is where this node's note belongs: at its own addresses, while somebody may
// be looking for it there.
func (m *mesh) noteAt(now time.Time) (all []netip.Addr) {
	if m.notes.round.IsZero() && !m.isUnheard(now) {
		return nil
	}
	for _, is4 := range []bool{true, false} {
		if at := m.outside(now, is4); at.IsValid() {
			all = append(all, at)
		}
	}
	return all
}

// isUnheard tells whether an address has been silent for long enough to leave a note.
func (m *mesh) isUnheard(now time.Time) bool {
	for _, u := range m.notes.unheard {
		if now.Sub(u.since) >= leaveAfter {
			return true
		}
	}
	return false
}

func (m *mesh) checkNoted(now, wall time.Time) {
	every := time.Duration(0)
	// The timer may have fired a moment late.
	punches := wall.Add(noteRound/2).Truncate(noteRound).Unix()%int64(2*noteRound/time.Second) == 0
	for _, p := range m.peers {
		if p.notedAt.IsZero() || p.working() {
			continue
		}
		if now.Sub(p.notedAt) < noteRounds {
			every = noteRound
		} else if every == 0 {
			every = noteRoundLater
		}
		m.agent.Restart(now, p.node, "it left a note in the DHT")
		if punches {
			m.agent.PunchAt(now, p.node, now)
		}
	}
	m.notes.round = time.Time{}
	if every > 0 {
		m.notes.round = commonMoment(now, wall, every)
	}
}

// noted takes a note.
func (m *mesh) noted(now, wall time.Time, note []byte) {
	signed, err := wire.OpenSealedRecord(note, m.network.RecordKey())
	if err != nil {
		m.drops.count(wire.DropReason(err))
		return
	}
	r, err := signed.Verify(m.prefix6)
	if err != nil {
		m.drops.count(wire.DropReason(err))
		return
	}
	known := m.peers[r.Node] != nil
	age := ageOfNote(r, wall)
	if age >= r.Lifetime {
		m.drops.count("record-expired")
		return
	}
	p := m.learn(now, wall, r, signed, age, keys.NodePublic{})
	if p == nil || p.working() {
		return
	}
	if !known {
		m.event("found", p.name(), p.name()+" has left a note in the DHT", false)
	}
	p.notedAt = now
	m.notes.round = commonMoment(now, wall, noteRound)
}

// ageOfNote is how old a note is. That of a record that lives hardly longer than
// notes do has to be known better than roughly: its number says when it was
// signed, by clocks that have to be right for notes anyway.
func ageOfNote(r wire.Record, wall time.Time) time.Duration {
	if r.Lifetime > 2*noteAge {
		return noteAge
	}
	return max(0, wall.Sub(time.UnixMilli(int64(min(r.Seq, 1<<62)))))
}

// commonMoment is when the wall clock is at the next multiple of every.
func commonMoment(now, wall time.Time, every time.Duration) time.Time {
	return now.Add(wall.Truncate(every).Add(every).Sub(wall))
}

// nextNotes is when stepNotes has something to do.
func (m *mesh) nextNotes(sooner func(time.Time)) {
	sooner(m.notes.round)
	for _, u := range m.notes.unheard {
		sooner(u.next)
	}
}
