package zone

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

const (
	idNAS    = "aaaaaaaaaaaaaaaa"
	idLaptop = "bbbbbbbbbbbbbbbb"
	idTwin   = "cccccccccccccccc"
)

func addrs(all ...string) []netip.Addr {
	var parsed []netip.Addr
	for _, s := range all {
		parsed = append(parsed, netip.MustParseAddr(s))
	}
	return parsed
}

func prefixes(all ...string) []netip.Prefix {
	var parsed []netip.Prefix
	for _, s := range all {
		parsed = append(parsed, netip.MustParsePrefix(s))
	}
	return parsed
}

// home is a network of three: one with an alias, one with IPv6 only, and one whose plain name somebody else has.
func home() Zone {
	return Zone{
		Network: "home", Serial: 7, Reverse: prefixes("10.7.0.0/16", "fd12:3456:789a::/48"),
		Nodes: []Node{
			{Name: "nas", Names: []string{"nas-aaaa", "git"}, ID: idNAS, Addrs: addrs("10.7.1.2", "fd12:3456:789a::1", "10.7.1.9")},
			{Name: "laptop", Names: []string{"laptop-bbbb"}, ID: idLaptop, Addrs: addrs("fd12:3456:789a::2")},
			{Names: []string{"nas-cccc"}, ID: idTwin, Addrs: addrs("10.7.1.3", "fd12:3456:789a::3")},
		},
	}
}

// ask sends a question through the wire format both ways.
func ask(t *testing.T, table *Table, q *dns.Msg, udp bool) *dns.Msg {
	t.Helper()
	packed, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	reply := table.Reply(packed, udp)
	if reply == nil {
		t.Fatal("no reply")
	}
	answer := new(dns.Msg)
	if err := answer.Unpack(reply); err != nil {
		t.Fatalf("unpack reply: %v", err)
	}
	if answer.Id != q.Id || !answer.Response || answer.RecursionAvailable || answer.Zero || answer.AuthenticatedData {
		t.Errorf("header %+v", answer.MsgHdr)
	}
	return answer
}

func question(name string, qtype uint16) *dns.Msg {
	return new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
}

// said is an answer in short: code, records of the answer, and "soa" where the authority section has one.
func said(answer *dns.Msg) []string {
	short := []string{dns.RcodeToString[answer.Rcode]}
	for _, rr := range answer.Answer {
		short = append(short, strings.Join(strings.Fields(rr.String()), " "))
	}
	for _, rr := range answer.Ns {
		short = append(short, "authority: "+strings.Join(strings.Fields(rr.String()), " "))
	}
	return short
}

const (
	soaHome = "authority: home.internal. 5 IN SOA home.internal. nobody.invalid. 7 3600 1200 604800 5"
	soaV4   = "authority: 7.10.in-addr.arpa. 5 IN SOA 7.10.in-addr.arpa. nobody.invalid. 7 3600 1200 604800 5"
	soaV6   = "authority: a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa. 5 IN SOA a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa. nobody.invalid. 7 3600 1200 604800 5"
)

func TestAnswer(t *testing.T) {
	table := New(home())
	zeros := strings.Repeat("0.", 19)
	for _, c := range []struct {
		name  string
		qtype uint16
		want  []string
	}{
		{"nas.home.internal", dns.TypeA, []string{"NOERROR", "nas.home.internal. 30 IN A 10.7.1.2", "nas.home.internal. 30 IN A 10.7.1.9"}},
		{"nas.home.internal", dns.TypeAAAA, []string{"NOERROR", "nas.home.internal. 30 IN AAAA fd12:3456:789a::1"}},
		{"NaS.hOmE.Internal", dns.TypeAAAA, []string{"NOERROR", "NaS.hOmE.Internal. 30 IN AAAA fd12:3456:789a::1"}},
		{idNAS + ".home.internal", dns.TypeAAAA, []string{"NOERROR", idNAS + ".home.internal. 30 IN AAAA fd12:3456:789a::1"}},

		// Aliases, and names that tell nodes of one name apart.
		{"git.home.internal", dns.TypeAAAA, []string{
			"NOERROR", "git.home.internal. 30 IN CNAME nas.home.internal.", "nas.home.internal. 30 IN AAAA fd12:3456:789a::1",
		}},
		{"git.home.internal", dns.TypeCNAME, []string{"NOERROR", "git.home.internal. 30 IN CNAME nas.home.internal."}},
		{"git.home.internal", dns.TypeANY, []string{"NOERROR", "git.home.internal. 30 IN CNAME nas.home.internal."}},
		{"git.home.internal", dns.TypeMX, []string{"NOERROR", "git.home.internal. 30 IN CNAME nas.home.internal.", soaHome}},
		{"nas-cccc.home.internal", dns.TypeA, []string{"NOERROR", "nas-cccc.home.internal. 30 IN A 10.7.1.3"}},

		// NODATA and NXDOMAIN.
		{"laptop.home.internal", dns.TypeA, []string{"NOERROR", soaHome}},
		{"laptop-bbbb.home.internal", dns.TypeA, []string{"NOERROR", "laptop-bbbb.home.internal. 30 IN CNAME laptop.home.internal.", soaHome}},
		{"nas.home.internal", dns.TypeTXT, []string{"NOERROR", soaHome}},
		{"nas.home.internal", dns.TypeSOA, []string{"NOERROR", soaHome}},
		{"nas.home.internal", dns.TypeCNAME, []string{"NOERROR", soaHome}},
		{"nas.home.internal", 65400, []string{"NOERROR", soaHome}},
		{"nobody.home.internal", dns.TypeA, []string{"NXDOMAIN", soaHome}},
		{"www.nas.home.internal", dns.TypeA, []string{"NXDOMAIN", soaHome}},
		{"*.home.internal", dns.TypeA, []string{"NXDOMAIN", soaHome}},
		{`nas\.x.home.internal`, dns.TypeA, []string{"NXDOMAIN", soaHome}},

		// The zone itself.
		{"home.internal", dns.TypeSOA, []string{"NOERROR", "home.internal. 30 IN SOA home.internal. nobody.invalid. 7 3600 1200 604800 5"}},
		{"home.internal", dns.TypeNS, []string{"NOERROR", "home.internal. 30 IN NS home.internal."}},
		{"home.internal", dns.TypeA, []string{"NOERROR", soaHome}},
		{"home.internal", dns.TypeDS, []string{"NOERROR", soaHome}},
		{"nas.home.internal", dns.TypeANY, []string{"NOERROR", `nas.home.internal. 30 IN HINFO "RFC8482" ""`}},
		{"home.internal", dns.TypeANY, []string{"NOERROR", `home.internal. 30 IN HINFO "RFC8482" ""`}},

		// Reverse: names, no names, and what lies between.
		{"2.1.7.10.in-addr.arpa", dns.TypePTR, []string{"NOERROR", "2.1.7.10.in-addr.arpa. 30 IN PTR nas.home.internal."}},
		{"9.1.7.10.IN-ADDR.ARPA", dns.TypePTR, []string{"NOERROR", "9.1.7.10.IN-ADDR.ARPA. 30 IN PTR nas.home.internal."}},
		{"3.1.7.10.in-addr.arpa", dns.TypePTR, []string{"NOERROR", "3.1.7.10.in-addr.arpa. 30 IN PTR nas-cccc.home.internal."}},
		{"3.1.7.10.in-addr.arpa", dns.TypeANY, []string{"NOERROR", `3.1.7.10.in-addr.arpa. 30 IN HINFO "RFC8482" ""`}},
		{"3.1.7.10.in-addr.arpa", dns.TypeA, []string{"NOERROR", soaV4}},
		{"4.1.7.10.in-addr.arpa", dns.TypePTR, []string{"NXDOMAIN", soaV4}},
		{"1.7.10.in-addr.arpa", dns.TypePTR, []string{"NOERROR", soaV4}},
		{"1.7.10.in-addr.arpa", dns.TypeANY, []string{"NOERROR", soaV4}},
		{"2.7.10.in-addr.arpa", dns.TypePTR, []string{"NXDOMAIN", soaV4}},
		{"7.10.in-addr.arpa", dns.TypePTR, []string{"NOERROR", soaV4}},
		{"7.10.in-addr.arpa", dns.TypeNS, []string{"NOERROR", "7.10.in-addr.arpa. 30 IN NS 7.10.in-addr.arpa."}},
		{"02.1.7.10.in-addr.arpa", dns.TypePTR, []string{"NXDOMAIN", soaV4}},
		{"256.1.7.10.in-addr.arpa", dns.TypePTR, []string{"NXDOMAIN", soaV4}},
		{"0/26.1.7.10.in-addr.arpa", dns.TypePTR, []string{"NXDOMAIN", soaV4}},
		{"1.2.1.7.10.in-addr.arpa", dns.TypePTR, []string{"NXDOMAIN", soaV4}},
		{"2." + zeros + "a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa", dns.TypePTR, []string{
			"NOERROR", "2." + zeros + "a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa. 30 IN PTR laptop.home.internal.",
		}},
		{"2." + zeros + "A.9.8.7.6.5.4.3.2.1.D.F.ip6.arpa", dns.TypePTR, []string{
			"NOERROR", "2." + zeros + "A.9.8.7.6.5.4.3.2.1.D.F.ip6.arpa. 30 IN PTR laptop.home.internal.",
		}},
		{zeros + "a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa", dns.TypePTR, []string{"NOERROR", soaV6}},
		{"1." + zeros[2:] + "a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa", dns.TypePTR, []string{"NXDOMAIN", soaV6}},
		{"a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa", dns.TypeSOA, []string{
			"NOERROR", "a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa. 30 IN SOA a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa. nobody.invalid. 7 3600 1200 604800 5",
		}},

		// Nobody's business.
		{"example.com", dns.TypeA, []string{"REFUSED"}},
		{"internal", dns.TypeSOA, []string{"REFUSED"}},
		{"office.internal", dns.TypeA, []string{"REFUSED"}},
		{"nothome.internal", dns.TypeA, []string{"REFUSED"}},
		{"home.internal.example.com", dns.TypeA, []string{"REFUSED"}},
		{".", dns.TypeNS, []string{"REFUSED"}},
		{"10.in-addr.arpa", dns.TypePTR, []string{"REFUSED"}},
		{"in-addr.arpa", dns.TypePTR, []string{"REFUSED"}},
		{"arpa", dns.TypePTR, []string{"REFUSED"}},
		{"1.0.8.10.in-addr.arpa", dns.TypePTR, []string{"REFUSED"}},
		{"9.8.7.6.5.4.3.2.1.d.f.ip6.arpa", dns.TypePTR, []string{"REFUSED"}},
		{"7.10.ip6.arpa", dns.TypePTR, []string{"REFUSED"}},
		{"x.example.arpa", dns.TypePTR, []string{"REFUSED"}},
		{"home.internal", dns.TypeAXFR, []string{"REFUSED"}},
		{"home.internal", dns.TypeMAILB, []string{"NOTIMP"}},
		{"home.internal", dns.TypeOPT, []string{"FORMERR"}},
	} {
		answer := ask(t, table, question(c.name, c.qtype), true)
		if diff := cmp.Diff(c.want, said(answer)); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", c.name, dns.TypeToString[c.qtype], diff)
		}
		authoritative := c.want[0] == "NXDOMAIN" || c.want[0] == "NOERROR"
		if answer.Authoritative != authoritative || len(answer.Extra) != 0 || answer.Question[0].Name != dns.Fqdn(c.name) {
			t.Errorf("%s: authoritative %v, question %v, additional %v", c.name, answer.Authoritative, answer.Question, answer.Extra)
		}
	}
}

// Whoever is first in the list keeps a label, ids before names, names before further ones; a node that
// loses its name is found by the next.
func TestClaims(t *testing.T) {
	table := New(Zone{Network: "home", Reverse: prefixes("10.7.0.0/16"), Nodes: []Node{
		{Name: idLaptop, Names: []string{"laptop"}, ID: idNAS, Addrs: addrs("10.7.0.1")},
		{Name: "laptop", Names: []string{"laptop-bbbb", "LAPTOP-BBBB"}, ID: idLaptop, Addrs: addrs("10.7.0.2", "10.7.0.1")},
		{Name: "Laptop", Names: []string{"laptop-cccc", "git"}, ID: idTwin, Addrs: addrs("10.7.0.3", "10.7.0.3", "::ffff:10.7.0.4")},
		{Name: "-bad", Names: []string{"bad-", "a.b", "ü", "under_score", strings.Repeat("x", 64), ""}},
		{Name: "nowhere"},
	}})
	want := []Host{
		{netip.MustParseAddr("10.7.0.1"), []string{idNAS + ".home.internal"}},
		{netip.MustParseAddr("10.7.0.2"), []string{"laptop.home.internal", "laptop-bbbb.home.internal", idLaptop + ".home.internal"}},
		{netip.MustParseAddr("10.7.0.1"), []string{"laptop.home.internal", "laptop-bbbb.home.internal", idLaptop + ".home.internal"}},
		{netip.MustParseAddr("10.7.0.3"), []string{"laptop-cccc.home.internal", "git.home.internal", idTwin + ".home.internal"}},
		{netip.MustParseAddr("10.7.0.4"), []string{"laptop-cccc.home.internal", "git.home.internal", idTwin + ".home.internal"}},
	}
	if diff := cmp.Diff(want, table.Hosts(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	for name, want := range map[string][]string{
		"1.0.7.10.in-addr.arpa": {"NOERROR", "1.0.7.10.in-addr.arpa. 30 IN PTR " + idNAS + ".home.internal."},
		"4.0.7.10.in-addr.arpa": {"NOERROR", "4.0.7.10.in-addr.arpa. 30 IN PTR laptop-cccc.home.internal."},
	} {
		if diff := cmp.Diff(want, said(ask(t, table, question(name, dns.TypePTR), true))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got := said(ask(t, table, question("nowhere.home.internal", dns.TypeANY), true)); got[0] != "NOERROR" || len(got) != 2 {
		t.Errorf("a node without addresses: %q", got)
	}
}

// What is absurd is cut off, and what is there stays right.
func TestBounds(t *testing.T) {
	z := Zone{Network: "home", Reverse: slices.Repeat(prefixes("10.7.0.0/16"), 5000)}
	for i := range MaxNodes + 100 {
		n := Node{Name: fmt.Sprintf("n%d", i), ID: fmt.Sprintf("id%d", i)}
		for j := range 100 {
			n.Names = append(n.Names, fmt.Sprintf("n%d-%d", i, j))
			n.Addrs = append(n.Addrs, netip.AddrFrom4([4]byte{10, 7, byte(i), byte(j)}))
		}
		z.Nodes = append(z.Nodes, n)
	}
	table := New(z)
	if len(table.hosts) != MaxNodes*MaxAddresses || len(table.entries) != MaxNodes*(2+MaxNames) || len(table.reverse) != 1 {
		t.Errorf("%d hosts, %d labels, %d reverse zones", len(table.hosts), len(table.entries), len(table.reverse))
	}
	for name, want := range map[string]int{
		fmt.Sprintf("n%d", MaxNodes-1): dns.RcodeSuccess, fmt.Sprintf("n%d", MaxNodes): dns.RcodeNameError,
		"n1-31": dns.RcodeSuccess, "n1-32": dns.RcodeNameError,
	} {
		if got := ask(t, table, question(name+".home.internal", dns.TypeA), false); got.Rcode != want {
			t.Errorf("%s: %s", name, dns.RcodeToString[got.Rcode])
		}
	}
}

// The zero zone, and one with an impossible name, refuse all.
func TestNoZone(t *testing.T) {
	for _, z := range []Zone{{}, {Network: "a.b", Nodes: home().Nodes}} {
		for _, name := range []string{"internal", "nas.a.b.internal", ".internal", "2.1.7.10.in-addr.arpa"} {
			if got := ask(t, New(z), question(strings.TrimPrefix(name, "."), dns.TypeA), true); got.Rcode != dns.RcodeRefused {
				t.Errorf("network %q, %s: %s", z.Network, name, dns.RcodeToString[got.Rcode])
			}
		}
	}
	if got := ask(t, new(Table), question("nas.home.internal", dns.TypeA), true); got.Rcode != dns.RcodeRefused {
		t.Errorf("zero table: %s", dns.RcodeToString[got.Rcode])
	}
}
