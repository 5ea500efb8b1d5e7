package relay

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
)

// class is whose quota a network has.
type class uint8

const (
	stranger class = iota
	member
	classes
)

// source is what is known of a source prefix from which a cookie came back.
type source struct {
	prefix prefix
	place  int
	used   int64 // when it last sent a request
	work   int64 // state of workPerPrefix
	// of is what networks of each class hold from here.
	of [classes]holding
	// held counts what points here: registrations, allocations, bound sides. A
	// source that holds something is not forgotten.
	held int
}

func (s *source) position() *int { return &s.place }

// holding is what a network or a source prefix has of its share.
type holding struct {
	registrations, allocations int
	requests                   int64 // state of the pace
	bytes                      *Bucket
	waiting                    waiting
}

// sources is the table of source prefixes.
type sources struct {
	limit int
	rng   *rand.Rand
	known map[prefix]*source
	list  roster[*source]
}

func newSources(limit int, rng *rand.Rand) *sources {
	return &sources{limit: limit, rng: rng, known: make(map[prefix]*source)}
}

// get returns the source of an address, made anew where it is unknown; fresh
// says so. Where every place is held, prefixes share: who holds thousands of
// /48s has them in one /32. It is nil where these places are held too.
func (t *sources) get(now int64, a netip.Addr) (src *source, fresh bool) {
	p := prefixOf(a)
	src = t.known[p]
	if src == nil && len(t.list) >= t.limit && !t.evict() {
		p = p.wider()
		src = t.known[p]
		if src == nil && len(t.list) >= t.limit+t.limit/4 {
			return nil, false
		}
	}
	if src == nil {
		src, fresh = &source{prefix: p}, true
		for c := range src.of {
			src.of[c].bytes = new(Bucket)
		}
		t.known[p] = src
		t.list.add(src)
	}
	src.used = now
	return src, fresh
}

// holds says that something of the prefix of a is held here: it was here before
// any flood of today.
func (t *sources) holds(a netip.Addr) bool {
	src := t.known[prefixOf(a)]
	return src != nil && src.held > 0
}

// evict forgets a source that holds nothing, one that was silent for long.
func (t *sources) evict() bool {
	src, ok := t.list.draw(t.rng,
		func(s *source) bool { return s.held == 0 },
		func(a, b *source) bool { return a.used > b.used })
	if ok {
		t.list.remove(src)
		delete(t.known, src.prefix)
	}
	return ok
}

// prefix is a source prefix: what one customer of a provider usually has, an
// IPv4 /24 (neighbours share the risk) or an IPv6 /48.
type prefix uint64

const (
	prefix4     prefix = 1 << 63
	prefixWider prefix = 1 << 62
)

// wider is the prefix of the whole provider: an IPv4 /16 or an IPv6 /32.
func (p prefix) wider() prefix {
	if p&prefix4 != 0 {
		return p&^0xff | prefixWider
	}
	return p&^0xffff | prefixWider
}

func prefixOf(a netip.Addr) prefix {
	if a.Is4() {
		b := a.As4()
		return prefix4 | prefix(binary.BigEndian.Uint32(b[:])>>8)
	}
	b := a.As16()
	return prefix(binary.BigEndian.Uint64(b[:]) >> 16)
}
