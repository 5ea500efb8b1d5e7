package wire

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire/codec"
)

func TestRecordRoundTrip(t *testing.T) {
	node, prefix6 := testNode(t, 2), testNetwork(t).Prefix6()
	for name, want := range map[string]Record{
		"small": testRecord(t, node), "full": fullRecord(t, node), "departed": departedRecord(t, node),
	} {
		t.Run(name, func(t *testing.T) {
			signed := sign(t, want, node)
			got, err := signed.Verify(prefix6)
			if d := cmp.Diff(want, got, compareAddresses); err != nil || d != "" {
				t.Fatalf("Verify: %v (-signed +got)\n%s", err, d)
			}
			parsed, err := ParseSigned(signed.Marshal())
			if d := cmp.Diff(signed, parsed); err != nil || d != "" {
				t.Errorf("ParseSigned(Marshal): %v (-want +got)\n%s", err, d)
			}
			key := testNetwork(t).RecordKey()
			sealed, err := AppendSealedRecord([]byte("head"), signed, key)
			if err != nil || len(sealed) != 4+RecordSize {
				t.Fatalf("AppendSealedRecord: %d bytes, %v", len(sealed), err)
			}
			opened, err := OpenSealedRecord(sealed[4:], key)
			if d := cmp.Diff(signed, opened); err != nil || d != "" {
				t.Errorf("OpenSealedRecord: %v (-want +got)\n%s", err, d)
			}
		})
	}
}

// An address has one form on the wire, whatever form the sender had it in.
func TestRecordNormalizesAddresses(t *testing.T) {
	node := testNode(t, 2)
	r := testRecord(t, node)
	r.Candidates = []Candidate{
		{Host, netip.MustParseAddrPort("[::ffff:192.0.2.1]:7")},
		{Host, netip.MustParseAddrPort("[fe80::1%eth0]:7")},
	}
	got, err := sign(t, r, node).Verify(testNetwork(t).Prefix6())
	if err != nil {
		t.Fatal(err)
	}
	want := []Candidate{{Host, netip.MustParseAddrPort("192.0.2.1:7")}, {Host, netip.MustParseAddrPort("[fe80::1]:7")}}
	if d := cmp.Diff(want, got.Candidates, compareAddresses); d != "" {
		t.Errorf("candidates (-want +got)\n%s", d)
	}
}

// forge signs whatever it is given, as a hostile member can.
func forge(r Record, k keys.NodePrivate) SignedRecord {
	payload := r.encode()
	return SignedRecord{payload, k.Sign(append([]byte(signRecord), payload...))}
}

func TestVerifyRefuses(t *testing.T) {
	node, other := testNode(t, 2), testNode(t, 3)
	prefix6 := testNetwork(t).Prefix6()
	many := func(n int) (c []Candidate) {
		for i := range n {
			c = append(c, Candidate{Host, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 7)})
		}
		return c
	}
	candidate := func(s string) func(*Record) {
		return func(r *Record) { r.Candidates = []Candidate{{Host, netip.MustParseAddrPort(s)}} }
	}
	claim := func(s string) func(*Record) {
		return func(r *Record) {
			r.Addresses = append(r.Addresses, AddressClaim{Addr: netip.MustParseAddr(s)})
		}
	}
	tests := []struct {
		name   string
		change func(*Record)
		want   error
	}{
		{"no WireGuard key", func(r *Record) { r.WireGuard = wgtypes.Key{} }, ErrMissing},
		{"no probe key", func(r *Record) { r.Probe = keys.ProbePublic{} }, ErrMissing},
		{"no sequence number", func(r *Record) { r.Seq = 0 }, ErrMissing},
		{"no lifetime", func(r *Record) { r.Lifetime = 0 }, ErrBound},
		{"too long a lifetime", func(r *Record) { r.Lifetime = MaxLifetime + time.Second }, ErrBound},
		{"upper-case name", func(r *Record) { r.Name = "NAS" }, ErrBound},
		{"name with an escape", func(r *Record) { r.Name = "a\x1b[2Jb" }, ErrBound},
		{"name with a dot", func(r *Record) { r.Name = "a.b" }, ErrBound},
		{"name that ends in a hyphen", func(r *Record) { r.Name = "a-" }, ErrBound},
		{"name of 64", func(r *Record) { r.Name = strings.Repeat("a", 64) }, ErrBound},
		{"another's IPv6 address", claim("fd00:1:2:3::4"), ErrAddress},
		{"the IPv6 address of another's key", claim(keys.Address6(prefix6, other.Public()).String()), ErrAddress},
		{"the network's first IPv6 address", claim(prefix6.Addr().String()), ErrAddress},
		{"nine addresses", func(r *Record) {
			for i := range MaxAddresses {
				r.Addresses = append(r.Addresses, AddressClaim{Addr: choose6(t, byte(i+1))})
			}
		}, ErrBound},
		{"no IPv6 address", func(r *Record) { r.Addresses = r.Addresses[1:] }, ErrAddress},
		{"no address", func(r *Record) { r.Addresses = nil }, ErrAddress},
		{"one address twice", func(r *Record) { r.Addresses = append(r.Addresses, r.Addresses[0]) }, ErrBound},
		{"loopback address", claim("127.0.0.1"), ErrBound},
		{"multicast address", claim("239.1.1.1"), ErrBound},
		{"broadcast address", claim("255.255.255.255"), ErrBound},
		{"link-local IPv4 address", claim("169.254.1.1"), ErrBound},
		{"unspecified address", claim("0.0.0.0"), ErrBound},
		{"IPv6 subnet", func(r *Record) { r.Subnet = netip.MustParsePrefix("fd00::/64") }, ErrBound},
		{"default route as subnet", func(r *Record) { r.Subnet = netip.MustParsePrefix("0.0.0.0/0") }, ErrBound},
		{"subnet without hosts", func(r *Record) { r.Subnet = netip.MustParsePrefix("10.0.0.0/31") }, ErrBound},
		{"subnet with host bits", func(r *Record) { r.Subnet = netip.MustParsePrefix("10.0.0.1/24") }, ErrEncoding},
		{"route with host bits", func(r *Record) { r.Routes = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")} }, ErrEncoding},
		{"17 routes", func(r *Record) {
			for i := range 17 {
				r.Routes = append(r.Routes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16))
			}
		}, ErrBound},
		{"17 candidates", func(r *Record) { r.Candidates = many(17) }, ErrBound},
		{"33 candidates", func(r *Record) { r.Candidates = many(33) }, ErrEncoding},
		{"candidate with port 0", candidate("192.0.2.1:0"), ErrBound},
		{"multicast candidate", candidate("224.0.0.251:5353"), ErrBound},
		{"broadcast candidate", candidate("255.255.255.255:7"), ErrBound},
		{"unspecified candidate", candidate("[::]:7"), ErrBound},
		{"relay without a key", func(r *Record) { r.Relays = []Relay{{Addr: netip.MustParseAddrPort("192.0.2.1:443")}} }, ErrBound},
		{"relay without an address", func(r *Record) { r.Relays = []Relay{{Key: repeated(1)}} }, ErrBound},
		{"five relays", func(r *Record) {
			for range 5 {
				r.Relays = append(r.Relays, Relay{repeated(1), netip.MustParseAddrPort("192.0.2.1:443")})
			}
		}, ErrBound},
		{"empty capability", func(r *Record) { r.Capabilities = []string{""} }, ErrBound},
		{"capability with a space", func(r *Record) { r.Capabilities = []string{"a b"} }, ErrBound},
		{"long capability", func(r *Record) { r.Capabilities = []string{strings.Repeat("a", 33)} }, ErrBound},
		{"17 capabilities", func(r *Record) { r.Capabilities = strings.Split(strings.Repeat("a", 17), "") }, ErrBound},
		{"empty alias", func(r *Record) { r.Aliases = []string{""} }, ErrBound},
		{"alias with a dot", func(r *Record) { r.Aliases = []string{"a.b"} }, ErrBound},
		{"alias twice", func(r *Record) { r.Aliases = []string{"a", "a"} }, ErrBound},
		{"alias that is the name", func(r *Record) { r.Aliases = []string{r.Name} }, ErrBound},
		{"nine aliases", func(r *Record) { r.Aliases = strings.Split("abcdefghi", "") }, ErrBound},
		{"another's node key", func(r *Record) {
			r.Node = other.Public()
			r.Addresses[0].Addr = keys.Address6(prefix6, r.Node)
		}, ErrSignature},
		{"no node key", func(r *Record) { r.Node = keys.NodePublic{} }, ErrMissing},
		{"too large", func(r *Record) { r.Name = strings.Repeat("a", MaxPayload) }, ErrSize},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := testRecord(t, node)
			tt.change(&r)
			if got, err := forge(r, node).Verify(prefix6); !errors.Is(err, tt.want) {
				t.Errorf("Verify = %+v, %v, want %v", got, err, tt.want)
			}
		})
	}
	signed := sign(t, testRecord(t, node), node)
	if _, err := signed.Verify(netip.MustParsePrefix("fd00:1:2::/48")); !errors.Is(err, ErrAddress) {
		t.Errorf("Verify in another network: %v", err)
	}
	signed.Payload = append([]byte{}, signed.Payload...)
	signed.Payload[len(signed.Payload)-1]++ // the version it offers
	if _, err := signed.Verify(prefix6); !errors.Is(err, ErrSignature) {
		t.Errorf("Verify of a changed record: %v", err)
	}
	if _, err := (SignedRecord{}).Verify(prefix6); !errors.Is(err, ErrEncoding) {
		t.Errorf("Verify of nothing: %v", err)
	}
}

// Whatever Sign takes, Verify takes, and it fits every message; what does not
// fit names the list to shorten.
func TestSignSizes(t *testing.T) {
	node, prefix6 := testNode(t, 2), testNetwork(t).Prefix6()
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	fitted, refused := 0, map[string]int{}
	for range 2000 {
		r := randomRecord(t, rng, node)
		signed, err := Sign(r, node)
		if e, ok := errors.AsType[*TooLargeError](err); ok {
			if e.Size <= e.Max || e.Bytes == 0 || !errors.Is(err, ErrSize) {
				t.Fatalf("seed %d: %v: %+v", seed, err, e)
			}
			refused[e.Largest]++
			continue
		}
		if err != nil {
			t.Fatalf("seed %d: Sign(%+v): %v", seed, r, err)
		}
		fitted++
		if n := len(signed.Marshal()); n > MaxSigned {
			t.Fatalf("seed %d: signed record of %d bytes, at most %d", seed, n, MaxSigned)
		}
		got, err := signed.Verify(prefix6)
		if d := cmp.Diff(r, got, compareAddresses); err != nil || d != "" {
			t.Fatalf("seed %d: Verify: %v (-signed +got)\n%s", seed, err, d)
		}
	}
	if fitted == 0 || len(refused) < 3 {
		t.Errorf("seed %d: %d records fit, refused by %v: the test does not reach the limit", seed, fitted, refused)
	}
}

// randomRecord is within every bound but the size.
func randomRecord(t *testing.T, rng *rand.Rand, node keys.NodePrivate) Record {
	r := testRecord(t, node)
	endpoint := func() netip.AddrPort {
		b := []byte{0x20, 1, 0xd, 0xb8, byte(rng.IntN(256)), 15: byte(1 + rng.IntN(255))}
		if rng.IntN(2) == 0 {
			b = []byte{192, 0, 2, byte(rng.IntN(256))}
		}
		a, _ := netip.AddrFromSlice(b)
		return netip.AddrPortFrom(a, uint16(1+rng.IntN(65535)))
	}
	r.Name = strings.Repeat("n", rng.IntN(maxNameLength+1))
	r.Seq = 1 + rng.Uint64N(1<<63)
	r.Lifetime = time.Duration(1+rng.IntN(86400)) * time.Second
	r.Candidates, r.Capabilities = nil, nil
	for range rng.IntN(MaxCandidates + 1) {
		r.Candidates = append(r.Candidates, Candidate{CandidateType(1 + rng.IntN(4)), endpoint()})
	}
	for range rng.IntN(MaxRoutes + 1) {
		a := endpoint().Addr()
		r.Routes = append(r.Routes, netip.PrefixFrom(a, rng.IntN(a.BitLen()+1)).Masked())
	}
	for range rng.IntN(MaxRelays + 1) {
		r.Relays = append(r.Relays, Relay{repeated(byte(1 + rng.IntN(255))), endpoint()})
	}
	for range rng.IntN(MaxCapabilities + 1) {
		r.Capabilities = append(r.Capabilities, strings.Repeat("c", 1+rng.IntN(maxCapability)))
	}
	for i := range rng.IntN(MaxAliases + 1) {
		r.Aliases = append(r.Aliases, strings.Repeat("x", i+1+rng.IntN(2)*MaxAliases))
	}
	r.Departed = rng.IntN(2) == 0
	r.NAT4 = NATBehavior{Mapping: Behavior(rng.IntN(4)), Filtering: Behavior(rng.IntN(4)), PortPreserved: rng.IntN(2) == 0}
	if rng.IntN(2) == 0 {
		r.NAT4.Hairpin, r.NAT4.Step, r.NAT4.Lifetime = rng.IntN(2) == 0, int16(rng.IntN(1<<16)), time.Duration(rng.IntN(1<<16))*time.Second
		r.NAT4.Low = uint16(1 + rng.IntN(1<<15))
		r.NAT4.High = r.NAT4.Low + uint16(rng.IntN(1<<15))
	}
	return r
}

func TestTooLargeErrorSaysWhatToDrop(t *testing.T) {
	node := testNode(t, 2)
	r := testRecord(t, node)
	for i := range MaxRoutes {
		r.Routes = append(r.Routes, netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, byte(i)}), 48))
	}
	for range 8 {
		r.Candidates = append(r.Candidates, Candidate{Host, netip.MustParseAddrPort("[2001:db8::1]:7")})
	}
	for range MaxRelays {
		r.Relays = append(r.Relays, Relay{repeated(1), netip.MustParseAddrPort("192.0.2.1:443")})
	}
	_, err := Sign(r, node)
	if want := "drop some of the routes"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Sign: %v, want %q in it", err, want)
	}
}

func TestParseSignedRefuses(t *testing.T) {
	signed := sign(t, testRecord(t, testNode(t, 2)), testNode(t, 2))
	good := signed.Marshal()
	tests := []struct {
		name string
		in   []byte
		want error
	}{
		{"empty", nil, ErrEncoding},
		{"truncated", good[:len(good)-1], ErrEncoding},
		{"with a tail", append(append([]byte{}, good...), 0), ErrEncoding},
		{"a number", []byte{1}, ErrEncoding},
		{"an array", []byte{0x80}, ErrEncoding},
		{"an empty map", []byte{0xa0}, ErrMissing},
		{"null for the payload", mustHex(t, "a101f6"), ErrEncoding},
		{"a short signature", mustHex(t, "a201410102420000"), ErrEncoding},
		{"an array for the payload", mustHex(t, "a1018101"), ErrEncoding},
		{"indefinite length", mustHex(t, "bf014101ff"), ErrEncoding},
		{"a tag", mustHex(t, "c0a1014101"), ErrEncoding},
		{"one key twice", mustHex(t, "a2014101014101"), ErrEncoding},
		{"an unknown key twice", mustHex(t, "a3014101186400186400"), ErrEncoding},
		{"nested deep", append(mustHex(t, "a1"), append([]byte{0x18, 100}, mustHex(t, strings.Repeat("81", 20)+"00")...)...), ErrEncoding},
		{"a map of many", mustHex(t, "b9ffff"), ErrEncoding},
		{"a long payload", codec.Encode(signedCBOR{make(codec.Blob, MaxPayload+1), codec.Bytes64{}}), ErrSize},
		{"very long", make([]byte, 70000), ErrSize},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := ParseSigned(tt.in); !errors.Is(err, tt.want) {
				t.Errorf("ParseSigned = %+v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestCandidateTypeAndBehaviorNames(t *testing.T) {
	var got []string
	for i := range 6 {
		got = append(got, fmt.Sprint(CandidateType(i), " ", Behavior(i)))
	}
	want := []string{
		"unknown unknown", "host endpoint-independent", "srflx address-dependent",
		"prflx address-and-port-dependent", "relay unknown", "unknown unknown",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("names (-want +got)\n%s", d)
	}
}

// Numbers that this version does not understand are unknown to it; the rest of
// the map still counts.
func TestNATOfLaterVersion(t *testing.T) {
	tests := []struct {
		name string
		nat  natCBOR
		want NATBehavior
	}{
		{"all at its bound", natCBOR{Step: -1 << 15, Low: 1, High: 1<<16 - 1, Lifetime: 1<<16 - 1}, NATBehavior{Step: -1 << 15, Low: 1, High: 1<<16 - 1, Lifetime: MaxMappingLifetime}},
		{"wide step", natCBOR{Mapping: 3, Step: 1 << 15}, NATBehavior{Mapping: AddressAndPortDependent}},
		{"range upside down", natCBOR{Hairpin: true, Low: 3, High: 2}, NATBehavior{Hairpin: true}},
		{"half a range", natCBOR{High: 2}, NATBehavior{}},
		{"port over the top", natCBOR{Low: 2, High: 1 << 16}, NATBehavior{}},
		{"long lifetime", natCBOR{Lifetime: 1<<64 - 1}, NATBehavior{Lifetime: MaxMappingLifetime}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.nat.decode(); got != tt.want {
				t.Errorf("decodes to %+v, want %+v", got, tt.want)
			}
		})
	}
}
