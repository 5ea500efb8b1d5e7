package lan

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// host is a network namespace with one end of a cable.
type host struct {
	t  *testing.T
	ns netns.NsHandle
}

// inside runs f in the namespace, on a thread that ends with it.
func (h host) inside(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never back: the thread is not to be used again
		if err := netns.Set(h.ns); err != nil {
			panic(err)
		}
		f()
	}()
	<-done
}

func (h host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Error(err)
		runtime.Goexit()
	}
}

// twoHosts lays a cable, "wire" at either end, and gives each end the addresses. No
// route leads anywhere else: the uplink is cut.
func twoHosts(t *testing.T, a, b []string) (host, host) {
	t.Helper()
	hosts := [2]host{{t: t}, {t: t}}
	missing := ""
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		for i := range hosts {
			ns, err := netns.New()
			if err != nil {
				missing = "a network namespace (root, CAP_SYS_ADMIN): " + err.Error()
				return
			}
			hosts[i].ns = ns
		}
	}()
	if <-done; missing != "" {
		skip(t, missing)
	}
	t.Cleanup(func() { _, _ = hosts[0].ns.Close(), hosts[1].ns.Close() })
	hosts[0].inside(func() {
		attrs := netlink.LinkAttrs{Name: "wire"}
		hosts[0].must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "wire", PeerNamespace: netlink.NsFd(hosts[1].ns)}))
	})
	for i, addrs := range [][]string{a, b} {
		hosts[i].inside(func() { hosts[i].setUp("lo", nil); hosts[i].setUp("wire", addrs) })
	}
	for _, h := range hosts {
		h.inside(h.carried)
	}
	if t.Failed() {
		t.FailNow()
	}
	return hosts[0], hosts[1]
}

func (h host) setUp(name string, addrs []string) {
	h.t.Helper()
	l, err := netlink.LinkByName(name)
	h.must(err)
	h.must(netlink.LinkSetUp(l))
	for _, s := range addrs {
		a, err := netlink.ParseAddr(s)
		h.must(err)
		a.Flags |= unix.IFA_F_NODAD // a tentative address sends nothing for a second
		h.must(netlink.AddrAdd(l, a))
	}
}

// carried waits until the kernel has seen that the cable's other end is there: what is sent before is lost.
func (h host) carried() {
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		l, err := netlink.LinkByName("wire")
		h.must(err)
		if l.Attrs().OperState == netlink.OperUp {
			return
		}
		if time.Now().After(end) {
			h.must(fmt.Errorf("the cable is %v", l.Attrs().OperState))
		}
	}
}

// patience is how long a test waits for what should come at once, on a machine that has much else to do.
const patience = time.Minute

// A member is one running Source.
type member struct {
	*Source
	found chan netip.AddrPort
	start time.Time
}

var beaconKey = [32]byte{7}

func (h host) run(node byte, port uint16, change func(*Config)) *member {
	m := &member{found: make(chan netip.AddrPort, 1000), start: time.Now()}
	c := Config{
		BeaconKey: beaconKey,
		Node:      keys.NodePublic{node, 1},
		Port:      func() uint16 { return port },
		Found:     func(a netip.AddrPort) { m.found <- a },
		Log:       slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&c)
	}
	m.Source = New(c)
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.inside(func() {
			if err := m.Run(ctx); err != nil {
				h.t.Errorf("Run: %v", err)
			}
		})
	}()
	h.t.Cleanup(func() { cancel(); <-done })
	return m
}

// finds waits until m found addr.
func (m *member) finds(t *testing.T, addr string) time.Duration {
	t.Helper()
	want := netip.MustParseAddrPort(addr)
	deadline := time.After(patience)
	for {
		select {
		case a := <-m.found:
			if a == want {
				return time.Since(m.start)
			}
		case <-deadline:
			t.Fatalf("%v was not found: %+v, drops %v", addr, m.Status(), m.Drops())
		}
	}
}

// The promise: two machines on one switch meet at once with the uplink cut. One of several tries finds this machine at
// leisure.
func TestTwoHostsMeetAtOnce(t *testing.T) {
	const once = 200 * time.Millisecond
	best := patience
	for try := 0; try < 10 && best > once; try++ {
		t.Run("try", func(t *testing.T) { best = min(best, meet(t)) })
	}
	t.Logf("the second found the first %v after its start", best.Round(time.Millisecond))
	if best > once {
		t.Errorf("found after %v, want one round trip: its beacon is to be answered at once", best)
	}
}

// meet returns how long a second node takes to find the first.
func meet(t *testing.T) time.Duration {
	a, b := twoHosts(t, []string{"192.0.2.1/24", "fd00:1::1/64"}, []string{"192.0.2.2/24", "fd00:1::2/64"})
	first := a.run(1, 1111, nil)
	waitFor(t, first, func(st discovery.SourceStatus) bool { return st.State == discovery.StateWorking })

	second := b.run(2, 2222, nil)
	took := second.finds(t, "192.0.2.1:1111")
	first.finds(t, "192.0.2.2:2222")
	second.finds(t, "[fd00:1::1]:1111")
	if st := second.Status(); st.State != discovery.StateWorking || !strings.Contains(st.Detail, "wire") || st.Found < 2 {
		t.Errorf("Status() = %+v", st)
	}
	return took
}

func waitFor(t *testing.T, m *member, ok func(discovery.SourceStatus) bool) {
	t.Helper()
	for start := time.Now(); !ok(m.Status()); time.Sleep(time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("Status() = %+v", m.Status())
		}
	}
}

// Without any address but the link-local one, a hint says at which interface.
func TestLinkLocalKeepsItsZone(t *testing.T) {
	a, b := twoHosts(t, []string{"fe80::a/64"}, []string{"fe80::b/64"})
	a.run(1, 1111, nil)
	m := b.run(2, 2222, nil)
	deadline := time.After(patience)
	for {
		select {
		case got := <-m.found:
			if got.Addr().IsLinkLocalUnicast() && got.Addr().Zone() == "wire" && got.Port() == 1111 {
				return
			}
			t.Errorf("found %v, want a link-local address with zone and port", got)
		case <-deadline:
			t.Fatalf("nothing found: %+v", m.Status())
		}
	}
}

// Two networks' daemons share a host: each hears its own network, and no other.
func TestNetworksShareThePort(t *testing.T) {
	a, b := twoHosts(t, []string{"192.0.2.1/24"}, []string{"192.0.2.2/24"})
	otherKey := func(c *Config) { c.BeaconKey = [32]byte{8} }
	a.run(1, 1111, nil)
	a.run(2, 2222, otherKey)
	one, two := b.run(3, 3333, nil), b.run(4, 4444, otherKey)
	one.finds(t, "192.0.2.1:1111")
	two.finds(t, "192.0.2.1:2222")
	for len(one.found) > 0 {
		if got := <-one.found; got.Port() != 1111 {
			t.Errorf("found %v of another network", got)
		}
	}
	for start := time.Now(); one.Drops()["seal"] == 0; time.Sleep(time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("Drops() = %v, want those of the other network counted", one.Drops())
		}
	}
}

// A cable that comes later is noticed on Kick.
func TestKickFindsNewInterface(t *testing.T) {
	a, b := twoHosts(t, []string{"192.0.2.1/24"}, nil)
	setLink(b, netlink.LinkSetDown)
	a.run(1, 1111, nil)
	m := b.run(2, 2222, nil)
	waitFor(t, m, func(st discovery.SourceStatus) bool { return st.State == discovery.StateWaiting })
	b.inside(func() { b.setUp("wire", []string{"192.0.2.2/24"}) })
	m.Kick()
	m.finds(t, "192.0.2.1:1111")
}

func setLink(h host, set func(netlink.Link) error) {
	h.inside(func() {
		l, err := netlink.LinkByName("wire")
		h.must(err)
		h.must(set(l))
	})
}

func TestSkippedInterface(t *testing.T) {
	a, _ := twoHosts(t, []string{"192.0.2.1/24"}, nil)
	m := a.run(1, 1111, func(c *Config) { c.Skip = func(name string) bool { return name == "wire" } })
	waitFor(t, m, func(st discovery.SourceStatus) bool { return st.State == discovery.StateWaiting })
}

// What does not come from a neighbour, or is no beacon of ours, yields nothing.
func TestRefusesWhatIsNotFromTheLink(t *testing.T) {
	a, b := twoHosts(t, []string{"192.0.2.1/24"}, []string{"192.0.2.2/24", "198.51.100.2/24"})
	m := a.run(1, 1111, nil)
	waitFor(t, m, func(st discovery.SourceStatus) bool { return st.State == discovery.StateWorking })
	good, err := wire.SealBeacon(wire.Beacon{Node: keys.NodePublic{2, 1}, Port: 2222}, beaconKey)
	if err != nil {
		t.Fatal(err)
	}
	forged := append([]byte(nil), good...)
	forged[100] ^= 1
	b.inside(func() {
		for _, d := range []struct {
			from string
			ttl  int
			data []byte
		}{
			{"198.51.100.2", hopLimit, good}, // not a neighbour's address
			{"192.0.2.2", 64, good},          // may have been routed
			{"192.0.2.2", hopLimit, forged},
			{"192.0.2.2", hopLimit, good[:50]},
			{"192.0.2.2", hopLimit, append(good[:128:128], 0)},
			{"192.0.2.2", hopLimit, good},
		} {
			b.must(multicast(d.from, d.ttl, d.data))
		}
	})
	m.finds(t, "192.0.2.2:2222")
	// Datagrams that were sent on another core may come later.
	for start := time.Now(); time.Since(start) < patience; time.Sleep(time.Millisecond) {
		if drops := m.Drops(); drops[dropOffLink] > 0 && drops["seal"] > 0 {
			break
		}
	}
	if n := len(m.found); n != 0 {
		t.Errorf("%d more addresses found, want none", n)
	}
	drops := m.Drops()
	if drops[dropOffLink] != 1 || drops["seal"] != 1 {
		t.Errorf("Drops() = %v, want one off-link and one bad seal", drops)
	}
}

func multicast(from string, ttl int, b []byte) error {
	c, err := net.ListenPacket("udp4", from+":0")
	if err != nil {
		return err
	}
	defer c.Close()
	p := ipv4.NewPacketConn(c)
	ifi, err := net.InterfaceByName("wire")
	if err != nil {
		return err
	}
	if err := p.SetMulticastTTL(ttl); err != nil {
		return err
	}
	cm := &ipv4.ControlMessage{IfIndex: ifi.Index, Src: net.ParseIP(from)}
	if _, err := p.WriteTo(b, cm, &net.UDPAddr{IP: Group4.AsSlice(), Port: Port}); err != nil {
		return fmt.Errorf("multicast from %s: %w", from, err)
	}
	return nil
}
