package wgsetup

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// Of two networks on a host the first that takes a subnet has it, and neither
// keeps the other down nor hides the other's members.
func TestSubnetsOfTwoNetworks(t *testing.T) {
	host, _ := onOneLink(t)
	first := openNode(t, host, Config{Network: "first", Backend: Embedded}, "10.98.0.1/32", "fd98::1/128")
	second := openNode(t, host, Config{Network: "second", Backend: Embedded}, "10.99.0.1/32", "fd99::1/128")
	taken := prefixes("172.22.0.0/16", "fd77::/64")
	want := first.desired()
	want.Routes, want.Subnets = prefixes("10.98.0.0/16", "fd98::/48"), taken
	first.apply(t, want)
	told := func(n *node) string {
		routes, err := n.HostRoutes()
		nstest.Must(t, err)
		return fmt.Sprint(routes)
	}
	if got := told(second); !strings.Contains(got, "10.98.0.0/16") || !strings.Contains(got, "172.22.0.0/16") || !strings.Contains(got, "fd77::/64") {
		t.Errorf("the second network does not see what the first has: %s", got)
	}
	if got := told(first); strings.Contains(got, "10.98.0.") || strings.Contains(got, "172.22.") {
		t.Errorf("the first network sees its own: %s", got)
	}
	also := second.desired()
	also.Subnets = taken // before it has looked
	second.apply(t, also)
	if got := host.Run("ip", "route", "show", "172.22.0.0/16"); !strings.Contains(got, first.Name()) || strings.Contains(got, second.Name()) {
		t.Errorf("the subnet leads to %s", got)
	}
	second.apply(t, second.desired())

	drained(second)
	want.Subnets = nil
	first.apply(t, want)
	awaitChange(t, second)
	if got := told(second); strings.Contains(got, "172.22.") {
		t.Errorf("the second network still sees what the first has given back: %s", got)
	}
}

// A route of the host's that comes or goes is told, where routes matter.
func TestHostRoutesThatChange(t *testing.T) {
	host, _ := onOneLink(t)
	n := openNode(t, host, Config{Backend: Embedded}, "10.99.0.1/32", "fd99::1/128")
	n.apply(t, n.desired())
	_, err := n.HostRoutes()
	nstest.Must(t, err)
	for _, how := range []string{"add", "del"} {
		drained(n)
		host.Run("ip", "route", how, "172.20.0.0/16", "via", "192.0.2.2")
		awaitChange(t, n)
		if _, err := n.HostRoutes(); err != nil {
			t.Fatal(err)
		}
	}
}

// drained waits until what the test has done so far is told.
func drained(n *node) {
	for quiet := false; !quiet; {
		select {
		case <-n.Changes():
			_, _ = n.HostRoutes()
		case <-time.After(time.Second):
			quiet = true
		}
	}
}

func awaitChange(t *testing.T, n *node) {
	t.Helper()
	select {
	case <-n.Changes():
	case <-time.After(time.Minute):
		t.Fatal("no change was told")
	}
}
