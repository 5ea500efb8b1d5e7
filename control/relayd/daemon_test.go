package relayd

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/client"
)

func TestMain(m *testing.M) {
	if address := os.Getenv(childAddress); address != "" {
		if err := child(address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// loopback is an IPv4 address of the loopback interface for one test alone.
func loopback() netip.Addr {
	return netip.AddrFrom4([4]byte{127, byte(64 + rand.IntN(64)), byte(rand.IntN(256)), byte(1 + rand.IntN(254))})
}

// quiet is a relay on loopback addresses that speaks to nobody unasked. ::1 is
// everyone's, so the ports differ.
func quiet(t testing.TB, listen ...netip.Addr) Config {
	first := uint16(22000 + 64*rand.IntN(150))
	return Config{
		Version: "test", StateDir: t.TempDir(), Listen: listen, NoDHT: true,
		Port: first, STUNPort: first + 1, Ports: PortRange{First: first + 2, Last: first + 63},
		Metrics: "127.0.0.1:0", Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// A running relay.
type running struct {
	Info
	t       testing.TB
	reloads chan Config
	cancel  context.CancelFunc
	ended   chan error
}

func start(t testing.TB, c Config) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, reloads: make(chan Config), cancel: cancel, ended: make(chan error, 1)}
	c.Reloads = r.reloads
	ready := make(chan Info, 1)
	go func() { r.ended <- Run(ctx, c, func(i Info) { ready <- i }) }()
	select {
	case r.Info = <-ready:
	case err := <-r.ended:
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() { r.stop() })
	return r
}

// stop ends the relay, which must end without an error.
func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	if err, ok := <-r.ended; ok {
		close(r.ended)
		if err != nil {
			r.t.Error(err)
		}
	}
}

// server is the relay as a node is told of it by one of its addresses.
func (r *running) server(a netip.Addr) client.Server {
	return client.Server{Key: r.Key, Addrs: []netip.AddrPort{netip.AddrPortFrom(a, r.Port)}}
}

// metric reads one value as Prometheus does; none is 0.
func (r *running) metric(series string) float64 {
	r.t.Helper()
	response, err := http.Get("http://" + r.Metrics + "/metrics")
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	b, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		r.t.Fatalf("metrics: %s, %v: %s", response.Status, err, b)
	}
	for line := range strings.Lines(string(b)) {
		var v float64
		if value, ok := strings.CutPrefix(line, "credant_relay_"+series+" "); ok {
			if _, err := fmt.Sscan(value, &v); err != nil {
				r.t.Fatal(err)
			}
			return v
		}
	}
	return 0
}

func (r *running) eventually(what string, holds func() bool) {
	r.t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("in vain: %s", what)
		}
	}
}

// Two nodes, one over IPv4 and one over IPv6, find each other, are relayed, and
// stay so while settings are reread and while the relay leaves.
func TestNodesMeetAndAreRelayed(t *testing.T) {
	local4, local6 := loopback(), netip.IPv6Loopback()
	c := quiet(t, local4, local6)
	c.Grace = 3 * time.Second // for what two nodes have to do in it, on a busy machine
	r := start(t, c)
	network := newNetwork(t)
	a := startNode(t, network, "127.0.0.1", r.server(local4))
	b := startNode(t, network, "::1", r.server(local6))

	a.do(func(c *client.Client) { c.SetBlob(time.Now(), []byte("here is a")) })
	if registered := await(a, always[client.Registered]); len(registered.Addrs) != 2 {
		t.Errorf("the relay names %v, want both its addresses", registered.Addrs)
	}
	b.do(func(c *client.Client) { c.SetBlob(time.Now(), []byte("here is b")) })
	if f := await(a, always[client.Found]); f.Node != b.key.Public() || string(f.Blob) != "here is b" {
		t.Errorf("a found %v with %q", f.Node, f.Blob)
	}
	if f := await(b, always[client.Found]); f.Node != a.key.Public() || string(f.Blob) != "here is a" {
		t.Errorf("b found %v with %q", f.Node, f.Blob)
	}

	atA, atB := pair(a, b)
	if atA.Port() != atB.Port() || atA.Port() != r.Ports.First {
		t.Errorf("relayed at %v and %v, want the first port of %v", atA, atB, r.Ports)
	}
	exchange := func(n byte) {
		t.Helper()
		a.send(atA, wireguard(n))
		b.gets(atB, wireguard(n))
		b.send(atB, wireguard(n+1))
		a.gets(atA, wireguard(n+1))
	}
	exchange(1)
	for series, want := range map[string]float64{
		"networks": 1, "registrations": 2, "allocations": 1, "allocations_bound": 1, "flows": 2, "ports_open": reopened,
		"forwarded_datagrams_total": 2, "forwarded_bytes_total": 64, // counted a moment after they have gone
		`info{key="` + r.Key.String() + `",version="test"}`: 1,
	} {
		r.eventually(fmt.Sprintf("%s is %v", series, want), func() bool { return r.metric(series) == want })
	}

	// The network is one of two allowed now. Nothing is lost.
	c.Allow = []keys.NetworkID{newNetwork(t).ID(), network.ID()}
	c.Stranger.PairBytes = 1000
	r.reloads <- c
	exchange(3)
	if got := r.metric("allocations_bound"); got != 1 {
		t.Errorf("%v allocations after settings were reread, want 1", got)
	}

	began := time.Now()
	r.cancel()
	for _, n := range []*node{a, b} {
		if l := await(n, always[client.Leaving]); l.Grace != c.Grace {
			t.Errorf("leaving in %v, want %v", l.Grace, c.Grace)
		}
	}
	exchange(5)
	r.stop()
	if took := time.Since(began); took < c.Grace {
		t.Errorf("ended after %v, want the grace time %v", took, c.Grace)
	}
}

// A relay that was started anew knows nothing of its nodes, and has its old key:
// they are back on their own, and traffic passes.
func TestRestart(t *testing.T) {
	local := loopback()
	c := quiet(t, local)
	r := start(t, c)
	network := newNetwork(t)
	a := startNode(t, network, "127.0.0.1", r.server(local))
	b := startNode(t, network, "127.0.0.1", r.server(local))
	for _, n := range []*node{a, b} {
		n.do(func(c *client.Client) { c.SetBlob(time.Now(), []byte("x")) })
		await(n, always[client.Registered])
	}
	atA, atB := pair(a, b)
	a.send(atA, wireguard(1))
	b.gets(atB, wireguard(1))

	key := r.Key
	r.stop()
	r = start(t, c)
	if r.Key != key {
		t.Fatalf("the key is %v now, was %v", r.Key, key)
	}
	// Both send, as WireGuard would: that is how they learn of the restart.
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for n := byte(2); ; n++ {
		a.send(atA, wireguard(n))
		b.send(atB, wireguard(n))
		select {
		case <-b.data:
			return
		case <-tick.C:
		case <-timeout:
			t.Fatal("nothing passes after a restart")
		}
	}
}

// With networks allowed, others get nothing; what an allowed one has goes when
// it is allowed no longer.
func TestOnlyAllowedNetworks(t *testing.T) {
	local := loopback()
	c := quiet(t, local)
	mine, other := newNetwork(t), newNetwork(t)
	c.Allow = []keys.NetworkID{mine.ID()}
	r := start(t, c)
	register := func(n *node) { n.do(func(c *client.Client) { c.SetBlob(time.Now(), []byte("x")) }) }

	stranger := startNode(t, other, "127.0.0.1", r.server(local))
	register(stranger)
	r.eventually("a stranger is refused", func() bool { return r.metric(`requests_total{outcome="forbidden"}`) > 0 })
	member := startNode(t, mine, "127.0.0.1", r.server(local))
	register(member)
	await(member, always[client.Registered])
	if got := r.metric("registrations"); got != 1 {
		t.Errorf("%v registered, want the member alone", got)
	}

	c.Allow = []keys.NetworkID{other.ID()}
	r.reloads <- c
	r.eventually("the network that is allowed no longer is gone", func() bool { return r.metric("registrations") == 0 })
}

// What strangers send to the front port that is none of its protocols is dropped
// and counted, and stops nothing.
func TestGarbageAtTheFrontPort(t *testing.T) {
	local := loopback()
	r := start(t, quiet(t, local))
	conn, err := net.Dial("udp", netip.AddrPortFrom(local, r.Port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, b := range []string{"GET / HTTP/1.1\r\n", "d1:q4:ping1:t2:aa1:y1:qe", string(wireguard(1)), "\xa1\x03hello", "\xa1\x40short", strings.Repeat("\xa1\x40", 1500), ""} {
		if _, err := io.WriteString(conn, b); err != nil {
			t.Fatal(err)
		}
	}
	for series, want := range map[string]float64{
		`drops_total{part="front",reason="unknown-protocol"}`: 4,
		`drops_total{part="front",reason="dht-not-here"}`:     1,
		`drops_total{part="front",reason="size"}`:             1,
		`drops_total{part="engine",reason="size"}`:            1,
	} {
		r.eventually(series, func() bool { return r.metric(series) == want })
	}
	n := startNode(t, newNetwork(t), "127.0.0.1", r.server(local))
	n.do(func(c *client.Client) { c.SetBlob(time.Now(), []byte("x")) })
	await(n, always[client.Registered])
}

func TestPortTaken(t *testing.T) {
	local := loopback()
	c := quiet(t, local)
	c.Metrics = ""
	start(t, c)
	for flag, change := range map[string]func(*Config){
		"--port":      func(*Config) {},
		"--stun-port": func(c *Config) { c.Port += 100 },
	} {
		again := c
		change(&again)
		err := Run(t.Context(), again, nil)
		if err == nil || !strings.Contains(err.Error(), "address already in use") || !strings.HasSuffix(err.Error(), "choose another with "+flag) {
			t.Errorf("%v, want advice that names %s", err, flag)
		}
	}
}
