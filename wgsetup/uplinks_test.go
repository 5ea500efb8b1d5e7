package wgsetup

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// uplinksIn returns the ways out of a namespace in words.
func uplinksIn(t *testing.T, ns *nstest.NS) (out []string) {
	t.Helper()
	ns.Do(func() {
		all, err := Uplinks()
		nstest.Must(t, err)
		for _, u := range all {
			if nstest.Link(t, u.Iface).Attrs().Index != u.Index {
				t.Errorf("index %d of %s", u.Index, u.Iface)
			}
			out = append(out, fmt.Sprint(u.Addr, " by ", u.Iface, " via ", u.Gateway, " metric ", u.Metric))
		}
	})
	return out
}

// dualWAN is a host with two routers, each of which is its own way out.
func dualWAN(t *testing.T) (host, first, second *nstest.NS) {
	t.Helper()
	host, first, second = nstest.New(t), nstest.New(t), nstest.New(t)
	nstest.Connect(t, host, "eth0", []string{"192.0.2.10/24", "2001:db8:a::10/64"}, first, "lan", []string{"192.0.2.1/24", "2001:db8:a::1/64"})
	nstest.Connect(t, host, "eth1", []string{"198.51.100.10/24", "2001:db8:b::10/64"}, second, "lan", []string{"198.51.100.1/24", "2001:db8:b::1/64"})
	host.Run("ip", "route", "add", "default", "via", "192.0.2.1", "metric", "100")
	host.Run("ip", "route", "add", "default", "via", "198.51.100.1", "metric", "200")
	host.Run("ip", "-6", "route", "add", "default", "via", "2001:db8:a::1", "metric", "300")
	host.Run("ip", "-6", "route", "add", "default", "via", "2001:db8:b::1", "metric", "200")
	return host, first, second
}

func TestUplinks(t *testing.T) {
	ns := nstest.New(t)
	if got := uplinksIn(t, ns); len(got) != 0 {
		t.Errorf("a host without a way out has %v", got)
	}
	ns, first, _ := dualWAN(t)
	want := []string{
		"192.0.2.10 by eth0 via 192.0.2.1 metric 100",
		"198.51.100.10 by eth1 via 198.51.100.1 metric 200",
		"2001:db8:b::10 by eth1 via 2001:db8:b::1 metric 200",
		"2001:db8:a::10 by eth0 via 2001:db8:a::1 metric 300",
	}
	expect := func() {
		t.Helper()
		if diff := cmp.Diff(want, uplinksIn(t, ns)); diff != "" {
			t.Error(diff)
		}
	}
	expect()

	// Neither another table's routes are ways out, nor half the internet, nor
	// what leads nowhere.
	ns.Run("ip", "route", "add", "default", "via", "192.0.2.7", "table", "100")
	ns.Run("ip", "route", "add", "0.0.0.0/1", "via", "192.0.2.8")
	ns.Run("ip", "route", "add", "unreachable", "default", "metric", "5")
	ns.Run("ip", "-6", "route", "add", "unreachable", "default", "metric", "5000")
	// The same way with another metric is one way.
	ns.Run("ip", "route", "add", "default", "via", "192.0.2.1", "metric", "900")
	expect()

	// A route's own source, and a full tunnel's rule, which hides the others.
	ns.Run("ip", "address", "add", "192.0.2.11/24", "dev", "eth0")
	ns.Run("ip", "route", "replace", "default", "via", "192.0.2.1", "metric", "100", "src", "192.0.2.11")
	ns.Run("ip", "route", "add", "default", "dev", "eth1", "table", "51820")
	ns.Run("ip", "rule", "add", "not", "fwmark", "51820", "table", "51820")
	want[0] = "192.0.2.11 by eth0 via 192.0.2.1 metric 100"
	expect()

	// One route with two next hops, and a link-local router.
	ns.Run("ip", "rule", "del", "not", "fwmark", "51820", "table", "51820")
	ns.Run("ip", "-4", "route", "flush", "default")
	ns.Run("ip", "-6", "route", "del", "default", "via", "2001:db8:b::1")
	ns.Run("ip", "-6", "route", "del", "default", "via", "2001:db8:a::1")
	ns.Run("ip", "route", "add", "default", "nexthop", "via", "192.0.2.1", "nexthop", "via", "198.51.100.1")
	ns.Run("ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0", "metric", "1024")
	want = []string{
		"192.0.2.10 by eth0 via 192.0.2.1 metric 0",
		"198.51.100.10 by eth1 via 198.51.100.1 metric 0",
		"2001:db8:a::10 by eth0 via fe80::1%eth0 metric 1024",
	}
	expect()

	// A router over IPv6 for IPv4 (RFC 8950), and a link without a router.
	ns.Run("ip", "-4", "route", "add", "default", "via", "inet6", "fe80::1", "dev", "eth0", "metric", "7")
	ns.Run("ip", "route", "add", "default", "dev", "eth1", "metric", "9")
	want = []string{
		"192.0.2.10 by eth0 via 192.0.2.1 metric 0",
		"198.51.100.10 by eth1 via 198.51.100.1 metric 0",
		"192.0.2.10 by eth0 via fe80::1%eth0 metric 7",
		"198.51.100.10 by eth1 via invalid IP metric 9",
		"2001:db8:a::10 by eth0 via fe80::1%eth0 metric 1024",
	}
	expect()

	// A cable that is out.
	first.Run("ip", "link", "set", "lan", "down")
	want = []string{want[1], want[3]}
	eventually(t, "only eth1", func() bool { return cmp.Equal(want, uplinksIn(t, ns)) })
}

// A way out that is not the preferred one is worth telling of, too.
func TestChangesTellOfEachUplink(t *testing.T) {
	ns, _, _ := dualWAN(t)
	a := openNode(t, ns, Config{Backend: Embedded}, "10.99.0.1/32", "fd99::1/128")
	for _, command := range []string{
		"ip route del default via 198.51.100.1",
		"ip -6 route del default via 2001:db8:a::1",
		"ip route add default via 198.51.100.1 metric 200",
	} {
		ns.Run(a.words(command)...)
		select {
		case <-a.Changes():
		case <-time.After(patience):
			t.Errorf("not told of %s", command)
		}
	}
}

func TestUplinksAreBounded(t *testing.T) {
	var all []Uplink
	for i := range 100 {
		all = append(all, Uplink{Iface: "eth0", Index: i, Addr: netip.IPv4Unspecified()})
	}
	if n := len(sortUplinks(all)); n != maxUplinks {
		t.Errorf("%d uplinks", n)
	}
}
