package control

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/google/go-cmp/cmp"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func pfxs(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range texts {
		all = append(all, pfx(s))
	}
	return all
}

func routeNode(i byte) keys.NodePublic {
	var k keys.NodePublic
	k[0], k[31] = i, 1
	return k
}

// routeScene is a view that tests change.
type routeScene struct {
	now  time.Time
	r    *routing
	view routeView
}

func newRouteScene(accept []string, exit string) *routeScene {
	return &routeScene{
		now: start, r: newRouting(accept, exit, nil),
		view: routeView{
			overlay: pfxs("10.77.0.0/16", "fd00:1:2::/48"),
			host:    pfxs("192.168.50.0/24", "172.20.0.0/16"),
		},
	}
}

func (s *routeScene) member(i byte, name string, working bool, routes ...string) {
	s.view.members = append(s.view.members, routeMember{
		node: routeNode(i), name: name, labels: []string{name}, working: working, routes: pfxs(routes...),
	})
}

func (s *routeScene) at(i byte) *routeMember {
	j := slices.IndexFunc(s.view.members, func(m routeMember) bool { return m.node == routeNode(i) })
	return &s.view.members[j]
}

func (s *routeScene) review() routePlan {
	s.r.review(s.now, s.view)
	return s.r.plan
}

// leads says which node a prefix leads to; 0: none.
func (s *routeScene) leads(prefix string) byte {
	for node, list := range s.r.plan.allowed {
		if slices.Contains(list, pfx(prefix)) {
			return node[0]
		}
	}
	return 0
}

func (s *routeScene) word(i byte, prefix string) routeWord {
	for _, w := range s.r.plan.words[routeNode(i)] {
		if w.prefix == pfx(prefix) {
			return w
		}
	}
	return routeWord{}
}

// What no other node may take, whoever offers it.
func TestRoutesRefused(t *testing.T) {
	s := newRouteScene([]string{"all"}, "")
	s.view.kept = []underlayName{{netip.MustParseAddr("203.0.113.9"), "the relay r"}}
	s.view.own = pfxs("10.9.0.0/24")
	for prefix, why := range map[string]string{
		"0.0.0.0/0": "", "::/0": "", // for exit nodes only: no word on them
		"0.0.0.0/1": "no host has", "128.0.0.0/1": "link-local", "127.0.0.0/8": "loopback", "127.1.2.0/24": "loopback",
		"169.254.7.0/24": "link-local", "224.0.0.0/4": "multicast", "239.1.0.0/16": "multicast", "255.255.255.255/32": "reserved",
		"::/1": "loopback", "::1/128": "loopback", "8000::/1": "link-local", "fe80::/64": "link-local", "ff02::/16": "multicast",
		"::ffff:10.0.0.0/104": "IPv4",
		"10.77.0.0/16":        "the network's own", "10.77.3.0/24": "the network's own", "10.0.0.0/8": "the network's own",
		"fd00:1:2:3::/64": "the network's own", "fd00::/8": "the network's own",
		"192.168.50.0/24": "itself", "192.168.50.7/32": "itself", "172.20.9.0/24": "itself",
		"203.0.113.0/24": "where the relay r is reached", "2001:db8::/32": "where office is reached",
		"10.9.0.0/24": "advertises it itself",
	} {
		t.Run(prefix, func(t *testing.T) {
			s.view.members = nil
			s.member(1, "office", true, prefix)
			s.at(1).at = addrsOf("198.51.100.7", "2001:db8::9")
			plan := s.review()
			if len(plan.allowed) != 0 || len(plan.subnets) != 0 {
				t.Fatalf("it is routed: %v", plan)
			}
			w := s.word(1, prefix)
			if why == "" && w.state != routeOffered || why != "" && (w.state != routeRefused || !strings.Contains(w.reason, why)) {
				t.Errorf("%+v, want %q", w, why)
			}
		})
	}
	s.view.members = nil
	s.member(1, "office", true, "192.168.0.0/16", "172.16.0.0/12", "2001:db8:7::/48", "32.0.0.0/3")
	plan := s.review()
	if len(plan.subnets) != 4 {
		t.Errorf("wider than what the host has itself: %v, %v", plan.subnets, plan.words)
	}
	if len(plan.notices) != 1 || !strings.Contains(plan.notices[0], "32.0.0.0/3") || !strings.Contains(plan.notices[0], "wide") {
		t.Errorf("notices: %q", plan.notices)
	}
}

// Nothing is taken of nodes that are not named.
func TestRoutesOnlyOfNamed(t *testing.T) {
	s := newRouteScene([]string{"office"}, "")
	s.member(1, "office", true, "192.168.7.0/24", "0.0.0.0/0")
	s.member(2, "other", true, "192.168.8.0/24", "192.168.7.0/25")
	plan := s.review()
	if diff := cmp.Diff([]string{"192.168.7.0/24"}, prefixTexts(plan.subnets)); diff != "" {
		t.Error(diff)
	}
	if w := s.word(2, "192.168.8.0/24"); w.state != routeOffered {
		t.Errorf("%+v", w)
	}
	// An id names its node alone, and nobody can call himself so.
	id := string(routeNode(1).ID())
	s = newRouteScene([]string{id}, "")
	s.member(2, id, true, "192.168.8.0/24")
	if plan := s.review(); len(plan.subnets) != 0 {
		t.Errorf("a node called by another's id: %v", plan)
	}
	s.member(1, "office", true, "192.168.7.0/24")
	s.review()
	if s.leads("192.168.7.0/24") != 1 || s.leads("192.168.8.0/24") != 0 {
		t.Errorf("by id: %v", s.r.plan)
	}
}

func prefixTexts(all []netip.Prefix) []string {
	var out []string
	for _, p := range all {
		out = append(out, p.String())
	}
	return out
}

// A name means the node that first had it, over restarts too.
func TestRoutesPinNames(t *testing.T) {
	s := newRouteScene([]string{"office"}, "")
	s.member(1, "office", true, "192.168.7.0/24")
	if _, pinned := s.r.review(s.now, s.view); !pinned {
		t.Error("nothing was pinned")
	}
	s.at(1).labels = []string{"hq"} // it has another name now, and a newcomer takes the old one
	s.member(2, "office", true, "192.168.7.0/24", "192.168.9.0/24")
	if _, pinned := s.r.review(s.now, s.view); pinned || s.leads("192.168.7.0/24") != 1 || s.leads("192.168.9.0/24") != 0 {
		t.Errorf("the newcomer got something: %v", s.r.plan)
	}
	s.r = newRouting([]string{"office"}, "", s.r.pins)
	s.view.members = s.view.members[1:]
	plan := s.review()
	if len(plan.subnets) != 0 || len(plan.notices) != 1 || !strings.Contains(plan.notices[0], string(routeNode(2).ID())) {
		t.Errorf("after a restart, the first away: %v %q", plan.subnets, plan.notices)
	}
	s.r = newRouting([]string{string(routeNode(2).ID())}, "", s.r.pins)
	if len(s.r.pins) != 0 {
		t.Error("a pin outlives the setting")
	}
	s.review()
	if s.leads("192.168.9.0/24") != 2 {
		t.Errorf("named by its id: %v", s.r.plan)
	}
	// Two of one name at once: neither.
	s = newRouteScene([]string{"office"}, "office")
	s.member(1, "office", true, "192.168.7.0/24", "0.0.0.0/0")
	s.member(2, "office", true, "192.168.8.0/24", "0.0.0.0/0")
	plan = s.review()
	if len(plan.allowed) != 0 || plan.exit.state != "unknown" || !strings.Contains(plan.notices[0], "by its id") {
		t.Errorf("two of one name: %+v", plan)
	}
}

func TestRouteFailover(t *testing.T) {
	const lan = "192.168.7.0/24"
	s := newRouteScene([]string{"first", "second", "all"}, "")
	expect := func(want byte, what string) {
		t.Helper()
		s.review()
		if got := s.leads(lan); got != want {
			t.Fatalf("%s: it leads to %d, want %d", what, got, want)
		}
	}
	s.member(9, "second", false, lan)
	s.member(5, "first", false, lan)
	expect(5, "none works: the one that is named first")
	s.at(9).working = true
	expect(9, "the second alone works")
	s.at(5).working = true
	expect(9, "the first has just come")
	if due := s.r.next; !due.Equal(s.now.Add(routeBackAfter)) {
		t.Errorf("due %v", due)
	}
	s.now = s.now.Add(routeBackAfter - time.Second)
	expect(9, "the first has worked for a moment")
	s.at(5).working = false
	s.review()
	s.at(5).working = true
	s.now = s.now.Add(2 * time.Second)
	expect(9, "the first comes and goes")
	s.now = s.now.Add(routeBackAfter)
	s.review()
	s.now = s.now.Add(routeBackAfter)
	expect(5, "the first has worked for long")
	s.at(5).working = false
	expect(9, "the first is lost")
	s.at(9).working = false
	expect(9, "both are lost: nothing changes")
	if w := s.word(9, lan); w.state != routeAccepted || w.reason == "" {
		t.Errorf("%+v", w)
	}
	if w := s.word(5, lan); w.state != routeStandby || !strings.Contains(w.reason, "second") {
		t.Errorf("%+v", w)
	}
	s.member(2, "third", true, lan)
	expect(2, "one of all others works")
	s.at(2).routes = nil
	s.at(5).working = true
	expect(5, "it offers it no more")
	s.view.members = nil
	expect(0, "nobody is left")
}

// The exit node gets all of the rest, and nobody else does; without it nothing leaves.
func TestRouteExit(t *testing.T) {
	s := newRouteScene([]string{"all"}, "gate")
	expect := func(state string, leads byte) {
		t.Helper()
		s.review()
		if s.r.plan.exit.state != state || s.leads("0.0.0.0/0") != leads {
			t.Fatalf("%+v, leads to %d; want %s, %d", s.r.plan.exit, s.leads("0.0.0.0/0"), state, leads)
		}
		if quiet := len(s.r.plan.notices) == 0; quiet != (state == "working") {
			t.Errorf("%s: notices %q", state, s.r.plan.notices)
		}
	}
	s.member(1, "other", true, "0.0.0.0/0", "::/0")
	expect("unknown", 0)
	s.member(2, "gate", true)
	expect("not offered", 0)
	s.at(2).routes = pfxs("0.0.0.0/0")
	expect("working", 2)
	if s.leads("::/0") != 0 {
		t.Error("IPv6 leads somewhere, and the exit has none")
	}
	s.at(2).working = false
	expect("away", 2)
	if s.word(2, "0.0.0.0/0").state != routeAccepted || s.word(1, "0.0.0.0/0").state != routeOffered {
		t.Errorf("%v", s.r.plan.words)
	}
	if len(s.r.plan.subnets) != 0 {
		t.Errorf("subnets: %v", s.r.plan.subnets)
	}
}

// A node that is named and blocked is not called unknown.
func TestRoutesOfBlocked(t *testing.T) {
	id := string(routeNode(2).ID())
	for _, word := range []string{"gate", id} {
		s := newRouteScene([]string{word}, word)
		s.member(2, "gate", true, "192.168.7.0/24", "0.0.0.0/0")
		if s.review(); s.r.plan.exit.state != "working" {
			t.Fatalf("%+v", s.r.plan.exit)
		}
		s.view.members = nil
		s.view.blocked = func(who string) bool { return who == id }
		s.review()
		if e := s.r.plan.exit; e.state != "blocked" || !strings.Contains(e.text, "credant unblock") {
			t.Errorf("%+v", e)
		}
		if notices := s.r.plan.notices; len(notices) != 2 || !strings.Contains(notices[0], "blocked on this node") {
			t.Errorf("notices: %q", notices)
		}
	}
}

// Who makes up nodes does not push out those that work.
func TestRoutesFullTable(t *testing.T) {
	s := newRouteScene([]string{"all"}, "")
	for i := range 40 {
		var routes []string
		for j := range maxAdvertised {
			routes = append(routes, fmt.Sprintf("100.%d.%d.0/24", 100+i, j))
		}
		s.member(byte(i+1), fmt.Sprintf("n%d", i), false, routes...)
	}
	s.member(99, "gate", true, "192.168.7.0/24")
	if s.review(); s.leads("192.168.7.0/24") != 99 {
		t.Error("the route to the one that works is not used")
	}
	s.at(99).working = false
	s.at(1).working = true
	s.now = s.now.Add(time.Hour)
	if plan := s.review(); len(plan.subnets) != maxAccepted || s.leads("100.100.0.0/24") != 1 {
		t.Errorf("%d routes", len(plan.subnets))
	}
}

func TestRoutesAreBounded(t *testing.T) {
	s := newRouteScene([]string{"all"}, "")
	for i := range 40 {
		var routes []string
		for j := range maxAdvertised {
			routes = append(routes, fmt.Sprintf("100.%d.%d.0/24", 100+i, j))
		}
		s.member(byte(i+1), fmt.Sprintf("n%d", i), true, routes...)
	}
	plan := s.review()
	if len(plan.subnets) != maxAccepted {
		t.Errorf("%d routes", len(plan.subnets))
	}
	if len(plan.notices) != 0 {
		t.Errorf("notices: %q", plan.notices)
	}
}

// Whatever members say and do: each prefix has one holder, who is named, offers it and
// has it unrefused, and a second look changes nothing.
func TestRoutesRandom(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	pool := []string{"192.168.7.0/24", "192.168.7.0/25", "10.0.0.0/8", "192.168.50.0/24", "0.0.0.0/0", "::/0", "2001:db8::/32", "127.0.0.0/8"}
	s := newRouteScene([]string{"n1", "n2", "n3"}, "n4")
	for step := range 2000 {
		s.now = s.now.Add(time.Duration(rng.IntN(20)) * time.Second)
		s.view.members = nil
		for i := range byte(6) {
			if rng.IntN(4) == 0 {
				continue
			}
			var routes []string
			for _, p := range pool {
				if rng.IntN(2) == 0 {
					routes = append(routes, p)
				}
			}
			s.member(i+1, fmt.Sprintf("n%d", i+1), rng.IntN(3) > 0, routes...)
		}
		s.review()
		owner := map[netip.Prefix]keys.NodePublic{}
		for node, list := range s.r.plan.allowed {
			for _, p := range list {
				if other, twice := owner[p]; twice {
					t.Fatalf("seed %d, step %d: %s of %v and %v", seed, step, p, other, node)
				}
				owner[p] = node
				m := s.at(node[0])
				named := node[0] <= 3 && !isEverything(p) || node[0] == 4 && isEverything(p)
				if !slices.Contains(m.routes, p) || !named || !isEverything(p) && s.view.refuses(p, m) != "" {
					t.Fatalf("seed %d, step %d: %s leads to %s", seed, step, p, m.name)
				}
			}
		}
		if changed, pinned := s.r.review(s.now, s.view); changed || pinned {
			t.Fatalf("seed %d, step %d: a second look changes something", seed, step)
		}
	}
}

// The largest book, full of routes: a review must not hold the daemon up.
func BenchmarkRoutes(b *testing.B) {
	s := newRouteScene([]string{"all"}, "")
	for i := range maxMembers {
		var k keys.NodePublic
		k[0], k[1] = byte(i), byte(i>>8)
		m := routeMember{node: k, name: "n", working: true}
		for j := range 16 {
			m.routes = append(m.routes, netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(i), byte(i >> 8), byte(j)}), 32))
			s.view.underlay = append(s.view.underlay, underlayUse{netip.AddrFrom4([4]byte{5, byte(i), byte(i >> 8), byte(j)}), underSaid})
		}
		s.view.members = append(s.view.members, m)
	}
	for b.Loop() {
		s.r.review(s.now, s.view)
	}
}

func TestRouteSettings(t *testing.T) {
	for name, c := range map[string]RouteConfig{
		"a default route":            {AdvertiseRoutes: pfxs("0.0.0.0/0")},
		"bits set behind the prefix": {AdvertiseRoutes: pfxs("192.168.7.1/24")},
		"loopback":                   {AdvertiseRoutes: pfxs("127.0.0.0/8")},
		"overlaps --subnet":          {AdvertiseRoutes: pfxs("10.20.3.0/24")},
		"advertised twice":           {AdvertiseRoutes: pfxs("192.168.7.0/24", "192.168.7.0/24")},
		"one node is needed":         {ExitNode: "all"},
		"exclude each other":         {ExitNode: "gate", AdvertiseExit: true},
		`"a b" is no node`:           {AcceptRoutes: []string{"a b"}},
		`"Gate" is no node`:          {ExitNode: "Gate"},
		"15 routes are advertised,":  {AdvertiseRoutes: make([]netip.Prefix, 15)},
	} {
		if err := c.checkRoutes(pfx("10.20.0.0/16")); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := RouteConfig{AdvertiseRoutes: pfxs("192.168.7.0/24", "2001:db8::/48"), AdvertiseExit: true, AcceptRoutes: []string{"office", "all"}}
	if err := good.checkRoutes(netip.Prefix{}); err != nil {
		t.Error(err)
	}
}

func TestExitIsAnotherNode(t *testing.T) {
	own, other := string(routeNode(1).ID()), string(routeNode(2).ID())
	for _, c := range []struct {
		exit string
		pins map[string]string
		fine bool
	}{
		{exit: "", fine: true},
		{exit: "gate", fine: true},
		{exit: other, fine: true},
		{exit: "me"},
		{exit: own},
		{exit: "me", pins: map[string]string{"me": other}, fine: true},
	} {
		if err := (RouteConfig{ExitNode: c.exit}).exitElsewhere("me", own, c.pins); (err == nil) != c.fine {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestPinsAndBlockedFiles(t *testing.T) {
	dir := t.TempDir()
	network := "home"
	makeNetworkDir(t, dir, network)
	id := string(routeNode(1).ID())
	if err := savePins(dir, network, map[string]string{"office": id}); err != nil {
		t.Fatal(err)
	}
	pins, err := loadPins(dir, network)
	if diff := cmp.Diff(map[string]string{"office": id}, pins); diff != "" || err != nil {
		t.Error(err, diff)
	}
	want := []blockedNode{{ID: id, Name: "nas", Since: start.UTC()}}
	if err := saveBlocked(dir, network, want); err != nil {
		t.Fatal(err)
	}
	got, err := loadBlocked(dir, network)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	for _, bad := range []string{"{", `{"blocked":[{"id":"nas"}]}`, `{"blocked":[{"id":"` + id + `","name":"A B"}]}`} {
		writeNetworkFile(t, dir, network, "blocked.json", bad)
		if _, err := loadBlocked(dir, network); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, bad := range []string{"[]", `{"pins":{"office":"x"}}`, `{"pins":{"A B":"` + id + `"}}`} {
		writeNetworkFile(t, dir, network, "routes.json", bad)
		if _, err := loadPins(dir, network); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func makeNetworkDir(t *testing.T, dir, network string) {
	t.Helper()
	if err := os.MkdirAll(networkDir(dir, network), 0o700); err != nil {
		t.Fatal(err)
	}
}

func writeNetworkFile(t *testing.T, dir, network, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(networkDir(dir, network), name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
