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
	// In the namespace, where a TUN device has to be made anew.
	go ns.Do(func() { ended <- n.Run(ctx) })
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

// eachBackend runs a test with both, the kernel's where the kernel has it.
func eachBackend(t *testing.T, test func(t *testing.T, backend Backend)) {
	for _, backend := range []Backend{Embedded, Kernel} {
		t.Run("backend="+string(backend), func(t *testing.T) {
			needBackend(t, backend)
			test(t, backend)
		})
	}
}

func needBackend(t testing.TB, backend Backend) {
	t.Helper()
	err := Check(backend)
	switch {
	case err == nil:
	case backend == Kernel:
		nstest.SkipKernel(t, "the kernel has no WireGuard module: "+err.Error())
	default:
		nstest.Skip(t, err.Error())
	}
}

// onOneLink makes two hosts on 192.0.2.0/24 and 2001:db8::/64.
func onOneLink(t *testing.T) (a, b *nstest.NS) {
	t.Helper()
	a, b = nstest.New(t), nstest.New(t)
	nstest.Connect(t,
		a, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"},
		b, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	return a, b
}

// joined opens a device on both hosts of onOneLink and makes them peers.
func joined(t *testing.T, backend Backend) (a, b *node) {
	t.Helper()
	nsA, nsB := onOneLink(t)
	a = openNode(t, nsA, Config{Backend: backend}, "10.99.0.1/32", "fd99::1/128")
	b = openNode(t, nsB, Config{Backend: backend}, "10.99.0.2/32", "fd99::2/128")
	a.apply(t, a.desired(b.peer("192.0.2.2")))
	b.apply(t, b.desired(a.peer("192.0.2.1")))
	return a, b
}

// ping fails the test without an answer from an overlay address.
func (n *node) ping(t *testing.T, to netip.Prefix) {
	t.Helper()
	if out, err := n.ns.Try("ping", "-c", "3", "-i", "0.1", "-w", "30", to.Addr().String()); err != nil {
		t.Fatalf("ping: %v\n%s", err, out)
	}
}

// patience is how long a test waits for what comes soon, on a machine that has much else to do.
const patience = time.Minute

// eventually polls f in the node's namespace and returns how long it took.
func eventually(t *testing.T, what string, f func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !f() {
		if time.Since(begin) > patience {
			t.Fatalf("not within %s: %s", patience, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(begin)
}
