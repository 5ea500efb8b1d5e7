package control

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/mainline"
)

const (
	noteLook = 10 * time.Second // that looking for the notes of one address may take
	noteDays = 10 * time.Minute // how often the day is looked at while a note is left
	// notesAtOnce bounds the addresses whose notes are looked for at a time: each takes
	// a search of the DHT for every slot.
	notesAtOnce = 2
)

// noteStore is what notes need of the DHT.
type noteStore interface {
	KeepItem(context.Context, mainline.Item) error
	GetItem(ctx context.Context, key [32]byte, salt string) ([]byte, error)
}

// noteBoard leaves and reads notes for the mesh, in the DHT.
type noteBoard struct {
	network keys.NetworkKey
	node    keys.NodePublic
	dht     noteStore
	found   func(ctx context.Context, note []byte)

	note  atomic.Pointer[[]byte]       // this node's; nil: none yet
	leave atomic.Pointer[[]netip.Addr] // where it belongs
	wake  chan struct{}                // leave has changed
	looks chan netip.Addr              // whose notes to look for
}

func newNoteBoard(network keys.NetworkKey, node keys.NodePublic, dht noteStore, found func(context.Context, []byte)) *noteBoard {
	return &noteBoard{
		network: network, node: node, dht: dht, found: found,
		wake: make(chan struct{}, 1), looks: make(chan netip.Addr, maxUnheard),
	}
}

// want takes what the mesh wants, and its own note. It never blocks.
func (b *noteBoard) want(w noteWants, note []byte) {
	if len(note) > 0 {
		b.note.Store(&note)
	}
	if old := b.leave.Load(); old == nil && len(w.leave) > 0 || old != nil && !slices.Equal(*old, w.leave) {
		b.leave.Store(&w.leave)
		notify(b.wake)
	}
	for _, at := range w.look {
		select {
		case b.looks <- at:
		default: // the mesh asks again
		}
	}
}

// notify leaves a note in a channel that holds one. It never blocks.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run leaves and reads notes until ctx ends.
func (b *noteBoard) Run(ctx context.Context) error {
	var working sync.WaitGroup
	defer working.Wait()
	free := make(chan struct{}, notesAtOnce)
	var left []noteKey
	giveUp := func() {}
	for {
		var days <-chan time.Time
		if len(left) > 0 {
			days = time.After(noteDays)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-b.wake:
		case <-days:
		case at := <-b.looks:
			select {
			case free <- struct{}{}:
				working.Go(func() {
					defer func() { <-free }()
					b.look(ctx, at)
				})
			default: // the mesh asks again
			}
			continue
		}
		want := b.places(time.Now())
		if slices.Equal(want, left) {
			continue
		}
		giveUp()
		left = want
		giveUp = b.keep(ctx, &working, want)
	}
}

// keep keeps this node's note at all these places until it is given up.
func (b *noteBoard) keep(ctx context.Context, working *sync.WaitGroup, places []noteKey) (giveUp func()) {
	ctx, giveUp = context.WithCancel(ctx)
	for _, k := range places {
		working.Go(func() { _ = b.dht.KeepItem(ctx, b.item(k)) })
	}
	return giveUp
}

// noteKey is where a note lies.
type noteKey struct {
	day int64
	at  netip.Addr
}

// places are where this node's note belongs now.
func (b *noteBoard) places(now time.Time) (all []noteKey) {
	leave := b.leave.Load()
	if leave == nil {
		return nil
	}
	for _, day := range keys.Days(now) {
		for _, at := range *leave {
			all = append(all, noteKey{day, at})
		}
	}
	return all
}

func (b *noteBoard) item(k noteKey) mainline.Item {
	return mainline.Item{
		Key:  b.network.NoteKey(k.day, k.at),
		Salt: noteSalt(b.node.NoteSlot()),
		Value: func() []byte {
			if note := b.note.Load(); note != nil {
				return *note
			}
			return nil
		},
	}
}

func noteSalt(slot int) string { return strconv.Itoa(slot) }

// look looks for the notes that members at an address have left, in this node's own
// slot, too: a neighbour behind the same NAT may have the same.
func (b *noteBoard) look(ctx context.Context, at netip.Addr) {
	ctx, cancel := context.WithTimeout(ctx, noteLook)
	defer cancel()
	var asking sync.WaitGroup
	defer asking.Wait()
	for _, day := range keys.Days(time.Now()) {
		key := [32]byte(b.network.NoteKey(day, at).Public().(ed25519.PublicKey))
		for slot := range keys.NoteSlots {
			asking.Go(func() {
				note, err := b.dht.GetItem(ctx, key, noteSalt(slot))
				if err == nil && !errors.Is(ctx.Err(), context.Canceled) {
					b.found(ctx, note)
				}
			})
		}
	}
}
