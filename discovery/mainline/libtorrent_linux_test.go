package mainline

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/credant/credant/discovery"
)

// These tests meet real foreign nodes: 16 libtorrent sessions in a network
// namespace of their own.

const (
	python  = "/usr/bin/python3"
	dhtPort = 6881
)

// A foreignDHT is a namespace with libtorrent nodes in it.
type foreignDHT struct {
	t         *testing.T
	ns        netns.NsHandle
	bootstrap netip.AddrPort
	hosts     byte
	commands  io.Writer
	replies   chan string
}

func startDHT(t *testing.T, nodes int) *foreignDHT {
	t.Helper()
	if err := exec.Command(python, "-c", "import libtorrent").Run(); err != nil {
		skip(t, "libtorrent for "+python+" (Debian: python3-libtorrent)")
	}
	d := &foreignDHT{t: t, ns: newNamespace(t)}
	args := []string{"testdata/dht.py", fmt.Sprint(dhtPort)}
	for i := range nodes {
		a := netip.AddrFrom4([4]byte{203, 0, 113, byte(i + 1)})
		if i == 0 {
			d.bootstrap = netip.AddrPortFrom(a, dhtPort)
		}
		args = append(args, a.String())
	}
	cmd := exec.Command(python, args...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.inside(func() error { return cmd.Start() })
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	d.commands, d.replies = stdin, make(chan string, 1)
	go func() {
		defer close(d.replies)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			d.replies <- lines.Text()
		}
	}()
	if line := d.reply(); line != "ready" {
		t.Fatalf("start libtorrent nodes: got %q", line)
	}
	return d
}

func (d *foreignDHT) reply() string {
	d.t.Helper()
	select {
	case line := <-d.replies:
		return line
	case <-time.After(2 * patience):
		d.t.Fatal("libtorrent does not say anything")
	}
	return ""
}

// do has libtorrent do something, and returns what came of it.
func (d *foreignDHT) do(format string, args ...any) string {
	d.t.Helper()
	if _, err := fmt.Fprintf(d.commands, format+"\n", args...); err != nil {
		d.t.Fatal(err)
	}
	return d.reply()
}

// newNamespace makes a network namespace with 203.0.113.0/24 on one interface. It
// is not a loopback interface, since libtorrent runs no DHT there.
func newNamespace(t *testing.T) netns.NsHandle {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	ns, err := netns.New()
	if err != nil {
		skip(t, "a network namespace (root, CAP_SYS_ADMIN): "+err.Error())
	}
	defer func() {
		if err := netns.Set(home); err != nil {
			panic(err) // this thread would go on in the wrong namespace
		}
	}()
	t.Cleanup(func() { _ = ns.Close() })
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "dht"}, PeerName: "dht-end"}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lo", "dht", "dht-end"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if name == "dht" {
			for i := range 48 {
				addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(203, 0, 113, byte(i+1)), Mask: net.CIDRMask(24, 32)}}
				if err := netlink.AddrAdd(link, addr); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := netlink.LinkSetUp(link); err != nil {
			t.Fatal(err)
		}
	}
	return ns
}

// inside runs f in the namespace. Sockets that it opens stay there.
func (d *foreignDHT) inside(f func() error) {
	d.t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		d.t.Fatal(err)
	}
	defer home.Close()
	if err := netns.Set(d.ns); err != nil {
		d.t.Fatal(err)
	}
	defer func() {
		if err := netns.Set(home); err != nil {
			panic(err)
		}
	}()
	if err := f(); err != nil {
		d.t.Fatal(err)
	}
}

// A member is one running Source.
type member struct {
	*Source
	addr  netip.AddrPort
	found chan netip.AddrPort
	start time.Time
	stop  func()
}

func (d *foreignDHT) member(hash [20]byte, known ...netip.AddrPort) *member {
	d.t.Helper()
	return d.source(func(m *member, c *Config) {
		if len(known) > 0 {
			c.Bootstrap = []string{}
		}
		c.KnownNodes = known
		c.InfoHashes = func(time.Time) [][20]byte { return [][20]byte{hash} }
		c.Found = func(a netip.AddrPort) { m.found <- a }
	})
}

func (d *foreignDHT) source(configure func(*member, *Config)) *member {
	d.t.Helper()
	var conn net.PacketConn
	d.hosts++
	d.inside(func() (err error) {
		conn, err = net.ListenPacket("udp4", fmt.Sprintf("203.0.113.%d:0", 16+d.hosts))
		return err
	})
	addr, _ := addrPortOf(conn.LocalAddr())
	m := &member{addr: addr, found: make(chan netip.AddrPort, 1000), start: time.Now()}
	c := Config{IPv4: conn, Bootstrap: []string{d.bootstrap.String()}, Log: slog.New(slog.DiscardHandler)}
	configure(m, &c)
	m.Source = New(c)
	ctx, cancel := context.WithCancel(d.t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	m.stop = func() {
		cancel()
		if err := <-done; err != nil {
			d.t.Errorf("Run: %v", err)
		}
		done <- nil
	}
	d.t.Cleanup(m.stop)
	return m
}

// finds waits until m found addr and returns how long after its start.
func (m *member) finds(t *testing.T, addr netip.AddrPort) time.Duration {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case a := <-m.found:
			if a == addr {
				return time.Since(m.start)
			}
		case <-deadline:
			t.Fatalf("%v was not found: %+v", addr, m.Status())
		}
	}
}

// quickly starts members until one finds addr within the time, which is a promise of a machine at leisure, and returns
// the last.
func (d *foreignDHT) quickly(t *testing.T, what string, within time.Duration, addr netip.AddrPort, start func() *member) *member {
	t.Helper()
	for try := 1; ; try++ {
		m := start()
		took := m.finds(t, addr)
		t.Logf("%s found the other %v after its start", what, took.Round(time.Millisecond))
		switch {
		case took <= within:
			return m
		case try == 5:
			t.Errorf("%s found the other after %v, want at most %v in one of %d tries", what, took, within, try)
			return m
		}
		m.stop()
	}
}

func (m *member) waitAnnounced(t *testing.T) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if st := m.Status(); st.State == discovery.StateWorking && st.Detail != "announcing" {
			t.Logf("announced %v after the start: %+v", time.Since(m.start).Round(time.Millisecond), st)
			return
		}
		if time.Since(start) > patience {
			t.Fatalf("not announced: %+v", m.Status())
		}
	}
}

// The promise: with the DHT alone, the second member knows where the first one is
// well under a second after its start.
func TestMembersMeetOverForeignNodes(t *testing.T) {
	d := startDHT(t, 16)
	var hash [20]byte
	_, _ = rand.Read(hash[:])

	first := d.member(hash)
	first.waitAnnounced(t)
	second := d.quickly(t, "a second member", 800*time.Millisecond, first.addr, func() *member { return d.member(hash) })
	second.waitAnnounced(t)
	t.Logf("the first found the second %v after that one's start",
		(first.finds(t, second.addr) - second.start.Sub(first.start)).Round(time.Millisecond))

	// A warm start needs no bootstrap node.
	known := second.Nodes()
	if len(known) < closestK {
		t.Fatalf("Nodes() = %v, want at least %d", known, closestK)
	}
	second.stop()
	d.quickly(t, "a warm start", 500*time.Millisecond, first.addr, func() *member { return d.member(hash, known...) })
	for reason, n := range first.Drops() {
		if reason != dropReadOnly { // libtorrent pings newcomers
			t.Errorf("the guard dropped %d datagrams of libtorrent's: %s", n, reason)
		}
	}
}
