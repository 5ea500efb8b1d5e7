package wgsetup

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// throughExit makes a host a whose internet is reached by its own router and,
// as its exit peer, by b.
//
//	lan 192.168.1.2 -- 192.168.1.1 a 192.0.2.1 -- 192.0.2.254 router 198.51.100.254 -- 198.51.100.2 b
//	                                              router 203.0.113.254 -- 203.0.113.9 web
func throughExit(t *testing.T) (a, b, router, lan, web *nstest.NS) {
	t.Helper()
	a, b, router, lan, web = nstest.New(t), nstest.New(t), nstest.New(t), nstest.New(t), nstest.New(t)
	router.Set("net/ipv4/ip_forward", "1")
	router.Set("net/ipv6/conf/all/forwarding", "1")
	nstest.Connect(t, a, "lan", []string{"192.168.1.1/24", "fd01::1/64"}, lan, "eth0", []string{"192.168.1.2/24", "fd01::2/64"})
	for _, host := range []struct {
		ns   *nstest.NS
		link string
		net4 string
		net6 string
		last string
	}{
		{a, "a", "192.0.2.", "2001:db8:a::", "1"},
		{b, "b", "198.51.100.", "2001:db8:b::", "2"},
		{web, "web", "203.0.113.", "2001:db8:c::", "9"},
	} {
		nstest.Connect(t, host.ns, "eth0", []string{host.net4 + host.last + "/24", host.net6 + host.last + "/64"},
			router, host.link, []string{host.net4 + "254/24", host.net6 + "254/64"})
		host.ns.Run("ip", "route", "add", "default", "via", host.net4+"254")
		host.ns.Run("ip", "route", "add", "default", "via", host.net6+"254")
	}
	return a, b, router, lan, web
}

func (n *node) exits(to *node, endpoint string) Desired {
	peer := to.peer(endpoint)
	peer.AllowedIPs = append(peer.AllowedIPs[:2:2], netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"))
	want := n.desired(peer)
	want.Exit = &Exit{V4: true, V6: true}
	return want
}

// reaches says whether there is an answer.
func reaches(ns *nstest.NS, to string) bool {
	_, err := ns.Try("ping", "-c", "1", "-W", "3", to)
	return err == nil
}

// counted lets a router count what comes from a, but for UDP.
func counted(t *testing.T, router *nstest.NS) (packets func() string) {
	t.Helper()
	router.Nft(`
		table inet count {
			chain pre { type filter hook prerouting priority -300
				iifname "a" meta l4proto { tcp, icmp } ip saddr 0.0.0.0/0 log prefix "leak"
				iifname "a" meta l4proto { tcp, icmp } counter comment "four"
				iifname "a" meta l4proto tcp counter comment "tcp"
				iifname "a" icmpv6 type echo-request counter comment "six"
			}
		}
	`)
	return func() string {
		var lines []string
		for _, line := range strings.Split(router.Run("nft", "list", "chain", "inet", "count", "pre"), "\n") {
			if strings.Contains(line, "counter") && !strings.Contains(line, "packets 0") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		return strings.Join(lines, "; ")
	}
}

func TestExit(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend Backend) {
		nsA, nsB, router, _, _ := throughExit(t)
		// What a full tunnel breaks unless answers carry the mark.
		nsA.Set("net/ipv4/conf/all/rp_filter", "1")
		nsA.Set("net/ipv4/conf/eth0/rp_filter", "1")
		a := openNode(t, nsA, Config{Backend: backend}, "10.99.0.1/32", "fd99::1/128")
		b := openNode(t, nsB, Config{Backend: backend}, "10.99.0.2/32", "fd99::2/128")
		for _, to := range []string{"203.0.113.9", "2001:db8:c::9"} {
			if !reaches(nsA, to) {
				t.Fatalf("%s is out of reach at the start", to)
			}
		}
		forward := b.desired(a.peer(""))
		forward.Forward = &Forward{Exit: true}
		b.apply(t, forward)
		want := a.exits(b, "198.51.100.2")
		a.apply(t, want)
		leaks := counted(t, router)
		if again := a.apply(t, want); len(again) != 0 {
			t.Errorf("applying twice: %v", again)
		}
		for _, to := range []string{"10.99.0.2", "fd99::2", "203.0.113.9", "2001:db8:c::9", "192.168.1.2", "fd01::2", "192.0.2.254"} {
			if !reaches(nsA, to) {
				t.Errorf("%s is out of reach", to)
			}
		}
		t.Run("marked", func(t *testing.T) {
			nsA.Do(func() {
				d := net.Dialer{Timeout: 10 * time.Second, Control: MarkSocket}
				c, err := d.DialContext(t.Context(), "tcp", "203.0.113.9:9")
				if c != nil {
					c.Close()
				}
				// A refusal came back past the strict filter.
				if err == nil || !strings.Contains(err.Error(), unix.ECONNREFUSED.Error()) {
					t.Errorf("dial: %v", err)
				}
			})
		})
		_ = leaks
	})
}
