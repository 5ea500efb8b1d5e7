package wgsetup

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// farNode is a node behind both routers of a dualWAN host.
func farNode(t *testing.T, backend Backend, routers ...*nstest.NS) *node {
	t.Helper()
	ns := nstest.New(t)
	for i, router := range routers {
		nstest.Connect(t,
			ns, fmt.Sprintf("eth%d", i), []string{fmt.Sprintf("10.7.%d.2/24", i), fmt.Sprintf("fd77:0:0:%d::2/64", i)},
			router, "wan", []string{fmt.Sprintf("10.7.%d.1/24", i), fmt.Sprintf("fd77:0:0:%d::1/64", i)})
		router.Set("net/ipv4/ip_forward", "1")
		router.Set("net/ipv6/conf/all/forwarding", "1")
		router.Run("ip", "route", "add", "203.0.113.1", "via", fmt.Sprintf("10.7.%d.2", i))
		router.Run("ip", "-6", "route", "add", "2001:db8:ffff::1", "via", fmt.Sprintf("fd77:0:0:%d::2", i))
	}
	ns.Run("ip", "address", "add", "203.0.113.1/32", "dev", "lo")
	ns.Run("ip", "address", "add", "2001:db8:ffff::1/128", "dev", "lo", "nodad")
	ns.Run("ip", "route", "add", "192.0.2.0/24", "via", "10.7.0.1", "src", "203.0.113.1")
	ns.Run("ip", "route", "add", "198.51.100.0/24", "via", "10.7.1.1", "src", "203.0.113.1")
	ns.Run("ip", "-6", "route", "add", "2001:db8:a::/64", "via", "fd77::1", "src", "2001:db8:ffff::1")
	ns.Run("ip", "-6", "route", "add", "2001:db8:b::/64", "via", "fd77:0:0:1::1", "src", "2001:db8:ffff::1")
	return openNode(t, ns, Config{Backend: backend}, "10.99.0.2/32", "fd99::2/128")
}

// uplinkNamed returns the way out of a family by a link.
func uplinkNamed(t *testing.T, ns *nstest.NS, iface string, ipv4 bool) (found Uplink) {
	t.Helper()
	ns.Do(func() {
		all, err := Uplinks()
		nstest.Must(t, err)
		for _, u := range all {
			if u.Iface == iface && u.Addr.Is4() == ipv4 {
				found = u
			}
		}
	})
	if found.Iface == "" {
		t.Fatalf("no uplink %s", iface)
	}
	return found
}

// The routes move WireGuard from one uplink to the other and back, whatever
// the host's own routes prefer, behind strict rp_filter.
func TestUnderlayMovesWireGuard(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		for _, c := range []struct{ name, far string }{{"IPv4", "203.0.113.1"}, {"IPv6", "2001:db8:ffff::1"}} {
			t.Run(c.name, func(t *testing.T) {
				ns, first, second := dualWAN(t)
				for _, conf := range []string{"all", "eth0", "eth1"} {
					ns.Set("net/ipv4/conf/"+conf+"/rp_filter", "1")
				}
				b := farNode(t, backend, first, second)
				a := openNode(t, ns, Config{Backend: backend}, "10.99.0.1/32", "fd99::1/128")
				far := netip.MustParseAddr(c.far)
				b.apply(t, b.desired(a.peer("")))
				want := a.desired(b.peer(c.far))
				for _, iface := range []string{"eth0", "eth1", "eth0", "eth1"} {
					u := uplinkNamed(t, ns, iface, far.Is4())
					want.Underlay = []UnderlayRoute{{To: far, Uplink: u}}
					a.apply(t, want)
					if again := a.apply(t, want); len(again) != 0 {
						t.Errorf("applying twice: %v", again)
					}
					nstest.Must(t, a.SetEndpoint(b.key, netip.AddrPortFrom(far, b.Port())))
					a.ping(t, b.overlay[0])
					peers, err := b.Peers()
					nstest.Must(t, err)
					if got := peers[a.key].Endpoint; got != netip.AddrPortFrom(u.Addr, a.Port()) {
						t.Errorf("by %s, WireGuard came from %s", iface, got)
					}
				}
			})
		}
	})
}

// Over IPv4 WireGuard itself notices that its way has changed.
func TestUnderlayIsFollowed(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		ns, first, second := dualWAN(t)
		b := farNode(t, backend, first, second)
		a := openNode(t, ns, Config{Backend: backend}, "10.99.0.1/32", "fd99::1/128")
		far := netip.MustParseAddr("203.0.113.1")
		b.apply(t, b.desired(a.peer("")))
		want := a.desired(b.peer(far.String()))
		a.apply(t, want)
		a.ping(t, b.overlay[0])
		for _, iface := range []string{"eth1", "eth0", "eth1"} {
			u := uplinkNamed(t, ns, iface, true)
			want.Underlay = []UnderlayRoute{{To: far, Uplink: u}}
			a.apply(t, want)
			eventually(t, iface, func() bool {
				a.ping(t, b.overlay[0])
				peers, err := b.Peers()
				nstest.Must(t, err)
				return peers[a.key].Endpoint == netip.AddrPortFrom(u.Addr, a.Port())
			})
		}
	})
}

// underlayShows says whether table and rules are as TestUnderlayRepairs wants
// them.
func (n *node) underlayShows() bool {
	table := fmt.Sprint(tableOf("test"))
	port := fmt.Sprint("sport ", n.Port(), " lookup ", table)
	return n.shows("ip -4 rule show", port) && n.shows("ip -6 rule show", port) &&
		n.shows("ip -4 route show table "+table, "203.0.113.1 via 198.51.100.1 dev eth1", "src 198.51.100.10", "mtu 1400") &&
		n.shows("ip -6 route show table "+table, "2001:db8:ffff::1 via 2001:db8:b::1 dev eth1", "src 2001:db8:b::10", "mtu 1280")
}

func (n *node) underlayGone(t *testing.T) {
	t.Helper()
	for _, family := range []string{"-4", "-6"} {
		if rules := n.ns.Run("ip", family, "rule", "show"); strings.Contains(rules, "sport") {
			t.Errorf("rules:\n%s", rules)
		}
		if routes, _ := n.ns.Try("ip", family, "route", "show", "table", fmt.Sprint(tableOf("test"))); strings.Contains(routes, "via") {
			t.Errorf("routes:\n%s", routes)
		}
	}
}

func withUnderlay(t *testing.T, n *node) Desired {
	t.Helper()
	want := n.desired()
	want.Underlay = []UnderlayRoute{
		{To: netip.MustParseAddr("203.0.113.1"), Uplink: uplinkNamed(t, n.ns, "eth1", true), MTU: 1400},
		{To: netip.MustParseAddr("2001:db8:ffff::1"), Uplink: uplinkNamed(t, n.ns, "eth1", false), MTU: 1200},
	}
	return want
}

func TestUnderlayRepairs(t *testing.T) {
	ns, _, second := dualWAN(t)
	a := openNode(t, ns, Config{Backend: Embedded}, "10.99.0.1/32", "fd99::1/128")
	want := withUnderlay(t, a)
	a.apply(t, want)
	if !a.underlayShows() {
		t.Fatalf("%s\n%s", ns.Run("ip", "rule"), ns.Run("ip", "route", "show", "table", fmt.Sprint(tableOf("test"))))
	}
	table := fmt.Sprint(tableOf("test"))
	var took []time.Duration
	for _, removal := range []string{
		"ip -4 rule del pref 5202", "ip -6 rule del pref 5202",
		"ip -4 route flush table " + table, "ip -6 route flush table " + table,
		"ip route replace 203.0.113.1 via 192.0.2.1 proto 202 table " + table,
		"ip link del DEV",
	} {
		ns.Run(a.words(removal)...)
		took = append(took, eventually(t, removal, a.underlayShows))
	}
	repairedInTime(t, took)

	// An uplink without carrier, or without its address, carries nothing: the
	// host's own routes are better than ours.
	second.Run("ip", "link", "set", "lan", "down")
	eventually(t, "down", func() bool { return !a.shows("ip route show table "+table, "203.0.113.1") })
	second.Run("ip", "link", "set", "lan", "up")
	eventually(t, "up", func() bool { return a.shows("ip -4 route show table "+table, "203.0.113.1") })
	ns.Run("ip", "address", "del", "198.51.100.10/24", "dev", "eth1")
	eventually(t, "address gone", func() bool {
		return !a.shows("ip route show table "+table, "203.0.113.1") && !a.shows("ip -4 rule show", "sport")
	})
	ns.Run("ip", "address", "add", "198.51.100.10/24", "dev", "eth1")
	eventually(t, "address back", func() bool { return a.shows("ip -4 route show table "+table, "203.0.113.1") })

	// Without an uplink, a route is the host's own, which is followed.
	want.Underlay = []UnderlayRoute{{To: netip.MustParseAddr("203.0.113.1"), MTU: 1300}}
	a.apply(t, want)
	if !a.shows("ip route show table "+table, "203.0.113.1 via 192.0.2.1 dev eth0", "mtu 1300") || a.shows("ip -6 rule show", "sport") {
		t.Error(ns.Run("ip", "route", "show", "table", table))
	}
	ns.Run("ip", "route", "replace", "default", "via", "198.51.100.1", "metric", "200") // went with the address
	ns.Run("ip", "route", "del", "default", "via", "192.0.2.1")
	eventually(t, "followed", func() bool {
		return a.shows("ip route show table "+table, "203.0.113.1 via 198.51.100.1 dev eth1", "mtu 1300")
	})

	want.Underlay = nil
	a.apply(t, want)
	a.underlayGone(t)
}

// What is not our port's does not look into our table.
func TestUnderlayIsNotForOthers(t *testing.T) {
	ns, _, _ := dualWAN(t)
	a := openNode(t, ns, Config{Backend: Embedded}, "10.99.0.1/32", "fd99::1/128")
	a.apply(t, withUnderlay(t, a))
	ours := ns.Run("ip", "route", "get", "203.0.113.1", "ipproto", "udp", "sport", fmt.Sprint(a.Port()))
	others := ns.Run("ip", "route", "get", "203.0.113.1")
	if !strings.Contains(ours, "dev eth1") || !strings.Contains(others, "dev eth0") {
		t.Errorf("ours %s, others' %s", ours, others)
	}
	nstest.Must(t, a.Remove())
	a.underlayGone(t)
}

// After a crash the routes are there, and are adopted or cleaned away.
func TestUnderlayOutlivesACrash(t *testing.T) {
	ns, _, _ := dualWAN(t)
	key, err := wgtypes.GeneratePrivateKey()
	nstest.Must(t, err)
	a := openNode(t, ns, Config{Backend: Embedded, PrivateKey: key}, "10.99.0.1/32", "fd99::1/128")
	port := a.Port()
	want := withUnderlay(t, a)
	a.apply(t, want)
	crash := func() {
		t.Helper()
		for _, command := range []string{
			fmt.Sprint("ip rule add pref 5202 ipproto udp sport ", port, " table ", tableOf("test"), " protocol kernel"),
			fmt.Sprint("ip rule add pref 5202 ipproto udp sport 999 table ", tableOf("test"), " protocol kernel"),
			fmt.Sprint("ip route add 203.0.113.1 via 198.51.100.1 src 198.51.100.10 mtu 1400 proto 202 table ", tableOf("test")),
			fmt.Sprint("ip route add 203.0.113.9 via 198.51.100.1 proto 202 table ", tableOf("test")),
		} {
			ns.Run(strings.Fields(command)...)
		}
	}
	nstest.Must(t, a.Remove())
	a.underlayGone(t)
	crash()
	b := openNode(t, ns, Config{Backend: Embedded, PrivateKey: key, Port: port}, "10.99.0.1/32", "fd99::1/128")
	steps := fmt.Sprint(b.apply(t, want))
	if !b.underlayShows() || strings.Contains(steps, "set underlay route 203.0.113.1") || !strings.Contains(steps, "remove underlay route 203.0.113.9") || !strings.Contains(steps, "remove rule for IPv4 UDP port 999") {
		t.Errorf("steps: %s", steps)
	}
	nstest.Must(t, b.Remove())

	crash()
	ns.Do(func() {
		removed, err := Clean("test")
		nstest.Must(t, err)
		if text := strings.Join(removed, "\n"); strings.Count(text, "rule") != 2 || strings.Count(text, "underlay route") != 2 {
			t.Errorf("removed:\n%s", text)
		}
		removed, err = Clean("test")
		nstest.Must(t, err)
		if len(removed) != 0 {
			t.Errorf("removed again: %v", removed)
		}
	})
	b.underlayGone(t)
}

// A peer whose path carries less gets routes that say so; no other peer does.
func TestPeerMTU(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		a, b := joined(t, backend)
		small := b.peer("192.0.2.2")
		small.MTU = 1200
		a.apply(t, a.desired(small))
		if again := a.apply(t, a.desired(small)); len(again) != 0 {
			t.Errorf("applying twice: %v", again)
		}
		there := func() bool {
			return a.shows("ip -4 route show dev DEV", "10.99.0.2", "mtu 1200", "10.99.0.0/16") &&
				a.shows("ip -6 route show dev DEV", "fd99::2", "mtu 1280", "fd99::/48")
		}
		if !there() {
			t.Fatal(a.ns.Run(a.words("ip route show dev DEV")...))
		}
		a.ping(t, b.overlay[0])
		a.ping(t, b.overlay[1])
		for size, fits := range map[string]bool{"1172": true, "1173": false} {
			wait := map[bool]string{true: "30", false: "2"}[fits]
			out, err := a.ns.Try("ping", "-c", "1", "-w", wait, "-M", "do", "-s", size, "10.99.0.2")
			if (err == nil) != fits {
				t.Errorf("ping of %s: %v\n%s", size, err, out)
			}
		}
		a.ns.Run(a.words("ip route del 10.99.0.2/32 dev DEV")...)
		a.ns.Run(a.words("ip -6 route change fd99::2/128 dev DEV mtu 1300 proto 202")...)
		eventually(t, "repaired", there)
		a.apply(t, a.desired(b.peer("")))
		if a.shows("ip -4 route show dev DEV", "10.99.0.2") || a.shows("ip -6 route show dev DEV", "mtu 1280") {
			t.Error("the routes are still there")
		}
		a.ping(t, b.overlay[0])
	})
}

// A cap on the outer packets has WireGuard's leave in fragments, and large
// packets pass a narrow way of which no ICMP tells.
func TestUnderlayMTU(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		for _, c := range []struct{ name, far string }{{"IPv4", "203.0.113.1"}, {"IPv6", "2001:db8:ffff::1"}} {
			t.Run(c.name, func(t *testing.T) {
				ns, first, second := dualWAN(t)
				b := farNode(t, backend, first, second)
				a := openNode(t, ns, Config{Backend: backend}, "10.99.0.1/32", "fd99::1/128")
				first.Run("ip", "link", "set", "wan", "mtu", "1280")
				b.ns.Run("ip", "link", "set", "eth0", "mtu", "1280")
				first.Nft("table inet mute { chain out { type filter hook output priority 0; icmp type destination-unreachable drop; icmpv6 type packet-too-big drop; }; }")
				far := netip.MustParseAddr(c.far)
				uplink := uplinkNamed(t, ns, "eth0", far.Is4())
				peer := b.peer(c.far)
				b.apply(t, b.desired(a.peer("")))
				want := a.desired(peer)
				want.Underlay = []UnderlayRoute{{To: far, Uplink: uplink, MTU: 1280}}
				a.apply(t, want)
				a.ping(t, b.overlay[0])
				if out, err := a.ns.Try("ping", "-c", "3", "-i", "0.1", "-w", "5", "-s", "1390", "-M", "do", "10.99.0.2"); err != nil {
					t.Errorf("large ping: %v\n%s", err, out)
				}
			})
		}
	})
}
