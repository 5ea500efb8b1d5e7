package wgsetup

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

var (
	ownKey    = wgtypes.Key{7}
	peer1     = wgtypes.Key{1}
	peer2     = wgtypes.Key{2}
	secretKey = wgtypes.Key{0x5e, 0xc2, 0xe7}
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func testTarget() target {
	return target{
		iface: "credant0", alias: "credant:test", key: ownKey, port: 12345, mtu: 1420,
		desired: Desired{
			Addresses: prefixes("10.1.2.3/32", "fd00::3/128"),
			Routes:    prefixes("10.1.0.0/16", "fd00::/48"),
			Peers: []Peer{
				{PublicKey: peer1, PresharedKey: secretKey, Endpoint: netip.MustParseAddrPort("192.0.2.1:1"), AllowedIPs: prefixes("10.1.2.4/32", "fd00::4/128")},
				{PublicKey: peer2, Keepalive: 25 * time.Second, AllowedIPs: prefixes("10.1.2.5/32")},
			},
		},
	}
}

// met is what testTarget asks for.
func met() actual {
	return actual{
		exists: true, index: 5, alias: "credant:test", key: ownKey, port: 12345, mtu: 1420, up: true,
		addresses: prefixes("10.1.2.3/32", "fd00::3/128"),
		routes: []route{
			{prefix: netip.MustParsePrefix("10.1.0.0/16"), ours: true},
			{prefix: netip.MustParsePrefix("fd00::/48"), ours: true},
			{prefix: netip.MustParsePrefix("fd00::3/128"), ours: false}, // the kernel's
		},
		peers: []actualPeer{
			{key: peer2, keepalive: 25 * time.Second, endpoint: netip.MustParseAddrPort("192.0.2.2:2"), allowedIPs: prefixes("10.1.2.5/32")},
			{key: peer1, preshared: secretKey, endpoint: netip.MustParseAddrPort("198.51.100.9:9"), allowedIPs: prefixes("fd00::4/128", "10.1.2.4/32")},
		},
	}
}

func text(steps []Step) []string {
	var out []string
	for _, s := range steps {
		out = append(out, s.String())
	}
	return out
}

func TestPlan(t *testing.T) {
	k1, k2 := peer1.String(), peer2.String()
	tests := map[string]struct {
		target func(*target)
		actual func(*actual)
		want   []string
	}{
		"met": {},
		"nothing there": {
			actual: func(a *actual) { *a = actual{} },
			want: []string{
				"create credant0",
				"mark credant0 as credant:test",
				"set private key of credant0",
				"set port of credant0 to 12345",
				"set MTU of credant0 to 1420",
				"set credant0 up",
				"add address 10.1.2.3/32 to credant0",
				"add address fd00::3/128 to credant0",
				"add route 10.1.0.0/16 to credant0",
				"add route fd00::/48 to credant0",
				"add peer " + k1 + " to credant0",
				"add peer " + k2 + " to credant0",
			},
		},
		"a device with other plans": {
			actual: func(a *actual) {
				a.alias, a.key, a.port, a.mtu, a.up = "", wgtypes.Key{}, 0, 1280, false
				a.addresses = prefixes("10.9.9.9/32")
				a.routes = []route{{prefix: netip.MustParsePrefix("10.9.0.0/16"), ours: true}, {prefix: netip.MustParsePrefix("10.8.0.0/16"), ours: false}}
				a.peers = []actualPeer{{key: wgtypes.Key{3}}}
			},
			want: []string{
				"mark credant0 as credant:test",
				"set private key of credant0",
				"set port of credant0 to 12345",
				"set MTU of credant0 to 1420",
				"set credant0 up",
				"remove route 10.9.0.0/16 from credant0",
				"remove address 10.9.9.9/32 from credant0",
				"add address 10.1.2.3/32 to credant0",
				"add address fd00::3/128 to credant0",
				"add route 10.1.0.0/16 to credant0",
				"add route fd00::/48 to credant0",
				"remove peer " + wgtypes.Key{3}.String() + " from credant0",
				"add peer " + k1 + " to credant0",
				"add peer " + k2 + " to credant0",
			},
		},
		"a route that the kernel has already": {
			target: func(t *target) { t.desired.Routes = append(t.desired.Routes, netip.MustParsePrefix("fd00::3/128")) },
		},
		"host bits in routes and allowed IPs": {
			target: func(t *target) {
				t.desired.Routes = prefixes("10.1.2.3/16", "fd00::7/48")
				t.desired.Peers[1].AllowedIPs = prefixes("10.1.2.5/32", "10.1.2.5/32")
			},
		},
		"firewall mark": {
			target: func(t *target) { t.mark = 0x10 },
			want:   []string{"set firewall mark of credant0 to 0x10"},
		},
		"firewall mark of the administrator's": {
			actual: func(a *actual) { a.mark = 0x10 },
		},
		"no IPv6": {
			target: func(t *target) { t.noIPv6 = true },
			actual: func(a *actual) { a.addresses, a.routes = a.addresses[:1], a.routes[:1] },
		},
		"a path that carries less": {
			target: func(t *target) { t.desired.Peers[0].MTU, t.desired.Peers[1].MTU = 1280, 1420 },
			want: []string{
				"add route 10.1.2.4/32 with MTU 1280 to credant0",
				"add route fd00::4/128 with MTU 1280 to credant0",
			},
		},
		"a path under IPv6's least": {
			target: func(t *target) {
				t.desired.Peers[0].MTU = 1200
				t.desired.Peers[0].AllowedIPs = append(t.desired.Peers[0].AllowedIPs, prefixes("192.168.7.0/24")...)
			},
			actual: func(a *actual) {
				a.peers[1].allowedIPs = append(a.peers[1].allowedIPs, prefixes("192.168.7.0/24")...)
				a.routes = append(a.routes, route{netip.MustParsePrefix("10.1.2.4/32"), 1280, true, false}, route{netip.MustParsePrefix("fd00::4/128"), 1280, true, false})
			},
			want: []string{"set MTU of route 10.1.2.4/32 by credant0 to 1200"},
		},
		"a path that carries all again": {
			actual: func(a *actual) {
				a.routes = append(a.routes, route{netip.MustParsePrefix("10.1.2.4/32"), 1280, true, false})
			},
			want: []string{"remove route 10.1.2.4/32 from credant0"},
		},
		"an MTU on a route of the network": {
			actual: func(a *actual) { a.routes[0].mtu = 1300 },
			want:   []string{"take MTU off route 10.1.0.0/16 by credant0"},
		},
		"underlay": {
			target: func(t *target) {
				t.under.routes = []underlayRoute{
					{to: netip.MustParseAddr("203.0.113.2"), link: 2, gateway: netip.MustParseAddr("192.0.2.1"), source: netip.MustParseAddr("192.0.2.10")},
					{to: netip.MustParseAddr("203.0.113.1"), link: 2, mtu: 1280},
				}
				t.under.rules = rulesFor(t.under.routes, []uint16{12345, 23456})
			},
			actual: func(a *actual) {
				a.under.routes = []underlayRoute{
					{to: netip.MustParseAddr("203.0.113.2"), link: 3, gateway: netip.MustParseAddr("192.0.2.1"), source: netip.MustParseAddr("192.0.2.10")},
					{to: netip.MustParseAddr("2001:db8::9"), link: 3},
				}
				a.under.rules = []portRule{{false, 12345}, {false, 9}, {true, 12345}}
			},
			want: []string{
				"remove rule for IPv4 UDP port 9",
				"remove rule for IPv6 UDP port 12345",
				"remove underlay route 2001:db8::9 by link 3",
				"set underlay route 203.0.113.1 by link 2 with MTU 1280",
				"set underlay route 203.0.113.2 by link 2 via 192.0.2.1 from 192.0.2.10",
				"add rule for IPv4 UDP port 23456",
			},
		},
		"peer without an endpoint": {
			actual: func(a *actual) { a.peers[1].endpoint = netip.AddrPort{} },
			want:   []string{"update peer " + k1 + " of credant0: endpoint"},
		},
		"peer differs": {
			actual: func(a *actual) {
				a.peers[1].preshared = wgtypes.Key{}
				a.peers[1].keepalive = time.Second
				a.peers[0].allowedIPs = prefixes("10.1.2.6/32")
			},
			want: []string{
				"update peer " + k1 + " of credant0: pre-shared key, keepalive",
				"update peer " + k2 + " of credant0: allowed IPs",
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			want, have := testTarget(), met()
			if test.target != nil {
				test.target(&want)
			}
			if test.actual != nil {
				test.actual(&have)
			}
			got := text(plan(want, have))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
			if all := strings.Join(got, "\n"); strings.Contains(all, secretKey.String()) || strings.Contains(all, ownKey.String()) {
				t.Error("the plan tells a secret key")
			}
		})
	}
}

// Allowed IPs are only replaced if one has to go: a replacement leaves a moment
// without any.
func TestAllowedIPsAreAddedWhereThatIsEnough(t *testing.T) {
	have := actualPeer{key: peer1, allowedIPs: prefixes("10.0.0.1/32")}
	for _, test := range []struct {
		want   []string
		change peerChange
	}{
		{[]string{"10.0.0.1/32"}, 0},
		{[]string{"10.0.0.1/32", "10.0.0.2/32"}, addAllowedIPs},
		{[]string{"10.0.0.2/32"}, replaceAllowedIPs},
		{nil, replaceAllowedIPs},
	} {
		if got := comparePeer(Peer{PublicKey: peer1, AllowedIPs: prefixes(test.want...)}, have); got != test.change {
			t.Errorf("%v: %d, not %d", test.want, got, test.change)
		}
	}
}

// Whatever is there, carrying the plan out leads to the target, and the plan
// from there is empty.
func TestPlanLeadsToTheTarget(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	somePrefixes := func() []netip.Prefix {
		var out []netip.Prefix
		for range r.IntN(4) {
			out = append(out, netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/24", r.IntN(5))))
		}
		return normalize(out, true, nil)
	}
	for range 2000 {
		want := target{iface: "wg", alias: "a", key: wgtypes.Key{byte(r.IntN(2))}, port: uint16(r.IntN(3)), mark: r.IntN(2), mtu: 1280 + r.IntN(2)}
		have := actual{exists: r.IntN(4) > 0, key: wgtypes.Key{byte(r.IntN(2))}, port: uint16(r.IntN(3)), mark: r.IntN(2), mtu: 1280 + r.IntN(2), up: r.IntN(2) > 0}
		want.desired.Addresses, want.desired.Routes = somePrefixes(), somePrefixes()
		want.desired.Subnets, want.desired.Exit = somePrefixes(), someExit(r)
		before := want
		before.desired.Exit = someExit(r)
		have.exit = before.exit()
		have.addresses = somePrefixes()
		for _, p := range somePrefixes() {
			have.routes = append(have.routes, someRoute(r, p))
		}
		for i := range 3 {
			k := wgtypes.Key{byte(10 + i)}
			// One allowed IP a peer that nobody else has: who owns one is not the plan's question.
			own := prefixes(fmt.Sprintf("10.9.%d.0/24", i), fmt.Sprintf("10.8.0.%d/32", i))
			if r.IntN(2) > 0 {
				have.routes = append(have.routes, someRoute(r, own[1]))
			}
			if r.IntN(2) > 0 {
				want.desired.Peers = append(want.desired.Peers, Peer{
					PublicKey: k, PresharedKey: wgtypes.Key{byte(r.IntN(2))}, Keepalive: time.Duration(r.IntN(2)) * time.Second, AllowedIPs: own[:r.IntN(3)],
					MTU: []int{0, 1200, 1201, 9000}[r.IntN(4)],
				})
			}
			if r.IntN(2) > 0 {
				have.peers = append(have.peers, actualPeer{
					key: k, preshared: wgtypes.Key{byte(r.IntN(2))}, keepalive: time.Duration(r.IntN(2)) * time.Second, allowedIPs: own[r.IntN(2):],
				})
			}
		}
		want.under, have.under = someUnderlay(r), someUnderlay(r)
		steps := plan(want, have)
		after := have
		for _, s := range steps {
			simulate(t, want, &after, s)
		}
		if again := plan(want, after); len(again) != 0 {
			t.Fatalf("target %+v\nactual %+v\nsteps %v\nthen %v", want, have, steps, again)
		}
	}
}

func someRoute(r *rand.Rand, p netip.Prefix) route {
	ours := r.IntN(2) > 0
	return route{p, 1200 + r.IntN(2), ours, ours && r.IntN(2) > 0}
}

func someExit(r *rand.Rand) *Exit {
	if r.IntN(3) == 0 {
		return nil
	}
	return &Exit{V4: r.IntN(3) > 0, V6: r.IntN(3) > 0, Allow: prefixes("198.51.100.0/24", "2001:db8::/32")[:r.IntN(3)]}
}

func someUnderlay(r *rand.Rand) (u underlay) {
	for i := range r.IntN(4) {
		to := netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})
		if r.IntN(2) > 0 {
			to = netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", i))
		}
		u.routes = append(u.routes, underlayRoute{to: to, link: r.IntN(2) + 1, mtu: r.IntN(2) * 1280})
	}
	u.rules = rulesFor(u.routes, []uint16{uint16(r.IntN(3) + 1), 9})
	return u
}

// simulate is the kernel, as far as a plan needs one.
func simulate(t *testing.T, want target, a *actual, s Step) {
	t.Helper()
	switch s.op {
	case createLink:
		*a = actual{exists: true}
	case setAlias:
		a.alias = s.alias
	case setKey:
		a.key = want.key
	case setPort:
		a.port = uint16(s.value)
	case setMark:
		a.mark = s.value
	case setMTU:
		a.mtu = s.value
	case linkUp:
		a.up = true
	case addAddress:
		a.addresses = append(a.addresses, s.prefix)
	case removeAddress:
		a.addresses = missing(a.addresses, []netip.Prefix{s.prefix})
	case addRoute:
		a.routes = append(a.routes, route{s.prefix, s.value, true, s.subnet})
	case changeRoute:
		for i := range a.routes {
			if a.routes[i].key() == (routeKey{s.prefix, s.subnet}) && a.routes[i].ours {
				a.routes[i].mtu = s.value
			}
		}
	case addExitRoute:
		a.exit.routes = slices.DeleteFunc(slices.Clone(a.exit.routes), func(r exitRoute) bool {
			return r.ipv6 == s.way.ipv6 && r.unreachable == s.way.unreachable
		})
		a.exit.routes = append(a.exit.routes, s.way)
	case removeExitRoute:
		a.exit.routes = slices.DeleteFunc(slices.Clone(a.exit.routes), func(r exitRoute) bool { return r == s.way })
	case addExitRule:
		a.exit.rules = append(a.exit.rules, s.exit)
	case removeExitRule:
		a.exit.rules = slices.DeleteFunc(slices.Clone(a.exit.rules), func(r exitRule) bool { return r == s.exit })
	case addUnderlay:
		a.under.routes = slices.DeleteFunc(slices.Clone(a.under.routes), func(r underlayRoute) bool { return r.to == s.under.to })
		a.under.routes = append(a.under.routes, s.under)
	case removeUnderlay:
		a.under.routes = slices.DeleteFunc(slices.Clone(a.under.routes), func(r underlayRoute) bool { return r == s.under })
	case addRule:
		a.under.rules = append(a.under.rules, s.rule)
	case removeRule:
		a.under.rules = slices.DeleteFunc(slices.Clone(a.under.rules), func(r portRule) bool { return r == s.rule })
	case removeRoute:
		var rest []route
		for _, r := range a.routes {
			if r.key() != (routeKey{s.prefix, s.subnet}) || !r.ours {
				rest = append(rest, r)
			}
		}
		a.routes = rest
	default:
		simulatePeer(t, a, s)
	}
}

func simulatePeer(t *testing.T, a *actual, s Step) {
	t.Helper()
	c := peerConfig(s)
	var rest []actualPeer
	p := actualPeer{key: c.PublicKey}
	found := false
	for _, x := range a.peers {
		if x.key == c.PublicKey {
			p, found = x, true
			continue
		}
		rest = append(rest, x)
	}
	a.peers = rest
	if c.Remove || c.UpdateOnly && !found {
		return
	}
	if c.PresharedKey != nil {
		p.preshared = *c.PresharedKey
	}
	if c.PersistentKeepaliveInterval != nil {
		p.keepalive = *c.PersistentKeepaliveInterval
	}
	if c.ReplaceAllowedIPs {
		p.allowedIPs = nil
	}
	for _, n := range c.AllowedIPs {
		ip, ok := prefixFrom(&n)
		if !ok {
			t.Fatalf("allowed IP %v", n)
		}
		p.allowedIPs = normalize(append(p.allowedIPs, ip), true, nil)
	}
	a.peers = append(a.peers, p)
}

func TestDesiredRefused(t *testing.T) {
	tests := map[string]Desired{
		"no prefix":            {Addresses: []netip.Prefix{{}}},
		"IPv4-mapped address":  {Addresses: prefixes("::ffff:10.0.0.1/128")},
		"no route":             {Routes: []netip.Prefix{{}}},
		"a peer twice":         {Peers: []Peer{{PublicKey: peer1}, {PublicKey: peer1}}},
		"one IP of two peers":  {Peers: []Peer{{PublicKey: peer1, AllowedIPs: prefixes("10.0.0.1/32")}, {PublicKey: peer2, AllowedIPs: prefixes("10.0.0.1/32")}}},
		"no allowed IP":        {Peers: []Peer{{PublicKey: peer1, AllowedIPs: []netip.Prefix{{}}}}},
		"too long a keepalive": {Peers: []Peer{{PublicKey: peer1, Keepalive: 24 * time.Hour}}},
		"tiny MTU":             {Peers: []Peer{{PublicKey: peer1, MTU: 500}}},
		"an underlay nowhere":  {Underlay: []UnderlayRoute{{}}},
		"an underlay to us":    {Underlay: []UnderlayRoute{{To: netip.MustParseAddr("127.0.0.1")}}},
		"an underlay twice":    {Underlay: []UnderlayRoute{{To: netip.MustParseAddr("192.0.2.1")}, {To: netip.MustParseAddr("192.0.2.1")}}},
		"tiny underlay MTU":    {Underlay: []UnderlayRoute{{To: netip.MustParseAddr("192.0.2.1"), MTU: 68}}},
		"two families":         {Underlay: []UnderlayRoute{{To: netip.MustParseAddr("192.0.2.1"), Uplink: Uplink{Iface: "eth0", Addr: netip.MustParseAddr("2001:db8::1")}}}},
		"too much underlay":    {Underlay: make([]UnderlayRoute, maxUnderlay+1)},
		"negative keepalive":   {Peers: []Peer{{PublicKey: peer1, Keepalive: -time.Second}}},
	}
	for name, d := range tests {
		if err := d.check(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := testTarget().desired.check(); err != nil {
		t.Error(err)
	}
}

func TestConfigRefused(t *testing.T) {
	good := Config{Network: "home", PrivateKey: ownKey}
	for name, change := range map[string]func(*Config){
		"no network":     func(c *Config) { c.Network = "" },
		"bad network":    func(c *Config) { c.Network = "a_b" },
		"long interface": func(c *Config) { c.Interface = "sixteen-letters-" },
		"bad interface":  func(c *Config) { c.Interface = "a/b" },
		"no key":         func(c *Config) { c.PrivateKey = wgtypes.Key{} },
		"small MTU":      func(c *Config) { c.MTU = 1279 },
	} {
		c := good
		change(&c)
		if err := c.check(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := good.check(); err != nil || good.MTU != DefaultMTU || good.Log == nil {
		t.Errorf("%v: %+v", err, good.MTU)
	}
}
