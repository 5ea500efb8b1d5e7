package scenario

import (
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/credant/credant/control"
	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/integration/member"
	"github.com/credant/credant/integration/strict"
)

// The programs under test.
var binary, relayBinary string

func TestMain(m *testing.M) {
	os.Exit(member.Main(m, func(_, node, relay string) error {
		binary, relayBinary = node, relay
		return nil
	}))
}

// inVM tells whether this is the emulated kernel, in which everything takes many times as long.
var inVM = os.Getenv("CREDANT_VM") != ""

// scaled is a time limit: as promised natively, wider in the VM, where only the outcome counts.
func scaled(d time.Duration) time.Duration {
	if inVM {
		return 12 * d
	}
	return d
}

// A world is a lab with members in it.
type world struct {
	*lab.Lab
	t       *testing.T
	backend string
	flags   []string // of every member
	typed   bool     // the passphrase is given to each, as people do, and no key is stored
	members []*node
}

func newWorld(t *testing.T, backend string) *world {
	t.Helper()
	if os.Getuid() != 0 {
		strict.Skip(t, "network namespaces need root")
	}
	if backend == "kernel" && os.Getenv("CREDANT_TEST_KERNEL") == "" {
		t.Skip("kernel WireGuard is tested in the VM: make test-kernel")
	}
	return &world{Lab: lab.New(), t: t, backend: backend}
}

// build builds what was described, and keeps it until the test ends.
func (w *world) build() {
	w.t.Helper()
	w.must(w.Build())
	w.t.Cleanup(func() {
		if w.t.Failed() {
			for _, n := range w.members {
				n.tellWhy()
			}
		}
		if err := w.Close(); err != nil {
			w.t.Error(err)
		}
	})
}

// end ends a world before its test does.
func (w *world) end() {
	w.t.Helper()
	if !w.t.Failed() { // or it is to tell why
		w.must(w.Close())
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// within bounds a wait that has no promise of its own, by patience at least.
func (w *world) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), scaled(max(d, patience)))
	w.t.Cleanup(cancel)
	return ctx
}

// addDHT describes a host for a DHT; startDHT, after build, starts it and points every member at it. In the VM one of
// several hops would take all of the CPU.
func (w *world) addDHT() *lab.Host {
	h := w.Host("dht")
	h.Addresses = 16
	if inVM {
		h.Addresses = 6
	}
	return h
}

func (w *world) startDHT(h *lab.Host) *lab.DHT {
	w.t.Helper()
	dht, err := h.StartDHT(w.within(3 * patience))
	w.must(err)
	w.flags = append(w.flags, "--dht-bootstrap", dht.Bootstrap.String())
	return dht
}

// startSTUN, after build, starts a STUN server of two addresses on the host and points every member at it.
func (w *world) startSTUN(h *lab.Host) {
	w.t.Helper()
	server, err := h.StartSTUN()
	w.must(err)
	w.t.Cleanup(func() { server.Close() })
	w.flags = append(w.flags, "--stun", server.Addr[0].String(), "--stun", server.Addr[1].String())
}

// twoOnLAN are two nodes behind one router, neither started yet, that find each other by nothing but their LAN.
func twoOnLAN(t *testing.T, backend string) (w *world, a, b *node) {
	t.Helper()
	w = newWorld(t, backend)
	home := w.NAT("home", lab.PortRestricted)
	a, b = w.join(home.Host("alice")), w.join(home.Host("bob"))
	w.build()
	w.flags = []string{"--no-dht", "--no-stun"}
	return w, a, b
}

// networkName is the one network of most tests.
const networkName = "home"

// A node is a member under test.
type node struct {
	*member.Member
	w *world
}

// join makes the host a member of the test's network, not started yet.
func (w *world) join(h *lab.Host) *node {
	n := &node{w: w, Member: &member.Member{Host: h, Binary: binary, Network: networkName}}
	w.members = append(w.members, n)
	return n
}

// up starts the member and returns once its interface is up.
func (n *node) up(flags ...string) localapi.Status {
	n.w.t.Helper()
	n.start(flags...)
	status, err := n.WaitUp(n.w.within(15 * time.Second))
	n.w.must(err)
	return status
}

func (n *node) start(flags ...string) {
	n.w.t.Helper()
	if !n.Joined && (inVM || !n.w.typed && n.Passphrase == "") {
		n.storeKey()
	}
	n.w.must(n.Start(slices.Concat([]string{"--backend", n.w.backend, "--log-level", "debug"}, n.w.flags, flags)...))
}

// storeKey leaves the network key where an earlier up would have: deriving it takes 64 MiB and half a second, or a quarter
// of a minute of emulation, which is spent once for all, and not in the middle of what another test measures.
func (n *node) storeKey() {
	n.w.t.Helper()
	key, err := networkKey(n.Network)
	n.w.must(err)
	dir := filepath.Join(control.DefaultStateDir, n.Network)
	n.w.must(n.Host.Do(func() error {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "network.key"), []byte(key+"\n"), 0o600)
	}))
	n.Joined = true
}

// networkKey is the key of a network of the passphrase, as it is stored.
func networkKey(network string) (string, error) {
	derive, _ := derived.LoadOrStore(network, sync.OnceValues(func() (string, error) {
		key, err := keys.DeriveNetworkKey([]byte(member.Passphrase), network)
		return base64.StdEncoding.EncodeToString(key.Bytes()), err
	}))
	return derive.(func() (string, error))()
}

var derived sync.Map // by network

func (n *node) status() localapi.Status {
	n.w.t.Helper()
	status, err := n.Status(n.w.within(10 * time.Second))
	n.w.must(err)
	return status
}

// reach pings the other until it answers, at most for limit or patience, and returns the answer and how long it took.
func (n *node) reach(to *node, limit time.Duration) (localapi.PingReply, time.Duration) {
	n.w.t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(n.w.t.Context(), scaled(max(limit, patience)))
	defer cancel()
	reply, err := n.AwaitPing(ctx, to.Host.Name)
	n.w.must(err)
	return reply, time.Since(began)
}

// startAndReach starts the member and pings the other until it answers, and returns the answer and how long all of it took.
func (n *node) startAndReach(to *node, limit time.Duration) (localapi.PingReply, time.Duration) {
	n.w.t.Helper()
	n.start()
	began := time.Now()
	_, err := n.WaitUp(n.w.within(15 * time.Second))
	n.w.must(err)
	reply, _ := n.reach(to, limit)
	took := time.Since(began)
	n.w.t.Logf("second up to first ping: %v", took.Round(time.Millisecond))
	return reply, took
}

// peer returns what the member's status says of the other.
func (n *node) peer(of *node) (localapi.Peer, bool) {
	n.w.t.Helper()
	return findPeer(n.status(), of.Host.Name)
}

func findPeer(s localapi.Status, name string) (localapi.Peer, bool) {
	for _, p := range s.Peers {
		if p.Name == name {
			return p, true
		}
	}
	return localapi.Peer{}, false
}

// down ends the member as Ctrl-C does.
func (n *node) down() {
	n.w.t.Helper()
	n.w.must(n.Stop(n.w.within(10*time.Second), syscall.SIGINT))
}

// eventually waits for something that has no event to wait for, at most for limit or patience, and returns how long it
// took.
func (w *world) eventually(limit time.Duration, what string, holds func() bool) time.Duration {
	w.t.Helper()
	limit = scaled(max(limit, patience))
	began := time.Now()
	for !holds() {
		if time.Since(began) > limit {
			w.t.Fatalf("%s: not within %v", what, limit)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(began)
}

// output runs a program on the host, which must succeed, and returns what it printed.
func (w *world) output(h *lab.Host, args ...string) string {
	w.t.Helper()
	result, err := h.Run(w.within(15*time.Second), args...)
	w.must(err)
	if result.Code != 0 {
		w.t.Fatalf("%s on %s: exit code %d: %s", strings.Join(args, " "), h.Name, result.Code, result.Output)
	}
	return result.Stdout
}

// tellWhy writes what helps to understand a failure.
func (n *node) tellWhy() {
	if n.Daemon() == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), scaled(5*time.Second))
	defer cancel()
	if result, err := n.Run(ctx, "status", "--json"); err == nil && result.Code == 0 {
		n.w.t.Logf("status of %s: %s", n.Host.Name, result.Stdout)
	} else if n.Daemon().Signal(syscall.SIGQUIT) == nil {
		// It does not answer: where it hangs is in its last words.
		_, _ = n.Daemon().Wait(ctx)
	}
	lines := strings.Split(strings.TrimSpace(n.Daemon().Output()), "\n")
	const shown = 250
	n.w.t.Logf("last lines of %s:\n%s", n.Daemon().Name, strings.Join(lines[max(0, len(lines)-shown):], "\n"))
}
