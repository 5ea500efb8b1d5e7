package portmap

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/natpunch/portmap/pcp"
)

// What routers do wrong by PCP and NAT-PMP, and what is still mapped, or said.
func TestPortMisbehaviour(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*fakeGateway)
		want Protocol // empty: no mapping
		// Then:
		nested bool
		of     Protocol // status says of this protocol
		says   string   // this
	}{
		{
			name: "a PCP gateway refuses: not authorized", edit: func(f *fakeGateway) { f.result = uint8(pcp.NotAuthorized) },
			want: NATPMP, of: PCP, says: "does not allow",
		},
		{
			name: "no resources", edit: func(f *fakeGateway) { f.result, f.noNATPMP, f.igd.off = uint8(pcp.NoResources), true, true },
			of: PCP, says: "no room",
		},
		{
			name: "the request came through another NAT", edit: func(f *fakeGateway) { f.result, f.noNATPMP, f.igd.off = uint8(pcp.AddressMismatch), true, true },
			of: PCP, says: "another NAT",
		},
		{
			name: "NAT-PMP only, refused in version 0", edit: func(f *fakeGateway) { f.noPCP, f.igd.off = true, true },
			want: NATPMP, of: PCP, says: "does not speak PCP",
		},
		{
			name: "another PCP version only", edit: func(f *fakeGateway) {
				f.noPCP, f.igd.off = true, true
				f.versionReply = append([]byte{1, 0x81, 0, 1}, make([]byte, 20)...)
			},
			want: NATPMP, of: PCP, says: "does not speak PCP",
		},
		{
			name: "PCP only, NAT-PMP refused in version 2", edit: func(f *fakeGateway) { f.noNATPMP, f.igd.off = true, true },
			want: PCP, of: NATPMP, says: "does not speak NAT-PMP",
		},
		{
			name: "NAT-PMP refuses with ports and lifetime all the same", edit: func(f *fakeGateway) { f.noPCP, f.pmpResult, f.igd.off = true, 3, true },
			of: NATPMP, says: "no public address",
		},
		{
			name: "NAT-PMP is switched off", edit: func(f *fakeGateway) { f.noPCP, f.pmpResult = true, 2 },
			want: IGD2, of: NATPMP, says: "switched off",
		},
		{
			name: "NAT-PMP is out of resources", edit: func(f *fakeGateway) { f.noPCP, f.pmpResult = true, 4 },
			want: IGD2, of: NATPMP, says: "no room",
		},
		{
			name: "the address outside is a carrier's", edit: func(f *fakeGateway) { f.external = netip.MustParseAddr("100.64.5.2") },
			want: PCP, nested: true,
		},
		{
			name: "the address outside is private", edit: func(f *fakeGateway) { f.noPCP, f.external = true, netip.MustParseAddr("192.168.1.2") },
			want: NATPMP, nested: true,
		},
		{
			name: "the address outside is 0.0.0.0", edit: func(f *fakeGateway) { f.external = netip.IPv4Unspecified() },
			want: PCP, nested: true,
		},
		{
			name: "the same for NAT-PMP", edit: func(f *fakeGateway) { f.noPCP, f.external = true, netip.IPv4Unspecified() },
			want: NATPMP, nested: true,
		},
		{
			name: "answers carry another nonce", edit: func(f *fakeGateway) {
				f.noNATPMP = true
				f.forge = func(b []byte) [][]byte {
					if len(b) > 24 {
						b[24] ^= 1
					}
					return [][]byte{b}
				}
			},
			want: IGD2, of: PCP, says: "no answer",
		},
		{
			name: "a forged answer comes before the true one", edit: func(f *fakeGateway) {
				f.noNATPMP, f.igd.off = true, true
				f.forge = func(b []byte) [][]byte {
					forged := slices.Clone(b)
					if len(forged) > 40 {
						forged[30] ^= 1
						forged[43]++
					}
					return [][]byte{{1, 2, 3}, forged, b}
				}
			},
			want: PCP,
		},
		{
			name: "PCP grants port zero", edit: func(f *fakeGateway) {
				f.noNATPMP, f.igd.off = true, true
				f.forge = func(b []byte) [][]byte {
					if len(b) > 43 {
						b[42], b[43] = 0, 0
					}
					return [][]byte{b}
				}
			},
			of: PCP, says: "without a port",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeGateway(t)
			c.edit(f)
			f.start()
			r := start(t, nil, f)
			if c.says != "" {
				if fault := r.fault(c.of); !strings.Contains(fault, c.says) {
					t.Errorf("status says of %s: %q, want %q in it", c.of, fault, c.says)
				}
			}
			if c.want == "" {
				if m := r.Mappings(); len(m) != 0 {
					t.Errorf("mapped: %+v", m)
				}
				return
			}
			if m := r.mapping(); m.Protocol != c.want || m.Nested != c.nested || m.External.Port() != testPort {
				t.Errorf("mapping is %+v", m)
			}
		})
	}
}

// A gateway that loses its state says so, if only by its epoch, and the mapping is made again; ten such announcements
// are one. Nobody else can announce for it.
func TestAnnouncement(t *testing.T) {
	t.Parallel()
	f := newFakeGateway(t)
	f.igd.off = true
	f.start()
	r := start(t, nil, f)
	r.mapping()
	// Shown before: what NAT-PMP says comes later than PCP's mapping.
	r.until("an answer by NAT-PMP", func() bool {
		return slices.ContainsFunc(r.Status().Gateways[0].Protocols, func(p ProtocolReport) bool { return p.Protocol == NATPMP && p.Spoken })
	})
	w := r.workers[0]
	from := netip.AddrPortFrom(f.addr, pcp.ServerPort)
	now := time.Now()
	rebooted := append([]byte{2, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3}, make([]byte, 12)...)
	same := slices.Clone(rebooted)
	same[10], same[11] = 3600>>8, 3600&0xff

	if w.announced(now, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), pcp.ServerPort), rebooted) {
		t.Error("a stranger's announcement is believed")
	}
	if w.announced(now, netip.AddrPortFrom(f.addr, 4711), rebooted) {
		t.Error("an announcement from another port is believed")
	}
	if w.announced(now, from, same) {
		t.Error("a gateway that lost nothing is asked anew")
	}
	if w.announced(now, from, rebooted[:5]) {
		t.Error("half an announcement is believed")
	}
	f.change(func() { delete(f.mappings, testPort); f.booted = now })
	if !w.announced(now, from, rebooted) {
		t.Error("a reboot is not noticed")
	}
	if w.announced(now.Add(time.Second), from, rebooted) {
		t.Error("a repeated announcement is another reboot")
	}
	w.lookAnew()
	r.until("the mapping made again", func() bool { _, there := f.mapped(testPort); return there })
	r.mapping()

	pmp := []byte{0, 0x80, 0, 0, 0, 0, 0x0e, 0x20, 5, 0, 0, 2}
	if w.announced(now, from, pmp) {
		t.Error("an address that did not change is asked for anew")
	}
	pmp[11] = 9
	if !w.announced(now, from, pmp) {
		t.Error("another address outside is not noticed")
	}
}

// A gateway that falls silent keeps the mapping until it expires, and no longer.
func TestSilenceWhileHeld(t *testing.T) {
	t.Parallel()
	f := newFakeGateway(t)
	f.igd.off, f.noNATPMP, f.lifetime = true, true, 2*time.Second
	f.start()
	r := start(t, nil, f)
	m := r.mapping()
	f.change(func() { f.silent = true })
	r.until("the mapping gone", func() bool { return len(r.Mappings()) == 0 })
	if time.Now().Before(m.Expires) {
		t.Error("the mapping is given up before it expires")
	}
	f.change(func() { f.silent = false })
	r.mapping()
}

// Another NAT's address seen from outside makes a mapping useless whatever the gateway says.
func TestSeenElsewhere(t *testing.T) {
	t.Parallel()
	f := newFakeGateway(t)
	f.igd.off = true
	f.start()
	seen := []netip.Addr{netip.MustParseAddr("2a01::1")}
	r := start(t, func(c *Config) { c.Seen = func() []netip.Addr { return seen } }, f)
	if r.mapping().Nested {
		t.Error("nested, though nobody saw an IPv4 address")
	}
	r.stop()
	seen = append(seen, netip.MustParseAddr("5.9.9.9"))
	if r := start(t, func(c *Config) { c.Seen = func() []netip.Addr { return seen } }, f); !r.mapping().Nested {
		t.Error("not nested, though servers see another address")
	}
}
