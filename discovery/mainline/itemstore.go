package mainline

import (
	"bytes"
	"net/netip"
	"time"
)

// What a serving node keeps of others' BEP 44 items in one family: about 3 MB.
const (
	itemExpiry       = 2 * time.Hour
	maxItems         = 2048
	maxItemsOfSource = 64 // of a /24 or /48
)

// A putError is the code of BEP 44 for a put that is refused, with its text.
type putError struct {
	code int64
	text string
}

var (
	putFine     putError
	putCAS      = putError{301, "CAS mismatch"}
	putOld      = putError{302, "sequence number less than current"}
	putTooBig   = putError{205, "message (v field) too big"}
	putUnsigned = putError{206, "invalid signature"}
	putNoRoom   = putError{202, "no room"}
)

type keptItem struct {
	item
	source netip.Prefix
}

// itemStore is what was put. The zero value is ready.
type itemStore struct {
	items    aged[infoHash, keptItem]
	ofSource map[netip.Prefix]int
}

// A putRequest is what a put asks for. Its item's bytes are the caller's.
type putRequest struct {
	item
	salt []byte
	cas  *int64
}

// put keeps an item. The caller has checked the token.
func (s *itemStore) put(now time.Time, from netip.Addr, p putRequest) putError {
	s.expire(now)
	if len(p.v) > maxItemEncoded {
		return putTooBig
	}
	mutable := p.key != [len(p.key)]byte{}
	target := immutableTarget(p.v)
	if mutable {
		target = mutableTarget(p.key, p.salt)
	}
	old := s.items.get(target)
	if mutable {
		if !p.verify(p.salt) {
			return putUnsigned
		}
		if old != nil {
			switch held := &old.value; {
			case p.cas != nil && *p.cas != held.seq:
				return putCAS
			case p.seq < held.seq, p.seq == held.seq && !bytes.Equal(p.v, held.v):
				return putOld
			}
		}
	}
	source := sourcePrefix(from)
	if old == nil {
		if s.ofSource[source] >= maxItemsOfSource {
			return putNoRoom
		}
		if s.items.len() >= maxItems {
			s.remove(s.items.oldest())
		}
		if s.ofSource == nil {
			s.ofSource = make(map[netip.Prefix]int)
		}
		s.ofSource[source]++
	} else {
		source = old.value.source // whoever refreshes it, it counts once
	}
	kept := keptItem{p.item, source}
	kept.v = bytes.Clone(p.v)
	s.items.touch(now, target).value = kept
	return putFine
}

// get returns the item at target, or nil.
func (s *itemStore) get(now time.Time, target infoHash) *item {
	s.expire(now)
	if e := s.items.get(target); e != nil {
		return &e.value.item
	}
	return nil
}

func (s *itemStore) expire(now time.Time) {
	for e := s.items.oldest(); e != nil && now.Sub(e.at) >= itemExpiry; e = s.items.oldest() {
		s.remove(e)
	}
}

func (s *itemStore) remove(e *agedEntry[infoHash, keptItem]) {
	s.items.remove(e)
	source := e.value.source
	if s.ofSource[source]--; s.ofSource[source] == 0 {
		delete(s.ofSource, source)
	}
}
