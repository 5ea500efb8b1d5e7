//go:build !race

package mainline

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anacrolix/dht/v2/krpc"
)

// How a relay is found, in the simulated DHT of sim_test.go.

var relayHash = infoHash{0x4e, 0x1a}

// relay starts a Source as credant-relay does.
func (d *simDHT) relay(i byte, change func(*Config)) *simMember {
	return d.member(i, func(c *Config) {
		c.InfoHashes, c.Found = nil, nil
		c.Announce = func(time.Time) [][20]byte { return [][20]byte{relayHash} }
		c.Serve = true
		if change != nil {
			change(c)
		}
	})
}

// A looking notes what a Lookup finds.
type looking struct {
	active atomic.Bool
	mu     sync.Mutex
	found  map[netip.AddrPort]time.Time
}

func (l *looking) lookup() Lookup {
	return Lookup{
		InfoHashes: func(time.Time) [][20]byte { return [][20]byte{relayHash} },
		Active:     l.active.Load,
		Found: func(a netip.AddrPort) {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.found == nil {
				l.found = make(map[netip.AddrPort]time.Time)
			}
			if l.found[a].IsZero() {
				l.found[a] = time.Now()
			}
		},
	}
}

func (l *looking) at(a netip.AddrPort) (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.found[a]
	return t, ok
}

// The promise: a node in need finds a relay within a few round trips, both at its
// start and when the need comes later; without need it sends nothing for it.
func TestLookupFindsRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 500)
		relay := d.relay(9, nil)
		pass(10 * time.Second)

		var cold looking
		cold.active.Store(true)
		a := d.member(1, func(c *Config) { c.Lookups = []Lookup{cold.lookup()} })
		pass(5 * time.Second)
		at, ok := cold.at(relay.addr)
		if took := at.Sub(a.start); !ok || took > time.Second {
			t.Errorf("at the start: found after %v (%t), want at most a second", took, ok)
		} else {
			t.Logf("at the start: found after %v", took)
		}
		a.stop()
		if n, ok := a.first(relay.addr); ok {
			t.Errorf("the relay was found as a member after %v", n)
		}
		if n := d.holdersOf(relayHash, a, time.Time{}); n != 0 {
			t.Errorf("%d nodes think that the node is a relay", n)
		}

		var warm looking
		b := d.member(2, func(c *Config) { c.Lookups = []Lookup{warm.lookup()} })
		defer b.stop()
		relay.leave(t, d)
		pass(10 * time.Minute)
		before := d.sent.Load()
		pass(30 * time.Minute)
		if n := float64(d.sent.Load()-before) / 30; n > 5 {
			t.Errorf("%.2f datagrams a minute while the lookup is not active, want about 4", n)
		}
		if _, ok := warm.at(relay.addr); ok {
			t.Error("found while not active")
		}

		for range 2 { // the second time from what is known from the first
			relay = d.relay(9, nil)
			pass(10 * time.Second)
			warm.mu.Lock()
			warm.found = nil
			warm.mu.Unlock()
			warm.active.Store(true)
			woken := time.Now()
			b.Wake()
			pass(5 * time.Second)
			at, ok = warm.at(relay.addr)
			if took := at.Sub(woken); !ok || took > time.Second {
				t.Errorf("later: found after %v (%t), want at most a second", took, ok)
			} else {
				t.Logf("later: found after %v", took)
			}
			relay.leave(t, d)

			pass(10 * time.Minute)
			before = d.sent.Load()
			pass(30 * time.Minute)
			if n := float64(d.sent.Load()-before) / 30; n > 10 {
				t.Errorf("%.2f datagrams a minute with a settled lookup, want about 8", n)
			}
			warm.active.Store(false)
			pass(2 * time.Minute)
			before = d.sent.Load()
			pass(30 * time.Minute)
			if n := float64(d.sent.Load()-before) / 30; n > 5 {
				t.Errorf("%.2f datagrams a minute when not active any more, want about 4", n)
			}
		}
	})
}

// leave stops a relay, whose own datagrams would be counted; its announces stay.
func (m *simMember) leave(t *testing.T, d *simDHT) {
	t.Helper()
	if n := d.holdersOf(relayHash, m, time.Time{}); n < closestK-1 {
		t.Errorf("%d nodes hold the relay's announce, want %d", n, closestK)
	}
	m.stop()
}

// A lookup is looked at within a second without Wake.
func TestLookupNeedsNoWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 100)
		relay := d.relay(9, nil)
		defer relay.stop()
		var l looking
		a := d.member(1, func(c *Config) { c.Lookups = []Lookup{l.lookup()} })
		defer a.stop()
		pass(time.Minute)
		began := time.Now()
		l.active.Store(true)
		pass(5 * time.Second)
		if at, ok := l.at(relay.addr); !ok || at.Sub(began) > 2*time.Second {
			t.Errorf("found after %v (%t)", at.Sub(began), ok)
		}
	})
}

// A relay of many networks stays announced under each of them, at a bounded pace.
func TestAnnounceManyHashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 300)
		var hashes [][20]byte
		for i := range byte(20) {
			hashes = append(hashes, infoHash{i * 13, i}, infoHash{i * 13, i}) // twice is as once
		}
		relay := d.relay(9, func(c *Config) {
			c.Announce = func(time.Time) [][20]byte { return hashes }
		})
		defer relay.stop()
		pass(30 * time.Second)
		for range 9 {
			for _, h := range hashes {
				if n := d.holdersOf(h, relay, time.Now().Add(-simExpiry)); n < closestK-1 {
					t.Fatalf("%d nodes hold the announce under %x after %v", n, h, time.Since(relay.start))
				}
			}
			before := d.sent.Load()
			pass(10 * time.Minute)
			if n := float64(d.sent.Load()-before) / 600; n > 5 {
				t.Errorf("%.2f datagrams a second for %d hashes", n, len(hashes))
			}
		}
		moved := time.Now()
		relay.Kick()
		pass(30 * time.Second)
		for _, h := range hashes {
			if n := d.holdersOf(h, relay, moved); n < closestK-1 {
				t.Errorf("%d nodes hold the announce under %x after a network change", n, h)
			}
		}
	})
}

// An item is found wherever asked for, changes at once, and outlives its two hours.
func TestItemIsKeptStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 300)
		var mu sync.Mutex
		value := []byte("first")
		relay := d.relay(9, func(c *Config) {
			c.Item = &Item{Key: itemKey, Salt: "credant-relay", Value: func() []byte {
				mu.Lock()
				defer mu.Unlock()
				return value
			}}
		})
		defer relay.stop()
		a := d.member(1, nil)
		defer a.stop()
		pass(5 * time.Second)

		key := [32]byte(itemKey.Public().(ed25519.PublicKey))
		get := func() string {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			began := time.Now()
			v, err := a.GetItem(ctx, key, "credant-relay")
			if err != nil {
				t.Errorf("GetItem: %v", err)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("GetItem took %v", took)
			}
			return string(v)
		}
		if got := get(); got != "first" {
			t.Errorf("GetItem = %q", got)
		}
		mu.Lock()
		value = []byte("second")
		mu.Unlock()
		pass(10 * time.Second)
		if got := get(); got != "second" {
			t.Errorf("GetItem = %q after a change", got)
		}
		for range 5 {
			pass(time.Hour)
			if got := get(); got != "second" {
				t.Errorf("GetItem = %q after %v", got, time.Since(relay.start))
			}
		}
		held := 0
		d.change(func() {
			for _, n := range d.closest(mutableTarget(key, []byte("credant-relay")), closestK) {
				for _, i := range n.items {
					if time.Since(i.at) < 90*time.Minute {
						held++
					}
				}
			}
		})
		if held < closestK-1 {
			t.Errorf("%d of the closest hold the item, want %d", held, closestK)
		}
	})
}

func TestGetItemWithoutOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 100)
		a := d.member(1, nil)
		pass(time.Second)
		began := time.Now()
		if _, err := a.GetItem(t.Context(), [32]byte{1}, ""); !errors.Is(err, ErrNoItem) || time.Since(began) > 3*time.Second {
			t.Errorf("GetItem: %v after %v, want ErrNoItem", err, time.Since(began))
		}

		// Nodes that keep lies: a value of another key, or not signed.
		key := [32]byte(ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey))
		target := mutableTarget(key, nil)
		seq := int64(5)
		d.change(func() {
			for i, n := range d.closest(target, closestK) {
				lie := krpc.MsgArgs{V: "lie", K: key, Seq: &seq, Sig: [64]byte{byte(i)}}
				if i%2 == 0 {
					lie = signed(5, "other", "").args("", nil)
				}
				n.items[krpc.ID(target)] = simItem{lie, time.Now()}
			}
		})
		if v, err := a.GetItem(t.Context(), key, ""); !errors.Is(err, ErrNoItem) {
			t.Errorf("GetItem = %q, %v, want ErrNoItem", v, err)
		}

		d.change(func() { d.cut = true })
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := a.GetItem(ctx, [32]byte{2}, ""); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrNoItem) {
			t.Errorf("GetItem: %v where nobody answers", err)
		}
		a.stop()
		if _, err := a.GetItem(t.Context(), [32]byte{1}, ""); err == nil {
			t.Error("GetItem works without Run")
		}
		if n := len(a.families[0].fetching); n > 0 {
			t.Errorf("%d fetches are left", n)
		}
	})
}

// Who asks for too much at a time is told so, and later asks again.
func TestGetItemIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 100)
		d.cut = true
		a := d.member(1, nil)
		defer a.stop()
		ctx, cancel := context.WithCancel(t.Context())
		var waiting sync.WaitGroup
		for i := range maxFetches {
			waiting.Go(func() {
				if _, err := a.GetItem(ctx, [32]byte{byte(i)}, ""); !errors.Is(err, context.Canceled) {
					t.Errorf("GetItem: %v", err)
				}
			})
		}
		pass(time.Second)
		if _, err := a.GetItem(t.Context(), [32]byte{99}, ""); err == nil || errors.Is(err, ErrNoItem) {
			t.Errorf("GetItem: %v beyond the bound", err)
		}
		before := d.sent.Load()
		pass(time.Minute)
		if n := d.sent.Load() - before; n > 60*sendsPerSecond {
			t.Errorf("%d datagrams in a minute without an answer", n)
		}
		cancel()
		waiting.Wait()
		d.change(func() { d.cut = false })
		pass(2 * time.Minute)
		if _, err := a.GetItem(t.Context(), [32]byte{99}, ""); !errors.Is(err, ErrNoItem) {
			t.Errorf("GetItem: %v afterwards, want ErrNoItem", err)
		}
	})
}

// Two nodes that know nobody but a relay meet through it alone.
func TestServingRelayIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 1)
		relay := d.relay(9, func(c *Config) { c.Bootstrap = []string{} })
		defer relay.stop()
		only := func(c *Config) { c.Bootstrap = []string{relay.addr.String()} }
		d.direct(relay)
		a := d.member(1, only)
		defer a.stop()
		pass(2 * time.Second)
		b := d.member(2, only)
		defer b.stop()
		pass(5 * time.Second)
		if took, ok := b.first(a.addr); !ok || took > time.Second {
			t.Errorf("the second found the first after %v (%t)", took, ok)
		}
		if took, ok := a.first(b.addr); !ok || took-b.start.Sub(a.start) > 3*time.Second {
			t.Errorf("the first found the second after %v (%t)", took, ok)
		}
	})
}
