//go:build !race

// The library waits on timers of no duration, with which Go's race detector
// crashes inside a synctest bubble (nil timer context in runtime.unlockAndRun,
// seen with Go 1.26.8). The same code runs under the race detector against real
// nodes in libtorrent_linux_test.go.

package mainline

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/credant/credant/discovery"
)

// The promise: two members meet over a DHT with dead nodes and lost datagrams
// within a few round trips of it.
func TestFirstContact(t *testing.T) {
	for _, c := range []struct {
		name  string
		nodes int
		dead  float64
		loss  float64
		limit time.Duration
	}{
		{"16 nodes", 16, 0, 0, 500 * time.Millisecond},
		{"500 nodes", 500, 0, 0, time.Second},
		{"500 nodes, a third dead, 5 % lost", 500, 0.33, 0.05, 3 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newSimDHT(t, c.nodes)
				d.loss = c.loss
				for _, n := range d.closest(simHash, c.nodes) {
					n.dead = n.addr != d.bootstrap() && d.rand.Float64() < c.dead
				}
				a := d.member(1, nil)
				defer a.stop()
				pass(10 * time.Second)
				before := d.sent.Load()
				b := d.member(2, nil)
				defer b.stop()
				pass(10 * time.Second)
				took, ok := b.first(a.addr)
				if !ok || took > c.limit {
					t.Errorf("the second found the first after %v (%t), want at most %v: %+v", took, ok, c.limit, b.Status())
				}
				other, ok := a.first(b.addr)
				if other -= b.start.Sub(a.start); !ok || other > c.limit+time.Second {
					t.Errorf("the first found the second %v after its start (%t), want at most %v", other, ok, c.limit+time.Second)
				}
				t.Logf("the second found the first after %v, and was found %v after its start; %d datagrams",
					took.Round(time.Millisecond), other.Round(time.Millisecond), d.sent.Load()-before)
			})
		})
	}
}

// The promise: an idle settled node costs about 4 DHT datagrams a minute, stays
// announced, and notices a newcomer within a minute.
func TestIdleNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 300)
		a := d.member(1, nil)
		defer a.stop()
		pass(10 * time.Minute)
		if st := a.Status(); st.State != discovery.StateWorking || !strings.Contains(st.Detail, "settled") || st.Nodes != closestK {
			t.Errorf("Status() = %+v, want settled", st)
		}
		const minutes = 240
		before, worst := d.sent.Load(), int64(0)
		for range minutes {
			last := d.sent.Load()
			pass(time.Minute)
			worst = max(worst, d.sent.Load()-last)
			if holders := d.holders(a, time.Now().Add(-simExpiry)); holders < closestK-1 {
				t.Fatalf("%d of the closest hold the announcement after %v, want %d", holders, time.Since(a.start), closestK)
			}
		}
		mean := float64(d.sent.Load()-before) / minutes
		t.Logf("%.2f datagrams a minute, at most %d in one", mean, worst)
		if mean > 5 {
			t.Errorf("%.2f datagrams a minute, want about 4", mean)
		}
		if worst > 50 {
			t.Errorf("%d datagrams in one minute, want a search at most", worst)
		}

		b := d.member(2, nil)
		defer b.stop()
		pass(2 * time.Minute)
		at, ok := a.first(b.addr)
		if took := at - b.start.Sub(a.start); !ok || took > time.Minute {
			t.Errorf("the settled node found the newcomer after %v (%t), want at most a minute", took, ok)
		}
	})
}

// Fast polling asks half of the closest nodes alone, each second; Kick brings it back and
// announces anew.
func TestPollingAndKick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 100)
		a := d.member(1, nil)
		defer a.stop()
		pass(10 * time.Second)
		count := func() int {
			before := d.sent.Load()
			pass(20 * time.Second)
			return int(d.sent.Load() - before)
		}
		const (
			fast     = 20 * closestK / fastShare * 2
			inFlight = closestK // at either end
		)
		if n := count(); n < fast-inFlight || n > fast+inFlight {
			t.Errorf("%d datagrams in 20 s of fast polling, want %d", n, fast)
		}
		pass(10 * time.Minute)
		if n := count(); n > 4 {
			t.Errorf("%d datagrams in 20 s once settled, want at most one query and answer", n)
		}
		kicked := time.Now()
		a.Kick()
		pass(time.Second)
		if n := d.holders(a, kicked); n != closestK {
			t.Errorf("announced anew to %d of the closest, want %d", n, closestK)
		}
		pass(time.Second)
		if n := count(); n < fast-inFlight || n > fast+inFlight {
			t.Errorf("%d datagrams in 20 s after Kick, want %d", n, fast)
		}
	})
}

// Nobody answers: said for people, tried again without flooding, and over as soon
// as somebody does.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 100)
		a := d.member(1, nil)
		defer a.stop()
		pass(10 * time.Minute)
		d.change(func() { d.cut = true })
		pass(10 * time.Minute)
		st := a.Status()
		if st.State != discovery.StateFailing || !strings.HasPrefix(st.LastError, "no DHT node answers: UDP blocked or no internet; trying again in ") {
			t.Errorf("Status() = %+v, want that no node answers", st)
		}
		before := d.sent.Load()
		pass(10 * time.Minute)
		if n := d.sent.Load() - before; n > 10*(retryBudget+2) || n == 0 {
			t.Errorf("%d datagrams in ten minutes without an answer, want a few a minute", n)
		}
		if len(a.Nodes()) == 0 {
			t.Error("Nodes() forgot all nodes")
		}
		d.change(func() { d.cut = false })
		pass(time.Minute + time.Second)
		if st := a.Status(); st.State != discovery.StateWorking || st.LastError != "" {
			t.Errorf("Status() = %+v a minute after the outage, want working", st)
		}

		d.change(func() { d.cut = true })
		pass(10 * time.Minute)
		d.change(func() { d.cut = false })
		a.Kick()
		pass(2 * time.Second)
		if st := a.Status(); st.State != discovery.StateWorking {
			t.Errorf("Status() = %+v 2 s after Kick, want working", st)
		}
	})
}

// The nodes that hold the announcement go away one day: others take their place.
func TestClosestNodesDie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 200)
		a := d.member(1, nil)
		defer a.stop()
		pass(10 * time.Minute)
		for _, n := range d.closest(simHash, closestK) {
			d.change(func() { n.dead = n.addr != d.bootstrap() })
		}
		pass(10 * time.Minute)
		if holders := d.holders(a, time.Time{}); holders < closestK/2 {
			t.Errorf("%d of the new closest hold the announcement, want most of %d: %+v", holders, closestK, a.Status())
		}
		b := d.member(2, nil)
		defer b.stop()
		pass(5 * time.Second)
		if took, ok := b.first(a.addr); !ok || took > 3*time.Second {
			t.Errorf("a newcomer found the first after %v (%t)", took, ok)
		}
	})
}

// At the change of the day the next hash is searched at once, from the nodes known.
func TestDayChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 200)
		midnight := time.Now().Add(3 * time.Hour)
		hashes := func(now time.Time) [][20]byte {
			today, tomorrow := infoHash{1, 2, 3}, infoHash{0xfe, 2, 3}
			switch {
			case now.Before(midnight.Add(-2 * time.Hour)):
				return [][20]byte{today}
			case now.Before(midnight.Add(2 * time.Hour)):
				return [][20]byte{today, tomorrow}
			}
			return [][20]byte{tomorrow}
		}
		a := d.member(1, func(c *Config) { c.InfoHashes = hashes })
		defer a.stop()
		pass(90 * time.Minute)
		if n := d.askedLately(); n != 2 {
			t.Errorf("%d hashes asked for around midnight, want 2", n)
		}
		before := d.sent.Load()
		pass(time.Hour)
		if n := d.sent.Load() - before; n > 6*60 {
			t.Errorf("%d datagrams in an hour with two hashes, want about as many as with one", n)
		}
		pass(4 * time.Hour)
		if n := d.askedLately(); n != 1 {
			t.Errorf("%d hashes asked for after midnight, want 1", n)
		}
		b := d.member(2, func(c *Config) { c.InfoHashes = hashes })
		defer b.stop()
		pass(5 * time.Second)
		if _, ok := b.first(a.addr); !ok {
			t.Error("the first is not found under the new day's hash")
		}
	})
}

// A warm start needs no bootstrap node, also where most remembered nodes are gone.
func TestWarmStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 300)
		a := d.member(1, nil)
		defer a.stop()
		pass(time.Minute)
		known := a.Nodes()
		if len(known) < closestK || len(known) > MaxNodes {
			t.Fatalf("%d nodes to remember", len(known))
		}
		warm := func(c *Config) { c.Bootstrap, c.KnownNodes = []string{}, known }
		b := d.member(2, warm)
		pass(5 * time.Second)
		if took, ok := b.first(a.addr); !ok || took > 300*time.Millisecond {
			t.Errorf("found after %v (%t), want one round trip", took, ok)
		}
		b.stop()

		for i, addr := range known {
			d.change(func() { d.nodes[addr].dead = i%4 != 3 })
		}
		c := d.member(3, warm)
		defer c.stop()
		pass(5 * time.Second)
		if took, ok := c.first(a.addr); !ok || took > 3*time.Second {
			t.Errorf("with three quarters of the nodes gone: found after %v (%t)", took, ok)
		}
	})
}

// Names are resolved in the background, and again while nobody answers.
func TestBootstrapNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 50)
		var working atomic.Bool
		var lookups atomic.Int64
		a := d.member(1, func(c *Config) {
			c.Bootstrap = []string{"dht.example:6881"}
			c.LookupIP = func(ctx context.Context, host string) ([]netip.Addr, error) {
				if lookups.Add(1); !working.Load() {
					time.Sleep(time.Second)
					return nil, errors.New("no such host")
				}
				return []netip.Addr{d.bootstrap().Addr()}, nil
			}
		})
		defer a.stop()
		pass(500 * time.Millisecond)
		if st := a.Status(); st.State != discovery.StateStarting || st.Detail != "resolving bootstrap nodes" {
			t.Errorf("Status() = %+v, want resolving", st)
		}
		pass(5 * time.Minute)
		st := a.Status()
		if st.State != discovery.StateFailing || !strings.Contains(st.LastError, "resolve dht.example: no such host") {
			t.Errorf("Status() = %+v, want the resolver's error", st)
		}
		if n := lookups.Load(); n > 15 {
			t.Errorf("%d look-ups in five minutes", n)
		}
		working.Store(true)
		pass(maxSearchPause + 2*time.Second)
		if st := a.Status(); st.State != discovery.StateWorking {
			t.Errorf("Status() = %+v, want working once the name resolves", st)
		}
		before := lookups.Load()
		pass(time.Hour)
		if n := lookups.Load() - before; n != 0 {
			t.Errorf("%d look-ups while the DHT answers, want none", n)
		}
	})
}

// With bootstrap nodes in one family only, the other learns its nodes from there.
func TestFamiliesHelpEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 100)
		six := func(i byte) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 1, 15: i}), 5000)
		}
		a := d.member(1, func(c *Config) { c.IPv6 = d.conn(six(1)) })
		defer a.stop()
		pass(10 * time.Second)
		if st := a.Status(); st.Nodes != 2*closestK {
			t.Errorf("Status() = %+v, want %d nodes of either family", st, closestK)
		}
		b := d.member(2, func(c *Config) { c.IPv6 = d.conn(six(2)) })
		defer b.stop()
		pass(5 * time.Second)
		for _, addr := range []netip.AddrPort{a.addr, six(1)} {
			if took, ok := b.first(addr); !ok || took > 2*time.Second {
				t.Errorf("%v found after %v (%t)", addr, took, ok)
			}
		}
		known := b.Nodes()
		if !slices.ContainsFunc(known, func(a netip.AddrPort) bool { return a.Addr().Is6() }) {
			t.Errorf("Nodes() = %v, want both families", known)
		}
	})
}

// A source without any socket or node says so.
func TestNothingToWorkWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		none := New(Config{InfoHashes: func(time.Time) [][20]byte { return nil }, Found: func(netip.AddrPort) {}})
		if st := none.Status(); st.State != discovery.StateWaiting {
			t.Errorf("Status() = %+v without a socket", st)
		}
		d := newSimDHT(t, 1)
		a := d.member(1, func(c *Config) { c.Bootstrap = []string{} })
		defer a.stop()
		pass(time.Minute)
		if st := a.Status(); st.State != discovery.StateWaiting || st.Detail != "no nodes known" {
			t.Errorf("Status() = %+v without nodes", st)
		}
	})
}
