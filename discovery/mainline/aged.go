package mainline

import "time"

// aged is a map whose entries are in the order of when they were last touched, so
// that the oldest is found without a search however many there are. The zero value
// is ready.
type aged[K comparable, V any] struct {
	entries map[K]*agedEntry[K, V]
	ends    agedEntry[K, V] // next is the oldest, prev the newest
}

type agedEntry[K comparable, V any] struct {
	key        K
	value      V
	at         time.Time
	prev, next *agedEntry[K, V]
}

func (a *aged[K, V]) len() int { return len(a.entries) }

// get returns the entry of k, or nil.
func (a *aged[K, V]) get(k K) *agedEntry[K, V] { return a.entries[k] }

// touch makes the entry of k, which it adds where there is none, the newest.
func (a *aged[K, V]) touch(now time.Time, k K) *agedEntry[K, V] {
	if a.entries == nil {
		a.entries = make(map[K]*agedEntry[K, V])
		a.ends.prev, a.ends.next = &a.ends, &a.ends
	}
	e := a.entries[k]
	if e == nil {
		e = &agedEntry[K, V]{key: k}
		a.entries[k] = e
	} else {
		e.unlink()
	}
	e.at = now
	e.prev, e.next = a.ends.prev, &a.ends
	e.prev.next, a.ends.prev = e, e
	return e
}

// oldest returns the entry that was not touched for longest, or nil.
func (a *aged[K, V]) oldest() *agedEntry[K, V] {
	if len(a.entries) == 0 {
		return nil
	}
	return a.ends.next
}

func (a *aged[K, V]) remove(e *agedEntry[K, V]) {
	e.unlink()
	delete(a.entries, e.key)
}

func (e *agedEntry[K, V]) unlink() { e.prev.next, e.next.prev = e.next, e.prev }
