package control

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// However much there is to tell, the record fits, and what the user asked for is
// dropped last and said.
func TestRecordFits(t *testing.T) {
	node := keys.GenerateNode()
	prefix6 := netip.MustParsePrefix("fd01:203:405::/48")
	full := wire.Record{
		Node: node.Public(), WireGuard: [32]byte{1}, Probe: keys.GenerateProbe().Public(), Name: strings.Repeat("n", 63), Seq: 1 << 40,
		Lifetime: recordLifetime, MaxVersion: wire.Version,
		Addresses: []wire.AddressClaim{{Addr: keys.Address6(prefix6, node.Public()), Settled: true}},
	}
	for i := range maxFixed {
		b := prefix6.Addr().As16()
		b[15] = byte(i + 1)
		full.Addresses = append(full.Addresses, wire.AddressClaim{Addr: netip.AddrFrom16(b), Settled: true})
	}
	for i := range wire.MaxAliases {
		full.Aliases = append(full.Aliases, fmt.Sprintf("%d%s", i, strings.Repeat("a", maxAliasBytes/wire.MaxAliases-1)))
	}
	for i := range wire.MaxCandidates {
		full.Candidates = append(full.Candidates, wire.Candidate{Type: wire.Host, Addr: netip.MustParseAddrPort(fmt.Sprintf("[2001:db8::%d]:20000", i+1))})
	}
	for i := range wire.MaxRelays {
		full.Relays = append(full.Relays, wire.Relay{Key: [32]byte{byte(i + 2)}, Addr: netip.MustParseAddrPort("[2001:db8::99]:443")})
	}
	_, cut, err := signFitting(&full, node)
	if err != nil || cut != "" || len(full.Aliases) != wire.MaxAliases || len(full.Addresses) != maxFixed+1 || len(full.Candidates) < leanCandidates {
		t.Errorf("%d names, %d addresses, %d candidates, cut %q, %v", len(full.Aliases), len(full.Addresses), len(full.Candidates), cut, err)
	}
	for i := range wire.MaxRoutes {
		full.Routes = append(full.Routes, netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x::/48", i+1)))
	}
	signed, cut, err := signFitting(&full, node)
	if err != nil || len(full.Routes) == wire.MaxRoutes || !strings.Contains(cut, "route") {
		t.Errorf("%d routes, cut %q, %v", len(full.Routes), cut, err)
	}
	if _, err := signed.Verify(prefix6); err != nil {
		t.Error(err)
	}
}
