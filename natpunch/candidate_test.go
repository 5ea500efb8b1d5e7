package natpunch

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/credant/credant/discovery/wire"
	"github.com/google/go-cmp/cmp"
)

func prefixes(s ...string) (p []netip.Prefix) {
	for _, x := range s {
		p = append(p, netip.MustParsePrefix(x))
	}
	return p
}

// typed parses "host 192.0.2.1:1000".
func typed(tb testing.TB, list ...string) (c []wire.Candidate) {
	tb.Helper()
	for _, s := range list {
		var word, a string
		if _, err := fmt.Sscan(s, &word, &a); err != nil {
			tb.Fatal(err)
		}
		types := map[string]wire.CandidateType{"host": wire.Host, "srflx": wire.ServerReflexive, "prflx": wire.PeerReflexive, "relay": wire.Relayed}
		c = append(c, wire.Candidate{Type: types[word], Addr: netip.MustParseAddrPort(a)})
	}
	return c
}

func untyped(c []wire.Candidate) (list []string) {
	for _, x := range c {
		list = append(list, x.Type.String()+" "+x.Addr.String())
	}
	return list
}

func TestCandidates(t *testing.T) {
	local := Local{
		Candidates: typed(t, "host 192.168.1.10:1000", "host [2001:db8:1:1::10]:1000", "host [fd12:3456:789a:1::10]:1000", "srflx 198.51.100.1:1000"),
		Prefixes:   prefixes("192.168.1.10/24", "2001:db8:1:1::10/64", "fd12:3456:789a:1::10/64"),
		HasIPv4:    true, HasIPv6: true,
	}
	onlyIPv4 := local
	onlyIPv4.HasIPv6 = false
	tests := []struct {
		name  string
		local Local
		peer  []string
		want  []string
	}{
		{
			"best first: LAN, IPv6, IPv4, there the host's own", local,
			[]string{"srflx 198.51.100.2:1", "host 198.51.100.3:1", "host [2001:db8:2::2]:1", "host 192.168.1.11:1"},
			[]string{"host 192.168.1.11:1", "host [2001:db8:2::2]:1", "host 198.51.100.3:1", "srflx 198.51.100.2:1"},
		},
		{
			"never: ourselves, nowhere, everywhere, the overlay", local,
			[]string{
				"host 192.168.1.10:1", "host 192.168.1.10:1000", "srflx 198.51.100.1:1000", "host [2001:db8:1:1::10]:5", "host 127.0.0.1:1", "host [::1]:1",
				"host 0.0.0.0:1", "host 0.1.2.3:1", "host [::]:1", "host 224.0.0.1:1", "host [ff02::1]:1", "host 255.255.255.255:1", "host 240.1.1.1:1",
				"host 192.168.1.255:1", "host 192.168.1.0:1", "host 169.254.1.1:1", "host [fe80::1]:1", "host 198.51.100.7:0", "host 10.77.3.3:1",
				"host [fd5a:5555:5555::1]:1", "relay 198.51.100.8:1",
			},
			nil,
		},
		{
			"the same NAT's address with another port is hairpinning", local,
			[]string{"srflx 198.51.100.1:2000"},
			[]string{"srflx 198.51.100.1:2000"},
		},
		{
			"a stranger's private addresses are left alone", local,
			[]string{"host 192.168.2.5:1", "host 10.0.0.5:1", "host 100.64.0.5:1", "host [fdaa::5]:1", "srflx 198.51.100.2:1"},
			[]string{"srflx 198.51.100.2:1"},
		},
		{
			"on our link they are not, whatever NAT is said to be there", local,
			[]string{"host 192.168.1.5:1", "srflx 198.51.100.2:1"},
			[]string{"host 192.168.1.5:1", "srflx 198.51.100.2:1"},
		},
		{
			"behind our own NAT a few are tried", local,
			[]string{"srflx 198.51.100.1:9", "host 10.0.0.1:1", "host 10.0.0.2:1", "host 10.0.0.3:1", "host 100.64.0.4:1", "host 10.0.0.5:1"},
			[]string{"host 10.0.0.1:1", "host 10.0.0.2:1", "host 10.0.0.3:1", "host 100.64.0.4:1", "srflx 198.51.100.1:9"},
		},
		{
			"unique local addresses of our /48, on another link", local,
			[]string{"host [fd12:3456:789a:2::5]:1", "host [fd12:3456:789b:2::5]:1"},
			[]string{"host [fd12:3456:789a:2::5]:1"},
		},
		{
			"without IPv6 beyond the links, the links remain", onlyIPv4,
			[]string{"host [2001:db8:2::2]:1", "host [2001:db8:1:1::3]:1", "host [fd12:3456:789a:1::5]:1"},
			[]string{"host [2001:db8:1:1::3]:1", "host [fd12:3456:789a:1::5]:1"},
		},
		{
			"mapped and repeated", local,
			[]string{"host [::ffff:198.51.100.3]:1", "srflx 198.51.100.3:1"},
			[]string{"host 198.51.100.3:1"},
		},
		{"nothing is known of this host", Local{}, []string{"host 198.51.100.3:1", "host [2001:db8:2::2]:1"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(tt.local, simOverlay)
			if diff := cmp.Diff(tt.want, untyped(s.candidates(typed(t, tt.peer...)))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCandidatesAreBounded(t *testing.T) {
	s := newSite(Local{HasIPv4: true}, nil)
	var many []wire.Candidate
	for i := range 1000 {
		many = append(many, wire.Candidate{Type: wire.Host, Addr: netip.AddrPortFrom(netip.MustParseAddr("198.51.100.3"), uint16(i+1))})
	}
	if got := len(s.candidates(many)); got != maxCandidates {
		t.Errorf("%d candidates, want %d", got, maxCandidates)
	}
}

func TestRank(t *testing.T) {
	s := newSite(Local{
		Prefixes: prefixes("192.168.1.10/24", "198.51.100.5/24", "2001:db8:1:1::10/64"),
		HasIPv4:  true, HasIPv6: true,
	}, nil)
	for a, want := range map[string]rank{
		"192.168.1.5:1":       rankLAN,
		"10.9.9.9:1":          rankLAN, // that it answered shows it is of our site
		"[2001:db8:1:1::5]:1": rankLAN,
		"[fd00::5]:1":         rankLAN,
		"[2001:db8:9:9::5]:1": rankIPv6,
		"198.51.100.77:1":     rankIPv4, // may well be the NAT of another
		"203.0.113.1:1":       rankIPv4,
		"100.64.0.1:1":        rankIPv4,
	} {
		if got := s.rank(netip.MustParseAddrPort(a)); got != want {
			t.Errorf("rank(%s) = %d, want %d", a, got, want)
		}
	}
}
