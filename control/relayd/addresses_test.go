package relayd

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	has := func(addrs ...string) (out []hostAddress) {
		for _, a := range addrs {
			out = append(out, hostAddress{addr: netip.MustParseAddr(a)})
		}
		return out
	}
	mark := func(all []hostAddress, f func(*hostAddress)) []hostAddress {
		f(&all[len(all)-1])
		return all
	}
	tunnel := func(h *hostAddress) { h.tunnel = true }
	for name, tt := range map[string]struct {
		all        []hostAddress
		routed     []string
		want, left []string
	}{
		"a plain VPS": {
			has("127.0.0.1", "::1", "203.0.113.5", "2001:db8::5", "fe80::1"),
			[]string{"203.0.113.5", "2001:db8::5"},
			[]string{"203.0.113.5", "2001:db8::5"},
			nil,
		},
		"private beside global": {
			has("10.0.0.5", "203.0.113.5", "172.17.0.1", "fd00::5"),
			[]string{"203.0.113.5"},
			[]string{"203.0.113.5", "fd00::5"},
			nil,
		},
		"translated one to one": {
			has("10.0.0.5", "172.17.0.1", "fd00:1::1"),
			[]string{"10.0.0.5"},
			[]string{"10.0.0.5", "fd00:1::1"},
			nil,
		},
		"the routed one is the first of several": {
			has("203.0.113.5", "203.0.113.6", "203.0.113.7"),
			[]string{"203.0.113.6"},
			[]string{"203.0.113.6", "203.0.113.5"},
			[]string{"203.0.113.7"},
		},
		"no default route": {has("192.168.1.5"), nil, []string{"192.168.1.5"}, nil},
		"a tunnel of ours": {mark(has("192.168.1.5", "10.77.3.9"), tunnel), nil, []string{"192.168.1.5"}, nil},
		"behind a carrier": {has("100.64.0.9"), []string{"100.64.0.9"}, []string{"100.64.0.9"}, nil},
		"on two interfaces": {
			has("203.0.113.5", "203.0.113.5"), nil, []string{"203.0.113.5"}, nil,
		},
		"temporary and tentative": {
			append(mark(has("2001:db8::7"), func(h *hostAddress) { h.passing = true }),
				mark(has("2001:db8::8"), func(h *hostAddress) { h.tentative = true })...),
			[]string{"2001:db8::7"},
			nil, nil,
		},
		"loopback alone": {has("127.0.0.1", "::1"), nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var routed []netip.Addr
			for _, a := range tt.routed {
				routed = append(routed, netip.MustParseAddr(a))
			}
			c := choose(tt.all, routed, nil)
			if got := texts(c.serve); !slices.Equal(got, tt.want) || !slices.Equal(c.serve, c.tell) {
				t.Errorf("chose %v and tells %v, want %v", got, c.tell, tt.want)
			}
			if got := texts(c.left); !slices.Equal(got, tt.left) {
				t.Errorf("left out %v, want %v", got, tt.left)
			}
		})
	}
}

// What is served stays while it can.
func TestChooseAgain(t *testing.T) {
	has := func(texts ...string) (out []hostAddress) {
		for _, s := range texts {
			bare := strings.TrimRight(s, "~") // deprecated
			out = append(out, hostAddress{addr: netip.MustParseAddr(bare), passing: bare != s})
		}
		return out
	}
	list := func(texts ...string) []string { return texts }
	for name, tt := range map[string]struct {
		all                        []hostAddress
		routed, served, want, tell []string
	}{
		"another in its place": {has("203.0.113.6"), nil, list("203.0.113.5"), list("203.0.113.6"), list("203.0.113.6")},
		"IPv6 after IPv4": {
			has("203.0.113.5", "2001:db8::5"), nil, list("203.0.113.5"),
			list("203.0.113.5", "2001:db8::5"), list("203.0.113.5", "2001:db8::5"),
		},
		"no room for more, the routed one first": {
			has("203.0.113.4", "203.0.113.5", "203.0.113.6"), list("203.0.113.6"), list("203.0.113.5", "203.0.113.6"),
			list("203.0.113.6", "203.0.113.5"), list("203.0.113.6", "203.0.113.5"),
		},
		"a global one beside a private one": {
			has("10.0.0.5", "203.0.113.5"), list("203.0.113.5"), list("10.0.0.5"),
			list("203.0.113.5", "10.0.0.5"), list("203.0.113.5"),
		},
		"a new prefix, the old one deprecated": {
			has("2001:db8:1::5~", "2001:db8:2::5"), nil, list("2001:db8:1::5"),
			list("2001:db8:2::5", "2001:db8:1::5"), list("2001:db8:2::5"),
		},
		"two of a new prefix": {
			has("2001:db8:1::5~", "2001:db8:2::5", "2001:db8:2::6"), nil, list("2001:db8:1::5"),
			list("2001:db8:2::5", "2001:db8:2::6"), list("2001:db8:2::5", "2001:db8:2::6"),
		},
		"only deprecated ones": {has("2001:db8::5~"), nil, list("2001:db8::5"), list("2001:db8::5"), list("2001:db8::5")},
		"IPv6 is away":         {has("203.0.113.5"), nil, list("203.0.113.5", "2001:db8::5"), list("203.0.113.5", "2001:db8::5"), list("203.0.113.5")},
		"all are away":         {has("127.0.0.1"), nil, list("203.0.113.5", "2001:db8::5"), list("203.0.113.5", "2001:db8::5"), list("203.0.113.5", "2001:db8::5")},
		"the default route is away": {
			has("172.17.0.1", "10.0.0.5"), nil, list("10.0.0.5"), list("10.0.0.5"), list("10.0.0.5"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := choose(tt.all, addrs(tt.routed), addrs(tt.served))
			if got := texts(c.serve); !slices.Equal(got, tt.want) {
				t.Errorf("serves %v, want %v", got, tt.want)
			}
			if got := texts(c.tell); !slices.Equal(got, tt.tell) {
				t.Errorf("tells %v, want %v", got, tt.tell)
			}
		})
	}
}

func addrs(texts []string) (out []netip.Addr) {
	for _, s := range texts {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func texts(addrs []netip.Addr) (out []string) {
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}

func TestOuterAddresses(t *testing.T) {
	addrs := func(texts ...string) (out []netip.Addr) {
		for _, s := range texts {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	for name, tt := range map[string]struct {
		advertise    []string
		locals, want []netip.Addr
	}{
		"the global ones":    {nil, addrs("203.0.113.5", "fd00::5"), addrs("203.0.113.5")},
		"private ones":       {nil, addrs("10.0.0.5"), addrs("10.0.0.5")},
		"what is advertised": {[]string{"203.0.113.5"}, addrs("10.0.0.5"), addrs("203.0.113.5")},
	} {
		c := Config{Advertise: tt.advertise, Log: slog.New(slog.DiscardHandler)}
		if got := outerAddresses(advertised(t.Context(), c), tt.locals); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
