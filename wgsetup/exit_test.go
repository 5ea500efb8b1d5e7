package wgsetup

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// exitLab has a host a whose way to the internet is a router, and b, which is
// to be its exit peer.
//
//	lan 192.168.1.2 -- 192.168.1.1 a 192.0.2.1 -- 192.0.2.254 router 198.51.100.254 -- 198.51.100.2 b
//	                                              router 203.0.113.254 -- 203.0.113.9 web
type exitLab struct {
	a, b, router, lan, web *nstest.NS
}

func newExitLab(t *testing.T) exitLab {
	t.Helper()
	l := exitLab{nstest.New(t), nstest.New(t), nstest.New(t), nstest.New(t), nstest.New(t)}
	l.router.Set("net/ipv4/ip_forward", "1")
	l.router.Set("net/ipv6/conf/all/forwarding", "1")
	nstest.Connect(t, l.a, "lan", []string{"192.168.1.1/24", "fd01::1/64"}, l.lan, "eth0", []string{"192.168.1.2/24", "fd01::2/64"})
	for _, host := range []struct {
		ns         *nstest.NS
		link       string
		net4, net6 string
		last       string
	}{
		{l.a, "a", "192.0.2.", "2001:db8:a::", "1"},
		{l.b, "b", "198.51.100.", "2001:db8:b::", "2"},
		{l.web, "web", "203.0.113.", "2001:db8:c::", "9"},
	} {
		nstest.Connect(t, host.ns, "eth0", []string{host.net4 + host.last + "/24", host.net6 + host.last + "/64"},
			l.router, host.link, []string{host.net4 + "254/24", host.net6 + "254/64"})
		host.ns.Run("ip", "route", "add", "default", "via", host.net4+"254")
		host.ns.Run("ip", "route", "add", "default", "via", host.net6+"254")
	}
	l.forget()
	return l
}

// forget makes leaks begin anew.
func (l exitLab) forget() {
	l.router.Nft(`
		table inet leaks {}
		delete table inet leaks
		table inet leaks {
			chain pre { type filter hook prerouting priority -300
				iifname "a" ip daddr 203.0.113.0/24 counter
				iifname "a" ip6 daddr 2001:db8:c::/64 counter
			}
		}
	`)
}

// leaks says what a sent to the internet past its exit peer.
func (l exitLab) leaks() string {
	var lines []string
	for line := range strings.Lines(l.router.Run("nft", "list", "chain", "inet", "leaks", "pre")) {
		if strings.Contains(line, "counter") && !strings.Contains(line, "packets 0 ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "; ")
}

// exits is desired with an exit peer.
func (n *node) exits(through *node, endpoint string) Desired {
	peer := through.peer(endpoint)
	peer.AllowedIPs = append(peer.AllowedIPs[:2:2], netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"))
	want := n.desired(peer)
	want.Exit = &Exit{V4: true, V6: true}
	return want
}

// reaches says whether an address answers.
func reaches(ns *nstest.NS, to string) bool {
	_, err := ns.Try("ping", "-c", "1", "-W", "5", to)
	return err == nil
}

// tries sends to an address that is not to answer.
func tries(ns *nstest.NS, to string) (answered bool) {
	_, err := ns.Try("ping", "-c", "1", "-W", "1", to)
	return err == nil
}

var (
	internet = []string{"203.0.113.9", "2001:db8:c::9"}
	nearby   = []string{"192.168.1.2", "fd01::2", "192.0.2.254", "2001:db8:a::254"}
)

func TestExit(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		l := newExitLab(t)
		for _, to := range internet {
			if !reaches(l.a, to) {
				t.Fatalf("%s is out of reach at the start", to)
			}
		}
		rules := hostState(l.a)
		// What a full tunnel breaks unless answers carry the mark.
		l.a.Set("net/ipv4/conf/all/rp_filter", "1")
		l.a.Set("net/ipv4/conf/eth0/rp_filter", "1")
		a := openNode(t, l.a, Config{Backend: backend}, "10.99.0.1/32", "fd99::1/128")
		b := openNode(t, l.b, Config{Backend: backend}, "10.99.0.2/32", "fd99::2/128")
		carries := b.desired(a.peer(""))
		carries.Forward = &Forward{Exit: true}
		b.apply(t, carries)
		want := a.exits(b, "198.51.100.2")
		a.apply(t, want)
		l.forget()
		for _, n := range []*node{a, b} {
			if again := n.apply(t, n.target.desired); len(again) != 0 {
				t.Errorf("applying twice: %v", again)
			}
			if advice := n.Advice(); len(advice) > 0 {
				t.Errorf("advice: %v", advice)
			}
		}
		for _, to := range append(append([]string{"10.99.0.2", "fd99::2"}, internet...), nearby...) {
			if !reaches(l.a, to) {
				t.Errorf("%s is out of reach", to)
			}
		}
		if leaks := l.leaks(); leaks != "" {
			t.Errorf("leaked: %s", leaks)
		}
		t.Run("marked", func(t *testing.T) {
			l.a.Do(func() {
				for _, to := range internet {
					d := net.Dialer{Timeout: 20 * time.Second, Control: MarkSocket}
					c, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(to, "9"))
					if c != nil {
						c.Close()
					}
					// A refusal came back past the strict filter.
					if !errors.Is(err, unix.ECONNREFUSED) {
						t.Errorf("dial: %v", err)
					}
				}
			})
			if l.leaks() == "" {
				t.Error("marked sockets went by the exit peer")
			}
			l.forget()
		})
		t.Run("allowed", func(t *testing.T) {
			want := a.exits(b, "198.51.100.2")
			want.Exit.Allow = prefixes("203.0.113.0/24")
			a.apply(t, want)
			if !reaches(l.a, "203.0.113.9") || !strings.Contains(l.leaks(), "203.0.113.0/24") {
				t.Errorf("allowed network: %s", l.leaks())
			}
			l.a.Run("ip", "-4", "rule", "del", "priority", "5203")
			eventually(t, "rule put back", func() bool { return a.shows("ip -4 rule", "5203:") })
			want.Exit.Allow = nil
			a.apply(t, want)
			l.forget()
		})
		noLeak := func(t *testing.T, answers bool) {
			t.Helper()
			for _, to := range internet {
				if tries(l.a, to) != answers {
					t.Errorf("%s answers: %v", to, !answers)
				}
			}
			for _, to := range nearby {
				if !reaches(l.a, to) {
					t.Errorf("%s is out of reach", to)
				}
			}
			if leaks := l.leaks(); leaks != "" {
				t.Errorf("leaked: %s", leaks)
			}
		}
		t.Run("rules removed", func(t *testing.T) {
			for _, family := range []string{"-4", "-6"} {
				for _, priority := range []string{"5204", "5205"} {
					l.a.Run("ip", family, "rule", "del", "priority", priority)
				}
				l.a.Run("ip", family, "route", "flush", "table", fmt.Sprint(exitTableOf("test")))
			}
			eventually(t, "rules put back", func() bool {
				return a.shows("ip -4 rule", "5204:", "5205:") && a.shows("ip -6 rule", "5204:", "5205:") &&
					a.shows("ip -4 route show table "+fmt.Sprint(exitTableOf("test")), "unreachable", "dev") &&
					a.shows("ip -6 route show table "+fmt.Sprint(exitTableOf("test")), "unreachable", "dev")
			})
			// What systemd-networkd spares.
			for _, family := range []string{"-4", "-6"} {
				for line := range strings.Lines(l.a.Run("ip", "-d", family, "rule")) {
					if strings.HasPrefix(line, "520") && !strings.Contains(line, "proto kernel") {
						t.Errorf("a rule of another protocol: %s", line)
					}
				}
			}
			l.forget()
			noLeak(t, true)
		})
		t.Run("table removed", func(t *testing.T) {
			l.a.Run("nft", "delete", "table", "inet", hostTableName("test"))
			eventually(t, "table put back", func() bool {
				out, err := l.a.Try("nft", "list", "table", "inet", hostTableName("test"))
				return err == nil && strings.Contains(out, "ct mark")
			})
			noLeak(t, true)
		})
		t.Run("peer away", func(t *testing.T) {
			l.b.Run("ip", "link", "set", "eth0", "down")
			noLeak(t, false)
		})
		t.Run("peer gone", func(t *testing.T) {
			gone := a.desired()
			gone.Exit = want.Exit
			a.apply(t, gone)
			noLeak(t, false)
		})
		t.Run("detached", func(t *testing.T) {
			nstest.Must(t, a.Detach())
			noLeak(t, false)
		})
		t.Run("cleaned", func(t *testing.T) {
			l.a.Do(func() {
				removed, err := Clean("test")
				if err != nil || len(removed) == 0 {
					t.Errorf("cleaned %v: %v", removed, err)
				}
			})
			l.a.Set("net/ipv4/conf/all/rp_filter", "0")
			if after := hostState(l.a); after != rules {
				t.Errorf("left behind:\n%s\nbefore:\n%s", after, rules)
			}
			for _, to := range internet {
				if !reaches(l.a, to) {
					t.Errorf("%s is out of reach", to)
				}
			}
		})
	})
}

// moving is what of that changes by itself.
var moving = regexp.MustCompile(` linkdown| packets \d+ bytes \d+`)

// hostState is what Forward and Exit may change.
func hostState(ns *nstest.NS) string {
	var b strings.Builder
	for _, command := range []string{
		"ip -4 rule", "ip -6 rule", "ip -4 route show table all", "nft list ruleset",
		"sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.ipv4.conf.all.src_valid_mark net.ipv6.conf.eth0.accept_ra net.ipv6.conf.default.accept_ra",
	} {
		fmt.Fprintln(&b, command)
		b.WriteString(moving.ReplaceAllString(ns.Run(strings.Fields(command)...), ""))
	}
	return b.String()
}

// A start after a crash takes over what holds everything back, and lets go of
// it when no exit is wanted any more.
func TestExitIsAdopted(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		l := newExitLab(t)
		key, err := wgtypes.GeneratePrivateKey()
		nstest.Must(t, err)
		b := openNode(t, l.b, Config{Backend: backend}, "10.99.0.2/32", "fd99::2/128")
		before := hostState(l.a)
		config := Config{Backend: backend, PrivateKey: key}
		first := openNode(t, l.a, config, "10.99.0.1/32", "fd99::1/128")
		carries := b.desired(first.peer(""))
		carries.Forward = &Forward{Exit: true}
		b.apply(t, carries)
		first.apply(t, first.exits(b, "198.51.100.2"))
		nstest.Must(t, first.Detach())
		second := openNode(t, l.a, config, "10.99.0.1/32", "fd99::1/128")
		second.apply(t, second.exits(b, "198.51.100.2"))
		second.ping(t, b.overlay[0])
		for _, to := range internet {
			if !reaches(l.a, to) {
				t.Errorf("%s is out of reach", to)
			}
		}
		if leaks := l.leaks(); leaks != "" {
			t.Errorf("leaked: %s", leaks)
		}
		nstest.Must(t, second.Detach())
		third := openNode(t, l.a, config, "10.99.0.1/32", "fd99::1/128")
		third.apply(t, third.desired(b.peer("198.51.100.2")))
		for _, to := range internet {
			if !reaches(l.a, to) {
				t.Errorf("%s is out of reach", to)
			}
		}
		if l.leaks() == "" {
			t.Error("there is still an exit")
		}
		nstest.Must(t, third.Remove())
		if after := hostState(l.a); after != before {
			t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
		}
	})
}
