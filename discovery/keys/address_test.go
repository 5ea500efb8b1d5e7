package keys

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func TestAddress6(t *testing.T) {
	p := testNetwork(t, 1).Prefix6()
	n := testNode(t, 2).Public()
	a := Address6(p, n)
	if !p.Contains(a) || !a.IsPrivate() {
		t.Errorf("Address6(%v) = %v, want a unique local address in it", p, a)
	}
	if b := a.As16(); newNodeID([idBytes]byte(b[6:])) != n.ID() {
		t.Errorf("Address6(%v) = %v, which does not carry the id %s", p, a, n.ID())
	}
	if other := Address6(p, testNode(t, 3).Public()); other == a {
		t.Errorf("two nodes have %v", a)
	}
	for _, bad := range []string{"fd00::/64", "fd00::/47", "10.0.0.0/16"} {
		if got := Address6(netip.MustParsePrefix(bad), n); got.IsValid() {
			t.Errorf("Address6(%s) = %v, want none", bad, got)
		}
	}
	if got := Address6(netip.Prefix{}, n); got.IsValid() {
		t.Errorf("Address6 without a prefix = %v, want none", got)
	}
}

func TestPrefixes(t *testing.T) {
	seen4, seen6 := map[netip.Prefix]bool{}, map[netip.Prefix]bool{}
	for i := range 255 {
		k := testNetwork(t, byte(i+1))
		p4, p6 := k.Prefix4(), k.Prefix6()
		if b := p4.Addr().As4(); p4.Bits() != 16 || b[0] != 10 || crowded(b[1]) || p4 != p4.Masked() {
			t.Errorf("Prefix4() = %v", p4)
		}
		if b := p6.Addr().As16(); p6.Bits() != 48 || b[0] != 0xfd || p6 != p6.Masked() {
			t.Errorf("Prefix6() = %v", p6)
		}
		seen4[p4], seen6[p6] = true, true
	}
	if len(seen4) < 100 || len(seen6) != 255 {
		t.Errorf("255 networks have %d IPv4 and %d IPv6 prefixes", len(seen4), len(seen6))
	}
}

// Whatever the prefix and the node: an address is in it, a host could have it,
// and Hosts4 probes give each usable address once.
func TestAddress4WalksEveryHost(t *testing.T) {
	for bits := 16; bits <= 30; bits++ {
		for _, base := range []string{"10.57.0.0", "10.57.255.0", "192.168.0.128", "172.16.5.252"} {
			p := netip.PrefixFrom(netip.MustParseAddr(base), bits)
			walkHosts(t, p, testNode(t, byte(bits)).Public())
		}
	}
}

func walkHosts(t *testing.T, p netip.Prefix, n NodePublic) {
	t.Helper()
	hosts := Hosts4(p)
	if want := usable(p); hosts != want {
		t.Errorf("Hosts4(%v) = %d, want %d", p, hosts, want)
	}
	seen := make(map[netip.Addr]bool, hosts)
	for probe := range hosts {
		a := Address4(p, n, probe)
		if !p.Contains(a) || !isUsable(p, a) {
			t.Fatalf("Address4(%v, %d) = %v", p, probe, a)
		}
		if seen[a] {
			t.Fatalf("Address4(%v) gives %v twice", p, a)
		}
		seen[a] = true
	}
	if again := Address4(p, n, hosts); again != Address4(p, n, 0) {
		t.Errorf("Address4(%v) does not wrap around", p)
	}
}

// isUsable is the obvious rule, and usable counts by it.
func isUsable(p netip.Prefix, a netip.Addr) bool {
	network, last := bounds(p)
	v := binary.BigEndian.Uint32(a.AsSlice())
	return v != network && v != last && v&0xff != 0 && v&0xff != 0xff
}

func usable(p netip.Prefix) int {
	network, last := bounds(p)
	n := 0
	for v := uint64(network); v <= uint64(last); v++ {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(v))
		if isUsable(p, netip.AddrFrom4(b)) {
			n++
		}
	}
	return n
}

func bounds(p netip.Prefix) (network, last uint32) {
	network = binary.BigEndian.Uint32(p.Masked().Addr().AsSlice())
	return network, network | (1<<(32-p.Bits()) - 1)
}

func TestAddress4Random(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 5000 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], rng.Uint32())
		p := netip.PrefixFrom(netip.AddrFrom4(b), rng.IntN(31))
		n := testNode(t, byte(1+rng.IntN(255))).Public()
		a := Address4(p, n, int(rng.Uint32()))
		if !p.Contains(a) || !isUsable(p, a) {
			t.Errorf("seed %d: Address4(%v) = %v", seed, p, a)
		}
	}
}

func TestAddress4None(t *testing.T) {
	n := testNode(t, 1).Public()
	for _, p := range []netip.Prefix{
		{},
		netip.MustParsePrefix("10.0.0.0/31"),
		netip.MustParsePrefix("10.0.0.1/32"),
		netip.MustParsePrefix("fd00::/48"),
		netip.PrefixFrom(netip.MustParseAddr("10.0.0.0"), 40),
	} {
		if a := Address4(p, n, 0); a.IsValid() || Hosts4(p) != 0 {
			t.Errorf("Address4(%v) = %v of %d, want none", p, a, Hosts4(p))
		}
	}
	if a := Address4(netip.MustParsePrefix("10.0.0.0/16"), n, -1); a.IsValid() {
		t.Errorf("Address4 with probe -1 = %v, want none", a)
	}
}

func TestChoosable6(t *testing.T) {
	p := netip.MustParsePrefix("fd01:203:405::/48")
	for addr, want := range map[string]bool{
		"fd01:203:405::5": true, "fd01:203:405:1::": true, "fd01:203:405:1:2:3::": true, "fd01:203:405:7::1:2": true,
		"fd01:203:405:1::2:0:3": false, "fd01:203:405::": false, "fd01:203:405:1:2:3:4:5": false,
		"fd01:203:405:1:0:2:0:3": false, "fd01:203:406::5": false, "10.0.0.5": false, "fd01:203:405::5%eth0": false,
	} {
		if got := Choosable6(p, netip.MustParseAddr(addr)); got != want {
			t.Errorf("Choosable6(%s) = %v, want %v", addr, got, want)
		}
	}
	if Choosable6(netip.Prefix{}, netip.MustParseAddr("::5")) || Choosable6(p, netip.Addr{}) {
		t.Error("an address can be chosen where there is none, or no prefix")
	}
}
