package discovery

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRefuseHint(t *testing.T) {
	for addr, want := range map[string][2]string{ // by the DHT, by others
		"8.8.8.8:1024":               {"", ""},
		"8.8.8.8:1023":               {dropLowPort, ""},
		"8.8.8.8:0":                  {dropInvalid, dropInvalid},
		"10.0.0.1:6881":              {dropNotGlobal, ""},
		"172.31.0.1:6881":            {dropNotGlobal, ""},
		"192.168.0.1:6881":           {dropNotGlobal, ""},
		"100.64.0.1:6881":            {dropNotGlobal, ""},
		"100.127.255.255:6881":       {dropNotGlobal, ""},
		"100.128.0.1:6881":           {"", ""},
		"127.0.0.1:6881":             {dropNotGlobal, ""},
		"169.254.1.1:6881":           {dropNotGlobal, ""},
		"224.0.0.1:6881":             {dropNotUnicast, dropNotUnicast},
		"255.255.255.255:6881":       {dropNotUnicast, dropNotUnicast},
		"240.0.0.1:6881":             {dropNotUnicast, dropNotUnicast},
		"0.0.0.0:6881":               {dropInvalid, dropInvalid},
		"0.1.2.3:6881":               {dropNotUnicast, dropNotUnicast},
		"[::]:6881":                  {dropInvalid, dropInvalid},
		"[::1]:6881":                 {dropNotGlobal, ""},
		"[fe80::1%eth0]:6881":        {dropNotGlobal, ""},
		"[fd00::1]:6881":             {dropNotGlobal, ""},
		"[ff02::1]:6881":             {dropNotUnicast, dropNotUnicast},
		"[64:ff9b::a00:1]:6881":      {dropNotGlobal, ""},
		"[2a00:1450::1]:6881":        {"", ""},
		"[::ffff:192.168.0.1]:6881":  {dropNotGlobal, ""},
		"[::ffff:8.8.8.8]:6881":      {"", ""},
		"[::ffff:224.0.0.1]:6881":    {dropNotUnicast, dropNotUnicast},
		"[2001:db8:1:2:3:4:5:6]:443": {dropLowPort, ""},
	} {
		a := unmap(netip.MustParseAddrPort(addr))
		got := [2]string{refuseHint(SourceDHT, a), refuseHint(SourceLAN, a)}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", addr, d)
		}
	}
	if refuseHint(SourceStatic, netip.AddrPort{}) == "" {
		t.Error("the zero address is accepted")
	}

	w := newWorld(t, 1)
	a := w.add(networkKey(t, 1), addrA)
	inside := netip.AddrPortFrom(networkKey(t, 1).Prefix6().Addr().Next(), 4000)
	for _, x := range []struct {
		src  Source
		addr netip.AddrPort
	}{
		{SourceStatic, inside},
		{"nonsense", netip.MustParseAddrPort(addrB)},
	} {
		if a.hint(x.src, x.addr) {
			t.Errorf("a hint of %s at %v is taken", x.src, x.addr)
		}
	}
}
