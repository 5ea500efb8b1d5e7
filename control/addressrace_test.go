package control

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// pick is an address of the world's network: the last byte of IPv4, or with v6
// of IPv6.
func (w *world) pick(last byte, v6 bool) netip.Addr {
	if v6 {
		b := w.network.Prefix6().Addr().As16()
		b[15] = last
		return netip.AddrFrom16(b)
	}
	b := w.network.Prefix4().Addr().As4()
	b[3] = last
	return netip.AddrFrom4(b)
}

func fixing(addrs ...netip.Addr) hostOption {
	return func(c *meshConfig, _ *simHost) { c.fixed = append(c.fixed, addrs...) }
}

// agree checks that all hosts name the same holder of each address, that nobody
// has an address of two, and that each has what its mesh says that it has.
func agree(t *testing.T, what string, hosts []*simHost) {
	t.Helper()
	owner := map[netip.Addr]string{}
	for _, h := range hosts {
		for _, c := range h.mesh.addressing.own {
			if other := owner[c.addr]; other != "" {
				t.Errorf("%s: %s and %s both have %s", what, other, h.name, c.addr)
			}
			owner[c.addr] = h.name
		}
	}
	for _, h := range hosts {
		held := holders(h.mesh.claims())
		for addr, name := range owner {
			if who := held[addr]; h.mesh.nameOf(who.node) != name && !(name == h.name && who.node == h.mesh.self.public) {
				t.Errorf("%s: for %s, %s belongs to %s, want %s", what, h.name, addr, h.mesh.nameOf(who.node), name)
			}
		}
		routed := map[netip.Prefix]bool{}
		for _, p := range h.mesh.desired().Peers {
			for _, a := range p.AllowedIPs {
				if routed[a] {
					t.Errorf("%s: %s routes %s to two peers", what, h.name, a)
				}
				routed[a] = true
			}
		}
	}
}

// Several nodes claim the same addresses at once, of both families, while others
// derive theirs. Whoever wins, all agree, and the losers are told of whom.
func TestClaimsAtOnce(t *testing.T) {
	for seed := range uint64(6) {
		w := newWorld(t, seed)
		w.loss = float64(seed%3) * 0.05
		four, six := w.pick(7, false), w.pick(7, true)
		var all []*simHost
		for i := range 6 {
			var options []hostOption
			if i < 4 {
				options = append(options, fixing(four, six, w.pick(byte(100+i), i%2 == 0)))
			}
			h := w.host(fmt.Sprintf("h%d", i), fmt.Sprintf("5.%d.0.1:2000%d", i+1, i), nil, options...)
			if i > 0 {
				h.hint(all[0].inner)
			}
			all = append(all, h)
			w.run(time.Duration(w.rng.IntN(300))*time.Millisecond, nil)
		}
		w.run(2*time.Minute, nil)
		if !allConnected(all) {
			t.Fatalf("seed %d: not connected", seed)
		}
		agree(t, fmt.Sprintf("seed %d", seed), all)
		for _, addr := range []netip.Addr{four, six} {
			for i, h := range all[:4] {
				told := strings.Contains(h.mesh.notices["address"], fmt.Sprintf("%s belongs to h", addr))
				if has := h.mesh.addressing.has(addr); has == told {
					t.Errorf("seed %d: h%d has %s: %v, told of its holder: %v", seed, i, addr, has, told)
				}
				if !h.mesh.addressing.has(w.pick(byte(100+i), i%2 == 0)) {
					t.Errorf("seed %d: h%d lost an address that nobody else wants", seed, i)
				}
			}
		}
		for _, h := range all {
			if slices.ContainsFunc(h.mesh.addressing.own, func(c claim) bool { return !c.settled }) {
				t.Errorf("seed %d: %s has not settled: %v", seed, h.name, h.mesh.addressing.own)
			}
		}
	}
}

// Claims of one address that begin within, or about, the time that one takes to settle:
// whoever comes out ahead, it does not go to and fro, one has it in the end, and the
// others are told who.
func TestClaimsDoNotOscillate(t *testing.T) {
	lowest := 0
	for seed := range uint64(30) {
		w := newWorld(t, seed)
		w.loss = float64(seed%3) * 0.05
		addr := w.pick(7, seed%2 == 0)
		bystander := w.host("bystander", "5.9.9.9:20009", nil)
		var all []*simHost
		for i := range 2 + int(seed%3) {
			h := w.host(fmt.Sprintf("h%d", i), fmt.Sprintf("5.%d.0.1:2000%d", i+1, i), nil, fixing(addr))
			h.hint(bystander.inner)
			all = append(all, h)
			w.run(time.Duration(w.rng.Int64N(int64(settleAfter+settleAfter/2)))/time.Duration(len(all)), nil)
		}
		has, changes := make([]bool, len(all)), make([]int, len(all))
		for tenth := range 1200 { // two minutes
			if tenth%10 == 0 && !allConnected(append(all, bystander)) {
				for _, h := range all {
					h.hint(bystander.inner) // as sources do
				}
			}
			w.run(100*time.Millisecond, nil)
			for i, h := range all {
				if now := h.mesh.addressing.has(addr); now != has[i] {
					has[i], changes[i] = now, changes[i]+1
				}
			}
		}
		winners := 0
		for i, h := range all {
			// Where one that was given way to gives way in its turn, the address seems free for
			// as long as the third is not heard of: that is once for each of the others.
			if changes[i] > 2*len(all) {
				t.Errorf("seed %d: %s got or lost %s %d times", seed, h.name, addr, changes[i])
			}
			if told := strings.Contains(h.mesh.notices["address"], fmt.Sprintf("%s belongs to h", addr)); has[i] == told {
				t.Errorf("seed %d: %s has it: %v, is told of who has it: %v", seed, h.name, has[i], told)
			}
			if has[i] {
				winners++
				if !slices.ContainsFunc(all, func(o *simHost) bool { return o.mesh.self.public.Compare(h.mesh.self.public) < 0 }) {
					lowest++
				}
			}
		}
		if winners != 1 {
			t.Errorf("seed %d: %d nodes have %s", seed, winners, addr)
		}
		agree(t, fmt.Sprintf("seed %d", seed), append(all, bystander))
	}
	if lowest < 15 {
		t.Errorf("the lowest key won %d times of 30: among claims that are new it should always", lowest)
	}
}

// Who has settled keeps its address against a newcomer, whatever the keys. When
// the holder leaves, the newcomer gets what it asked for.
func TestLateClaimant(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(t, seed)
		addr := w.pick(9, seed%2 == 0)
		holder := w.host("holder", "5.1.1.1:20001", nil, fixing(addr))
		w.run(time.Minute, nil)
		late := w.host("late", "5.2.2.2:20002", nil, fixing(addr))
		late.hint(holder.inner)
		w.run(time.Minute, nil)
		if !holder.mesh.addressing.has(addr) || late.mesh.addressing.has(addr) {
			t.Fatalf("seed %d: holder %v, late %v", seed, holder.mesh.addressing.own, late.mesh.addressing.own)
		}
		if n := late.mesh.notices["address"]; !strings.Contains(n, "belongs to holder") || !strings.Contains(n, "--ip") {
			t.Errorf("seed %d: the late one is told %q", seed, n)
		}
		holder.leave()
		if _, ok := w.run(30*time.Second, func() bool { return late.mesh.addressing.has(addr) }); !ok {
			t.Errorf("seed %d: the address is free and not taken", seed)
		}
		w.run(time.Second, nil)
		if n := late.mesh.notices["address"]; n != "" {
			t.Errorf("seed %d: still told %q", seed, n)
		}
	}
}

// Two halves of a network that could not hear each other have settled the same
// addresses, chosen and derived. When they meet, the lower key keeps each on all
// nodes alike, and a derived one is replaced.
func TestPartitionHeals(t *testing.T) {
	for seed := range uint64(6) {
		w := newWorld(t, seed)
		four, six := w.pick(20, false), w.pick(20, true)
		clash := w.pick(30, false)
		derived := func(c *meshConfig, _ *simHost) { c.memory.Address4, c.memory.Settled4 = clash, true }
		var halves [2][]*simHost
		for half := range halves {
			for i := range 3 {
				name := fmt.Sprintf("h%d%d", half, i)
				option := []hostOption{fixing(four, six), derived, func(*meshConfig, *simHost) {}}[i]
				h := w.host(name, fmt.Sprintf("5.%d.%d.1:2000%d", half+1, i+1, i), nil, option)
				if i > 0 {
					h.hint(halves[half][0].inner)
				}
				halves[half] = append(halves[half], h)
			}
		}
		w.run(2*time.Minute, nil)
		for _, half := range halves {
			agree(t, fmt.Sprintf("seed %d, before", seed), half)
		}
		all := append(halves[0], halves[1]...)
		halves[0][2].hint(halves[1][2].inner)
		if _, ok := w.run(time.Minute, func() bool { return allConnected(all) }); !ok {
			t.Fatalf("seed %d: not connected", seed)
		}
		w.run(time.Minute, nil)
		agree(t, fmt.Sprintf("seed %d, after", seed), all)
		for i, addrs := range [][]netip.Addr{{four, six}, {clash}} {
			low, high := halves[0][i], halves[1][i]
			if low.mesh.self.public.Compare(high.mesh.self.public) > 0 {
				low, high = high, low
			}
			for _, addr := range addrs {
				if !low.mesh.addressing.has(addr) || high.mesh.addressing.has(addr) {
					t.Errorf("seed %d: %s: lower key %v, higher key %v", seed, addr, low.mesh.addressing.own, high.mesh.addressing.own)
				}
			}
			if n := high.mesh.notices["address"]; !strings.Contains(n, low.name) {
				t.Errorf("seed %d: who lost is told %q", seed, n)
			}
		}
	}
}

// Fixed addresses that had settled are settled at the next start.
func TestFixedAddressesAreRemembered(t *testing.T) {
	w := newWorld(t, 1)
	addrs := []netip.Addr{w.pick(1, false), w.pick(2, false), w.pick(3, true)}
	m := memory{Settled: addrs[1:]}
	a := newAddressing(w.now, keys.GenerateNode().Public(), w.network.Prefix4(), addrs, m)
	if len(a.own) != 3 || a.own[0].settled || !a.own[1].settled || !a.own[2].settled {
		t.Errorf("own %v, want the first one tentative and the others settled", a.own)
	}
	if got := a.own4(); len(got) != 2 {
		t.Errorf("IPv4 %v", got)
	}
}

// A node whose subnet is full does without IPv4, says so, and takes what becomes
// free.
func TestSubnetIsFull(t *testing.T) {
	self := keys.GenerateNode().Public()
	prefix := netip.MustParsePrefix("10.9.0.0/29")
	var others []claim
	for i := range keys.Hosts4(prefix) {
		others = append(others, claim{keys.GenerateNode().Public(), keys.Address4(prefix, self, i), true})
	}
	a := newAddressing(start, self, prefix, nil, memory{})
	_, notices := a.review(start, others, noName)
	if len(a.own) != 0 || len(notices) != 1 || !strings.Contains(notices[0], "larger --subnet") {
		t.Errorf("own %v, notices %q", a.own, notices)
	}
	if changed, _ := a.review(start, others, noName); changed {
		t.Error("changed again")
	}
	if changed, notices := a.review(start, others[1:], noName); !changed || len(a.own) != 1 || a.own[0].addr != others[0].addr || len(notices) != 0 {
		t.Errorf("own %v, notices %q: want what became free", a.own, notices)
	}
}

// As many nodes as there can be, each with as many claims: a look at them takes
// well under a second, and nobody is without an answer.
func TestAbsurdCountsOfClaims(t *testing.T) {
	w := newWorld(t, 1)
	a := w.host("a", "5.1.1.1:20001", nil, fixing(w.pick(5, true)))
	w.run(time.Minute, nil)
	const strangers = 200
	for i := range strangers {
		a.stranger(i, func(r *wire.Record) {
			for j := range maxFixed {
				n := i*maxFixed + j
				b := w.network.Prefix4().Addr().As4()
				b[2], b[3] = byte(n>>8), byte(n)
				if b[3] == 0 {
					b[3] = 1
				}
				addr := netip.AddrFrom4(b)
				if !slices.ContainsFunc(r.Addresses, func(c wire.AddressClaim) bool { return c.Addr == addr }) {
					r.Addresses = append(r.Addresses, wire.AddressClaim{Addr: addr, Settled: true})
				}
			}
		})
	}
	a.step()
	w.run(time.Minute, nil)
	own := a.mesh.addressing.own
	if len(own) != 2 {
		t.Fatalf("own %v, want one of each family", own)
	}
	if holder := holders(a.mesh.claims())[own[0].addr]; holder.node != a.mesh.self.public {
		t.Errorf("%s is its own and another's", own[0].addr)
	}
}

// What follows from a key belongs to that key: a record that claims such an
// address is no record, so that not even who does not know the owner is misled.
func TestNobodyTakesAnAddressOfAKey(t *testing.T) {
	w := newWorld(t, 1)
	victim := keys.GenerateNode().Public()
	node := keys.GenerateNode()
	for _, addr := range []netip.Addr{keys.Address6(w.network.Prefix6(), victim), w.network.Prefix6().Addr(), netip.MustParseAddr("fd00::5")} {
		r := wire.Record{
			Node: node.Public(), WireGuard: [32]byte{1}, Probe: keys.GenerateProbe().Public(), Seq: 1, Lifetime: time.Hour,
			Addresses: []wire.AddressClaim{{Addr: keys.Address6(w.network.Prefix6(), node.Public()), Settled: true}, {Addr: addr, Settled: true}},
		}
		signed, err := wire.Sign(r, node)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := signed.Verify(w.network.Prefix6()); err == nil {
			t.Errorf("a claim of %s is taken", addr)
		}
	}
}
