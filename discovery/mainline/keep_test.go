//go:build !race

package mainline

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// An item is stored while somebody wants it kept, and given up afterwards.
func TestKeepItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 100)
		a, b := d.member(1, nil), d.member(2, nil)
		defer a.stop()
		defer b.stop()
		pass(5 * time.Second)
		item := Item{Key: ed25519.NewKeyFromSeed(make([]byte, 32)), Salt: "3", Value: func() []byte { return []byte("note") }}
		key := [32]byte(item.Key.Public().(ed25519.PublicKey))
		ctx, cancel := context.WithCancel(t.Context())
		kept := make(chan error, 1)
		go func() { kept <- a.KeepItem(ctx, item) }()
		pass(3 * time.Second)
		get := func() (string, error) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			v, err := b.GetItem(ctx, key, "3")
			return string(v), err
		}
		if v, err := get(); v != "note" {
			t.Errorf("GetItem = %q, %v, want the note", v, err)
		}
		pass(3 * time.Hour)
		if v, err := get(); v != "note" {
			t.Errorf("GetItem = %q, %v after three hours, want the note", v, err)
		}

		cancel()
		if err := <-kept; err != nil {
			t.Errorf("KeepItem: %v", err)
		}
		pass(time.Second)
		if n := len(a.families[0].keeping); n > 0 {
			t.Errorf("%d items are still kept", n)
		}
		pass(5 * time.Hour)
		if _, err := get(); !errors.Is(err, ErrNoItem) {
			t.Errorf("GetItem: %v long after it was given up, want ErrNoItem", err)
		}
	})
}

// Where a gateway lets everyone in is announced in place of the port that others see.
func TestForwardedPortIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 100)
		var port atomic.Uint32
		a := d.member(1, func(c *Config) { c.Forwarded = func() uint16 { return uint16(port.Load()) } })
		b := d.member(2, nil)
		defer a.stop()
		defer b.stop()
		pass(5 * time.Second)
		if _, ok := b.first(a.addr); !ok {
			t.Error("not found at the port that others see")
		}
		port.Store(23456)
		at := netip.AddrPortFrom(a.addr.Addr(), 23456)
		a.Kick()
		b.Kick()
		pass(10 * time.Second)
		if _, ok := b.first(at); !ok {
			t.Errorf("not found at %v", at)
		}
	})
}

// Only a few items are kept at a time, and bad ones are refused at once.
func TestKeepItemIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 50)
		a := d.member(1, nil)
		defer a.stop()
		pass(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		keep := func(seed byte) error {
			key := make([]byte, 32)
			key[0] = seed
			return a.KeepItem(ctx, Item{Key: ed25519.NewKeyFromSeed(key), Value: func() []byte { return []byte("x") }})
		}
		for i := range maxKeeps {
			go func() { _ = keep(byte(i)) }()
		}
		pass(time.Second)
		if err := keep(99); err == nil {
			t.Error("one too many is kept")
		}
		if err := a.KeepItem(ctx, Item{Value: func() []byte { return nil }}); err == nil {
			t.Error("an item without a key is kept")
		}
	})
}
