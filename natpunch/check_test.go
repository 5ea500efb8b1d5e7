package natpunch

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/credant/credant/discovery/wire"
)

// Checks as another implementation has to write them: canonical CBOR.
var checkVectors = []struct {
	name  string
	check check
	hex   string
}{
	{
		"ping",
		check{Type: ping, Number: 1, ID: testID},
		"a3" + "0101" + "0201" + "034c" + testIDHex,
	},
	{
		"nominating ping of a sender without a path",
		check{Type: ping, Number: 1 << 40, ID: testID, Nominated: true, Seeking: true},
		"a5" + "0101" + "021b0000010000000000" + "034c" + testIDHex + "04f5" + "05f5",
	},
	{
		"pong, IPv4",
		check{Type: pong, ID: testID, Observed: netip.MustParseAddrPort("192.0.2.1:32853")},
		"a3" + "0102" + "034c" + testIDHex + "0646" + "c0000201" + "8055",
	},
	{
		"pong, IPv6, that follows a nomination",
		check{Type: pong, ID: testID, Nominated: true, Observed: netip.MustParseAddrPort("[2001:db8::1]:443")},
		"a4" + "0102" + "034c" + testIDHex + "04f5" + "0652" + "20010db8000000000000000000000001" + "01bb",
	},
}

const testIDHex = "b7e7a701bc34d686fa87dfae"

var testID = transactionID{0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae}

func TestCheckVectors(t *testing.T) {
	for _, v := range checkVectors {
		t.Run(v.name, func(t *testing.T) {
			want := unhex(t, v.hex)
			got, err := appendCheck([]byte("x"), v.check)
			if err != nil || !bytes.Equal(got[1:], want) || got[0] != 'x' {
				t.Fatalf("encoded %x, %v; want %x", got, err, want)
			}
			back, err := parseCheck(want)
			if err != nil || back != v.check {
				t.Fatalf("parsed %+v, %v; want %+v", back, err, v.check)
			}
		})
	}
}

func TestParseCheckRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":               "",
		"another type":          "a3" + "0103" + "0201" + "034c" + testIDHex,
		"ping without number":   "a2" + "0101" + "034c" + testIDHex,
		"ping that observed":    "a4" + "0101" + "0201" + "034c" + testIDHex + "0646" + "c00002018055",
		"pong with number":      "a4" + "0102" + "0201" + "034c" + testIDHex + "0646" + "c00002018055",
		"pong without observed": "a2" + "0102" + "034c" + testIDHex,
		"short id":              "a3" + "0101" + "0201" + "034b" + testIDHex[2:],
		"no id":                 "a2" + "0101" + "0201",
		"id as text":            "a3" + "0101" + "0201" + "036c" + testIDHex,
		"short address":         "a3" + "0102" + "034c" + testIDHex + "0645" + "c000020180",
		"IPv4 in IPv6":          "a3" + "0102" + "034c" + testIDHex + "0652" + "00000000000000000000ffffc0000201" + "01bb",
		"key given twice":       "a4" + "0101" + "0201" + "0202" + "034c" + testIDHex,
		"indefinite length":     "bf" + "0101" + "0201" + "034c" + testIDHex + "ff",
		"trailing byte":         "a3" + "0101" + "0201" + "034c" + testIDHex + "00",
		"tag":                   "a3" + "0101" + "02c101" + "034c" + testIDHex,
	} {
		if c, err := parseCheck(unhex(t, in)); err == nil {
			t.Errorf("%s: parsed %+v", name, c)
		}
	}
}

// A later version may add fields.
func TestUnknownKeysArePassedOver(t *testing.T) {
	got, err := parseCheck(unhex(t, "a4"+"0101"+"0201"+"034c"+testIDHex+"1863"+"83010203"))
	if want := (check{Type: ping, Number: 1, ID: testID}); err != nil || got != want {
		t.Errorf("parsed %+v, %v", got, err)
	}
}

func TestEveryCheckFits(t *testing.T) {
	ab, ba := simPairs(simKey(1), simKey(2), 1)
	c := check{
		Type: ping, Number: 1<<64 - 1, ID: testID, Nominated: true, Seeking: true,
		Observed: netip.MustParseAddrPort("[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
	}
	b, err := sealCheck(&ab, c)
	if err != nil || len(b) != wire.CheckSize {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if _, err := wire.OpenPair(wire.KindCheck, &ba, b); err != nil {
		t.Fatal(err)
	}
}

// What is parsed is written the same again, but for keys that we do not know.
func FuzzParseCheck(f *testing.F) {
	for _, v := range checkVectors {
		f.Add(unhex(f, v.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > wire.CheckSize {
			return // no envelope holds more
		}
		c, err := parseCheck(b)
		if err != nil {
			return
		}
		out, err := appendCheck(nil, c)
		if err != nil {
			t.Fatalf("%x parses and cannot be written: %v", b, err)
		}
		again, err := parseCheck(out)
		if err != nil || again != c {
			t.Fatalf("%x: %+v, and again %+v, %v", b, c, again, err)
		}
	})
}

// Whatever arrives from wherever, the agent stays bounded and answers at most one
// datagram of the same size at once.
func FuzzReceive(f *testing.F) {
	for _, v := range checkVectors {
		f.Add(unhex(f, v.hex), true)
	}
	f.Add([]byte{0xa1, 3}, false)
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		n, a, peer := twoPublic(t)
		ab, ba := simPairs(a.key, peer.key, 1)
		a.agent.SetPeer(n.now, Peer{Node: peer.key, Pair: ab})
		a.agent.Advance(n.now)
		if sealed {
			var err error
			if b, err = wire.SealPair(wire.KindCheck, &ba, b, 0); err != nil {
				return
			}
		}
		reason := a.agent.Receive(n.now, addr(peer), b)
		for _, x := range a.agent.Advance(n.now) {
			if s, ok := x.(Send); ok && (reason != "" || len(s.Data) > len(b) || s.To != addr(peer)) {
				t.Fatalf("%x, dropped %q, and %d bytes to %v", b, reason, len(s.Data), s.To)
			}
		}
	})
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}
