package wgsetup

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/wgsetup/internal/nstest"
	"github.com/credant/credant/wgsetup/sideport"
)

// throughNAT makes a host behind a router that gives each mapping a random
// port, and a public host. The first one's firewall lets only answers in.
//
//	a 10.0.0.2 -- 10.0.0.1 router 192.0.2.1 -- 192.0.2.2 b
func throughNAT(t *testing.T) (a, b *nstest.NS) {
	t.Helper()
	a, b = nstest.New(t), nstest.New(t)
	router := nstest.New(t)
	nstest.Connect(t, a, "eth0", []string{"10.0.0.2/24", "fd00::2/64"}, router, "lan", []string{"10.0.0.1/24", "fd00::1/64"})
	nstest.Connect(t, router, "wan", []string{"192.0.2.1/24", "2001:db8::1/64"}, b, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	a.Run("ip", "route", "add", "default", "via", "10.0.0.1")
	a.Run("ip", "route", "add", "default", "via", "fd00::1")
	router.Set("net/ipv4/ip_forward", "1")
	router.Set("net/ipv6/conf/all/forwarding", "1")
	router.Nft(`
		table inet nat {
			chain post { type nat hook postrouting priority srcnat; oifname "wan" masquerade fully-random; }
			chain in { type filter hook input priority 0; iifname "wan" ct state new drop; }
			chain forward { type filter hook forward priority 0; iifname "wan" ct state new drop; }
		}
	`)
	a.Nft(`
		table inet firewall {
			chain in { type filter hook input priority 0; policy drop
				iifname { "lo", "credant0" } accept
				ct state established,related accept
				icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
			}
		}
	`)
	return a, b
}

type datagram struct {
	from netip.AddrPort
	data []byte
}

// listenSide reads a node's side port until the test ends.
func (n *node) listenSide(t *testing.T) <-chan datagram {
	t.Helper()
	read := make(chan datagram, 64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			b := make([]byte, 2048)
			k, from, err := n.SidePort().ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			read <- datagram{from, b[:k]}
		}
	}()
	t.Cleanup(func() {
		nstest.Must(t, n.SidePort().SetReadDeadline(time.Unix(1, 0)))
		<-done
	})
	return read
}

func next(t *testing.T, read <-chan datagram) datagram {
	t.Helper()
	select {
	case d := <-read:
		return d
	case <-time.After(patience):
		t.Fatal("nothing arrived at the side port")
		return datagram{}
	}
}

func nothing(t *testing.T, read <-chan datagram) {
	t.Helper()
	select {
	case d := <-read:
		t.Fatalf("%d bytes from %s arrived at the side port", len(d.data), d.from)
	case <-time.After(300 * time.Millisecond):
	}
}

// The promise that everything else is built on: WireGuard and the side port
// have one NAT mapping, and each gets its own datagrams through it.
func TestOneMapping(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		for name, public := range map[string]string{"IPv4": "192.0.2.2", "IPv6": "2001:db8::2"} {
			t.Run(name, func(t *testing.T) {
				nsA, nsB := throughNAT(t)
				a := openNode(t, nsA, Config{Backend: backend}, "10.99.0.1/32", "fd99::1/128")
				b := openNode(t, nsB, Config{Backend: backend}, "10.99.0.2/32", "fd99::2/128")
				atA, atB := a.listenSide(t), b.listenSide(t)
				toB := netip.AddrPortFrom(netip.MustParseAddr(public), b.Port())

				// A's side port opens the mapping; garbage, STUN and ours go both ways.
				hello := append([]byte{0xa1, 1}, make([]byte, 1148)...)
				_, err := a.SidePort().WriteToUDPAddrPort(hello, toB)
				nstest.Must(t, err)
				got := next(t, atB)
				mapped := got.from
				if !bytes.Equal(got.data, hello) || mapped.Port() == a.Port() {
					t.Fatalf("%d bytes from %s", len(got.data), mapped)
				}
				garbage := make([]byte, 300)
				_, _ = rand.Read(garbage)
				garbage[0] |= 0x80
				stun := append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...)
				for _, data := range [][]byte{garbage, stun, hello, []byte("d1:y1:qe")} {
					_, err := b.SidePort().WriteToUDPAddrPort(data, mapped)
					nstest.Must(t, err)
					if got := next(t, atA); !bytes.Equal(got.data, data) || got.from != toB {
						t.Errorf("A read %d bytes from %s", len(got.data), got.from)
					}
				}

				// WireGuard uses the same mapping, started from outside, too: the
				// side port's datagram opened both firewalls for it.
				b.apply(t, b.desired(Peer{PublicKey: a.key, AllowedIPs: a.overlay[:], Endpoint: mapped}))
				a.apply(t, a.desired(Peer{PublicKey: b.key, AllowedIPs: b.overlay[:]}))
				b.ping(t, a.overlay[0])
				a.ping(t, b.overlay[1])
				peers, err := b.Peers()
				nstest.Must(t, err)
				if got := peers[a.key].Endpoint; got != mapped {
					t.Errorf("B's WireGuard sees A at %s, its side port at %s", got, mapped)
				}
				peers, err = a.Peers()
				nstest.Must(t, err)
				if got := peers[b.key].Endpoint; got != toB {
					t.Errorf("A's WireGuard sees B at %s, not %s", got, toB)
				}

				// Nothing of WireGuard's reached the side ports, nor what is sent
				// inside the tunnel to the same port.
				inner := netip.AddrPortFrom(b.overlay[0].Addr(), b.Port())
				if backend == Kernel {
					_, err = a.SidePort().WriteToUDPAddrPort(hello, inner)
					nstest.Must(t, err)
				}
				nothing(t, atA)
				if backend == Kernel {
					nothing(t, atB)
				}

				// And the side port still works beside a session.
				_, err = a.SidePort().WriteToUDPAddrPort(hello, toB)
				nstest.Must(t, err)
				if got := next(t, atB); got.from != mapped {
					t.Errorf("the mapping moved from %s to %s", mapped, got.from)
				}
			})
		}
	})
}

func TestKernelSurvivesFlushRuleset(t *testing.T) {
	needBackend(t, Kernel)
	a, b := joined(t, Kernel)
	atB := b.listenSide(t)
	a.ping(t, b.overlay[0])
	a.ns.Run("nft", "flush", "ruleset")
	eventually(t, "side port works", func() bool {
		_, err := a.SidePort().WriteToUDPAddrPort([]byte("d1:y1:qe"), netip.MustParseAddrPort("192.0.2.2:"+portText(b)))
		nstest.Must(t, err)
		return next(t, atB).from.Port() == a.Port()
	})
	a.ping(t, b.overlay[0])
}

func portText(n *node) string {
	_, port, _ := strings.Cut(n.SidePort().LocalAddr().String(), "]:")
	return port
}

// A crash leaves the device, and so does Detach; the next Open adopts it, and
// no packet is lost on the way.
func TestKernelAdoptsWithoutLoss(t *testing.T) {
	needBackend(t, Kernel)
	nsA, nsB := onOneLink(t)
	b := openNode(t, nsB, Config{Backend: Kernel}, "10.99.0.2/32", "fd99::2/128")
	key, err := wgtypes.GeneratePrivateKey()
	nstest.Must(t, err)
	psk, err := wgtypes.GenerateKey()
	nstest.Must(t, err)
	config := Config{Network: "test", Backend: Kernel, PrivateKey: key, Log: testLog(t)}
	open := func() *node {
		a := &node{ns: nsA, key: key.PublicKey()}
		a.overlay = [2]netip.Prefix{netip.MustParsePrefix("10.99.0.1/32"), netip.MustParsePrefix("fd99::1/128")}
		nsA.Do(func() {
			a.Device, err = Open(t.Context(), config)
			nstest.Must(t, err)
		})
		return a
	}

	// The first daemon makes the device and dies; the second gives it its
	// peer and detaches.
	kill := startDaemon(t, nsA, key)
	kill()
	a := open()
	if !a.Adopted() {
		t.Error("not adopted after a crash")
	}
	peerA, peerB := a.peer("192.0.2.1"), b.peer("192.0.2.2")
	peerA.PresharedKey, peerB.PresharedKey = psk, psk
	b.apply(t, b.desired(peerA))
	a.apply(t, a.desired(peerB))
	a.ping(t, b.overlay[0])
	before, err := a.Peers()
	nstest.Must(t, err)

	// 200 packets a second, and everything happens in between.
	pinged := make(chan string, 1)
	go func() {
		out, _ := nsA.Try("ping", "-i", "0.005", "-c", "1000", "-W", "10", "-q", "10.99.0.2")
		pinged <- out
	}()
	time.Sleep(300 * time.Millisecond)
	nstest.Must(t, a.Detach())
	time.Sleep(300 * time.Millisecond)
	kill = startDaemon(t, nsA, key)
	// A daemon that wants nothing yet takes nothing away, even when it looks.
	nsA.Run("ip", "link", "set", "dev", "credant0", "alias", alias("test"))
	time.Sleep(300 * time.Millisecond)
	kill()
	time.Sleep(300 * time.Millisecond)
	a = openNode(t, nsA, config, "10.99.0.1/32", "fd99::1/128")
	if !a.Adopted() || a.Port() != peerA.Endpoint.Port() {
		t.Errorf("adopted: %t, port %d", a.Adopted(), a.Port())
	}
	if steps := a.apply(t, a.desired(peerB)); len(steps) != 0 {
		t.Errorf("steps after adoption: %v", steps)
	}
	if out := <-pinged; !strings.Contains(out, " 0% packet loss") {
		t.Errorf("ping during the restarts:\n%s", out)
	}
	after, err := a.Peers()
	nstest.Must(t, err)
	if !before[b.key].LastHandshake.Equal(after[b.key].LastHandshake) {
		t.Error("the session is another")
	}

	// Peers no longer wanted go with the next Apply.
	if steps := a.apply(t, a.desired()); len(steps) != 1 {
		t.Errorf("steps without the peer: %v", steps)
	}
}

// ICMP errors follow to the side port, about its own datagrams and about those
// of WireGuard.
func TestICMPErrors(t *testing.T) { eachBackend(t, testICMPErrors) }

func testICMPErrors(t *testing.T, backend Backend) {
	nsA, _ := onOneLink(t)
	a := openNode(t, nsA, Config{Backend: backend}, "10.99.0.1/32", "fd99::1/128")
	a.listenSide(t)
	expect := func(to netip.AddrPort) {
		t.Helper()
		select {
		case got := <-a.ICMPErrors():
			if got.To != to || !errors.Is(got.Err, unix.ECONNREFUSED) {
				t.Errorf("%+v", got)
			}
		case <-time.After(patience):
			t.Errorf("none about %s", to)
		}
	}
	for _, public := range []string{"192.0.2.2", "2001:db8::2"} {
		closed := netip.AddrPortFrom(netip.MustParseAddr(public), 9)
		_, err := a.SidePort().WriteToUDPAddrPort([]byte("d1:y1:qe"), closed)
		nstest.Must(t, err)
		expect(closed)
		private, err := wgtypes.GeneratePrivateKey()
		nstest.Must(t, err)
		key := private.PublicKey()
		a.apply(t, a.desired(Peer{PublicKey: key, Endpoint: closed}))
		nstest.Must(t, a.Nudge(key))
		expect(closed)
	}
}

// A kernel that has WireGuard and not what the side port takes is no reason to
// give up, if nobody insists on it.
func TestKernelWithoutSidePort(t *testing.T) {
	needBackend(t, Kernel)
	ns := nstest.New(t)
	key, err := wgtypes.GeneratePrivateKey()
	nstest.Must(t, err)
	ns.Do(func() {
		taken, err := sideport.Open(sideport.Config{Table: tableName("test", "credant0", "sideport"), Interface: "x", Port: 1})
		nstest.Must(t, err)
		defer taken.Close()
		c := Config{Network: "test", Backend: Kernel, PrivateKey: key}
		if d, err := Open(t.Context(), c); err == nil {
			t.Error("opened without a side port")
			nstest.Must(t, d.Remove())
		}
		if links := ns.Run("ip", "link"); strings.Contains(links, "credant0") {
			t.Errorf("left behind:\n%s", links)
		}
		c.Backend = Auto
		d, err := Open(t.Context(), c)
		nstest.Must(t, err)
		if d.Backend() != Embedded {
			t.Errorf("backend %s", d.Backend())
		}
		nstest.Must(t, d.Remove())
	})
}

func TestKernelChangesBackend(t *testing.T) {
	needBackend(t, Kernel)
	ns := nstest.New(t)
	key, err := wgtypes.GeneratePrivateKey()
	nstest.Must(t, err)
	ns.Do(func() {
		d, err := Open(t.Context(), Config{Network: "test", Backend: Kernel, PrivateKey: key})
		nstest.Must(t, err)
		nstest.Must(t, d.Detach())
		d, err = Open(t.Context(), Config{Network: "test", Backend: Embedded, PrivateKey: key})
		nstest.Must(t, err)
		if d.Name() != "credant0" || d.Backend() != Embedded {
			t.Errorf("%s is %s", d.Name(), d.Backend())
		}
		if _, err := Open(t.Context(), Config{Network: "test", Backend: Kernel, PrivateKey: key}); err == nil {
			t.Error("a running process's device was taken over")
		}
		nstest.Must(t, d.Remove())
	})
}

func TestKernelClean(t *testing.T) {
	needBackend(t, Kernel)
	ns := nstest.New(t)
	key, err := wgtypes.GeneratePrivateKey()
	nstest.Must(t, err)
	ns.Do(func() {
		startDaemon(t, ns, key)()
		other, err := Open(context.Background(), Config{Network: "test2", Backend: Kernel, PrivateKey: key})
		nstest.Must(t, err)
		ns.Nft("table inet credant_test_credant0_sideport { chain out { type filter hook output priority -310; }; }")
		removed, err := Clean("test")
		nstest.Must(t, err)
		if len(removed) == 0 {
			t.Error("Clean names nothing that it removed")
		}
		removed, err = Clean("test")
		nstest.Must(t, err)
		if len(removed) != 0 {
			t.Errorf("Clean removed %q the second time", removed)
		}
		links, tables := ns.Run("ip", "link"), ns.Run("nft", "list", "tables")
		if strings.Contains(links, " credant0:") || strings.Contains(tables, "credant_test_") {
			t.Errorf("left behind:\n%s%s", links, tables)
		}
		if !strings.Contains(links, other.Name()) || !strings.Contains(tables, "credant_test2_") {
			t.Errorf("the other network went, too:\n%s%s", links, tables)
		}
		nstest.Must(t, other.Remove())
	})
}

// A full tunnel sends the host's unmarked packets into the tunnel.
func TestFirewallMark(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		nsA, nsB := onOneLink(t)
		a := openNode(t, nsA, Config{Backend: backend, FirewallMark: 0x51820}, "10.99.0.1/32", "fd99::1/128")
		b := openNode(t, nsB, Config{Backend: backend}, "10.99.0.2/32", "fd99::2/128")
		atB := b.listenSide(t)
		a.apply(t, a.desired(b.peer("192.0.2.2")))
		b.apply(t, b.desired(a.peer("192.0.2.1")))
		for _, family := range []string{"-4", "-6"} {
			nsA.Run("ip", family, "route", "add", "blackhole", "default", "table", "51820")
			nsA.Run("ip", family, "rule", "add", "not", "fwmark", "0x51820", "table", "51820", "pref", "1")
		}
		nsA.Run("ip", "rule", "add", "to", "10.99.0.0/16", "table", "main", "pref", "0")
		for _, to := range []string{"192.0.2.2", "2001:db8::2"} {
			_, err := a.SidePort().WriteToUDPAddrPort([]byte("d1:y1:qe"), netip.AddrPortFrom(netip.MustParseAddr(to), b.Port()))
			nstest.Must(t, err)
			if got := next(t, atB); got.from.Port() != a.Port() {
				t.Errorf("from %s", got.from)
			}
		}
		a.ping(t, b.overlay[0])
	})
}
