package mainline

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha512"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

func (d *foreignDHT) relay(hash [20]byte, item *Item) *member {
	d.t.Helper()
	return d.source(func(_ *member, c *Config) {
		c.Announce = func(time.Time) [][20]byte { return [][20]byte{hash} }
		c.Item = item
		c.Serve = true
	})
}

// The promise: a node that knows of no relay has one's address and item well within
// three seconds of its start, over nodes that are not ours.
func TestRelayIsFoundOverForeignNodes(t *testing.T) {
	d := startDHT(t, 16)
	var hash, own [20]byte
	_, _ = rand.Read(hash[:])
	_, _ = rand.Read(own[:])
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	relay := d.relay(hash, &Item{Key: private, Salt: "credant-relay", Value: func() []byte { return []byte("203.0.113.17:3478") }})
	relay.waitAnnounced(t)

	n := d.quickly(t, "a node", 800*time.Millisecond, relay.addr, func() *member {
		return d.source(func(m *member, c *Config) {
			c.InfoHashes = func(time.Time) [][20]byte { return [][20]byte{own} }
			c.Found = func(netip.AddrPort) {}
			c.Lookups = []Lookup{{
				InfoHashes: func(time.Time) [][20]byte { return [][20]byte{hash} },
				Found:      func(a netip.AddrPort) { m.found <- a },
			}}
		})
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	value, err := n.GetItem(ctx, [32]byte(public), "credant-relay")
	if err != nil || string(value) != "203.0.113.17:3478" {
		t.Fatalf("GetItem = %q, %v", value, err)
	}
	t.Logf("it had the relay's item %v later", time.Since(began).Round(time.Millisecond))
	for reason, count := range relay.Drops() {
		t.Errorf("the relay dropped %d datagrams of libtorrent's: %s", count, reason)
	}
}

// A libtorrent node that knows nobody but ours finds its place in the DHT, peers and
// items through it: it answers ping, find_node, get_peers, announce_peer, get and put
// as libtorrent wants them answered.
func TestServingNodeIsABootstrap(t *testing.T) {
	d := startDHT(t, 16)
	var hash [20]byte
	_, _ = rand.Read(hash[:])
	relay := d.relay(hash, nil)
	relay.waitAnnounced(t)
	for start := time.Now(); relay.Serving().Nodes < closestK; time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("the relay knows %d of 16 nodes", relay.Serving().Nodes)
		}
	}
	if got, err := strconv.Atoi(d.do("join 203.0.113.40 %v", relay.addr)); err != nil || got < closestK {
		t.Fatalf("libtorrent knows %d nodes through ours alone (%v), want %d", got, err, closestK)
	}
	if got := d.do("peers %x", hash); !strings.Contains(got, relay.addr.String()) {
		t.Errorf("libtorrent found %q, want %v", got, relay.addr)
	}
}

// What libtorrent nodes put, and what is announced, is kept by ours where it is the
// closest to it.
func TestServingNodeKeepsForForeignNodes(t *testing.T) {
	// libtorrent nodes change their ids when they learn their addresses, and a search
	// of theirs that meets an old id takes 15 s.
	d := startDHT(t, 16)
	relay := d.relay([20]byte{1}, nil)
	relay.waitAnnounced(t)
	other := relay.families[0].id
	other[19]++

	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	salt := ""
	for i := 0; commonBits(nodeID(mutableTarget([32]byte(public), []byte(salt))), other) < 12; i++ {
		salt = fmt.Sprint(i)
	}
	expanded := sha512.Sum512(private.Seed())
	expanded[0] &= 248
	expanded[31] = expanded[31]&63 | 64
	if got := d.do("put %x %x %s value", expanded, []byte(public), salt); got == "0" || got == "none" {
		t.Errorf("libtorrent put the item on %s nodes", got)
	}
	if got := d.do("item %x %s", []byte(public), salt); got != "value" {
		t.Errorf("libtorrent gets %q", got)
	}

	m := d.relay(other, nil) // no read-only one: libtorrent 2.0.8 asks those too, and waits
	m.waitAnnounced(t)
	if got := d.do("peers %x", other); !strings.Contains(got, m.addr.String()) {
		t.Errorf("libtorrent found %q, want %v", got, m.addr)
	}
	// One that few nodes name yet, or whose answer is late, is not announced to, though it is the closest: then the next
	// member does.
	for try := 0; try < 20 && relay.Serving().Peers == 0; try++ {
		time.Sleep(500 * time.Millisecond)
		m = d.relay(other, nil)
		m.waitAnnounced(t)
	}
	if got := relay.Serving(); got.Peers == 0 || got.Items != 1 {
		t.Errorf("%+v, want the announce and the item", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if v, err := m.GetItem(ctx, [32]byte(public), salt); err != nil || string(v) != "value" {
		t.Errorf("GetItem = %q, %v", v, err)
	}
	for reason, count := range relay.Drops() {
		t.Errorf("the relay dropped %d datagrams: %s", count, reason)
	}
}
