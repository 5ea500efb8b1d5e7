package relayd

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/mainline"
	"github.com/credant/credant/relay/wire"
)

// A relay is found in the DHT under the hashes of whom it serves, with its
// addresses under its key; the DHT is another relay.
func TestFoundInTheDHT(t *testing.T) {
	network := newNetwork(t)
	for name, tt := range map[string]struct {
		change func(*Config)
		hash   [20]byte
		found  bool
	}{
		"everyone's":      {func(*Config) {}, keys.PublicRelayInfoHash(), true},
		"a network's":     {func(c *Config) { c.Allow = []keys.NetworkID{network.ID()} }, network.ID().RelayInfoHash(), true},
		"not announced":   {func(c *Config) { c.NoAnnounce = true }, keys.PublicRelayInfoHash(), false},
		"not another's":   {func(c *Config) { c.Allow = []keys.NetworkID{network.ID()} }, keys.PublicRelayInfoHash(), false},
		"a named relay's": {func(c *Config) { c.Advertise = []string{"localhost"} }, keys.PublicRelayInfoHash(), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			other := quiet(t, loopback())
			other.NoDHT, other.NoAnnounce, other.DHTBootstrap = false, true, []string{}
			node := start(t, other)
			nodeAddr := netip.AddrPortFrom(other.Listen[0], other.Port)

			c := quiet(t, loopback())
			c.NoDHT, c.DHTBootstrap = false, []string{nodeAddr.String()}
			tt.change(&c)
			r := start(t, c)
			want := netip.AddrPortFrom(c.Listen[0], c.Port)

			looker, found := look(t, tt.hash, nodeAddr)
			if !tt.found {
				// It is a node of the DHT all the same, and would have been found by now.
				r.eventually("a node answers", func() bool { return r.metric("dht_nodes") > 0 && looker.Status().Nodes > 0 })
				select {
				case got := <-found:
					t.Errorf("found %v", got)
				case <-time.After(500 * time.Millisecond):
				}
				return
			}
			select {
			case got := <-found:
				if got != want {
					t.Errorf("found %v, want %v", got, want)
				}
			case <-time.After(patience):
				t.Fatal("not found")
			}
			if len(c.Advertise) == 0 {
				return
			}
			// The item comes a moment after the announce.
			for end := time.Now().Add(patience); ; {
				value, err := looker.GetItem(t.Context(), [32]byte(r.Key), wire.ItemSalt)
				if want := "localhost:" + strconv.Itoa(int(c.Port)); err == nil && string(value) == want {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("item %q, %v", value, err)
				}
			}
			// A restart begins from the nodes that answered.
			r.stop()
			b, err := os.ReadFile(filepath.Join(c.StateDir, nodesFile))
			if err != nil || !strings.Contains(string(b), nodeAddr.String()) {
				t.Errorf("remembered %q, %v; want %v", b, err, nodeAddr)
			}
			node.stop()
		})
	}
}

// look asks the DHT for a hash until the test ends.
func look(t *testing.T, hash [20]byte, bootstrap netip.AddrPort) (*mainline.Source, <-chan netip.AddrPort) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	found := make(chan netip.AddrPort, 16)
	s := mainline.New(mainline.Config{
		IPv4: conn, Bootstrap: []string{bootstrap.String()},
		Lookups: []mainline.Lookup{{
			InfoHashes: func(time.Time) [][20]byte { return [][20]byte{hash} },
			Found: func(a netip.AddrPort) {
				select {
				case found <- a:
				default:
				}
			},
		}},
		Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s, found
}

// What the internet sees stands in for addresses that mean nothing there, and for
// nothing else.
func TestItemNamesWhatOthersCanReach(t *testing.T) {
	seen := netip.MustParseAddrPort("203.0.113.5:3478")
	for _, tt := range []struct {
		give []string
		want string
	}{
		{[]string{"10.0.0.5"}, "203.0.113.5:3478"},
		{[]string{"198.51.100.1", "2001:db8::1", "10.0.0.5"}, "198.51.100.1:3478 [2001:db8::1]:3478"},
		{[]string{"relay.example.org"}, "relay.example.org:3478"},
	} {
		var give []wire.ServerAddress
		for _, host := range tt.give {
			give = append(give, wire.ServerAddress{Host: host, Port: 3478})
		}
		a := newAnnounced(wire.GenerateServer(), Config{}, give)
		if news := a.seenAt(seen); news != (tt.give[0] == "10.0.0.5") || a.seenAt(seen) {
			t.Error("an address is news once, and to who knows none")
		}
		if got := string(a.value()); got != tt.want {
			t.Errorf("item of %v is %q, want %q", tt.give, got, tt.want)
		}
		a.set(Config{NoAnnounce: true})
		if got := a.value(); got != nil {
			t.Errorf("item %q of a relay that does not announce", got)
		}
	}
}

func TestNodesFile(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.NewTextHandler(t.Output(), nil))
	if got := readNodes(dir, log); got != nil {
		t.Errorf("nodes %v of an empty folder", got)
	}
	nodes := []netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:6881"), netip.MustParseAddrPort("[2001:db8::1]:6881")}
	writeNodes(dir, nodes, log)
	writeNodes(dir, nil, log) // keeps what there was
	f, err := os.OpenFile(filepath.Join(dir, nodesFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("nonsense\n\n" + strings.Repeat("192.0.2.1:1\n", 100)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	got := readNodes(dir, log)
	if len(got) != mainline.MaxNodes || got[0] != nodes[0] || got[1] != nodes[1] {
		t.Errorf("read %v", got)
	}
}
