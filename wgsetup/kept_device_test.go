package wgsetup

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/wgsetup/internal/nstest"
	"github.com/credant/credant/wgsetup/swap"
)

func (n *node) keep(t *testing.T, all ...Kept) {
	t.Helper()
	n.ns.Do(func() { nstest.Must(t, n.SetKept(all)) })
}

// Behind a NAT that gives each destination another port, the mapping that an
// extra port won becomes WireGuard's and the side port's, and stays so over a
// firewall's reload.
func TestKeptMapping(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		for name, public := range map[string]string{"IPv4": "192.0.2.2", "IPv6": "2001:db8::2"} {
			t.Run(name, func(t *testing.T) {
				nsA, nsB := throughNAT(t)
				a := openNode(t, nsA, Config{Backend: backend}, "10.99.0.1/32", "fd99::1/128")
				b := openNode(t, nsB, Config{Backend: backend}, "10.99.0.2/32", "fd99::2/128")
				atA, atB := a.listenSide(t), b.listenSide(t)
				toB := netip.AddrPortFrom(netip.MustParseAddr(public), b.Port())
				ping := []byte{0xa1, 1, 2, 3}

				p := a.ports(t, 32)
				atPorts := p.listen(t)
				mappings := map[netip.AddrPort]bool{}
				for i := range p.Len() {
					nstest.Must(t, p.Send(i, ping, toB))
					mappings[next(t, atB).from] = true
				}
				if len(mappings) != p.Len() {
					t.Fatalf("%d mappings", len(mappings))
				}
				var mapped netip.AddrPort
				for mapped = range mappings {
					break
				}
				_, err := b.SidePort().WriteToUDPAddrPort(ping, mapped)
				nstest.Must(t, err)
				won := nextArrival(t, atPorts)
				if won.from != toB {
					t.Errorf("%+v", won)
				}
				nstest.Must(t, p.Keep(won.i))
				kept := Kept{toB, p.Port(won.i)}
				a.keep(t, kept)
				nstest.Must(t, p.Close())
				if got := a.Kept(); !slices.Equal(got, []Kept{kept}) {
					t.Errorf("kept %v", got)
				}
				check := func(want netip.AddrPort) {
					t.Helper()
					_, err := a.SidePort().WriteToUDPAddrPort(ping, toB)
					nstest.Must(t, err)
					if got := next(t, atB).from; got != want {
						t.Errorf("the side port came from %s, not %s", got, want)
					}
					_, err = b.SidePort().WriteToUDPAddrPort(ping, want)
					nstest.Must(t, err)
					if got := next(t, atA).from; got != toB {
						t.Errorf("the side port heard %s, not %s", got, toB)
					}
				}
				check(mapped)

				// WireGuard, begun from outside.
				b.apply(t, b.desired(Peer{PublicKey: a.key, AllowedIPs: a.overlay[:], Endpoint: mapped}))
				a.apply(t, a.desired(Peer{PublicKey: b.key, AllowedIPs: b.overlay[:]}))
				b.ping(t, a.overlay[0])
				a.ping(t, b.overlay[1])
				if got := b.state(t, a.key).Endpoint; got != mapped {
					t.Errorf("B's WireGuard sees A at %s, not %s", got, mapped)
				}
				check(mapped)

				if backend == Kernel {
					nsA.Run("nft", "delete", "table", "inet", tableName("test", a.Name(), keptPurpose))
					nsA.Run("nft", "flush", "ruleset") // the firewall as well
					eventually(t, "table there again", func() bool {
						return strings.Contains(nsA.Run("nft", "list", "tables"), "_"+keptPurpose)
					})
					check(mapped)
				}

				// And back to the ordinary mapping.
				a.keep(t)
				a.ping(t, b.overlay[0])
				if got := b.state(t, a.key).Endpoint; got == mapped {
					t.Errorf("B's WireGuard still sees A at %s", got)
				}
				if strings.Contains(nsA.Run("nft", "list", "tables"), "_"+keptPurpose) {
					t.Error("the table is still there")
				}
			})
		}
	})
}

// The ports that are kept end with the Device, save where it is detached.
func TestDeviceKept(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		ns := nstest.New(t)
		key, err := wgtypes.GeneratePrivateKey()
		nstest.Must(t, err)
		config := Config{Backend: backend, PrivateKey: key, Network: "test", Log: testLog(t)}
		there := func() bool { return strings.Contains(ns.Run("nft", "list", "tables"), "_"+keptPurpose) }
		all := []Kept{{addrPort4or6(t, "192.0.2.2:4000"), 20001}, {addrPort4or6(t, "[2001:db8::2]:4000"), 20001}}
		taken := func() (taken bool) {
			ns.Do(func() { taken = !portFree(20001) })
			return taken
		}
		open := func() *Device {
			var d *Device
			ns.Do(func() { d, err = Open(t.Context(), config) })
			nstest.Must(t, err)
			return d
		}
		a := open()
		if err := a.SetKept([]Kept{{all[0].Remote, 0}}); err == nil {
			t.Error("kept port 0")
		}
		for range 2 {
			ns.Do(func() { nstest.Must(t, a.SetKept(all)) })
			if there() != (backend == Kernel) || !taken() {
				t.Error("table", there(), "port taken", taken())
			}
		}
		nstest.Must(t, a.Detach())
		if there() != (backend == Kernel) || taken() {
			t.Error("detached: table", there(), "port taken", taken())
		}
		want := []Kept(nil)
		if backend == Kernel {
			want = all
		}
		a = open()
		if got := a.Kept(); !slices.Equal(got, want) || taken() != (backend == Kernel) {
			t.Errorf("adopted %v, port taken: %t", got, taken())
		}
		ns.Do(func() { nstest.Must(t, a.SetKept(all[:1])) })
		if got := a.Kept(); !slices.Equal(got, all[:1]) {
			t.Errorf("kept %v", got)
		}
		nstest.Must(t, a.Remove())
		if there() || taken() {
			t.Error("removed: table", there(), "port taken", taken())
		}
		nstest.Must(t, a.SetKept(nil))
		if err := a.SetKept(all); !errors.Is(err, ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		if backend != Kernel {
			return
		}

		// A device that is not the one that kept them keeps none.
		a = open()
		ns.Do(func() { nstest.Must(t, a.SetKept(all)) })
		name := a.Name()
		nstest.Must(t, a.Detach())
		ns.Run("ip", "link", "del", name)
		a = open()
		if there() || len(a.Kept()) > 0 {
			t.Errorf("table %t, kept %v", there(), a.Kept())
		}
		ns.Do(func() { nstest.Must(t, a.SetKept(all)) })
		nstest.Must(t, a.Detach())
		config.Backend = Embedded
		a = open()
		if there() {
			t.Error("the embedded device has the kernel's table")
		}
		nstest.Must(t, a.Remove())
		config.Backend = Kernel
		a = open()
		ns.Do(func() { nstest.Must(t, a.SetKept(all)) })
		nstest.Must(t, a.Detach())
		ns.Do(func() {
			removed, err := Clean("test")
			nstest.Must(t, err)
			if there() || !slices.ContainsFunc(removed, func(s string) bool { return strings.HasSuffix(s, keptPurpose) }) {
				t.Errorf("table there: %t; removed %v", there(), removed)
			}
		})
	})
}

// A kept port leaves by the uplink that the underlay names, as WireGuard's does.
// The kernel's is WireGuard's while the route is chosen.
func TestKeptUnderlay(t *testing.T) {
	nsA, _ := onOneLink(t)
	a := openNode(t, nsA, Config{Backend: Embedded}, "10.99.0.1/32", "fd99::1/128")
	want := a.desired()
	want.Underlay = []UnderlayRoute{{To: netip.MustParseAddr("192.0.2.2"), MTU: 1400}}
	a.apply(t, want)
	routed := func() bool { return strings.Contains(nsA.Run("ip", "rule"), "sport 20001") }
	if routed() {
		t.Error("routed already")
	}
	a.keep(t, Kept{addrPort4or6(t, "192.0.2.2:4000"), 20001}, Kept{addrPort4or6(t, "192.0.2.2:4001"), 20001})
	if !routed() {
		t.Errorf("not routed:\n%s", nsA.Run("ip", "rule"))
	}
	a.keep(t)
	if routed() {
		t.Errorf("still routed:\n%s", nsA.Run("ip", "rule"))
	}
}

// What goes over a kept port loses nothing while the daemon restarts or is dead.
func TestKernelKeptOverRestarts(t *testing.T) {
	needBackend(t, Kernel)
	nsA, nsB := onOneLink(t)
	b := openNode(t, nsB, Config{Backend: Kernel}, "10.99.0.2/32", "fd99::2/128")
	key, err := wgtypes.GeneratePrivateKey()
	nstest.Must(t, err)
	config := Config{Network: "test", Backend: Kernel, PrivateKey: key, Log: testLog(t)}
	a := &node{ns: nsA, key: key.PublicKey(), overlay: [2]netip.Prefix{
		netip.MustParsePrefix("10.99.0.1/32"), netip.MustParsePrefix("fd99::1/128"),
	}}
	nsA.Do(func() {
		a.Device, err = Open(t.Context(), config)
		nstest.Must(t, err)
	})
	peer := b.peer("192.0.2.2")
	all := []Kept{{peer.Endpoint, 20001}}
	a.keep(t, all...)
	b.apply(t, b.desired(a.peer("")))
	a.apply(t, a.desired(peer))
	a.ping(t, b.overlay[0])
	pinged := make(chan string, 1)
	go func() {
		out, _ := nsA.Try("ping", "-i", "0.005", "-c", "600", "-W", "10", "-q", "10.99.0.2")
		pinged <- out
	}()
	time.Sleep(300 * time.Millisecond)
	nstest.Must(t, a.Detach())
	time.Sleep(300 * time.Millisecond)
	kill := startDaemon(t, nsA, key)
	time.Sleep(300 * time.Millisecond)
	kill()
	time.Sleep(300 * time.Millisecond)
	a = openNode(t, nsA, config, "10.99.0.1/32", "fd99::1/128")
	if got := a.Kept(); !slices.Equal(got, all) {
		t.Errorf("kept %v", got)
	}
	if out := <-pinged; !strings.Contains(out, " 0% packet loss") {
		t.Errorf("ping during the restarts:\n%s", out)
	}
	want := netip.MustParseAddrPort("192.0.2.1:20001")
	if got := b.state(t, a.key).Endpoint; got != want {
		t.Errorf("B sees A at %s, not %s", got, want)
	}
}

// A swap onto a kept port, and away from it, loses nothing, behind a firewall
// that lets only answers in.
func TestSwapOntoKeptPort(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		lab := newSwapLab(t, backend)
		lab.a.ns.Nft(`
			table inet firewall {
				chain in { type filter hook input priority 0; policy drop
					iifname { "lo", "credant0" } accept
					ct state established,related accept
					icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
				}
			}
		`)
		perSecond := 1000
		if backend == Kernel {
			perSecond = 200 // what the emulated CPU carries without loss of its own
		}
		p := lab.a.ports(t, 4)
		var all []Kept
		keptPath := func(i int, family string) swapPath {
			path := lab.direct("eth1", family)
			path.name = "kept eth1 " + family
			nstest.Must(t, p.Send(i, []byte{0xa1}, path.a)) // opens the firewall
			nstest.Must(t, p.Keep(i))
			all = append(all, Kept{path.a, p.Port(i)})
			lab.a.keep(t, all...)
			path.b = netip.AddrPortFrom(path.b.Addr(), p.Port(i))
			return path
		}
		relay4 := lab.relayed("v4")
		kept4, kept6 := keptPath(1, "v4"), keptPath(2, "v6")
		direct4, direct6 := lab.direct("eth0", "v4"), lab.direct("eth0", "v6")
		for _, c := range []struct {
			from, to swapPath
			both     bool
		}{
			{relay4, kept4, true},
			{kept4, direct4, true},
			{direct4, kept4, false},
			{direct6, kept6, true},
			{kept6, kept4, true},
			{kept4, relay4, true},
		} {
			t.Run(fmt.Sprintf("%s to %s", c.from.name, c.to.name), func(t *testing.T) {
				lab.start(t, c.from)
				// As the check of a path does, it opens the firewall.
				_, err := lab.a.SidePort().WriteToUDPAddrPort([]byte{0xa1}, c.to.a)
				nstest.Must(t, err)
				tr := lab.traffic(t, perSecond)
				time.Sleep(200 * time.Millisecond)
				sides := lab.swap(t, c.from, c.to, func(*swap.Config) {}, c.both)
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
