package zone

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

func TestReverseZones(t *testing.T) {
	var of26, of20 []string
	for i := range 64 {
		of26 = append(of26, fmt.Sprintf("%d.3.2.10.in-addr.arpa", 64+i))
	}
	for i := range 16 {
		of20 = append(of20, fmt.Sprintf("%d.2.10.in-addr.arpa", 240+i))
	}
	for _, c := range []struct {
		prefixes []string
		want     []string
	}{
		{[]string{"10.7.0.0/16"}, []string{"7.10.in-addr.arpa"}},
		{[]string{"10.7.9.9/16"}, []string{"7.10.in-addr.arpa"}},
		{[]string{"10.2.240.0/20"}, of20},
		{[]string{"10.2.3.64/26"}, of26},
		{[]string{"254.0.0.0/7"}, []string{"254.in-addr.arpa", "255.in-addr.arpa"}},
		{[]string{"255.255.255.255/32"}, []string{"255.255.255.255.in-addr.arpa"}},
		{[]string{"10.2.3.4/31"}, []string{"4.3.2.10.in-addr.arpa", "5.3.2.10.in-addr.arpa"}},
		{[]string{"fd12:3456:789a::/48"}, []string{"a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa"}},
		{[]string{"fd12:3456:789a::/47"}, []string{"a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa", "b.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa"}},
		{[]string{"::ffff:10.7.0.0/112"}, []string{"7.10.in-addr.arpa"}},
		{[]string{"0.0.0.0/0", "::/0"}, nil},
		{[]string{"10.7.0.0/16", "10.7.3.0/24", "10.7.0.0/16"}, []string{"7.10.in-addr.arpa"}},
		{nil, nil},
	} {
		if diff := cmp.Diff(c.want, ReverseZones(prefixes(c.prefixes...))); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.prefixes, diff)
		}
	}
	if got := ReverseZones([]netip.Prefix{{}}); got != nil {
		t.Errorf("the zero prefix: %v", got)
	}
}

// Zones cover their prefix and no address besides.
func TestReverseZonesCover(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		p := randomPrefix(random)
		zones := reverseZones([]netip.Prefix{p})
		if len(zones) == 0 || len(zones) > 128 {
			t.Fatalf("%v: %d zones", p, len(zones))
		}
		var size float64
		for i, z := range zones {
			if !p.Contains(z.prefix.Addr()) || z.prefix.Bits() < p.Bits() || i > 0 && z.prefix.Overlaps(zones[i-1].prefix) {
				t.Fatalf("%v: zone %v", p, z.prefix)
			}
			size += 1 / float64(uint64(1)<<(z.prefix.Bits()-p.Bits()))
			read, whole, ok := parseReverse(dns.SplitDomainName(z.name))
			if !ok || !whole || read != z.prefix {
				t.Fatalf("%s is read as %v", z.name, read)
			}
		}
		if size != 1 {
			t.Fatalf("%v: the zones are %v of it", p, size)
		}
	}
}

func randomPrefix(random *rand.Rand) netip.Prefix {
	var b [16]byte
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	if random.IntN(2) == 0 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(b[:4])), 1+random.IntN(32)).Masked()
	}
	b[0] = 0xfd
	return netip.PrefixFrom(netip.AddrFrom16(b), 1+random.IntN(128)).Masked()
}

// For random networks, each reverse name says what a search through all names of the zone would find: records at the
// name, something below it, or nothing.
func TestReverseAgainstNames(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 40 {
		z := Zone{Network: "home", Reverse: prefixes([]string{"10.7.0.0/16", "10.7.16.0/20", "10.7.3.0/26"}[random.IntN(3)], "fd12:3456:789a::/48")}
		names := map[string]string{}
		for i := range 1 + random.IntN(20) {
			addr := z.Reverse[0].Addr().As4()
			addr[3] += byte(random.IntN(64))
			if z.Reverse[0].Bits() < 24 {
				addr[2] += byte(random.IntN(16))
			}
			n := Node{Name: fmt.Sprintf("n%d", i), Addrs: []netip.Addr{
				netip.AddrFrom4(addr), netip.MustParseAddr(fmt.Sprintf("fd12:3456:789a::%x", random.IntN(256))),
			}}
			z.Nodes = append(z.Nodes, n)
			for _, a := range n.Addrs {
				name, err := dns.ReverseAddr(a.String())
				if err != nil {
					t.Fatal(err)
				}
				if _, taken := names[name]; !taken {
					names[name] = n.Name + ".home.internal."
				}
			}
		}
		table := New(z)
		for name := range names {
			// The name, all above it, and a neighbour of each.
			for labels := dns.SplitDomainName(name); len(labels) > 0; labels = labels[1:] {
				checkReverse(t, table, names, strings.Join(labels, ".")+".")
				neighbour := slices.Clone(labels)
				neighbour[0] = fmt.Sprint(random.IntN(9))
				checkReverse(t, table, names, strings.Join(neighbour, ".")+".")
			}
		}
	}
}

func checkReverse(t *testing.T, table *Table, names map[string]string, name string) {
	t.Helper()
	want := dns.RcodeRefused
	for _, z := range table.reverse {
		if name == z.name {
			want = dns.RcodeSuccess
			break
		}
		if dns.IsSubDomain(z.name, name) {
			want = dns.RcodeNameError
			for owner := range names {
				if dns.IsSubDomain(name, owner) {
					want = dns.RcodeSuccess
				}
			}
		}
	}
	answer := table.Answer(question(name, dns.TypePTR), false)
	var got string
	if len(answer.Answer) > 0 {
		got = answer.Answer[0].(*dns.PTR).Ptr
	}
	if answer.Rcode != want || got != names[name] {
		t.Fatalf("%s: %s %q, want %s %q", name, dns.RcodeToString[answer.Rcode], got, dns.RcodeToString[want], names[name])
	}
}

func FuzzParseReverse(f *testing.F) {
	f.Add("2.1.7.10.in-addr.arpa")
	f.Add("a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa")
	f.Add("02.in-addr.arpa")
	// A name that is read whole is the name of what it was read as.
	f.Fuzz(func(t *testing.T, name string) {
		if _, ok := dns.IsDomainName(name); !ok {
			return
		}
		p, whole, ok := parseReverse(dns.SplitDomainName(lower(name)))
		if ok && whole && p.Bits() > 0 && reverseName(p) != dns.Fqdn(lower(name)) {
			t.Fatalf("%q is read as %v, which is %s", name, p, reverseName(p))
		}
	})
}
