package control

import (
	"context"
	"crypto/ed25519"
	"io/fs"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/mainline"
)

// noteMap is a DHT in which the last who puts an item wins its place.
type noteMap struct {
	mu    sync.Mutex
	items map[string][]byte
}

func notePlace(key []byte, salt string) string { return string(key) + salt }

func (m *noteMap) KeepItem(ctx context.Context, i mainline.Item) error {
	m.mu.Lock()
	m.items[notePlace(i.Key.Public().(ed25519.PublicKey), i.Salt)] = i.Value()
	m.mu.Unlock()
	<-ctx.Done()
	return ctx.Err()
}

func (m *noteMap) GetItem(_ context.Context, key [32]byte, salt string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if note := m.items[notePlace(key[:], salt)]; note != nil {
		return note, nil
	}
	return nil, fs.ErrNotExist
}

// Two behind one address, whose notes go into the same slot, are not hidden from each other: one of them finds the other.
func TestNotesInOneSlot(t *testing.T) {
	network := testNetworkKey(t, "one")
	var nodes []keys.NodePublic
	for len(nodes) < 2 {
		if node := keys.GenerateNode().Public(); node.NoteSlot() == 5 {
			nodes = append(nodes, node)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		dht := &noteMap{items: make(map[string][]byte)}
		at := []netip.Addr{netip.MustParseAddr("5.0.0.1")}
		var running sync.WaitGroup
		found := make(chan string, 8*keys.NoteSlots)
		var boards []*noteBoard
		for i, node := range nodes {
			name := string("ab"[i])
			b := newNoteBoard(network, node, dht, func(_ context.Context, note []byte) { found <- name + " found " + string(note) })
			running.Go(func() { _ = b.Run(ctx) })
			b.want(noteWants{leave: at}, []byte(name))
			synctest.Wait()
			boards = append(boards, b)
		}
		for _, b := range boards {
			b.want(noteWants{leave: at, look: at}, nil)
		}
		synctest.Wait()
		cancel()
		running.Wait()
		close(found)
		var all []string
		for f := range found {
			all = append(all, f)
		}
		if !slices.Contains(all, "a found b") {
			t.Errorf("%q", all)
		}
	})
}
