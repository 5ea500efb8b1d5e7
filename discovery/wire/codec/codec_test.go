package codec

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"
	"time"
)

// Every field, and each that is left out where it is zero.
type fields struct {
	Blob     Blob     `cbor:"1,keyasint,omitempty"`
	Fixed    Bytes8   `cbor:"2,keyasint,omitzero"`
	Addr     Addr     `cbor:"3,keyasint,omitzero"`
	AddrPort AddrPort `cbor:"4,keyasint,omitzero"`
	Prefix   Prefix   `cbor:"5,keyasint,omitzero"`
	Age      Seconds  `cbor:"6,keyasint,omitempty"`
}

func TestFields(t *testing.T) {
	for body, in := range map[string]fields{
		"a0":                                     {},
		"a1014107":                               {Blob: Blob{7}},
		"a102480102030405060708":                 {Fixed: Bytes8{1, 2, 3, 4, 5, 6, 7, 8}},
		"a10344c0000201":                         {Addr: NewAddr(netip.MustParseAddr("::ffff:192.0.2.1"))},
		"a10350fe800000000000000000000000000001": {Addr: NewAddr(netip.MustParseAddr("fe80::1%eth0"))},
		"a10446c0000201c8df":                     {AddrPort: NewAddrPort(netip.MustParseAddrPort("[::ffff:192.0.2.1]:51423"))},
		"a10545c000020018":                       {Prefix: Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
		"a10602":                                 {Age: NewSeconds(1001 * time.Millisecond)},
	} {
		if got := hex.EncodeToString(Encode(in)); got != body {
			t.Errorf("%+v is %s, want %s", in, got, body)
		}
		var back fields
		if err := NewDecoder(4).Decode(unhex(t, body), &back); err != nil || !bytes.Equal(Encode(back), unhex(t, body)) {
			t.Errorf("%s is %+v, %v", body, back, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":                 "",
		"bytes after the item":    "a000",
		"a key twice":             "a206010602",
		"an unknown key twice":    "a2186400186400",
		"a tag":                   "c0a0",
		"indefinite length":       "bfff",
		"33 items":                "a118639821" + hex.EncodeToString(make([]byte, 33)),
		"five levels":             "a11863818181" + "8100",
		"null for bytes":          "a101f6",
		"numbers for bytes":       "a1018107",
		"text for bytes":          "a1016107",
		"too few bytes":           "a1024700000000000000",
		"too many bytes":          "a10249000000000000000000",
		"three bytes of address":  "a10343c00002",
		"IPv4 as IPv6":            "a1035000000000000000000000ffffc0000201",
		"an address without port": "a10444c0000201",
		"one byte of port":        "a10441c8",
		"an empty prefix":         "a10540",
		"a prefix of 33 bits":     "a10545c000020021",
		"a prefix with host bits": "a10545c000020118",
		"seconds below zero":      "a10620",
		"seconds beyond 32 bits":  "a1061b0000000100000000",
	} {
		var v fields
		if err := NewDecoder(4).Decode(unhex(t, body), &v); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
}

func TestValidEndpoint(t *testing.T) {
	for s, want := range map[string]bool{
		"192.0.2.1:7": true, "[fe80::1]:7": true, "192.0.2.1:0": false, "0.0.0.0:7": false,
		"[::]:7": false, "224.0.0.1:7": false, "[ff02::1]:7": false, "255.255.255.255:7": false,
	} {
		if got := ValidEndpoint(netip.MustParseAddrPort(s)); got != want {
			t.Errorf("%s: %t", s, got)
		}
	}
	if ValidEndpoint(netip.AddrPort{}) {
		t.Error("the zero value is valid")
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
