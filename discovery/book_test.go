package discovery

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// author makes records of one node.
type author struct {
	t       testing.TB
	network keys.NetworkKey
	node    keys.NodePrivate
}

func newAuthors(t testing.TB, n int) []author {
	w := newWorld(t, 42)
	as := make([]author, n)
	for i := range as {
		as[i] = author{t, networkKey(t, 1), w.nodeKey()}
	}
	return as
}

func (a author) id() keys.NodePublic { return a.node.Public() }

func (a author) record(seq uint64) wire.SignedRecord {
	return signRecord(a.t, a.network, a.node, keys.ProbePublic{1}, seq)
}

// The rules of one member's records, step by step.
func TestBookPut(t *testing.T) {
	type step struct {
		after time.Duration // since the start
		seq   uint64
		age   time.Duration
		want  Change
		// What the book holds then; wantSeq 0: nothing.
		wantSeq uint64
		wantAge time.Duration
	}
	const h = time.Hour
	for name, steps := range map[string][]step{
		"newer wins": {
			{0, 5, 0, New, 5, 0},
			{0, 6, 2 * h, Updated, 6, 2 * h},
			{h, 5, 0, Stale, 6, 3 * h},
		},
		"age only grows": {
			{0, 5, 2 * h, New, 5, 2 * h},
			{0, 5, h, Unchanged, 5, 2 * h},
			{0, 5, 4 * h, Unchanged, 5, 4 * h},
			{h, 5, 0, Unchanged, 5, 5 * h},
			{h, 5, -9 * h, Unchanged, 5, 5 * h},
		},
		"expired on arrival": {
			{0, 5, 24 * h, Expired, 0, 0},
			{0, 5, 23 * h, Expired, 0, 0}, // a neighbour's revival
			{23 * h, 4, 0, Expired, 0, 0},
			{23 * h, 6, 0, New, 6, 0},
		},
		"a copy that is too old takes the record with it": {
			{0, 5, h, New, 5, h},
			{0, 5, 24 * h, Expired, 0, 0},
			{h, 5, 0, Expired, 0, 0},
			{25 * h, 5, 0, New, 5, 0}, // forgotten
		},
		"a newer one that is too old as well": {
			{0, 5, h, New, 5, h},
			{0, 6, 25 * h, Expired, 0, 0},
			{0, 6, h, Expired, 0, 0},
			{0, 7, h, New, 7, h},
		},
		"copies do not prolong the memory": {
			{0, 5, 24 * h, Expired, 0, 0},
			{20 * h, 5, 24 * h, Expired, 0, 0},
			{25 * h, 5, 0, New, 5, 0},
		},
		"an older one that is too old is only stale": {
			{0, 5, h, New, 5, h},
			{0, 4, 30 * h, Stale, 5, h},
		},
	} {
		b := NewBook(networkKey(t, 1).Prefix6(), 0)
		a := newAuthors(t, 1)[0]
		for i, s := range steps {
			now := time.Unix(1_000_000, 0).Add(s.after)
			r, c, err := b.Put(now, a.record(s.seq), s.age)
			if err != nil || c != s.want || r.Node != a.id() {
				t.Errorf("%s, step %d: %v, %v; want %v", name, i, c, err, s.want)
			}
			m, ok := b.Get(a.id())
			if ok != (s.wantSeq != 0) || ok && (m.Record.Seq != s.wantSeq || m.AgeAt(now) != s.wantAge) {
				t.Errorf("%s, step %d: holds %d, %v old; want %d, %v", name, i, m.Record.Seq, m.AgeAt(now), s.wantSeq, s.wantAge)
			}
		}
	}
}

// What a node says of its own record holds against those who make it older.
func TestBookPutFirsthand(t *testing.T) {
	b := NewBook(networkKey(t, 1).Prefix6(), 0)
	a := newAuthors(t, 1)[0]
	now := time.Unix(1_000_000, 0)
	for _, x := range []struct {
		age      time.Duration
		first    bool
		want     Change
		holds    bool
		holdsAge time.Duration
	}{
		{time.Hour, true, New, true, time.Hour},
		{20 * time.Hour, false, Unchanged, true, 20 * time.Hour},
		{time.Hour, true, Unchanged, true, time.Hour},
		{24 * time.Hour, false, Expired, false, 0},
		{time.Hour, false, Expired, false, 0},
		{time.Hour, true, New, true, time.Hour},
		{25 * time.Hour, true, Expired, false, 0},
	} {
		put := b.Put
		if x.first {
			put = b.PutFirsthand
		}
		_, c, err := put(now, a.record(5), x.age)
		m, ok := b.Get(a.id())
		if c != x.want || err != nil || ok != x.holds || ok && m.AgeAt(now) != x.holdsAge {
			t.Errorf("%+v: %v, %v, holds %v, %v old", x, c, err, ok, m.AgeAt(now))
		}
	}
	if _, c, _ := b.PutFirsthand(now, a.record(6), 0); c != New {
		t.Errorf("newer: %v", c)
	}
	if _, c, _ := b.PutFirsthand(now, a.record(5), 0); c != Stale {
		t.Errorf("a replay of an older one: %v", c)
	}
}

// A record that is not what it says is refused with wire's reason.
func TestBookRefusesForgeries(t *testing.T) {
	as := newAuthors(t, 2)
	b := NewBook(as[0].network.Prefix6(), 0)
	now := time.Unix(1_000_000, 0)
	forged := as[0].record(1)
	forged.Signature = as[1].record(1).Signature
	if _, c, err := b.Put(now, forged, 0); c != Refused || !errors.Is(err, wire.ErrSignature) {
		t.Errorf("another's signature: %v, %v", c, err)
	}
	other := author{t, networkKey(t, 2), as[0].node}
	if _, c, err := b.Put(now, other.record(1), 0); c != Refused || !errors.Is(err, wire.ErrAddress) {
		t.Errorf("another network's record: %v, %v", c, err)
	}
	if b.Len() != 0 {
		t.Error("a forgery was kept")
	}
}

// A full book drops the oldest unpinned record, and nobody who is pinned.
func TestBookPrefersPinned(t *testing.T) {
	as := newAuthors(t, 6)
	b := NewBook(as[0].network.Prefix6(), 3)
	now := time.Unix(1_000_000, 0)
	put := func(i int, age time.Duration) (Change, error) {
		_, c, err := b.Put(now, as[i].record(1), age)
		return c, err
	}
	for i := range 3 {
		if c, err := put(i, time.Duration(3-i)*time.Hour); c != New || err != nil {
			t.Fatal(c, err)
		}
	}
	b.Pin(as[0].id(), true) // the oldest
	if c, err := put(3, 0); c != New || err != nil {
		t.Fatalf("%v, %v", c, err)
	}
	if _, ok := b.Get(as[1].id()); ok || b.Len() != 3 {
		t.Errorf("%d members; the oldest unpinned one is among them: %v", b.Len(), ok)
	}
	b.Pin(as[2].id(), true)
	b.Pin(as[3].id(), true)
	if c, err := put(4, 0); c != Refused || !errors.Is(err, ErrBookFull) {
		t.Errorf("into a book full of pinned members: %v, %v", c, err)
	}
	if c, _ := put(3, 0); c != Unchanged {
		t.Errorf("a known member of a full book: %v", c)
	}
	_, c, _ := b.Put(now, as[3].record(2), 0)
	if m, _ := b.Get(as[3].id()); c != Updated || !m.Pinned {
		t.Errorf("a newer record unpins: %v, %+v", c, m.Pinned)
	}
	b.Pin(as[2].id(), false)
	b.Pin(as[5].id(), true) // not in the book: no effect
	if c, err := put(4, 0); c != New || err != nil {
		t.Errorf("after unpinning: %v, %v", c, err)
	}
	b.Delete(as[4].id())
	if c, err := put(4, 0); c != New || err != nil {
		t.Errorf("after deleting: %v, %v", c, err)
	}
}

func TestBookExpire(t *testing.T) {
	as := newAuthors(t, 3)
	b := NewBook(as[0].network.Prefix6(), 2)
	now := time.Unix(1_000_000, 0)
	if _, ok := b.Next(); ok {
		t.Error("an empty book has something to expire")
	}
	_, _, _ = b.Put(now, as[0].record(1), 20*time.Hour)
	_, _, _ = b.Put(now, as[1].record(1), 10*time.Hour)
	if gone := b.Expire(now.Add(4*time.Hour - 1)); len(gone) != 0 {
		t.Errorf("expired early: %v", gone)
	}
	next, _ := b.Next()
	if want := now.Add(4 * time.Hour); !next.Equal(want) {
		t.Errorf("next at %v, want %v", next, want)
	}
	if d := cmp.Diff([]keys.NodePublic{as[0].id()}, b.Expire(next)); d != "" {
		t.Errorf("expired (-want +got):\n%s", d)
	}
	if _, c, _ := b.Put(next, as[0].record(1), time.Hour); c != Expired {
		t.Errorf("revived: %v", c)
	}
	// The memory is bounded like the book, and is given up after a day.
	_, _, _ = b.Put(next, as[2].record(1), 24*time.Hour)
	b.Expire(next.Add(10 * time.Hour))
	if len(b.expired) != 2 || b.Len() != 0 {
		t.Errorf("%d remembered, %d members", len(b.expired), b.Len())
	}
	b.Expire(next.Add(10*time.Hour + expiredMemory))
	if len(b.expired) != 0 {
		t.Errorf("%d remembered after a day", len(b.expired))
	}
}

// Neighbours pass records on in any order; the book comes out the same.
func TestBookOrderDoesNotMatter(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	as := newAuthors(t, 4)
	now := time.Unix(1_000_000, 0)
	type copied struct {
		s   wire.SignedRecord
		age time.Duration
	}
	type held struct {
		Seq uint64
		Age time.Duration
	}
	for range 50 {
		var copies []copied
		for range 12 {
			a := as[rng.IntN(len(as))]
			copies = append(copies, copied{a.record(1 + rng.Uint64N(4)), time.Duration(rng.IntN(26)) * time.Hour})
		}
		var want map[keys.NodePublic]held
		for range 5 {
			rng.Shuffle(len(copies), func(i, j int) { copies[i], copies[j] = copies[j], copies[i] })
			b := NewBook(as[0].network.Prefix6(), 0)
			for _, c := range copies {
				if _, _, err := b.Put(now, c.s, c.age); err != nil {
					t.Fatal(err)
				}
			}
			got := make(map[keys.NodePublic]held)
			for _, m := range b.All() {
				got[m.Record.Node] = held{m.Record.Seq, m.AgeAt(now)}
			}
			if want == nil {
				want = got
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Fatalf("seed %d: another order, another book:\n%s", seed, d)
			}
		}
	}
}
