package wgsetup

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

func TestHostAddresses(t *testing.T) {
	ns, other := nstest.New(t), nstest.New(t)
	nstest.Connect(t, ns, "eth0", []string{"192.0.2.1/24", "169.254.1.1/16", "2001:db8::1/64", "fe80::1234/64"}, other, "eth0", nil)
	nstest.Connect(t, ns, "eth1", []string{"10.0.0.1/8"}, other, "eth1", nil)
	nstest.Connect(t, ns, "down0", []string{"10.20.0.1/16"}, other, "down0", nil)
	other.Run("ip", "link", "set", "down0", "down") // no carrier
	nstest.Connect(t, ns, "ours0", []string{"10.30.0.1/16"}, other, "ours0", nil)
	ns.Run("ip", "link", "set", "ours0", "alias", "credant:elsewhere")
	ns.Run("ip", "address", "add", "2001:db8::2/64", "dev", "eth0", "preferred_lft", "0", "nodad") // deprecated

	all := func(skip ...string) (out []netip.Prefix) {
		ns.Do(func() {
			var err error
			out, err = HostAddresses(skip...)
			nstest.Must(t, err)
		})
		return out
	}
	want := prefixes("192.0.2.1/24", "2001:db8::1/64", "10.0.0.1/8")
	if diff := cmp.Diff(text2(want), text2(all())); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if got := all("eth0"); !slices.Equal(got, want[2:]) {
		t.Errorf("without eth0: %v", got)
	}
}

func text2(list []netip.Prefix) (out []string) {
	for _, p := range list {
		out = append(out, p.String())
	}
	return out
}

func TestTentativeAndDeprecatedAreNotReachable(t *testing.T) {
	v6, v4 := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")
	for _, test := range []struct {
		addr  netip.Addr
		flags int
		want  bool
	}{
		{v6, 0, true},
		{v6, unix.IFA_F_PERMANENT, true},
		{v6, unix.IFA_F_TEMPORARY, true},
		{v6, unix.IFA_F_TENTATIVE, false},
		{v6, unix.IFA_F_TENTATIVE | unix.IFA_F_OPTIMISTIC, true},
		{v6, unix.IFA_F_DADFAILED | unix.IFA_F_PERMANENT, false},
		{v6, unix.IFA_F_DEPRECATED, false},
		{v4, unix.IFA_F_SECONDARY, true}, // the same bit as IFA_F_TEMPORARY
		{netip.MustParseAddr("fd00::1"), 0, true},
		{netip.MustParseAddr("169.254.0.1"), 0, false},
		{netip.MustParseAddr("fe80::1"), 0, false},
		{netip.MustParseAddr("::1"), 0, false},
	} {
		if got := reachable(test.addr, test.flags); got != test.want {
			t.Errorf("%s with flags %#x: %t", test.addr, test.flags, got)
		}
	}
}

// RFC 8445, Section 5.1.1.1.
func TestHardwareAddressesStayPrivate(t *testing.T) {
	address := func(s string, link int, temporary bool) hostAddress {
		return hostAddress{prefix: netip.MustParsePrefix(s), link: link, temporary: temporary}
	}
	got := private([]hostAddress{
		address("2001:db8:2::211:22ff:fe33:4455/64", 3, false), // alone there
		address("2001:db8::211:22ff:fe33:4455/64", 2, false),   // beside a temporary one
		address("2001:db8::5/64", 2, false),                    // an administrator's
		address("2001:db8::a1b2:c3d4:e5f6:1/64", 2, true),
		address("2001:db8:1::211:22ff:fe33:4455/64", 2, false), // another network
		address("192.0.2.1/24", 2, false),
		address("192.0.2.1/24", 2, false),
	})
	want := []string{
		"192.0.2.1/24", "2001:db8::5/64", "2001:db8::a1b2:c3d4:e5f6:1/64", "2001:db8:1:0:211:22ff:fe33:4455/64",
		"2001:db8:2:0:211:22ff:fe33:4455/64",
	}
	if diff := cmp.Diff(want, text2(got)); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}

func TestClash(t *testing.T) {
	ns, other := nstest.New(t), nstest.New(t)
	nstest.Connect(t, ns, "eth0", []string{"10.7.0.1/16", "fd07::1/64"}, other, "eth0", nil)
	nstest.Connect(t, ns, "credant0", []string{"10.8.0.1/16"}, other, "credant0", nil)
	for _, command := range []string{
		"ip route add default via 10.7.0.2",
		"ip route add 0.0.0.0/1 via 10.7.0.2",
		"ip route add 10.9.4.0/24 via 10.7.0.2",
		"ip route add 10.10.0.0/16 dev credant0",
		"ip route add blackhole 10.11.0.0/16",
		"ip route add 10.12.0.0/14 via 10.7.0.2 table 77",
		"ip -6 route add fd09::/32 via fd07::2",
		"ip -6 route add unreachable fd00::/8",
	} {
		ns.Run(strings.Fields(command)...)
	}
	for prefix, want := range map[string]string{
		"10.7.0.0/16":    "address 10.7.0.1/16 of eth0",
		"10.7.9.0/24":    "address 10.7.0.1/16 of eth0",
		"10.8.0.0/16":    "", // our own
		"10.9.0.0/16":    "route 10.9.4.0/24 by eth0",
		"10.10.0.0/16":   "",
		"10.11.0.0/16":   "",
		"10.13.0.0/16":   "route 10.12.0.0/14 by eth0",
		"10.99.0.0/16":   "",
		"fd07::/48":      "address fd07::1/64 of eth0",
		"fd09:0:1::/48":  "route fd09::/32 by eth0",
		"fd11:2233::/48": "",
	} {
		ns.Do(func() {
			got, clash := Clash(netip.MustParsePrefix(prefix), "credant0")
			if got != want || clash != (want != "") {
				t.Errorf("%s: %q, %t; want %q", prefix, got, clash, want)
			}
		})
	}
}
