package keys

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

func TestNormalizePassphrase(t *testing.T) {
	tests := []struct {
		name, in, want string
		err            error
	}{
		{"as typed", "correct horse", "correct horse", nil},
		{"one newline is cut", "horse\n", "horse", nil},
		{"and its carriage return", "horse\r\n", "horse", nil},
		{"inner and outer spaces stay", " a  b ", " a  b ", nil},
		{"any space is U+0020", "a\u00a0b\u3000c", "a b c", nil},
		{"composed", "u\u0308", "\u00fc", nil},
		{"case stays", "HoRSe", "HoRSe", nil},
		{"full width stays", "\uff41", "\uff41", nil},
		{"empty", "", "", ErrPassphraseEmpty},
		{"only a newline", "\n", "", ErrPassphraseEmpty},
		{"a whole file", strings.Repeat("x", 1025), "", ErrPassphraseTooLong},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := NormalizePassphrase([]byte(tt.in))
			if !errors.Is(err, tt.err) || string(got) != tt.want {
				t.Errorf("NormalizePassphrase(%q) = %q, %v, want %q, %v", tt.in, got, err, tt.want, tt.err)
			}
		})
	}
	for _, bad := range []string{"a\n\n", "a\tb", "a\x00b", "\xff", "a\u200db"} {
		if got, err := NormalizePassphrase([]byte(bad)); !errors.Is(err, ErrPassphraseText) {
			t.Errorf("NormalizePassphrase(%q) = %q, %v", bad, got, err)
		}
	}
}

func TestNewPassphrase(t *testing.T) {
	seen := map[string]bool{}
	for range 5 {
		p, err := NewPassphrase()
		if err != nil {
			t.Fatal(err)
		}
		norm, err := NormalizePassphrase([]byte(p))
		if err != nil || string(norm) != p {
			t.Errorf("NormalizePassphrase(%q) = %q, %v", p, norm, err)
		}
		if bits := EstimateBits(p); bits < MinBits {
			t.Errorf("EstimateBits(%q) = %.1f, under %d", p, bits, MinBits)
		}
		if seen[p] {
			t.Errorf("%q twice", p)
		}
		seen[p] = true
	}
}

func TestDeriveNetworkKeyRefuses(t *testing.T) {
	if _, err := DeriveNetworkKey(nil, "default"); !errors.Is(err, ErrPassphraseEmpty) {
		t.Errorf("without a passphrase: %v", err)
	}
	if _, err := DeriveNetworkKey([]byte("x"), "Default"); !errors.Is(err, ErrNetworkName) {
		t.Errorf("with a bad name: %v", err)
	}
}

func TestValidNetworkName(t *testing.T) {
	for _, ok := range []string{"a", "0", "default", "home-2", "a--b", strings.Repeat("a", 32)} {
		if err := ValidNetworkName(ok); err != nil {
			t.Errorf("ValidNetworkName(%q) = %v", ok, err)
		}
	}
	for _, bad := range []string{"", "-", "-a", "a-", "A", "a_b", "a.b", "ä", "a b", "a/b", strings.Repeat("a", 33)} {
		if err := ValidNetworkName(bad); !errors.Is(err, ErrNetworkName) {
			t.Errorf("ValidNetworkName(%q) = %v", bad, err)
		}
	}
}

// No key of a network is any other's, and none stays the same in another
// network.
func TestKeysDiffer(t *testing.T) {
	seen := map[string]string{}
	for i := range 3 {
		k := testNetwork(t, byte(i+1))
		hello, record, beacon, id := k.HelloKey(), k.RecordKey(), k.BeaconKey(), k.ID()
		psk := k.PresharedKey(repeated(1), repeated(2))
		for name, b := range map[string][]byte{
			"hello": hello[:], "record": record[:], "beacon": beacon[:], "id": id[:], "psk": psk[:],
			"network": k.Bytes(),
		} {
			name = fmt.Sprint(name, i)
			if other, ok := seen[string(b)]; ok {
				t.Errorf("%s is %s", name, other)
			}
			seen[string(b)] = name
		}
	}
}

func TestPresharedKey(t *testing.T) {
	k := testNetwork(t, 1)
	a, b, c := wgtypes.Key(repeated(1)), wgtypes.Key(repeated(2)), wgtypes.Key(repeated(3))
	if k.PresharedKey(a, b) != k.PresharedKey(b, a) {
		t.Error("the two ends have different pre-shared keys")
	}
	if k.PresharedKey(a, b) == k.PresharedKey(a, c) {
		t.Error("two pairs have one pre-shared key")
	}
}

func TestNetworkIDVerify(t *testing.T) {
	k := testNetwork(t, 1)
	sig := k.SignID([]byte("challenge"))
	if !k.ID().Verify([]byte("challenge"), sig) {
		t.Error("a member's signature does not hold")
	}
	if k.ID().Verify([]byte("another"), sig) || testNetwork(t, 2).ID().Verify([]byte("challenge"), sig) {
		t.Error("a signature holds where it should not")
	}
}

// Relays of different networks, and those of everyone, are looked for in
// different places, none of which is where a network's nodes meet.
func TestRelayInfoHashesDiffer(t *testing.T) {
	seen := map[[20]byte]bool{PublicRelayInfoHash(): true}
	for i := range 3 {
		k := testNetwork(t, byte(i+1))
		for _, h := range [][20]byte{k.ID().RelayInfoHash(), k.InfoHash(0), k.InfoHash(20000)} {
			if seen[h] {
				t.Errorf("%x twice", h)
			}
			seen[h] = true
		}
	}
}

func TestDays(t *testing.T) {
	const day = 20000
	midnight := time.Unix(day*86400, 0)
	tests := []struct {
		at   time.Duration
		want []int64
	}{
		{0, []int64{day, day - 1}},
		{2*time.Hour - time.Second, []int64{day, day - 1}},
		{2 * time.Hour, []int64{day}},
		{12 * time.Hour, []int64{day}},
		{22*time.Hour - time.Second, []int64{day}},
		{22 * time.Hour, []int64{day, day + 1}},
		{24*time.Hour - time.Nanosecond, []int64{day, day + 1}},
	}
	for _, tt := range tests {
		if d := cmp.Diff(tt.want, Days(midnight.Add(tt.at).In(time.FixedZone("", 3600*5)))); d != "" {
			t.Errorf("Days(midnight + %v) (-want +got):\n%s", tt.at, d)
		}
	}
	// A clock that was never set, or set before 1970, still gives a day.
	if d := cmp.Diff([]int64{-1}, Days(time.Unix(-43200, 0))); d != "" {
		t.Errorf("Days(1969-12-31 12:00) (-want +got):\n%s", d)
	}
}

func TestNodePublicText(t *testing.T) {
	n := testNode(t, 7).Public()
	for _, s := range []string{n.String(), strings.ToUpper(n.String())} {
		if got, err := ParseNodePublic(s); err != nil || got != n {
			t.Errorf("ParseNodePublic(%q) = %v, %v", s, got, err)
		}
	}
	for _, bad := range []string{"", "a", n.String() + "a", n.String()[1:], strings.Repeat("1", 52)} {
		if got, err := ParseNodePublic(bad); err == nil {
			t.Errorf("ParseNodePublic(%q) = %v", bad, got)
		}
	}
	b, err := json.Marshal(map[NodePublic]NodePublic{n: n})
	if err != nil {
		t.Fatal(err)
	}
	var back map[NodePublic]NodePublic
	if err := json.Unmarshal(b, &back); err != nil || back[n] != n {
		t.Errorf("JSON %s comes back as %v, %v", b, back, err)
	}
}

func TestNodeSign(t *testing.T) {
	a, b := testNode(t, 1), testNode(t, 2)
	sig := a.Sign([]byte("m"))
	if !a.Public().Verify([]byte("m"), sig) || b.Public().Verify([]byte("m"), sig) || a.Public().Verify([]byte("n"), sig) {
		t.Error("signatures do not tell nodes and messages apart")
	}
	if a.Public().Compare(b.Public())*b.Public().Compare(a.Public()) != -1 || a.Public().Compare(a.Public()) != 0 {
		t.Error("Compare is no order")
	}
	back, err := ParseNodePrivate(a.Seed())
	if err != nil || back.Public() != a.Public() {
		t.Errorf("seed comes back as %v, %v", back.Public(), err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, b := range [][]byte{nil, make([]byte, 31), make([]byte, 32), make([]byte, 33)} {
		if _, err := ParseNetworkKey(b); err == nil {
			t.Errorf("ParseNetworkKey takes %d zero bytes", len(b))
		}
		if _, err := ParseNodePrivate(b); err == nil {
			t.Errorf("ParseNodePrivate takes %d zero bytes", len(b))
		}
		if _, err := ParseProbePrivate(b); err == nil {
			t.Errorf("ParseProbePrivate takes %d zero bytes", len(b))
		}
	}
}

// What one end sends with, the other receives with; nothing is the same both
// ways, with another peer, after a restart of either, or in another network.
func TestPair(t *testing.T) {
	network := testNetwork(t, 1)
	for range 50 {
		a, b, c := GenerateProbe(), GenerateProbe(), GenerateProbe()
		ab, ba := newPair(t, network, a, b), newPair(t, network, b, a)
		if ab.SendKey != ba.RecvKey || ab.RecvKey != ba.SendKey || ab.SendTag != ba.RecvTag || ab.RecvTag != ba.SendTag {
			t.Fatal("the two ends of a pair differ")
		}
		seenKeys, seenTags := map[[32]byte]bool{}, map[[8]byte]bool{}
		pairs := []Pair{ab, newPair(t, network, a, c), newPair(t, network, c, b), newPair(t, testNetwork(t, 2), a, b)}
		for _, p := range pairs {
			seenKeys[p.SendKey], seenKeys[p.RecvKey] = true, true
			seenTags[p.SendTag], seenTags[p.RecvTag] = true, true
		}
		if len(seenKeys) != 2*len(pairs) || len(seenTags) != 2*len(pairs) {
			t.Fatalf("%d pairs have %d keys and %d tags", len(pairs), len(seenKeys), len(seenTags))
		}
	}
}

func newPair(t *testing.T, n NetworkKey, own, peer ProbePrivate) Pair {
	t.Helper()
	p, err := NewPair(n, own, peer.Public())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPairRefuses(t *testing.T) {
	network, own := testNetwork(t, 1), testProbe(t, 1)
	if _, err := NewPair(network, own, own.Public()); !errors.Is(err, ErrPairSelf) {
		t.Errorf("a pair with itself: %v", err)
	}
	// Points of low order make the shared secret all zero (RFC 7748, Section 7).
	for _, low := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		b, err := hex.DecodeString(low)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewPair(network, own, ProbePublic(b)); !errors.Is(err, ErrPairLowOrder) {
			t.Errorf("a pair with %s: %v", low, err)
		}
	}
	if _, err := NewPair(network, ProbePrivate{}, own.Public()); err == nil {
		t.Error("a pair without an own key")
	}
	if _, err := NewPair(NetworkKey{}, own, testProbe(t, 2).Public()); err == nil {
		t.Error("a pair without a network")
	}
}

// No way to print a secret prints it.
func TestSecretsRedact(t *testing.T) {
	secret := repeated(0x5a)
	pair := Pair{SendKey: secret, RecvKey: secret}
	for name, v := range map[string]any{
		"network": testNetwork(t, 0x5a),
		"node":    testNode(t, 0x5a),
		"probe":   testProbe(t, 0x5a),
		"pair":    pair,
		"pointer": &pair,
		"nested":  struct{ K NetworkKey }{testNetwork(t, 0x5a)},
		"list":    []NetworkKey{testNetwork(t, 0x5a)},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%08b", "%t"} {
				fmt.Fprintf(&out, verb+"\n", v)
			}
			fmt.Fprintln(&out, v)
			if err := json.NewEncoder(&out).Encode(v); err != nil {
				t.Fatal(err)
			}
			slog.New(slog.NewTextHandler(&out, nil)).Info("key", "key", v)
			slog.New(slog.NewJSONHandler(&out, nil)).Info("key", "key", v)
			for _, leak := range []string{"5a5a", "5A5A", "90 90", "90,90", "0x5a", "0101101001011010", "ZZZ", "WlpaW", "ljpws"} {
				if strings.Contains(out.String(), leak) {
					t.Errorf("printed %q:\n%s", leak, out.String())
				}
			}
			if !strings.Contains(out.String(), redaction) {
				t.Errorf("does not say that it is redacted:\n%s", out.String())
			}
		})
	}
}
