package wgsetup

import (
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/wgsetup/internal/nft"
	"github.com/credant/credant/wgsetup/internal/nstest"
)

// forwardLab has a host b with two networks behind it, hosts of which know
// nothing of ours, and a, which is to reach the first.
//
//	a 192.0.2.1 -- 192.0.2.2 b 192.168.1.1 -- 192.168.1.2 lan
//	                         b 192.168.2.1 -- 192.168.2.2 iot
type forwardLab struct {
	a, b, lan, iot *nstest.NS
}

func newForwardLab(t *testing.T) forwardLab {
	t.Helper()
	l := forwardLab{lan: nstest.New(t), iot: nstest.New(t)}
	l.a, l.b = onOneLink(t)
	nstest.Connect(t, l.b, "lan", []string{"192.168.1.1/24", "fd01::1/64"}, l.lan, "eth0", []string{"192.168.1.2/24", "fd01::2/64"})
	nstest.Connect(t, l.b, "iot", []string{"192.168.2.1/24", "fd02::1/64"}, l.iot, "eth0", []string{"192.168.2.2/24", "fd02::2/64"})
	// Who may come by b's own routing would find the way back.
	for _, ns := range []*nstest.NS{l.lan, l.iot} {
		net := "192.168.1.1"
		if ns == l.iot {
			net = "192.168.2.1"
		}
		ns.Run("ip", "route", "add", "192.168.0.0/16", "via", net)
		ns.Run("ip", "route", "add", "192.0.2.0/24", "via", net)
	}
	return l
}

// carry puts nodes on both ends; the one of b, which it returns, carries the LAN to the other.
func (l forwardLab) carry(t *testing.T, backend Backend) (b *node) {
	t.Helper()
	a := openNode(t, l.a, Config{Backend: backend}, "10.99.0.1/32", "fd99::1/128")
	b = openNode(t, l.b, Config{Backend: backend}, "10.99.0.2/32", "fd99::2/128")
	carries := b.desired(a.peer(""))
	carries.Forward = &Forward{Advertised: lanPrefixes}
	b.apply(t, carries)
	want := a.desired(b.behind("192.0.2.2", lanPrefixes...))
	want.Subnets = lanPrefixes
	a.apply(t, want)
	return b
}

var lanPrefixes = prefixes("192.168.1.0/24", "fd01::/64")

// behind is a peer with networks behind it.
func (n *node) behind(endpoint string, networks ...netip.Prefix) Peer {
	p := n.peer(endpoint)
	p.AllowedIPs = append(p.AllowedIPs[:2:2], networks...)
	return p
}

func TestForward(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		l := newForwardLab(t)
		// A host that hears routers, and forwards nothing.
		l.b.Set("net/ipv6/conf/eth0/accept_ra", "1")
		before := hostState(l.b)
		a := openNode(t, l.a, Config{Backend: backend}, "10.99.0.1/32", "fd99::1/128")
		b := openNode(t, l.b, Config{Backend: backend}, "10.99.0.2/32", "fd99::2/128")
		carries := b.desired(a.peer(""))
		carries.Forward = &Forward{Advertised: lanPrefixes}
		b.apply(t, carries)
		want := a.desired(b.behind("192.0.2.2", prefixes("192.168.0.0/16", "fd01::/64", "fd02::/64")...))
		want.Subnets = prefixes("192.168.0.0/16", "fd01::/64", "fd02::/64")
		a.apply(t, want)
		for _, n := range []*node{a, b} {
			if again := n.apply(t, n.target.desired); len(again) != 0 {
				t.Errorf("applying twice: %v", again)
			}
			if advice := n.Advice(); len(advice) > 0 {
				t.Errorf("advice: %v", advice)
			}
		}
		for _, to := range []string{"10.99.0.2", "192.168.1.2", "fd01::2"} {
			if !reaches(l.a, to) {
				t.Errorf("%s is out of reach", to)
			}
		}
		for _, to := range []string{"192.168.2.2", "fd02::2"} {
			if tries(l.a, to) {
				t.Errorf("%s is not advertised, and answers", to)
			}
		}
		if got := l.b.Run("cat", "/proc/sys/net/ipv6/conf/eth0/accept_ra"); got != "2\n" {
			t.Errorf("routers are not heard: accept_ra is %s", got)
		}
		t.Run("no router", func(t *testing.T) {
			l.a.Run("ip", "route", "replace", "192.168.1.0/24", "via", "192.0.2.2")
			if tries(l.a, "192.168.1.2") {
				t.Error("b forwards between its own links")
			}
			l.a.Run("ip", "route", "del", "192.168.1.0/24", "via", "192.0.2.2")
			l.lan.Run("ip", "route", "add", "10.99.0.0/16", "via", "192.168.1.1")
			l.lan.Run("ip", "route", "add", "fd99::/48", "via", "fd01::1")
			for _, to := range []string{"10.99.0.1", "fd99::1"} {
				if tries(l.lan, to) {
					t.Errorf("the network behind b reaches %s in ours", to)
				}
			}
		})
		t.Run("own routes win", func(t *testing.T) {
			l.a.Run("ip", "route", "add", "192.168.0.0/16", "via", "192.0.2.99", "metric", "1024")
			if got := l.a.Run("ip", "route", "get", "192.168.1.2"); !strings.Contains(got, "192.0.2.99") {
				t.Errorf("route: %s", got)
			}
			l.a.Run("ip", "route", "del", "192.168.0.0/16", "via", "192.0.2.99")
		})
		t.Run("narrow path", func(t *testing.T) {
			narrow := want
			narrow.Peers = []Peer{want.Peers[0]}
			narrow.Peers[0].MTU = 1300
			a.apply(t, narrow)
			if !a.shows("ip route show 192.168.0.0/16", "mtu 1300", "metric 5202") {
				t.Error(l.a.Run("ip", "route"))
			}
			a.apply(t, want)
		})
		t.Run("port that the host gives away", func(t *testing.T) {
			want := "192.168.7.7" // is not advertised
			if tries(l.a, want) {
				t.Errorf("%s answers", want)
			}
			l.b.Nft("table ip published { chain pre { type nat hook prerouting priority -100; ip daddr " + want + " dnat to 192.168.2.2; }\n}")
			if !reaches(l.a, want) {
				t.Error("what the host gives to another one does not get there")
			}
			if tries(l.a, "192.168.2.2") {
				t.Error("so does what is not given")
			}
			l.b.Run("nft", "delete", "table", "ip", "published")
		})
		late := nstest.New(t)
		t.Run("link plugged in", func(t *testing.T) {
			nstest.Connect(t, l.b, "late", []string{"192.168.3.1/24"}, late, "eth0", []string{"192.168.3.2/24"})
			late.Run("ip", "route", "add", "192.168.0.0/16", "via", "192.168.3.1")
			l.lan.Run("ip", "route", "replace", "192.168.0.0/16", "via", "192.168.1.1")
			eventually(t, "new link closed", func() bool {
				out, err := l.b.Try("nft", "list", "table", "inet", hostTableName("test"))
				return err == nil && strings.Contains(out, `"late"`)
			})
			if tries(late, "192.168.1.2") {
				t.Error("b forwards between its own links")
			}
		})
		t.Run("withdrawn", func(t *testing.T) {
			b.apply(t, b.desired(a.peer("")))
			if tries(l.a, "192.168.1.2") {
				t.Error("still forwarded")
			}
			nstest.Must(t, b.Remove())
			l.b.Run("ip", "link", "del", "late")
			if after := hostState(l.b); after != before {
				t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
			}
		})
	})
}

// A host that forwarded before, as one with containers does, lets them into the network as itself. What is behind it
// and advertised only answers, whoever it says that it is.
func TestForwardOfContainers(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		l := newForwardLab(t)
		l.b.Set(forwardSetting4, "1")
		l.b.Set(forwardSetting6, "1")
		l.b.Nft(`table inet containers { chain nat { type nat hook postrouting priority 100;
			oifname != "iot" ip saddr 192.168.2.0/24 masquerade
			oifname != "iot" ip6 saddr fd02::/64 masquerade
		}
		}`)
		l.carry(t, backend)
		for _, ns := range []*nstest.NS{l.lan, l.iot} {
			via4, via6 := "192.168.1.1", "fd01::1"
			if ns == l.iot {
				via4, via6 = "192.168.2.1", "fd02::1"
			}
			ns.Run("ip", "route", "add", "10.99.0.0/16", "via", via4)
			ns.Run("ip", "route", "add", "fd99::/48", "via", via6)
		}
		for _, to := range []string{"192.168.1.2", "fd01::2"} {
			if !reaches(l.a, to) {
				t.Errorf("%s is out of reach", to)
			}
		}
		for _, to := range []string{"10.99.0.1", "fd99::1"} {
			if !reaches(l.iot, to) {
				t.Errorf("a container does not reach %s", to)
			}
			if tries(l.lan, to) {
				t.Errorf("the network behind b reaches %s in ours", to)
			}
		}
		for _, to := range []string{"192.168.2.2", "fd02::2"} {
			if tries(l.a, to) {
				t.Errorf("%s is not advertised, and answers", to)
			}
		}
		// IPv4 knows martians, and IPv6 does not.
		l.lan.Run("ip", "address", "add", "fd99::2/128", "dev", "eth0", "nodad")
		watched := l.a
		watched.Nft("table inet seen { chain input { type filter hook input priority 0; ip6 saddr fd99::2 udp dport 7777 counter; }\n}")
		l.lan.Run("bash", "-c", "exec 3<>/dev/udp/fd99::1/7777; echo lies >&3")
		if got := watched.Run("nft", "list", "table", "inet", "seen"); !strings.Contains(got, "packets 0") {
			t.Errorf("somebody else speaks as b:\n%s", got)
		}
		// The host itself may speak from any of its addresses.
		for _, from := range []string{"192.168.1.1", "fd01::1"} {
			to := "10.99.0.1"
			if strings.Contains(from, ":") {
				to = "fd99::1"
			}
			if _, err := l.b.Try("ping", "-c", "1", "-W", "5", "-I", from, to); err != nil {
				t.Errorf("b does not reach %s from %s", to, from)
			}
		}
	})
}

// What a crash left is put back by Clean, or taken over by the next start.
func TestForwardAfterCrash(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		l := newForwardLab(t)
		before := hostState(l.b)
		for _, adopt := range []bool{false, true} {
			b := openNode(t, l.b, Config{Backend: backend}, "10.99.0.2/32", "fd99::2/128")
			carries := b.desired()
			carries.Forward = &Forward{Advertised: lanPrefixes}
			b.apply(t, carries)
			nstest.Must(t, b.Detach())
			if now := hostState(l.b); now == before {
				t.Fatal("nothing was changed")
			}
			if adopt {
				again := openNode(t, l.b, Config{Backend: backend, PrivateKey: b.config.PrivateKey}, "10.99.0.2/32", "fd99::2/128")
				again.apply(t, again.desired())
				nstest.Must(t, again.Remove())
			} else {
				l.b.Do(func() {
					removed, err := Clean("test")
					if err != nil || !strings.Contains(strings.Join(removed, "\n"), "net.ipv4.ip_forward, put back to 0") {
						t.Errorf("removed %q: %v", removed, err)
					}
				})
			}
			if after := hostState(l.b); after != before {
				t.Errorf("left behind, adopted %v:\n%s\nbefore:\n%s", adopt, after, before)
			}
		}
	})
}

// Of two networks, the last one puts the settings back, whichever began.
func TestForwardOfTwoNetworks(t *testing.T) {
	l := newForwardLab(t)
	before := hostState(l.b)
	first := openNode(t, l.b, Config{Network: "first", Backend: Embedded}, "10.98.0.1/32", "fd98::1/128")
	second := openNode(t, l.b, Config{Network: "second", Backend: Embedded}, "10.99.0.1/32", "fd99::1/128")
	for _, n := range []*node{first, second} {
		want := n.desired()
		want.Routes = prefixes("10.98.0.0/16", "fd98::/48")
		if n == second {
			want.Routes = overlayRoutes
		}
		want.Forward = &Forward{Advertised: lanPrefixes}
		n.apply(t, want)
	}
	nstest.Must(t, first.Remove())
	if got := l.b.Run("sysctl", "-n", forwardSetting4, forwardSetting6, acceptRouters("eth0")); got != "1\n1\n2\n" {
		t.Errorf("the second network forwards nothing: %s", got)
	}
	nstest.Must(t, second.Remove())
	if after := hostState(l.b); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
}

func TestForwardWithoutNftables(t *testing.T) {
	l := newForwardLab(t)
	b := openNode(t, l.b, Config{Backend: Embedded}, "10.99.0.2/32", "fd99::2/128")
	b.mu.Lock()
	b.hosting.make = func(string, *slog.Logger) (*nft.Table, error) { return nil, unix.EOPNOTSUPP }
	b.mu.Unlock()
	want := b.desired()
	want.Forward = &Forward{Advertised: lanPrefixes}
	b.apply(t, want)
	if advice := strings.Join(b.Advice(), "\n"); !strings.Contains(advice, "modprobe") {
		t.Errorf("advice: %q", advice)
	}
	if got := l.b.Run("sysctl", "-n", forwardSetting4, forwardSetting6); got != "0\n0\n" {
		t.Errorf("forwards everything: %s", got)
	}
	b.apply(t, b.desired())
	if advice := b.Advice(); len(advice) > 0 {
		t.Errorf("advice after all is well: %q", advice)
	}
}

// A container's settings may be read-only.
func TestForwardReadOnly(t *testing.T) {
	l := newForwardLab(t)
	before := hostState(l.b)
	key, err := wgtypes.GeneratePrivateKey()
	nstest.Must(t, err)
	var b *Device // which does not run: its thread's settings are not read-only
	l.b.Do(func() {
		b, err = Open(t.Context(), Config{Network: "test", Backend: Embedded, PrivateKey: key, Log: testLog(t)})
		nstest.Must(t, err)
	})
	want := Desired{Routes: overlayRoutes, Forward: &Forward{Advertised: lanPrefixes}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.b.Do(func() {
			runtime.LockOSThread() // and never unlocked: the thread is of no more use
			for _, err := range []error{
				unix.Unshare(unix.CLONE_NEWNS),
				unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
				unix.Mount("/proc/sys", "/proc/sys", "", unix.MS_BIND, ""),
				unix.Mount("", "/proc/sys", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""),
			} {
				if err != nil {
					t.Errorf("make /proc/sys read-only: %v", err)
					return
				}
			}
			if _, err := b.Apply(t.Context(), want); err != nil {
				t.Error(err)
			}
			if advice := strings.Join(b.Advice(), "\n"); !strings.Contains(advice, "sysctl -w net.ipv4.ip_forward=1") {
				t.Errorf("advice: %q", advice)
			}
			if out, err := os.ReadFile("/proc/sys/" + forwardSetting4); string(out) != "0\n" {
				t.Errorf("forwarding is %q: %v", out, err)
			}
			// No half of it.
			if out := l.b.Run("nft", "list", "ruleset"); strings.Contains(out, "masquerade") {
				t.Errorf("ruleset:\n%s", out)
			}
		})
	}()
	<-ended
	nstest.Must(t, b.Remove())
	if after := hostState(l.b); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
}

func TestHostRoutes(t *testing.T) {
	l := newForwardLab(t)
	b := openNode(t, l.b, Config{Backend: Embedded}, "10.99.0.2/32", "fd99::2/128")
	l.b.Run("ip", "route", "add", "default", "via", "192.0.2.1")
	l.b.Run("ip", "route", "add", "172.20.0.0/16", "via", "192.168.1.2")
	l.b.Run("ip", "route", "add", "172.21.0.0/16", "via", "192.168.1.2", "table", "77")
	want := b.desired()
	want.Subnets = prefixes("172.22.0.0/16")
	b.apply(t, want)
	got, err := b.HostRoutes()
	nstest.Must(t, err)
	for _, x := range prefixes("192.0.2.0/24", "192.168.1.0/24", "192.168.2.0/24", "172.20.0.0/16", "172.21.0.0/16", "2001:db8::/64", "fd01::/64", "fd02::/64") {
		if len(missing([]netip.Prefix{x}, got)) > 0 {
			t.Errorf("no %s in %s", x, got)
		}
	}
	if len(got) != 8 {
		t.Errorf("host routes: %s", got)
	}
}

// Docker drops what it does not know, and leaves a chain to others.
func TestForwardThroughDocker(t *testing.T) {
	l := newForwardLab(t)
	for _, program := range []string{"iptables", "ip6tables"} {
		if out, err := l.b.Try(program, "-N", "DOCKER-USER"); err != nil {
			nstest.Skip(t, "no "+program+": "+out)
		}
		l.b.Run(program, "-A", "DOCKER-USER", "-j", "RETURN")
		l.b.Run(program, "-P", "FORWARD", "DROP")
		l.b.Run(program, "-A", "FORWARD", "-j", "DOCKER-USER")
	}
	before := hostState(l.b)
	b := l.carry(t, Embedded)
	for _, to := range []string{"192.168.1.2", "fd01::2"} {
		eventually(t, to+" answers", func() bool { return tries(l.a, to) })
	}
	if advice := b.Advice(); len(advice) > 0 {
		t.Errorf("advice: %q", advice)
	}
	nstest.Must(t, b.Remove())
	if after := hostState(l.b); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
}

// A firewall that nobody opens is told to a person.
func TestForwardBehindFirewall(t *testing.T) {
	l := newForwardLab(t)
	l.b.Nft("table inet filter { chain forward { type filter hook forward priority 0; policy drop; }\n}")
	b := openNode(t, l.b, Config{Backend: Embedded}, "10.99.0.2/32", "fd99::2/128")
	want := b.desired()
	want.Forward = &Forward{Advertised: lanPrefixes}
	b.apply(t, want)
	eventually(t, "advice", func() bool {
		return strings.Contains(strings.Join(b.Advice(), "\n"), "nft insert rule inet filter forward iifname credant0 accept")
	})
	b.apply(t, b.desired())
	eventually(t, "no advice", func() bool { return len(b.Advice()) == 0 })
}
