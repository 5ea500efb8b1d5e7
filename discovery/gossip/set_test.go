package gossip

import (
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/wire"
)

func TestPart(t *testing.T) {
	for n := 1; n <= wire.MaxSums; n *= 2 {
		next := wire.NodeHash(0)
		for i := range n {
			first, last := part(i, n)
			if first != next || last < first {
				t.Fatalf("part %d of %d is %x to %x, want it to begin at %x", i, n, first, last, next)
			}
			next = last + 1
		}
		if next != 0 {
			t.Errorf("the parts of %d end at %x", n, next-1)
		}
	}
}

func TestView(t *testing.T) {
	b := newBox(t, 1, 200)
	s := b.h.g.set
	v := s.view(b.w.now)
	if want := entriesOf(append(slices.Clone(b.members), b.h)...); !slices.Equal(v.entries, want) {
		t.Fatalf("the view has %d entries, want %d", len(v.entries), len(want))
	}
	for range 1000 {
		first, last := wire.NodeHash(b.rng.Uint64()), wire.NodeHash(b.rng.Uint64())
		if b.rng.IntN(2) == 0 {
			first = v.entries[b.rng.IntN(len(v.entries))].Node
		}
		if b.rng.IntN(2) == 0 {
			last = v.entries[b.rng.IntN(len(v.entries))].Node
		}
		if first > last {
			first, last = last, first
		}
		want := slices.DeleteFunc(slices.Clone(v.entries), func(e wire.Entry) bool { return e.Node < first || e.Node > last })
		if got := v.within(first, last); !slices.Equal(got, want) {
			t.Fatalf("within %x to %x: %d entries, want %d", first, last, len(got), len(want))
		}
	}

	sums := v.sumsOf(wire.MaxSums)
	changed := b.members[77]
	changed.sign()
	b.learn(changed, changed.node)
	now := s.view(b.w.now).sumsOf(wire.MaxSums)
	for i := range sums {
		first, last := part(i, len(sums))
		h := wire.HashNode(changed.node)
		if differs := sums[i] != now[i]; differs != (first <= h && h <= last) {
			t.Errorf("sum %d: differs %t after another record of %x", i, differs, h)
		}
	}
}

// A record is told of until shortly before its end, and nothing is told of it
// after; a node whose Book has dropped it forgets it.
func TestViewLeavesOutOld(t *testing.T) {
	for _, c := range []struct {
		name string
		age  time.Duration
		want bool
	}{
		{"new", 0, true},
		{"old", wire.MaxLifetime - lifeMargin - time.Second, true},
		{"about to expire", wire.MaxLifetime - lifeMargin, false},
		{"a second left", wire.MaxLifetime - time.Second, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t, 1, 1)
			m := b.member()
			b.put(m, c.age)
			b.h.g.Learned(b.w.now, m.node, m.node)
			s := b.h.g.set
			if got := slices.Contains(s.view(b.w.now).entries, m.entry()); got != c.want {
				t.Errorf("told of: %t, want %t", got, c.want)
			}
			if got := s.introduce(b.w.now, m.entry().Node); (got != nil) != c.want {
				t.Errorf("introduced: %t, want %t", got != nil, c.want)
			} else if got != nil && got.Age != c.age {
				t.Errorf("introduced with age %v, want %v", got.Age, c.age)
			}
			if s.lacks(m.entry()) {
				t.Error("asked for although it is there")
			}
		})
	}
	b := newBox(t, 1, 1)
	b.h.book.Delete(b.members[0].node)
	b.w.now = b.w.now.Add(viewLife)
	if v := b.h.g.set.view(b.w.now); len(v.entries) != 1 || len(b.h.g.set.byHash) != 0 {
		t.Error("a record that the Book has dropped is told of")
	}
}

// What is filed without a word, as at a start, is found.
func TestSync(t *testing.T) {
	b := newBox(t, 1, 0)
	g := New(Config{Self: b.h.node, Book: b.h.book, Rand: b.w})
	for range 3 {
		m := b.member()
		b.put(m, 0)
		g.SetPeer(b.w.now, m.node, true)
		if len(g.set.byHash) != b.h.book.Len() || g.set.lacks(m.entry()) {
			t.Fatalf("%d of %d records are known", len(g.set.byHash), b.h.book.Len())
		}
	}
	m := b.member()
	b.put(m, 0)
	g.ReceiveDigest(b.w.now, m.node, wire.Digest{Entries: entriesOf(m)}) // no peer: nothing happens
	if v := g.set.view(b.w.now); !slices.Contains(v.entries, m.entry()) {
		t.Error("a record that was filed without a word is not told of")
	}
}

func TestSetBound(t *testing.T) {
	b := newBox(t, 1, 10)
	g := New(Config{Self: b.h.node, Book: b.h.book, Limit: 10, Rand: b.w})
	extra := b.member()
	b.put(extra, 0)
	g.Learned(b.w.now, extra.node, extra.node)
	if n := len(g.set.byHash); n != 10 {
		t.Fatalf("%d members, limit 10", n)
	}
	if g.set.lacks(b.member().entry()) {
		t.Error("a node that there is no room for is asked for")
	}
	newer := b.members[3].entry()
	newer.Seq++
	if !g.set.lacks(newer) {
		t.Error("a newer record of a known node is not asked for")
	}
	b.h.book.Delete(b.members[5].node)
	g.Learned(b.w.now, extra.node, extra.node)
	if g.set.seq(extra.entry().Node) != extra.record.Seq {
		t.Error("no room although the Book has dropped one")
	}
}

// Pages cover every part that differs as far as there is room, and no page has
// too many entries.
func TestPagesOf(t *testing.T) {
	for _, n := range []int{0, 1, 64, 65, 100, 256, 1000, discovery.DefaultMembers} {
		b := newBox(t, uint64(n+1), 0)
		v := &view{sums: make(map[int][]uint64)}
		for range n {
			v.entries = append(v.entries, wire.Entry{Node: wire.NodeHash(b.rng.Uint64()), Seq: 1})
		}
		slices.SortFunc(v.entries, byHash)
		for range 50 {
			var parts []int
			for i := range wire.MaxSums {
				if b.rng.IntN(1+n/100) == 0 {
					parts = append(parts, i)
				}
			}
			pages := pagesOf(v, parts, wire.MaxSums)
			if len(pages) > maxPages {
				t.Fatalf("%d entries: %d pages", n, len(pages))
			}
			for _, p := range pages {
				got := v.within(p.first, p.last)
				if p.first > p.last || len(got) > wire.MaxEntries {
					t.Fatalf("%d entries: page %x to %x of %d", n, p.first, p.last, len(got))
				}
			}
			complete := true
			for _, i := range parts {
				first, last := part(i, wire.MaxSums)
				for _, e := range v.within(first, last) {
					if !slices.ContainsFunc(pages, func(p pageRange) bool { return p.first <= e.Node && e.Node <= p.last }) {
						complete = false
					}
				}
			}
			if !complete && len(pages) < maxPages {
				t.Fatalf("%d entries: %d pages leave out parts that differ", n, len(pages))
			}
			if n <= maxPages/2*wire.MaxEntries && !complete {
				t.Fatalf("%d entries do not fit %d pages", n, maxPages)
			}
		}
	}
}
