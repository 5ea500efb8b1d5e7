package discovery

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// DefaultMembers is the number of members a Book holds unless told otherwise.
const DefaultMembers = 4096

// expiredMemory is how long an expired record is remembered, so that neighbours
// who still have a copy do not revive it.
const expiredMemory = 24 * time.Hour

// Change says what putting a record into the Book did.
type Change int

// The outcomes of Put. The zero Change stands beside an error.
const (
	Refused   Change = iota
	New              // the member was not known
	Updated          // a newer record of a known member
	Unchanged        // the record that is known already; it may have grown older
	Stale            // an older record than the known one
	Expired          // older than its lifetime, or expired here before
)

func (c Change) String() string {
	switch c {
	case New:
		return "new"
	case Updated:
		return "updated"
	case Unchanged:
		return "unchanged"
	case Stale:
		return "stale"
	case Expired:
		return "expired"
	default:
		return "refused"
	}
}

// ErrBookFull is returned by Put for a new member when all that the Book holds
// are pinned.
var ErrBookFull = errors.New("book of members is full")

// Book holds the newest record of each member, verified, and how old it is.
//
// Records carry no time that could be compared: two clocks never agree. The
// sequence number orders the records of one member, and the age that travels
// beside a record only grows, on the way and here.
type Book struct {
	prefix6 netip.Prefix
	limit   int
	entries map[keys.NodePublic]*Member
	expired map[keys.NodePublic]expiry
}

type expiry struct {
	seq   uint64
	until time.Time
}

// Member is what the Book knows about one node.
type Member struct {
	Record wire.Record
	Signed wire.SignedRecord
	// Born is when the record's age was zero, in the time given to Put.
	Born time.Time
	// Pinned is set by Pin.
	Pinned bool
}

// AgeAt is how old the record is at now, as it is to be told to others.
func (m Member) AgeAt(now time.Time) time.Duration { return now.Sub(m.Born) }

// NewBook returns an empty book for the network of prefix6. A limit of 0 means
// DefaultMembers.
func NewBook(prefix6 netip.Prefix, limit int) *Book {
	if limit <= 0 {
		limit = DefaultMembers
	}
	return &Book{
		prefix6: prefix6,
		limit:   limit,
		entries: make(map[keys.NodePublic]*Member),
		expired: make(map[keys.NodePublic]expiry),
	}
}

// Put files a record that is age old, as whoever passed it on says. The record
// is returned whenever it is genuine, whatever the Change; the error is wire's,
// or ErrBookFull.
func (b *Book) Put(now time.Time, s wire.SignedRecord, age time.Duration) (wire.Record, Change, error) {
	r, err := s.Verify(b.prefix6)
	if err != nil {
		return wire.Record{}, Refused, err
	}
	age = max(age, 0)
	old := b.entries[r.Node]
	switch {
	case old != nil && r.Seq < old.Record.Seq:
		return r, Stale, nil
	case age >= r.Lifetime || b.hasExpired(now, r):
		// What is known may turn out to be older than thought: an older record
		// is not younger than this one.
		b.expire(now, r.Node, r.Seq)
		return r, Expired, nil
	}
	return b.file(r, s, now.Add(-age))
}

// PutFirsthand files a record that its own node has just sent, in an exchange
// that proves it (Met). Its word on the age holds against that of others, who
// may have told it too high: ages are not signed by whoever adds to them.
func (b *Book) PutFirsthand(now time.Time, s wire.SignedRecord, age time.Duration) (wire.Record, Change, error) {
	r, err := s.Verify(b.prefix6)
	if err != nil {
		return wire.Record{}, Refused, err
	}
	age = max(age, 0)
	if age >= r.Lifetime {
		return b.Put(now, s, age)
	}
	delete(b.expired, r.Node)
	if old := b.entries[r.Node]; old != nil && old.Record.Seq == r.Seq {
		old.Born = now.Add(-age)
	}
	return b.Put(now, s, age)
}

// file enters a record that is not older than the one that is known.
func (b *Book) file(r wire.Record, s wire.SignedRecord, born time.Time) (wire.Record, Change, error) {
	old := b.entries[r.Node]
	if old == nil {
		if len(b.entries) >= b.limit && !b.evict() {
			return r, Refused, ErrBookFull
		}
		b.entries[r.Node] = &Member{Record: r, Signed: s, Born: born}
		return r, New, nil
	}
	if r.Seq == old.Record.Seq {
		// Two records under one number are the author's mistake; the first stays.
		if born.Before(old.Born) {
			old.Born = born
		}
		return old.Record, Unchanged, nil
	}
	old.Record, old.Signed, old.Born = r, s, born
	return r, Updated, nil
}

func (b *Book) hasExpired(now time.Time, r wire.Record) bool {
	x, ok := b.expired[r.Node]
	return ok && x.until.After(now) && r.Seq <= x.seq
}

// evict drops the oldest record that is not pinned: node keys are free to make,
// so a flood of new ones must not push out those who proved that they are there.
func (b *Book) evict() bool {
	var worst keys.NodePublic
	var oldest *Member
	for n, e := range b.entries {
		if !e.Pinned && (oldest == nil || e.Born.Before(oldest.Born)) {
			worst, oldest = n, e
		}
	}
	delete(b.entries, worst)
	return oldest != nil
}

// Pin marks a member as one that WireGuard had a handshake with, or unmarks it.
// Pinned members are not displaced when the Book is full; they expire as all do.
func (b *Book) Pin(node keys.NodePublic, pinned bool) {
	if e := b.entries[node]; e != nil {
		e.Pinned = pinned
	}
}

// Get returns what is known about a node.
func (b *Book) Get(node keys.NodePublic) (Member, bool) {
	e := b.entries[node]
	if e == nil {
		return Member{}, false
	}
	return *e, true
}

// All returns all members in the order of their node keys.
func (b *Book) All() []Member {
	all := make([]Member, 0, len(b.entries))
	for _, e := range b.entries {
		all = append(all, *e)
	}
	slices.SortFunc(all, func(x, y Member) int { return x.Record.Node.Compare(y.Record.Node) })
	return all
}

// Len is the number of members.
func (b *Book) Len() int { return len(b.entries) }

// Delete forgets a member. A copy of its record is welcome again.
func (b *Book) Delete(node keys.NodePublic) { delete(b.entries, node) }

// Expire drops the records that have outlived their lifetime and returns whose.
func (b *Book) Expire(now time.Time) []keys.NodePublic {
	for n, x := range b.expired {
		if !x.until.After(now) {
			delete(b.expired, n)
		}
	}
	var gone []keys.NodePublic
	for n, e := range b.entries {
		if now.Sub(e.Born) >= e.Record.Lifetime {
			b.expire(now, n, e.Record.Seq)
			gone = append(gone, n)
		}
	}
	slices.SortFunc(gone, keys.NodePublic.Compare)
	return gone
}

// Next is when Expire has something to do; false if never.
func (b *Book) Next() (time.Time, bool) {
	var next time.Time
	for _, e := range b.entries {
		if at := e.Born.Add(e.Record.Lifetime); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next, !next.IsZero()
}

// expire forgets a node's record and remembers the number that it had.
func (b *Book) expire(now time.Time, node keys.NodePublic, seq uint64) {
	delete(b.entries, node)
	x, known := b.expired[node]
	if known && x.seq >= seq && x.until.After(now) {
		return // a copy that still goes round must not prolong the memory for ever
	}
	if !known && len(b.expired) >= b.limit {
		b.forgetSoonest()
	}
	b.expired[node] = expiry{seq: seq, until: now.Add(expiredMemory)}
}

func (b *Book) forgetSoonest() {
	var soonest keys.NodePublic
	var until time.Time
	for n, x := range b.expired {
		if until.IsZero() || x.until.Before(until) {
			soonest, until = n, x.until
		}
	}
	delete(b.expired, soonest)
}
