package control

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func noName(k keys.NodePublic) string { return string(k.ID()) }

func TestAddressIsRemembered(t *testing.T) {
	self := keys.GenerateNode().Public()
	prefix := netip.MustParsePrefix("10.9.0.0/16")
	addr := netip.MustParseAddr("10.9.8.7")
	a := newAddressing(start, self, prefix, nil, memory{Address4: addr, Settled4: true})
	if got := a.own; len(got) != 1 || got[0].addr != addr || !got[0].settled {
		t.Errorf("own = %v, want the remembered %s, settled", got, addr)
	}
	other := netip.MustParsePrefix("10.7.0.0/16")
	a = newAddressing(start, self, other, nil, memory{Address4: addr, Settled4: true})
	if got := a.own[0]; !other.Contains(got.addr) || got.settled {
		t.Errorf("own = %v, want a tentative one in %s", got, other)
	}
}

func TestLateClaimantOfFixedAddressIsTold(t *testing.T) {
	self, holder := keys.GenerateNode().Public(), keys.GenerateNode().Public()
	prefix := netip.MustParsePrefix("10.9.0.0/16")
	addr := netip.MustParseAddr("10.9.0.5")
	a := newAddressing(start, self, prefix, []netip.Addr{addr}, memory{})
	changed, notices := a.review(start, []claim{{holder, addr, true}}, noName)
	if !changed || len(a.own) != 0 || len(notices) != 1 || !strings.Contains(notices[0], noName(holder)) {
		t.Errorf("changed %v, own %v, notices %q: want the address given up and its holder named", changed, a.own, notices)
	}
}

// Any number of nodes that all hear each other come to distinct addresses, the
// settled ones keep theirs, and every node names the same holders.
func TestAddressesConverge(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		prefix := netip.PrefixFrom(netip.MustParseAddr("10.9.0.0"), 26+rng.IntN(3))
		count := 2 + rng.IntN(min(12, keys.Hosts4(prefix)-2))
		now := start
		var nodes []*addressing
		settledAt := map[keys.NodePublic]netip.Addr{}
		for range count {
			m := memory{}
			self := keys.GenerateNode().Public()
			if rng.IntN(3) == 0 { // was here before, at an address nobody else settled on
				m.Address4, m.Settled4 = keys.Address4(prefix, self, 0), true
				for _, other := range settledAt {
					if other == m.Address4 {
						m = memory{}
					}
				}
				if m.Settled4 {
					settledAt[self] = m.Address4
				}
			}
			nodes = append(nodes, newAddressing(now, self, prefix, nil, m))
		}
		for range 40 {
			now = now.Add(time.Second)
			a := nodes[rng.IntN(count)]
			a.review(now, claimsOf(nodes, a), noName)
		}
		for range 3 * count { // everybody hears everybody
			for _, a := range nodes {
				a.review(now, claimsOf(nodes, a), noName)
			}
		}
		seen := map[netip.Addr]bool{}
		for _, a := range nodes {
			got := a.own[0].addr
			if seen[got] {
				t.Fatalf("seed %d: two nodes use %s", seed, got)
			}
			seen[got] = true
			if want, ok := settledAt[a.self]; ok && got != want {
				t.Fatalf("seed %d: a settled node moved from %s to %s", seed, want, got)
			}
		}
	}
}

func claimsOf(nodes []*addressing, but *addressing) []claim {
	var all []claim
	for _, n := range nodes {
		if n != but {
			all = append(all, n.own...)
		}
	}
	return all
}

func TestFixedAddressesMustFit(t *testing.T) {
	prefix := netip.MustParsePrefix("10.20.0.0/16")
	for addr, ok := range map[string]bool{
		"10.20.0.1": true, "10.20.255.254": true,
		"10.20.0.0": false, "10.20.255.255": false, "10.21.0.1": false, "fd00::1": false,
		"fd01:2:3::1": true, "fd01:2:3:4::": true, "fd01:2:3:4:5:6:7:8": false, "fd01:2:3::": false,
	} {
		if err := checkFixed([]netip.Addr{netip.MustParseAddr(addr)}, prefix, netip.MustParsePrefix("fd01:2:3::/48")); (err == nil) != ok {
			t.Errorf("checkFixed(%s) = %v, want ok %v", addr, err, ok)
		}
	}
}

func TestHoldersDoNotDependOnOrder(t *testing.T) {
	addr := netip.MustParseAddr("10.9.0.5")
	claims := []claim{
		{keys.GenerateNode().Public(), addr, true},
		{keys.GenerateNode().Public(), addr, true},
		{keys.GenerateNode().Public(), addr, false},
	}
	want := holders(claims)[addr]
	for range 10 {
		rand.Shuffle(len(claims), func(i, j int) { claims[i], claims[j] = claims[j], claims[i] })
		if got := holders(claims)[addr]; got != want || !got.settled {
			t.Errorf("holder %v, then %v", want, got)
		}
	}
	if !slices.ContainsFunc(claims, func(c claim) bool { return c == want }) {
		t.Error("the holder claims nothing")
	}
}
