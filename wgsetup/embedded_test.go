package wgsetup

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// node is a Device in a namespace of its own.
type node struct {
	*Device
	ns      *nstest.NS
	key     wgtypes.Key
	overlay [2]netip.Prefix // IPv4, IPv6
}

var overlayRoutes = []netip.Prefix{
	netip.MustParsePrefix("10.99.0.0/16"),
	netip.MustParsePrefix("fd99::/48"),
}

func testLog(t testing.TB) *slog.Logger {
	level := slog.LevelInfo
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: level}))
}

// openNode opens a device in ns and runs it until the test ends.
func openNode(t testing.TB, ns *nstest.NS, c Config, overlay4, overlay6 string) *node {
	t.Helper()
	n := &node{ns: ns}
	if c.Network == "" {
		c.Network = "test"
	}
	if c.PrivateKey == (wgtypes.Key{}) {
		key, err := wgtypes.GeneratePrivateKey()
		nstest.Must(t, err)
		c.PrivateKey = key
	}
	if c.Log == nil {
		c.Log = testLog(t)
	}
	n.key = c.PrivateKey.PublicKey()
	n.overlay[0] = netip.MustParsePrefix(overlay4)
	n.overlay[1] = netip.MustParsePrefix(overlay6)
	ns.Do(func() {
		d, err := Open(t.Context(), c)
		nstest.Must(t, err)
		n.Device = d
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := n.Remove(); err != nil {
			t.Errorf("remove: %v", err)
		}
	})
	return n
}

// desired returns what n is with others as its peers.
func (n *node) desired(others ...Peer) Desired {
	return Desired{Addresses: n.overlay[:], Routes: overlayRoutes, Peers: others}
}

// peer returns n as others see it.
func (n *node) peer(endpoint string) Peer {
	p := Peer{PublicKey: n.key, AllowedIPs: n.overlay[:]}
	if endpoint != "" {
		p.Endpoint = netip.AddrPortFrom(netip.MustParseAddr(endpoint), n.Port())
	}
	return p
}

func (n *node) apply(t testing.TB, want Desired) []Step {
	t.Helper()
	steps, err := n.Apply(t.Context(), want)
	nstest.Must(t, err)
	return steps
}

func TestEmbeddedPing(t *testing.T) {
	a, b := nstest.New(t), nstest.New(t)
	nstest.Connect(t, a, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"}, b, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	testPing(t, Embedded, a, b)
}

// testPing joins two hosts on 192.0.2.0/24 and 2001:db8::/64.
func testPing(t *testing.T, backend Backend, a, b *nstest.NS) {
	na := openNode(t, a, Config{Backend: backend}, "10.99.0.1/32", "fd99::1/128")
	nb := openNode(t, b, Config{Backend: backend}, "10.99.0.2/32", "fd99::2/128")
	if na.Backend() != backend {
		t.Fatalf("backend %s", na.Backend())
	}
	steps := na.apply(t, na.desired(nb.peer("192.0.2.2")))
	for _, s := range steps {
		t.Log(s)
	}
	if again := na.apply(t, na.desired(nb.peer("192.0.2.2"))); len(again) != 0 {
		t.Errorf("applying twice: %v", again)
	}
	nb.apply(t, nb.desired(na.peer("2001:db8::1")))
	a.Run("ping", "-c", "2", "-i", "0.2", "-W", "2", "10.99.0.2")
	a.Run("ping", "-c", "2", "-i", "0.2", "-W", "2", "fd99::2")
	peers, err := na.Peers()
	nstest.Must(t, err)
	p := peers[nb.key]
	if time.Since(p.LastHandshake) > time.Minute || p.RxBytes == 0 || p.TxBytes == 0 || p.Endpoint.Port() != nb.Port() {
		t.Errorf("peer: %+v", p)
	}
}
