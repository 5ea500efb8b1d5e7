package wgsetup

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/wgsetup/internal/nstest"
	"github.com/credant/credant/wgsetup/swap"
)

// swapPath is a way between two hosts, as each of them sees it.
type swapPath struct {
	name string
	rtt  time.Duration
	a, b netip.AddrPort // B's address as A sees it, A's as B sees it
}

// relayDelay is one way.
const relayDelay = 30 * time.Millisecond

// swapLab is two hosts with two links between them, each of both families, and
// a relay that delays:
//
//	A 192.0.2.1 ------- 192.0.2.2 B    2001:db8::/64
//	A 192.0.3.1 ------- 192.0.3.2 B    2001:db8:3::/64
//	A 198.51.100.1 - .9 relay 203.0.113.9 - .2 B
//	A 2001:db8:a::1 - ::9 relay 2001:db8:b::9 - ::2 B
type swapLab struct {
	a, b *node
}

func newSwapLab(t *testing.T, backend Backend) *swapLab {
	t.Helper()
	nsA, nsB, relay := nstest.New(t), nstest.New(t), nstest.New(t)
	nstest.Connect(t, nsA, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"}, nsB, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	nstest.Connect(t, nsA, "eth1", []string{"192.0.3.1/24", "2001:db8:3::1/64"}, nsB, "eth1", []string{"192.0.3.2/24", "2001:db8:3::2/64"})
	nstest.Connect(t, nsA, "eth2", []string{"198.51.100.1/24", "2001:db8:a::1/64"}, relay, "a", []string{"198.51.100.9/24", "2001:db8:a::9/64"})
	nstest.Connect(t, nsB, "eth2", []string{"203.0.113.2/24", "2001:db8:b::2/64"}, relay, "b", []string{"203.0.113.9/24", "2001:db8:b::9/64"})
	for _, ns := range []*nstest.NS{nsA, nsB} {
		for _, link := range []string{"all", "default", "eth0", "eth1", "eth2"} {
			ns.Set("net/ipv4/conf/"+link+"/rp_filter", "1")
		}
	}
	lab := &swapLab{
		a: openNode(t, nsA, Config{Backend: backend}, "10.99.0.1/32", "fd99::1/128"),
		b: openNode(t, nsB, Config{Backend: backend}, "10.99.0.2/32", "fd99::2/128"),
	}
	lab.relay(t, relay)
	lab.b.apply(t, lab.b.desired(lab.a.peer("192.0.2.1")))
	lab.a.apply(t, lab.a.desired(lab.b.peer("192.0.2.2")))
	lab.a.ping(t, lab.b.overlay[0])
	return lab
}

const relayPort = 20000

func (l *swapLab) direct(link, family string) swapPath {
	address := map[string]string{"eth0v4": "192.0.2.%d", "eth0v6": "2001:db8::%d", "eth1v4": "192.0.3.%d", "eth1v6": "2001:db8:3::%d"}[link+family]
	return swapPath{
		name: "direct " + link + " " + family, rtt: 2 * time.Millisecond,
		a: netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf(address, 2)), l.b.Port()),
		b: netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf(address, 1)), l.a.Port()),
	}
}

func (l *swapLab) relayed(family string) swapPath {
	p := swapPath{name: "relay " + family, rtt: 2 * relayDelay}
	a, b := "198.51.100.9", "203.0.113.9"
	if family == "v6" {
		a, b = "2001:db8:a::9", "2001:db8:b::9"
	}
	p.a = netip.AddrPortFrom(netip.MustParseAddr(a), relayPort)
	p.b = netip.AddrPortFrom(netip.MustParseAddr(b), relayPort)
	return p
}

// relay passes on what either side sends it, in the same family.
func (l *swapLab) relay(t *testing.T, ns *nstest.NS) {
	t.Helper()
	to := map[netip.Addr]netip.AddrPort{}
	for _, pair := range [][2]string{{"198.51.100.1", "203.0.113.2"}, {"2001:db8:a::1", "2001:db8:b::2"}} {
		a, b := netip.MustParseAddr(pair[0]), netip.MustParseAddr(pair[1])
		to[a], to[b] = netip.AddrPortFrom(b, l.b.Port()), netip.AddrPortFrom(a, l.a.Port())
	}
	socket := listenDeep(t, ns, netip.AddrPortFrom(netip.IPv6Unspecified(), relayPort))
	type delayed struct {
		at   time.Time
		data []byte
		to   netip.AddrPort
	}
	queue := make(chan delayed, 4096)
	var running sync.WaitGroup
	running.Go(func() {
		defer close(queue)
		for {
			b := make([]byte, 2048)
			n, from, err := socket.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			queue <- delayed{time.Now().Add(relayDelay), b[:n], to[from.Addr().Unmap()]}
		}
	})
	running.Go(func() {
		for d := range queue {
			time.Sleep(time.Until(d.at))
			_, _ = socket.WriteToUDPAddrPort(d.data, d.to)
		}
	})
	t.Cleanup(func() {
		socket.Close()
		running.Wait()
	})
}

// listenDeep opens a socket that loses nothing while this process, which is
// everything here, has to wait for a CPU.
func listenDeep(t *testing.T, ns *nstest.NS, addr netip.AddrPort) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	ns.Do(func() {
		var err error
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		nstest.Must(t, err)
	})
	raw, err := c.SyscallConn()
	nstest.Must(t, err)
	nstest.Must(t, raw.Control(func(fd uintptr) {
		nstest.Must(t, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20))
	}))
	return c
}

// start puts both sides on a path and waits until the other's packets come
// over it.
func (l *swapLab) start(t *testing.T, p swapPath) {
	t.Helper()
	eventually(t, "both are on "+p.name, func() bool {
		nstest.Must(t, l.a.SetEndpoint(l.b.key, p.a))
		nstest.Must(t, l.b.SetEndpoint(l.a.key, p.b))
		time.Sleep(2*p.rtt + 20*time.Millisecond)
		l.a.ping(t, l.b.overlay[0])
		return l.on(t, p)
	})
}

func (l *swapLab) on(t *testing.T, p swapPath) bool {
	t.Helper()
	return l.a.state(t, l.b.key).Endpoint == p.a && l.b.state(t, l.a.key).Endpoint == p.b
}

func (n *node) state(t testing.TB, peer wgtypes.Key) PeerState {
	peers, err := n.Peers()
	if err != nil {
		t.Error(err)
	}
	return peers[peer]
}

// swapped is what one side's swap did.
type swapped struct {
	outcome swap.Outcome
	looks   int
	set     int           // how often the endpoint was
	flips   int           // looks after the first that did not find it at To
	stable  time.Duration // the last one of them
}

func (s swapped) String() string {
	if s.outcome == 0 {
		return "did nothing"
	}
	return fmt.Sprintf("%s (stable after %v, %d looks, %d flips, endpoint set %d times)",
		s.outcome, s.stable.Round(time.Millisecond), s.looks, s.flips, s.set)
}

// swap drives the machine as the daemon does.
func (n *node) swap(t *testing.T, peer wgtypes.Key, c swap.Config) (r swapped) {
	began := time.Now()
	s := swap.New(began, c)
	for {
		state := n.state(t, peer)
		now := time.Now()
		if r.looks++; r.looks > 1 && state.Endpoint != c.To {
			r.stable = now.Sub(began)
			r.flips++
		}
		s.Looked(now, state.Endpoint, state.RxBytes)
		actions := s.Advance(now)
		var redirects []Redirect
		if s.Redirects() {
			redirects = []Redirect{{c.From, c.To}}
		}
		if err := n.SetRedirects(redirects); err != nil {
			t.Error(err)
		}
		for _, a := range actions {
			var err error
			switch a := a.(type) {
			case swap.SetEndpoint:
				r.set++
				err = n.SetEndpoint(peer, a.Addr)
			case swap.Nudge:
				err = n.Nudge(peer)
			}
			if err != nil {
				t.Error(err)
			}
		}
		var done bool
		if r.outcome, done = s.Done(); done {
			return r
		}
		time.Sleep(time.Until(s.Next()))
	}
}

// swap moves both sides, the second one a little later, or only A.
func (l *swapLab) swap(t *testing.T, from, to swapPath, change func(*swap.Config), both bool) (r [2]swapped) {
	t.Helper()
	config := func(n *node, from, to netip.AddrPort, rtt time.Duration) swap.Config {
		c := swap.Config{From: from, To: to, RTT: rtt, CanRedirect: n.CanRedirect(from, to), Loaded: true}
		change(&c)
		return c
	}
	rtt := max(from.rtt, to.rtt)
	var running sync.WaitGroup
	running.Go(func() { r[0] = l.a.swap(t, l.b.key, config(l.a, from.a, to.a, rtt)) })
	if both {
		time.Sleep(rtt / 3)
		running.Go(func() { r[1] = l.b.swap(t, l.a.key, config(l.b, from.b, to.b, rtt)) })
	}
	running.Wait()
	return r
}

// traffic sends numbered datagrams through the tunnel both ways.
type traffic struct {
	t       *testing.T
	sockets [2]*net.UDPConn
	ends    chan struct{}
	sent    [2]int

	sending, receiving sync.WaitGroup

	mu      sync.Mutex
	arrived [2][]bool // by the receiver
}

func (l *swapLab) traffic(t *testing.T, perSecond int) *traffic {
	t.Helper()
	tr := &traffic{t: t, ends: make(chan struct{})}
	nodes := [2]*node{l.a, l.b}
	for i, n := range nodes {
		tr.sockets[i] = listenDeep(t, n.ns, netip.AddrPortFrom(n.overlay[0].Addr(), 9))
	}
	for i := range nodes {
		to := netip.AddrPortFrom(nodes[1-i].overlay[0].Addr(), 9)
		tr.sending.Go(func() { tr.send(i, to, time.Second/time.Duration(perSecond)) })
		tr.receiving.Go(func() { tr.receive(i) })
	}
	return tr
}

// window is less than what fits into any queue on the way: a process that has
// to wait for a CPU loses nothing by that alone.
const window = 250

func (tr *traffic) send(side int, to netip.AddrPort, interval time.Duration) {
	b := make([]byte, 100)
	for next := time.Now(); ; next = next.Add(interval) {
		select {
		case <-tr.ends:
			return
		case <-time.After(time.Until(next)):
		}
		if tr.outstanding(side) >= window {
			continue
		}
		binary.BigEndian.PutUint32(b, uint32(tr.sent[side]))
		if _, err := tr.sockets[side].WriteToUDPAddrPort(b, to); err != nil {
			tr.t.Errorf("send: %v", err)
			return
		}
		tr.sent[side]++
	}
}

// outstanding is how many were sent after the last one that arrived.
func (tr *traffic) outstanding(side int) int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.sent[side] - len(tr.arrived[1-side])
}

func (tr *traffic) receive(side int) {
	b := make([]byte, 200)
	for {
		n, _, err := tr.sockets[side].ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		if n < 4 {
			continue
		}
		number := int(binary.BigEndian.Uint32(b))
		tr.mu.Lock()
		for len(tr.arrived[side]) <= number {
			tr.arrived[side] = append(tr.arrived[side], false)
		}
		tr.arrived[side][number] = true
		tr.mu.Unlock()
	}
}

// stop returns the numbers that did not arrive, by sender.
func (tr *traffic) stop() (lost [2][]int) {
	close(tr.ends)
	tr.sending.Wait()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if lost = tr.missing(); lost[0] == nil && lost[1] == nil {
			break
		}
	}
	for _, c := range tr.sockets {
		c.Close()
	}
	tr.receiving.Wait()
	return lost
}

func (tr *traffic) missing() (lost [2][]int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for side := range lost {
		arrived := tr.arrived[1-side]
		for number := range tr.sent[side] {
			if number >= len(arrived) || !arrived[number] {
				lost[side] = append(lost[side], number)
			}
		}
	}
	return lost
}

// The promise: nothing is lost, and it stays.
func TestSwapLosesNothing(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		lab := newSwapLab(t, backend)
		perSecond := 1000
		if backend == Kernel {
			perSecond = 200 // what the emulated CPU carries without loss of its own
		}
		relay4, relay6 := lab.relayed("v4"), lab.relayed("v6")
		direct4, direct6 := lab.direct("eth0", "v4"), lab.direct("eth0", "v6")
		other4, other6 := lab.direct("eth1", "v4"), lab.direct("eth1", "v6")
		unchanged := func(*swap.Config) {}
		repeated := func(c *swap.Config) { c.CanRedirect = false }
		for _, c := range []struct {
			from, to swapPath
			how      string
			both     bool
			change   func(*swap.Config)
		}{
			{relay4, direct4, "both", true, unchanged},
			{direct4, relay4, "both", true, unchanged},
			{direct4, other4, "both", true, unchanged},
			{relay6, direct6, "both", true, unchanged},
			{direct6, relay6, "both", true, unchanged},
			{direct6, other6, "both", true, unchanged},
			{relay4, direct6, "both", true, unchanged},
			{direct6, relay4, "both", true, unchanged},
			{relay4, direct4, "one side", false, unchanged},
			{relay6, direct6, "one side", false, unchanged},
			{relay4, direct6, "one side", false, unchanged},
			{relay4, direct6, "repeated", true, repeated},
			{relay4, direct4, "unaware of the load", true, func(c *swap.Config) { c.Loaded = false }},
		} {
			t.Run(fmt.Sprintf("%s to %s/%s", c.from.name, c.to.name, c.how), func(t *testing.T) {
				lab.start(t, c.from)
				tr := lab.traffic(t, perSecond)
				time.Sleep(200 * time.Millisecond)
				sides := lab.swap(t, c.from, c.to, c.change, c.both)
				time.Sleep(200 * time.Millisecond)
				stays := lab.on(t, c.to)
				lost := tr.stop()
				t.Logf("A %s, B %s, %d sent", sides[0], sides[1], tr.sent)
				if sides[0].outcome != swap.Stayed || c.both && sides[1].outcome != swap.Stayed || !stays {
					t.Errorf("A %s, B %s, on the new path afterwards: %t", sides[0].outcome, sides[1].outcome, stays)
				}
				if n := len(slices.Concat(lost[:]...)); n > 0 {
					t.Errorf("lost: %v", lost)
				}
			})
		}
	})
}
