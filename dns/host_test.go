package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/credant/credant/dns/zone"
	"github.com/credant/credant/integration/strict"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for what comes soon, on a machine that has much else to do.
const patience = 60 * time.Second

// A host is a network namespace of its own.
type host struct {
	t  *testing.T
	ns netns.NsHandle

	retry time.Duration // of its servers; 0: theirs
}

// newHost makes a host that has the addresses, on its loopback device.
func newHost(t *testing.T, addrs ...string) *host {
	t.Helper()
	if os.Geteuid() != 0 {
		strict.Skip(t, "network namespaces need root")
	}
	h := &host{t: t}
	h.onThread(func() {
		var err error
		h.ns, err = netns.New()
		h.must(err)
	})
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() { h.ns.Close() })
	h.do(func() {
		lo, err := netlink.LinkByName("lo")
		h.must(err)
		h.must(netlink.LinkSetUp(lo))
	})
	h.add("lo", addrs...)
	return h
}

// onThread runs f on a thread that ends with it: a namespace stays with its thread.
func (h *host) onThread(f func()) {
	h.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
}

func (h *host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Error(err)
		runtime.Goexit()
	}
}

// do runs f in the host: sockets it opens are there.
func (h *host) do(f func()) {
	h.t.Helper()
	h.onThread(func() {
		h.must(netns.Set(h.ns))
		f()
	})
	if h.t.Failed() {
		h.t.FailNow()
	}
}

func (h *host) add(link string, addrs ...string) {
	h.t.Helper()
	h.do(func() {
		l, err := netlink.LinkByName(link)
		h.must(err)
		for _, s := range addrs {
			addr, err := netlink.ParseAddr(s)
			h.must(err)
			addr.Flags = unix.IFA_F_NODAD
			h.must(netlink.AddrAdd(l, addr))
			// The kernel makes an IPv6 address its own a moment later; a socket that is connected before stays deaf.
			for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
				routes, err := netlink.RouteGet(addr.IP)
				if err == nil && len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL {
					break
				}
				if time.Now().After(end) {
					h.must(fmt.Errorf("address %s is not the host's: %v, %w", s, routes, err))
				}
			}
		}
	})
}

// connect is a cable between two hosts; a is the end's name in both.
func (h *host) connect(to *host, a string) {
	h.t.Helper()
	h.do(func() {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: a}, PeerName: a, PeerNamespace: netlink.NsFd(to.ns)}
		h.must(netlink.LinkAdd(veth))
	})
	for _, end := range []*host{h, to} {
		end.do(func() {
			l, err := netlink.LinkByName(a)
			h.must(err)
			h.must(netlink.LinkSetUp(l))
		})
	}
}

// serve runs a server in the host until the test ends, and returns once it has bound what it can. Each change of what
// it serves comes through the channel.
func (h *host) serve(listen ...string) (*Server, chan []netip.AddrPort) {
	h.t.Helper()
	changes := make(chan []netip.AddrPort, 100)
	s := NewServer(Config{Listen: addrPorts(listen...), Changed: func(served []netip.AddrPort) { changes <- served }})
	s.SetZone(home)
	if h.retry > 0 {
		s.retry = h.retry
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go h.onThread(func() {
		h.must(netns.Set(h.ns))
		done <- s.Run(ctx)
	})
	h.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
		if left := s.Addrs(); len(left) != 0 {
			h.t.Errorf("still served: %v", left)
		}
	})
	wait(h.t, changes)
	return s, changes
}

func wait[T any](t *testing.T, from chan T) (got T) {
	t.Helper()
	select {
	case got = <-from:
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return got
}

func addrPorts(all ...string) []netip.AddrPort {
	var parsed []netip.AddrPort
	for _, s := range all {
		parsed = append(parsed, netip.MustParseAddrPort(s))
	}
	return parsed
}

// home has one node, nas, and many, which has more addresses than fit into a plain datagram.
var home = func() *zone.Table {
	z := zone.Zone{Network: "home", Reverse: []netip.Prefix{
		netip.MustParsePrefix("10.7.0.0/16"), netip.MustParsePrefix("fd12:3456:789a::/48"),
	}}
	many := zone.Node{Name: "many"}
	for addr := netip.MustParseAddr("10.7.9.1"); len(many.Addrs) < zone.MaxAddresses; addr = addr.Next() {
		many.Addrs = append(many.Addrs, addr)
	}
	z.Nodes = []zone.Node{{Name: "nas", Addrs: []netip.Addr{netip.MustParseAddr("10.7.1.2")}}, many}
	return zone.New(z)
}()

// dial connects within the host, from an address when one is given.
func (h *host) dial(network, from, to string) net.Conn {
	h.t.Helper()
	var conn net.Conn
	h.do(func() {
		d := net.Dialer{Timeout: patience}
		if from != "" {
			local := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
			d.LocalAddr = local
			if network == "udp" {
				d.LocalAddr = net.UDPAddrFromAddrPort(local.AddrPort())
			}
		}
		var err error
		conn, err = d.DialContext(h.t.Context(), network, to)
		h.must(err)
	})
	h.t.Cleanup(func() { conn.Close() })
	return conn
}
