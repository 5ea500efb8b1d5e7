package gossip

import (
	"cmp"
	"slices"
	"time"

	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

const (
	// lifeMargin keeps a record that is about to expire out of all that is
	// said: nodes count its age to within some seconds, and who has buried it
	// must not be offered it.
	lifeMargin = 5 * time.Minute
	// viewLife is how long a view is good although nothing was learnt: records
	// come of age, and the Book may drop some by itself.
	viewLife = 10 * time.Second
)

// known is what the set has of one node.
type known struct {
	node keys.NodePublic
	hash wire.NodeHash
	seq  uint64
	// since is when a record of the node was first learnt; zero: before the
	// start.
	since time.Time
	// via is who brought the newest first; zero: nobody else.
	via keys.NodePublic
	// gossiped: a third node had a record of it before this one.
	gossiped bool
}

// set is what this node has: the Book's records and its own, by node hash. Of
// two nodes with one hash, which only somebody who searched for them can have,
// the first is known.
type set struct {
	book   *discovery.Book
	limit  int
	byHash map[wire.NodeHash]*known
	own    own
	viewed view
	// synced are the sizes of Book and set for which sync has done all it can.
	synced [2]int
}

// own is this node's own record.
type own struct {
	node   keys.NodePublic
	hash   wire.NodeHash
	signed wire.SignedRecord
	seq    uint64 // 0: none yet
	at     time.Time
}

func newSet(c Config) *set {
	s := &set{
		book: c.Book, limit: c.Limit, byHash: make(map[wire.NodeHash]*known),
		own: own{node: c.Self, hash: wire.HashNode(c.Self)},
	}
	s.sync()
	return s
}

// sync takes what was filed in the Book without a word: what is remembered from
// an earlier run.
func (s *set) sync() {
	sizes := [2]int{s.book.Len(), len(s.byHash)}
	if sizes[0] == sizes[1] || sizes == s.synced {
		return
	}
	s.forgetDropped()
	for _, m := range s.book.All() {
		if k := s.byHash[wire.HashNode(m.Record.Node)]; k != nil {
			continue
		}
		if k := s.put(time.Time{}, m.Record.Node, m.Record.Seq); k != nil {
			k.gossiped = true // it says nothing about the paths of now
		}
	}
	s.synced = [2]int{s.book.Len(), len(s.byHash)}
}

// put takes a record and returns what is known of the node if that is news,
// else nil.
func (s *set) put(now time.Time, node keys.NodePublic, seq uint64) *known {
	h := wire.HashNode(node)
	if h == s.own.hash {
		return nil
	}
	k := s.byHash[h]
	switch {
	case k == nil:
		if s.full() {
			s.forgetDropped()
		}
		if s.full() {
			return nil
		}
		k = &known{node: node, hash: h, since: now}
		s.byHash[h] = k
	case k.node != node || seq <= k.seq:
		return nil
	}
	k.seq = seq
	s.viewed = view{}
	return k
}

func (s *set) full() bool { return len(s.byHash) >= s.limit }

// forgetDropped forgets what the Book does not have any more.
func (s *set) forgetDropped() {
	for h, k := range s.byHash {
		if _, ok := s.book.Get(k.node); !ok {
			delete(s.byHash, h)
			s.viewed = view{}
		}
	}
}

// seq is the number of the record that this node has of h, 0 without.
func (s *set) seq(h wire.NodeHash) uint64 {
	if h == s.own.hash {
		return s.own.seq
	}
	if k := s.byHash[h]; k != nil {
		return k.seq
	}
	return 0
}

// lacks says whether e is a record that this node should ask for.
func (s *set) lacks(e wire.Entry) bool {
	if e.Node == s.own.hash {
		return false // nobody else has a newer one
	}
	k := s.byHash[e.Node]
	if k == nil {
		return !s.full()
	}
	return e.Seq > k.seq
}

// introduce is what h's node is introduced with now; nil if it is not.
func (s *set) introduce(now time.Time, h wire.NodeHash) *wire.Introduce {
	if h == s.own.hash {
		if s.own.seq == 0 {
			return nil
		}
		return &wire.Introduce{Age: now.Sub(s.own.at), Signed: s.own.signed}
	}
	k := s.byHash[h]
	if k == nil {
		return nil
	}
	m, ok := s.book.Get(k.node)
	if !ok || !alive(now, m) {
		return nil
	}
	return &wire.Introduce{Age: m.AgeAt(now), Signed: m.Signed}
}

func alive(now time.Time, m discovery.Member) bool {
	return m.AgeAt(now) < m.Record.Lifetime-min(lifeMargin, m.Record.Lifetime/4)
}

// view is the set as it is told to others: live records in the order of their
// hashes. It must not be changed.
type view struct {
	entries []wire.Entry
	sums    map[int][]uint64
	at      time.Time
}

// view returns what is told of the set now.
func (s *set) view(now time.Time) *view {
	s.sync()
	v := &s.viewed
	if v.sums != nil && now.Sub(v.at) < viewLife {
		return v
	}
	*v = view{sums: make(map[int][]uint64), at: now}
	if s.own.seq != 0 {
		v.entries = append(v.entries, wire.Entry{Node: s.own.hash, Seq: s.own.seq})
	}
	for h, k := range s.byHash {
		m, ok := s.book.Get(k.node)
		if !ok {
			delete(s.byHash, h) // and another came in its place
			continue
		}
		k.seq = m.Record.Seq
		if alive(now, m) {
			v.entries = append(v.entries, wire.Entry{Node: h, Seq: k.seq})
		}
	}
	slices.SortFunc(v.entries, byHash)
	return v
}

// within are the entries from first to last inclusive.
func (v *view) within(first, last wire.NodeHash) []wire.Entry {
	i, _ := slices.BinarySearchFunc(v.entries, first, byNode)
	j, found := slices.BinarySearchFunc(v.entries, last, byNode)
	if found {
		j++
	}
	return v.entries[i:j]
}

func byHash(a, b wire.Entry) int { return cmp.Compare(a.Node, b.Node) }

func byNode(e wire.Entry, h wire.NodeHash) int { return cmp.Compare(e.Node, h) }

// sumsOf are the sums of n equal ranges; n is a power of two.
func (v *view) sumsOf(n int) []uint64 {
	sums := v.sums[n]
	if sums == nil {
		sums = make([]uint64, n)
		for i := range sums {
			sums[i] = wire.SumEntries(v.within(part(i, n)))
		}
		v.sums[n] = sums
	}
	return sums
}

// part is the range of the i-th of n sums.
func part(i, n int) (first, last wire.NodeHash) {
	if n == 1 {
		return 0, wire.LastHash
	}
	width := wire.LastHash/wire.NodeHash(n) + 1
	first = wire.NodeHash(i) * width
	return first, first + width - 1
}
