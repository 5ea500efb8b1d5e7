package wire

import (
	"bytes"
	"errors"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/discovery/keys"
)

// compareAddresses lets cmp look at netip's types.
var compareAddresses = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func repeated(b byte) (out [32]byte) {
	for i := range out {
		out[i] = b
	}
	return out
}

func testNetwork(t testing.TB) keys.NetworkKey {
	t.Helper()
	raw := repeated(1)
	k, err := keys.ParseNetworkKey(raw[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testNode(t testing.TB, b byte) keys.NodePrivate {
	t.Helper()
	raw := repeated(b)
	k, err := keys.ParseNodePrivate(raw[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// testPairs are the two halves of one pair.
func testPairs(t testing.TB) (a, b keys.Pair) {
	t.Helper()
	raw := repeated(0x20)
	ka, err := keys.ParseProbePrivate(raw[:])
	if err != nil {
		t.Fatal(err)
	}
	raw = repeated(0x31)
	kb, err := keys.ParseProbePrivate(raw[:])
	if err != nil {
		t.Fatal(err)
	}
	if a, err = keys.NewPair(testNetwork(t), ka, kb.Public()); err != nil {
		t.Fatal(err)
	}
	if b, err = keys.NewPair(testNetwork(t), kb, ka.Public()); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// testRecord is a small record that holds: what any node has.
func testRecord(t testing.TB, node keys.NodePrivate) Record {
	t.Helper()
	n := node.Public()
	return Record{
		Node: n, WireGuard: wgtypes.Key(repeated(0x61)), Probe: keys.ProbePublic(repeated(0x62)),
		Name: "nas", Seq: 1_784_246_400_000, Lifetime: MaxLifetime,
		Addresses: []AddressClaim{
			{Addr: keys.Address6(testNetwork(t).Prefix6(), n), Settled: true},
			{Addr: keys.Address4(testNetwork(t).Prefix4(), n, 0)},
		},
		Candidates: []Candidate{
			{Host, netip.MustParseAddrPort("192.168.1.20:51423")},
			{ServerReflexive, netip.MustParseAddrPort("198.51.100.7:51423")},
		},
		MaxVersion: MaxVersion,
	}
}

// fullRecord has every field.
func fullRecord(t testing.TB, node keys.NodePrivate) Record {
	t.Helper()
	r := testRecord(t, node)
	r.Subnet = netip.MustParsePrefix("10.20.0.0/16")
	r.Routes = []netip.Prefix{netip.MustParsePrefix("192.168.178.0/24"), netip.MustParsePrefix("2001:db8:7::/48")}
	r.Candidates = append(r.Candidates,
		Candidate{Host, netip.MustParseAddrPort("[2001:db8::20]:51423")},
		Candidate{PeerReflexive, netip.MustParseAddrPort("203.0.113.9:61000")},
		Candidate{Relayed, netip.MustParseAddrPort("203.0.113.80:40000")},
	)
	r.NAT4 = NATBehavior{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent, PortPreserved: true}
	r.NAT6 = NATBehavior{Mapping: AddressDependent, Hairpin: true, Step: -2, Low: 40000, High: 40511, Lifetime: 30 * time.Second}
	r.Relays = []Relay{{repeated(0x71), netip.MustParseAddrPort("203.0.113.80:443")}}
	r.Capabilities = []string{"relay/1", "mtu=1420"}
	r.Aliases = []string{"git", "files"}
	r.Addresses = append(r.Addresses, AddressClaim{Addr: choose6(t, 5), Settled: true})
	return r
}

// choose6 is an address that a node may choose.
func choose6(t testing.TB, last byte) netip.Addr {
	t.Helper()
	a := testNetwork(t).Prefix6().Addr().As16()
	a[15] = last
	return netip.AddrFrom16(a)
}

// departedRecord is the last one of a node.
func departedRecord(t testing.TB, node keys.NodePrivate) Record {
	t.Helper()
	r := testRecord(t, node)
	r.Seq++
	r.Addresses, r.Candidates, r.Departed = r.Addresses[:1], nil, true
	return r
}

func sign(t testing.TB, r Record, node keys.NodePrivate) SignedRecord {
	t.Helper()
	s, err := Sign(r, node)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNegotiate(t *testing.T) {
	for _, tt := range []struct{ a, b, want uint8 }{{1, 1, 1}, {1, 2, 1}, {3, 2, 2}, {2, 3, 2}, {0, 2, 1}, {0, 0, 1}, {15, 15, 15}} {
		if got := Negotiate(tt.a, tt.b); got != tt.want {
			t.Errorf("Negotiate(%d, %d) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestDropReason(t *testing.T) {
	seen := map[string]bool{"": true, "other": true}
	for _, r := range dropReasons {
		got := DropReason(errors.Join(errors.New("around"), r.err))
		if got != r.reason || seen[got] {
			t.Errorf("DropReason(%v) = %q, want %q and no other's", r.err, got, r.reason)
		}
		seen[got] = true
	}
	if got := DropReason(errors.New("disk full")); got != "other" {
		t.Errorf("DropReason of a stranger = %q", got)
	}
	if got := DropReason(nil); got != "" {
		t.Errorf("DropReason(nil) = %q", got)
	}
}

func TestSealOpen(t *testing.T) {
	key := repeated(7)
	for kind := KindHello; kind <= KindRecord; kind++ {
		for _, size := range []int{0, 1, kind.MaxBody() - 1, kind.MaxBody()} {
			body := bytes.Repeat([]byte{0xee}, size)
			sealed, err := Seal(kind, key, body)
			if err != nil {
				t.Fatalf("Seal(%v, %d bytes): %v", kind, size, err)
			}
			if len(sealed) != kind.Size() {
				t.Errorf("Seal(%v, %d bytes) is %d bytes, want %d", kind, size, len(sealed), kind.Size())
			}
			if v, k, ok := ParseHeader(sealed); v != Version || k != kind || !ok {
				t.Errorf("ParseHeader = %d, %v, %t", v, k, ok)
			}
			got, err := Open(kind, key, sealed)
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("Open(Seal(%v, %d bytes)) = %d bytes, %v", kind, size, len(got), err)
			}
		}
		if _, err := Seal(kind, key, make([]byte, kind.MaxBody()+1)); !errors.Is(err, ErrSize) {
			t.Errorf("Seal(%v) of one byte too many: %v", kind, err)
		}
	}
	if _, err := Seal(0, key, nil); !errors.Is(err, ErrKind) {
		t.Errorf("Seal(0): %v", err)
	}
	a, errA := Seal(KindHello, key, nil)
	b, errB := Seal(KindHello, key, nil)
	if errA != nil || errB != nil || bytes.Equal(a, b) {
		t.Errorf("one body seals to the same bytes twice: %v, %v", errA, errB)
	}
}

func TestOpenRefuses(t *testing.T) {
	key := repeated(7)
	good, err := Seal(KindBeacon, key, []byte("body"))
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(b []byte)) []byte {
		b := bytes.Clone(good)
		f(b)
		return b
	}
	tests := []struct {
		name string
		in   []byte
		want error
	}{
		{"empty", nil, ErrVersion},
		{"one byte", good[:1], ErrVersion},
		{"the header alone", good[:2], ErrSize},
		{"truncated", good[:len(good)-1], ErrSize},
		{"oversized", append(bytes.Clone(good), 0), ErrSize},
		{"another protocol", change(func(b []byte) { b[0] = 0x81 }), ErrVersion},
		{"version 0", change(func(b []byte) { b[0] = 0xa0 }), ErrVersion},
		{"version 2", change(func(b []byte) { b[0] = 0xa2 }), ErrVersion},
		{"another kind", change(func(b []byte) { b[1] = byte(KindCheck) }), ErrKind},
		{"unknown kind", change(func(b []byte) { b[1] = 99 }), ErrKind},
		{"another nonce", change(func(b []byte) { b[2] ^= 1 }), ErrSeal},
		{"another body", change(func(b []byte) { b[30] ^= 1 }), ErrSeal},
		{"another tag", change(func(b []byte) { b[len(b)-1] ^= 1 }), ErrSeal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := Open(KindBeacon, key, tt.in); !errors.Is(err, tt.want) {
				t.Errorf("Open = %x, %v, want %v", got, err, tt.want)
			}
		})
	}
	if _, err := Open(KindBeacon, repeated(8), good); !errors.Is(err, ErrSeal) {
		t.Errorf("Open with another key: %v", err)
	}
	// The header is sealed with the rest: a beacon cannot be made a check.
	check := change(func(b []byte) { b[1] = byte(KindCheck) })
	if _, err := Open(KindCheck, key, check); !errors.Is(err, ErrSeal) {
		t.Errorf("Open of a beacon renamed: %v", err)
	}
}

func TestSealPair(t *testing.T) {
	a, b := testPairs(t)
	for _, size := range []int{0, CheckSize, 1280, MaxSize} {
		sealed, err := SealPair(KindCheck, &a, []byte("ping"), size)
		if err != nil {
			t.Fatal(err)
		}
		if want := max(size, CheckSize); len(sealed) != want {
			t.Errorf("SealPair is %d bytes, want %d", len(sealed), want)
		}
		if tag, ok := PairTag(sealed); !ok || tag != b.RecvTag || tag == a.RecvTag {
			t.Errorf("PairTag = %x, %t, want the receiver's %x", tag, ok, b.RecvTag)
		}
		got, err := OpenPair(KindCheck, &b, sealed)
		if err != nil || string(got) != "ping" {
			t.Errorf("OpenPair = %q, %v", got, err)
		}
		if _, err := OpenPair(KindCheck, &a, sealed); !errors.Is(err, ErrSeal) {
			t.Errorf("OpenPair of one's own, played back: %v", err)
		}
		if _, err := OpenPair(KindSignal, &b, sealed); !errors.Is(err, ErrKind) {
			t.Errorf("OpenPair as another kind: %v", err)
		}
		if _, err := OpenPair(KindCheck, &b, sealed[:len(sealed)-1]); !errors.Is(err, ErrSeal) {
			t.Errorf("OpenPair, truncated: %v", err)
		}
	}
	for _, size := range []int{1, Overhead + 3, MaxSize + 1} {
		if _, err := SealPair(KindCheck, &a, []byte("ping"), size); !errors.Is(err, ErrSize) {
			t.Errorf("SealPair into %d bytes: %v", size, err)
		}
	}
	if _, ok := PairTag(make([]byte, Overhead-1)); ok {
		t.Error("PairTag of too short a datagram")
	}
	short := []byte{magic | Version, byte(KindCheck), 0}
	if _, err := OpenPair(KindCheck, &b, short); !errors.Is(err, ErrSize) {
		t.Errorf("OpenPair of three bytes: %v", err)
	}
}

func TestBeacon(t *testing.T) {
	key := testNetwork(t).BeaconKey()
	for _, want := range []Beacon{
		{Node: testNode(t, 2).Public(), Port: 51423, Tx: 7, WantReply: true},
		{Node: keys.NodePublic(repeated(0xff)), Port: 65535, Tx: 1<<64 - 1},
	} {
		sealed, err := SealBeacon(want, key)
		if err != nil {
			t.Fatal(err)
		}
		got, err := OpenBeacon(sealed, key)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("OpenBeacon: %v (-sent +got)\n%s", err, d)
		}
	}
	for _, bad := range []Beacon{{Port: 1}, {Node: testNode(t, 2).Public()}} {
		if _, err := SealBeacon(bad, key); !errors.Is(err, ErrMissing) {
			t.Errorf("SealBeacon(%+v): %v", bad, err)
		}
		if got, err := parseBeacon(bad.encode()); !errors.Is(err, ErrMissing) {
			t.Errorf("parseBeacon(%+v) = %+v, %v", bad, got, err)
		}
	}
}

func TestSignal(t *testing.T) {
	a, b := testPairs(t)
	node := testNode(t, 2)
	signed := sign(t, fullRecord(t, node), node)
	for name, want := range map[string]Signal{
		"introduce":  {Introduce: &Introduce{90 * time.Second, signed, netip.MustParseAddrPort("[2001:db8::1]:7")}},
		"no address": {Introduce: &Introduce{Signed: signed}},
		"forward":    {Forward: &Forward{node.Public(), bytes.Repeat([]byte{1}, MaxForward)}},
		"forwarded":  {Forwarded: &Forwarded{node.Public(), []byte{1}}},
		"one sum":    {Digest: &Digest{Sums: []uint64{0}}},
		"all sums":   {Digest: &Digest{Sums: slices.Repeat([]uint64{math.MaxUint64}, MaxSums)}},
		"all there":  {Digest: &Digest{From: 1 << 63, Last: LastHash, Entries: manyEntries(MaxEntries), Follow: true}},
		"none there": {Digest: &Digest{From: 7, Last: 7}},
		"some there": {Digest: &Digest{Entries: []Entry{{0, 1}, {LastHash, math.MaxUint64}}}},
		"tell":       {Tell: make([]byte, MaxTell)},
		"want":       {Want: &Want{append([]Entry{{0, 0}}, manyEntries(MaxEntries-1)...)}},
	} {
		t.Run(name, func(t *testing.T) {
			sealed, err := SealSignal(&a, want)
			if err != nil {
				t.Fatal(err)
			}
			if len(sealed) != SignalSize {
				t.Errorf("%d bytes, want %d", len(sealed), SignalSize)
			}
			got, err := OpenSignal(&b, sealed)
			if d := cmp.Diff(want, got, compareAddresses); err != nil || d != "" {
				t.Errorf("OpenSignal: %v (-sent +got)\n%s", err, d)
			}
		})
	}
	for name, tt := range map[string]struct {
		in   Signal
		want error
	}{
		"nothing":               {Signal{}, ErrKind},
		"two":                   {Signal{Forward: &Forward{node.Public(), []byte{1}}, Forwarded: &Forwarded{node.Public(), []byte{1}}}, ErrKind},
		"no record":             {Signal{Introduce: &Introduce{Signed: SignedRecord{Payload: []byte{}}}}, ErrMissing},
		"multicast observed":    {Signal{Introduce: &Introduce{Signed: signed, Observed: netip.MustParseAddrPort("224.0.0.1:7")}}, ErrBound},
		"forward to nobody":     {Signal{Forward: &Forward{Body: []byte{1}}}, ErrMissing},
		"forward of nothing":    {Signal{Forward: &Forward{To: node.Public()}}, ErrMissing},
		"forwarded, too long":   {Signal{Forwarded: &Forwarded{node.Public(), make([]byte, MaxForward+1)}}, ErrBound},
		"forwarded from nobody": {Signal{Forwarded: &Forwarded{Body: []byte{1}}}, ErrMissing},
		"digest and want":       {Signal{Digest: &Digest{Sums: []uint64{1}}, Want: &Want{[]Entry{{1, 1}}}}, ErrKind},
		"digest of nothing":     {Signal{Digest: &Digest{}}, ErrMissing},
		"three sums":            {Signal{Digest: &Digest{Sums: make([]uint64, 3)}}, ErrBound},
		"sums and a range":      {Signal{Digest: &Digest{Sums: make([]uint64, 1), Last: 1}}, ErrBound},
		"sums and entries":      {Signal{Digest: &Digest{Sums: make([]uint64, 1), Entries: []Entry{{1, 1}}}}, ErrBound},
		"a range upside down":   {Signal{Digest: &Digest{From: 2, Last: 1, Entries: []Entry{{1, 1}}}}, ErrBound},
		"an entry before":       {Signal{Digest: &Digest{From: 2, Last: 3, Entries: []Entry{{1, 1}}}}, ErrBound},
		"an entry after":        {Signal{Digest: &Digest{From: 2, Last: 3, Entries: []Entry{{4, 1}}}}, ErrBound},
		"an entry twice":        {Signal{Digest: &Digest{Entries: []Entry{{4, 1}, {4, 2}}}}, ErrBound},
		"a record of number 0":  {Signal{Digest: &Digest{Entries: []Entry{{4, 0}}}}, ErrMissing},
		"want of nothing":       {Signal{Want: &Want{}}, ErrMissing},
		"too long a tell":       {Signal{Tell: make([]byte, MaxTell+1)}, ErrBound},
		"empty tell":            {Signal{Tell: []byte{}}, ErrKind},
		"wants out of order":    {Signal{Want: &Want{[]Entry{{4, 0}, {3, 0}}}}, ErrBound},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := SealSignal(&a, tt.in); !errors.Is(err, tt.want) {
				t.Errorf("SealSignal: %v, want %v", err, tt.want)
			}
			if _, err := parseSignal(tt.in.encode()); !errors.Is(err, tt.want) {
				t.Errorf("parseSignal: %v, want %v", err, tt.want)
			}
		})
	}
	for name, in := range map[string]Signal{
		"too many sums":     {Digest: &Digest{Sums: make([]uint64, 2*MaxSums)}},
		"too many entries":  {Digest: &Digest{Entries: manyEntries(MaxEntries + 1)}},
		"too many wanted":   {Want: &Want{manyEntries(MaxEntries + 1)}},
		"one wanted beyond": {Want: &Want{manyEntries(2 * MaxEntries)}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := SealSignal(&a, in); !errors.Is(err, ErrBound) {
				t.Errorf("SealSignal: %v, want %v", err, ErrBound)
			}
			if _, err := parseSignal(in.encode()); !errors.Is(err, ErrEncoding) {
				t.Errorf("parseSignal: %v, want %v", err, ErrEncoding)
			}
		})
	}
}

// manyEntries are n entries in order, whose encoding is as long as can be.
func manyEntries(n int) []Entry {
	entries := make([]Entry, n)
	for i := range entries {
		entries[i] = Entry{LastHash - NodeHash(n-1-i), math.MaxUint64 - uint64(i)}
	}
	return entries
}

func TestSumEntries(t *testing.T) {
	sums := make(map[uint64]string)
	for name, entries := range map[string][]Entry{
		"none": nil, "one": {{1, 1}}, "newer": {{1, 2}}, "another": {{2, 1}}, "two": {{1, 1}, {2, 1}}, "split otherwise": {{1, 1 << 32}},
	} {
		sum := SumEntries(entries)
		if sum != SumEntries(slices.Clone(entries)) {
			t.Errorf("%s: another sum the second time", name)
		}
		if other, ok := sums[sum]; ok {
			t.Errorf("%s and %s have one sum", name, other)
		}
		sums[sum] = name
	}
}

func TestClaim(t *testing.T) {
	node := testNode(t, 2)
	r := testRecord(t, node)
	signed := sign(t, r, node)
	if n, seq, err := signed.Claim(); n != node.Public() || seq != r.Seq || err != nil {
		t.Errorf("Claim = %v, %d, %v", n.ID(), seq, err)
	}
	if _, _, err := (SignedRecord{Payload: []byte{0xff}}).Claim(); !errors.Is(err, ErrEncoding) {
		t.Errorf("Claim of no record: %v", err)
	}
}
