package control

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/natpunch/portmap"
)

// What a router forwards is published, unless another NAT hides it.
func TestMappedAddressesArePublished(t *testing.T) {
	w := newWorld(t, 1)
	a := w.host("alice", "10.0.1.2:20001", newNAT("5.0.1.1"))
	w.run(time.Second, nil)
	at := netip.MustParseAddrPort("5.0.1.1:20001")
	published := func() bool {
		a.step()
		w.run(time.Second, nil)
		return slices.Contains(a.mesh.publisher.record.Candidates, wire.Candidate{Type: wire.ServerReflexive, Addr: at})
	}
	for name, m := range map[string]portmap.Mapping{
		"nested":           {External: at, Nested: true},
		"private":          {External: netip.MustParseAddrPort("100.64.0.9:20001")},
		"no address":       {Protocol: portmap.IGD1},
		"only a pinhole":   {External: netip.MustParseAddrPort("[2001:db8::1]:20001"), Pinhole: true},
		"another's nested": {External: netip.MustParseAddrPort("5.0.1.1:9"), Nested: true},
	} {
		a.mesh.mappedAt([]portmap.Mapping{m})
		if published() || len(a.mesh.publisher.mapped) > 0 {
			t.Errorf("%s: published", name)
		}
	}
	before := a.mesh.publisher.record.Seq
	a.mesh.mappedAt([]portmap.Mapping{{External: at, Protocol: portmap.PCP}})
	if !published() {
		t.Error("a forwarded address is not published")
	}
	after := a.mesh.publisher.record.Seq
	a.mesh.mappedAt([]portmap.Mapping{{External: at, Protocol: portmap.PCP}})
	if published(); a.mesh.publisher.record.Seq != after || after == before {
		t.Error("a renewal makes a new record")
	}
	a.mesh.mappedAt(nil)
	if published() {
		t.Error("still published after it is gone")
	}
}

func TestMappingFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "home"), 0o700); err != nil {
		t.Fatal(err)
	}
	f := openMappings(dir, "home", slog.New(slog.DiscardHandler))
	if s := f.load(); len(s.Leases) > 0 {
		t.Errorf("%+v from nothing", s)
	}
	want := portmap.State{Leases: []portmap.Lease{{
		Gateway: netip.MustParseAddr("192.168.1.1"), Local: netip.MustParseAddr("192.168.1.9"),
		Internal: 20001, External: 20002, Nonce: make([]byte, 12), Protocol: portmap.PCP,
	}}}
	f.save(want)
	if got := f.load(); len(got.Leases) != 1 || got.Leases[0].External != 20002 || len(got.Leases[0].Nonce) != 12 {
		t.Errorf("%+v, want %+v", got, want)
	}
	if info, err := os.Stat(f.path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v, want a file for its owner alone", info, err)
	}
	if err := os.WriteFile(f.path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := f.load(); len(s.Leases) > 0 {
		t.Errorf("%+v from a damaged file", s)
	}
}

func TestMappingDetail(t *testing.T) {
	answered := portmap.Status{Gateways: []portmap.Report{{Protocols: []portmap.ProtocolReport{{Protocol: portmap.IGD1, Spoken: true, Error: "it refuses (606)"}}}}}
	silent := portmap.Status{Gateways: []portmap.Report{{Protocols: []portmap.ProtocolReport{{Protocol: portmap.PCP, Error: "no answer"}}}}}
	for _, tt := range []struct {
		all  []localapi.Mapping
		s    portmap.Status
		want string
	}{
		{nil, portmap.Status{}, ""},
		{nil, silent, "offers no port mapping"},
		{nil, answered, "it refuses (606)"},
		{[]localapi.Mapping{{Protocol: "pcp", External: "5.0.1.1:2", Usable: true}}, answered, "forwards 5.0.1.1:2 to this node (pcp)"},
		{[]localapi.Mapping{{Protocol: "pcp"}}, answered, "another NAT is above it"},
		{[]localapi.Mapping{{Protocol: "pcp", External: "[2001:db8::1]:2", Usable: true, Pinhole: true}}, answered, "lets [2001:db8::1]:2 in"},
	} {
		if got := mappingDetail(tt.all, tt.s); !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("mappingDetail(%v) = %q, want %q", tt.all, got, tt.want)
		}
	}
}

// What is measured beside the node's own port goes into the record.
func TestMeasuredNATIsPublished(t *testing.T) {
	w := newWorld(t, 1)
	a := w.host("alice", "10.0.1.2:20001", newNAT("5.0.1.1"), func(c *meshConfig, _ *simHost) { c.stun = true })
	w.run(time.Second, nil)
	a.mesh.natMeasured(w.now, natpunch.NATStatus{IPv4: natpunch.FamilyStatus{
		Mapping: natpunch.EndpointIndependent, Filtering: natpunch.AddressAndPortDependent, Lifetime: 30 * time.Second,
	}})
	a.step()
	w.run(time.Second, nil)
	got := a.mesh.publisher.record.NAT4
	if got.Filtering != natpunch.AddressAndPortDependent || got.Lifetime != 30*time.Second {
		t.Errorf("published %+v", got)
	}
}

// How the NAT maps is known when the second STUN server has answered, and said at once: others take from it who of two
// punches how, and may read this record only.
func TestMappingIsPublished(t *testing.T) {
	w := newWorld(t, 1)
	one, two := netip.MustParseAddrPort("5.9.0.1:3478"), netip.MustParseAddrPort("5.9.0.2:3478")
	w.stun = map[netip.AddrPort]time.Duration{one: 0, two: 300 * time.Millisecond}
	a := w.host("alice", "10.0.1.2:20001", newNAT("5.0.1.1"), func(c *meshConfig, _ *simHost) { c.stun = true })
	a.mesh.addSTUN(one)
	a.mesh.addSTUN(two)
	a.step()
	w.run(2*time.Second, nil)
	if got := a.mesh.publisher.record.NAT4.Mapping; got != natpunch.EndpointIndependent {
		t.Errorf("published %v", got)
	}
	signed := a.mesh.publisher.count
	w.run(time.Minute, nil)
	if again := a.mesh.publisher.count - signed; again > 1 {
		t.Errorf("signed %d times more while nothing changed", again)
	}
}
