package pcp

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Section 11.1 and 7.1 of RFC 6887, drawn by hand: it has no vectors of its own.
const (
	request4 = "02010000 00001c20 00000000000000000000ffffc0a84d0a" +
		"000102030405060708090a0b 11000000 5ba0 5ba0 00000000000000000000ffff00000000"
	request6 = "02010000 00000000 2a000002000000000000000000000010" +
		"000102030405060708090a0b 11000000 5ba0 0000 00000000000000000000000000000000"
	granted = "02810000 00000e10 0000002a 000000000000000000000000" +
		"000102030405060708090a0b 11000000 5ba0 9c40 00000000000000000000ffff05000002"
	refused = "02810008 0000001e 0000002a 000000000000000000000000" +
		"000102030405060708090a0b 11000000 5ba0 5ba0 00000000000000000000ffff00000000"
	announced   = "02800000 00000000 00000007 000000000000000000000000"
	oldVersion  = "00810001 0000002a"
	pmpAnnounce = "00800000 00000009 05000002"
)

var nonce = Nonce{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAppend(t *testing.T) {
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"IPv4", Map{
			Client: netip.MustParseAddr("192.168.77.10"), Nonce: nonce, Internal: 23456,
			External: netip.AddrPortFrom(netip.Addr{}, 23456), Lifetime: 2 * time.Hour,
		}.Append(nil), request4},
		{"deletion over IPv6", Map{
			Client: netip.MustParseAddr("2a00:2::10"), Nonce: nonce, Internal: 23456,
		}.Append(nil), request6},
		{"announce", AppendAnnounce(nil, netip.MustParseAddr("192.168.77.10")), "02000000 00000000 00000000000000000000ffffc0a84d0a"},
	} {
		if diff := cmp.Diff(unhex(t, c.want), c.got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, diff)
		}
	}
}

func TestParseResponse(t *testing.T) {
	addrs := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	for _, c := range []struct {
		name, datagram string
		want           Response
	}{
		{"granted", granted, Response{
			Lifetime: time.Hour, Epoch: 42, Nonce: nonce, Internal: 23456, External: netip.MustParseAddrPort("5.0.0.2:40000"),
		}},
		{"with an option", granted + "03000004 00000000", Response{
			Lifetime: time.Hour, Epoch: 42, Nonce: nonce, Internal: 23456, External: netip.MustParseAddrPort("5.0.0.2:40000"),
		}},
		{"refused", refused, Response{
			Result: NoResources, Lifetime: 30 * time.Second, Epoch: 42, Nonce: nonce, Internal: 23456,
			External: netip.MustParseAddrPort("0.0.0.0:23456"),
		}},
		{"announcement", announced, Response{Announce: true, Epoch: 7}},
		{"NAT-PMP only", oldVersion, Response{Result: UnsupportedVersion, VersionOnly: true}},
		{"another version only", "03810001 00000000 0000002a 000000000000000000000000", Response{Result: UnsupportedVersion, Epoch: 42}},
	} {
		got, err := ParseResponse(unhex(t, c.datagram))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if diff := cmp.Diff(c.want, got, addrs); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, diff)
		}
	}
	for name, datagram := range map[string]string{
		"empty":               "",
		"a request":           request4,
		"cut":                 announced[:17],
		"cut in the middle":   granted[:len(granted)-8],
		"TCP":                 strings.Replace(granted, "11000000", "06000000", 1),
		"NAT-PMP mapping":     "00810000 0000002a 5ba05ba0 00001c20",
		"PEER":                strings.Replace(granted, "0281", "0282", 1),
		"another version":     strings.Replace(granted, "0281", "0381", 1),
		"too long":            granted + strings.Repeat("00", MaxLen),
		"no multiple of four": granted + "00",
	} {
		if r, err := ParseResponse(unhex(t, datagram)); err == nil {
			t.Errorf("%s: parsed as %+v", name, r)
		}
	}
}

func TestParseAnnouncement(t *testing.T) {
	addr := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	for name, c := range map[string]struct {
		datagram string
		want     Announcement
	}{
		"PCP":                        {announced, Announcement{Epoch: 7}},
		"NAT-PMP":                    {pmpAnnounce, Announcement{NATPMP: true, Epoch: 9, External: netip.MustParseAddr("5.0.0.2")}},
		"NAT-PMP without an address": {"00800003 00000009 00000000", Announcement{NATPMP: true, Epoch: 9}},
	} {
		got, err := ParseAnnouncement(unhex(t, c.datagram))
		if diff := cmp.Diff(c.want, got, addr); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got)\n%s", name, err, diff)
		}
	}
	for name, datagram := range map[string]string{"a mapping": granted, "nothing": "", "an old version": oldVersion} {
		if a, err := ParseAnnouncement(unhex(t, datagram)); err == nil {
			t.Errorf("%s: parsed as %+v", name, a)
		}
	}
}

func TestEpoch(t *testing.T) {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name          string
		first, second uint32
		elapsed       time.Duration
		pcp, natpmp   bool // kept
	}{
		{"in step", 100, 3700, time.Hour, true, true},
		{"a second back, overtaken", 100, 99, 0, true, true},
		{"reboot just now", 5000, 3, time.Minute, false, false},
		{"reboot long ago", 100, 3000, 2 * time.Hour, false, false},
		{"a slow clock", 100, 100 + 3600*15/16, time.Hour, true, true},
		{"a very slow clock", 100, 100 + 3600*29/32, time.Hour, false, true},
		{"a clock that ran ahead", 100, 9000, time.Hour, false, true},
		{"the end of the count", 1<<32 - 1, 1<<32 - 1, time.Second, true, true},
		{"it began anew", 1<<32 - 1, 0, time.Second, false, false},
	} {
		var e, old Epoch
		if !e.Observe(start, c.first) || !old.ObserveNATPMP(start, c.first) {
			t.Errorf("%s: the first count was taken for a loss", c.name)
		}
		if got := e.Observe(start.Add(c.elapsed), c.second); got != c.pcp {
			t.Errorf("%s: PCP: kept %v", c.name, got)
		}
		if got := old.ObserveNATPMP(start.Add(c.elapsed), c.second); got != c.natpmp {
			t.Errorf("%s: NAT-PMP: kept %v", c.name, got)
		}
	}
}

func TestResultWords(t *testing.T) {
	for r := Success; r <= ExcessiveRemotePeers+1; r++ {
		if r.Error() == "" {
			t.Errorf("result %d has no words", uint8(r))
		}
	}
}

// Whatever arrives is parsed without a panic, and what parses as granted names a UDP mapping of full length.
func FuzzParse(f *testing.F) {
	for _, s := range []string{request4, granted, refused, announced, oldVersion, pmpAnnounce} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = ParseAnnouncement(b)
		r, err := ParseResponse(b)
		if err != nil {
			return
		}
		if r.Result == Success && !r.Announce && (len(b) < mapLen || b[36] != udp) {
			t.Errorf("%x taken for a granted mapping", b)
		}
		if r.External.Addr().Is4In6() {
			t.Errorf("%x has an address that is not unmapped", b)
		}
	})
}
