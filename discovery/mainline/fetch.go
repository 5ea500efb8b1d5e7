package mainline

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// fetchGrace is how long a newer item than the first is waited for.
	fetchGrace = 250 * time.Millisecond
	maxFetches = 16 // at a time, in each family
)

// ErrNoItem says that no node which answered holds the item.
var ErrNoItem = errors.New("no such item in the DHT")

// A fetch is one GetItem under way.
type fetch struct {
	target infoHash
	items  chan *item // not verified
	done   chan bool  // from each family: true when it has asked all it could, false when too busy
	ended  <-chan struct{}
}

func (f *fetch) over() bool {
	select {
	case <-f.ended:
		return true
	default:
		return false
	}
}

// GetItem fetches the item that key signed under salt: the newest value among those
// of the nodes closest to it. The error is ErrNoItem where none holds it, and ctx's
// once that is done: without an answer from any node it waits for ctx.
func (s *Source) GetItem(ctx context.Context, key [32]byte, salt string) ([]byte, error) {
	if len(salt) > maxSalt {
		return nil, fmt.Errorf("get item: a salt of %d bytes, want at most %d", len(salt), maxSalt)
	}
	if len(s.families) == 0 {
		return nil, errors.New("get item: no socket")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer s.Wake() // who still asks is to notice
	defer cancel()
	f := &fetch{
		target: mutableTarget(key, []byte(salt)),
		items:  make(chan *item, 16),
		done:   make(chan bool, len(s.families)),
		ended:  ctx.Done(),
	}
	for _, fam := range s.families {
		select {
		case fam.fetches <- f:
		case <-s.ended:
			return nil, errors.New("get item: the DHT source has ended")
		case <-ctx.Done():
			return nil, fmt.Errorf("get item: %w", ctx.Err())
		}
	}
	return s.gather(ctx, f, key, []byte(salt))
}

// gather waits for the answers.
func (s *Source) gather(ctx context.Context, f *fetch, key [ed25519.PublicKeySize]byte, salt []byte) ([]byte, error) {
	var newest *item
	var grace <-chan time.Time
	over, asked := false, false
	take := func(i *item) {
		if _, ok := i.value(); !ok || i.key != key || newest != nil && i.seq <= newest.seq || !i.verify(salt) {
			return
		}
		newest = i
		if grace == nil {
			grace = time.After(fetchGrace)
		}
	}
	for families := len(s.families); families > 0 && !over; {
		select {
		case i := <-f.items:
			take(i)
		case all := <-f.done:
			asked = asked || all
			families--
		case <-grace:
			over = true
		case <-s.ended:
			over = true
		case <-ctx.Done():
			over = true
		}
	}
	for len(f.items) > 0 {
		take(<-f.items) // what came with the last word
	}
	switch {
	case newest != nil:
		v, _ := newest.value()
		return v, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("get item: %w", ctx.Err())
	case !asked:
		return nil, errors.New("get item: too many at a time, or the DHT source has ended")
	}
	return nil, fmt.Errorf("get item: %w", ErrNoItem)
}

// add hands an item in. Nodes beyond the first say nothing new.
func (f *fetch) add(i *item) {
	if i == nil {
		return
	}
	select {
	case f.items <- i:
	default:
	}
}

// fetch begins to ask for an item.
func (f *family) fetch(now time.Time, want *fetch) {
	if len(f.fetching) >= maxFetches {
		want.done <- false
		return
	}
	l := newLookupFor(now, toGet, want.target, searchEvery)
	f.fetching = append(f.fetching, &group{purpose: toGet, on: true, fetch: want, lookups: []*lookup{l}})
}

// endFetches ends those that nobody waits for any more, and those that have asked all
// they could.
func (f *family) endFetches(now time.Time) {
	f.fetching = slices.DeleteFunc(f.fetching, func(g *group) bool {
		if g.fetch.over() {
			return true
		}
		if g.lookups[0].Searching(now) {
			return false
		}
		g.fetch.done <- true
		return true
	})
}
