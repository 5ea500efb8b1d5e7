package keys

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// To publish new vectors after a deliberate change of a derivation (which is
// another protocol, so it takes another Generation):
//
//	go test ./discovery/keys -run TestVectors -update
var update = flag.Bool("update", false, "write testdata/vectors.json anew")

// hexBytes is a byte string that any language can read.
type hexBytes []byte

func (b hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(b)), nil }

func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

type vectors struct {
	Comment     string             `json:"comment"`
	Passphrases []passphraseVector `json:"passphrases"`
	Refused     []hexBytes         `json:"refused_passphrases"`
	Networks    []networkVector    `json:"networks"`
	Nodes       []nodeVector       `json:"nodes"`
	Pairs       []pairVector       `json:"pairs"`
	PublicRelay hexBytes           `json:"public_relay_info_hash"`
}

type passphraseVector struct {
	Raw        hexBytes `json:"raw"`
	Normalized hexBytes `json:"normalized"`
	Network    string   `json:"network"`
	NetworkKey hexBytes `json:"network_key"`
}

type networkVector struct {
	NetworkKey    hexBytes            `json:"network_key"`
	NetworkID     string              `json:"network_id"`
	HelloKey      hexBytes            `json:"hello_key"`
	RecordKey     hexBytes            `json:"record_key"`
	BeaconKey     hexBytes            `json:"beacon_key"`
	CheckWords    [3]string           `json:"check_words"`
	Prefix6       netip.Prefix        `json:"prefix6"`
	Prefix4       netip.Prefix        `json:"prefix4"`
	InfoHashes    map[string]hexBytes `json:"info_hashes_by_day"`
	RelayInfoHash hexBytes            `json:"relay_info_hash"`
	WireGuardA    hexBytes            `json:"wireguard_key_a"`
	WireGuardB    hexBytes            `json:"wireguard_key_b"`
	PresharedKey  hexBytes            `json:"preshared_key"`
	SignedMessage string              `json:"signed_message"`
	Signature     hexBytes            `json:"network_signature"`
}

type nodeVector struct {
	Seed      hexBytes     `json:"seed"`
	Public    hexBytes     `json:"public"`
	String    string       `json:"public_base32"`
	ID        NodeID       `json:"id"`
	Prefix6   netip.Prefix `json:"prefix6"`
	Address6  netip.Addr   `json:"address6"`
	Prefix4   netip.Prefix `json:"prefix4"`
	Addresses []netip.Addr `json:"address4_by_probe"`
	Small     netip.Prefix `json:"small_prefix4"`
	InSmall   []netip.Addr `json:"small_address4_by_probe"`
	Signature hexBytes     `json:"signature_of_empty"`
}

type pairVector struct {
	NetworkKey hexBytes `json:"network_key"`
	PrivateA   hexBytes `json:"probe_private_a"`
	PublicA    hexBytes `json:"probe_public_a"`
	PrivateB   hexBytes `json:"probe_private_b"`
	PublicB    hexBytes `json:"probe_public_b"`
	KeyAToB    hexBytes `json:"key_a_to_b"`
	KeyBToA    hexBytes `json:"key_b_to_a"`
	TagAToB    hexBytes `json:"tag_a_to_b"`
	TagBToA    hexBytes `json:"tag_b_to_a"`
}

func TestVectors(t *testing.T) {
	path := filepath.Join("testdata", "vectors.json")
	got := makeVectors(t)
	if *update {
		b, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want vectors
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	// A list that was lost must not pass for one that holds.
	v := reflect.ValueOf(want)
	for i := range v.NumField() {
		if v.Field(i).Kind() == reflect.Slice && v.Field(i).Len() == 0 {
			t.Errorf("%s has no %s", path, v.Type().Field(i).Name)
		}
	}
	compare := cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	}
	if d := cmp.Diff(want, got, compare); d != "" {
		t.Errorf("vectors (-published +derived):\n%s", d)
	}
}

func makeVectors(t *testing.T) vectors {
	t.Helper()
	v := vectors{Comment: "Byte strings are hexadecimal. docs/wire.md says how each value follows from the ones above it."}
	for _, in := range []struct{ raw, network string }{
		{"catalyst-purple-gravity-unmoved-hamster-zoom", "default"},
		{"catalyst-purple-gravity-unmoved-hamster-zoom\n", "home-2"},
		// Decomposed u with diaeresis, a no-break space.
		{"u\u0308ber\u00a0den Wolken\r\n", "default"},
	} {
		p, err := NormalizePassphrase([]byte(in.raw))
		if err != nil {
			t.Fatal(err)
		}
		k, err := DeriveNetworkKey(p, in.network)
		if err != nil {
			t.Fatal(err)
		}
		v.Passphrases = append(v.Passphrases, passphraseVector{hexBytes(in.raw), p, in.network, k.Bytes()})
	}
	for _, raw := range []string{"", "\n", "tab\tinside", "two\nlines", "\xff\xfe", "bell\a"} {
		if _, err := NormalizePassphrase([]byte(raw)); err == nil {
			t.Errorf("NormalizePassphrase(%q) accepts it", raw)
		}
		v.Refused = append(v.Refused, hexBytes(raw))
	}
	public := PublicRelayInfoHash()
	v.PublicRelay = public[:]
	for i := range 3 {
		k := testNetwork(t, byte(i+1))
		v.Networks = append(v.Networks, makeNetworkVector(k, byte(i)))
		v.Nodes = append(v.Nodes, makeNodeVector(t, k, byte(i)))
		v.Pairs = append(v.Pairs, makePairVector(t, k, byte(i)))
	}
	return v
}

func makeNetworkVector(k NetworkKey, i byte) networkVector {
	a, b := wgtypes.Key(repeated(0xa0+i)), wgtypes.Key(repeated(0xb0-i))
	hello, record, beacon, psk, id := k.HelloKey(), k.RecordKey(), k.BeaconKey(), k.PresharedKey(a, b), k.ID()
	sig := k.SignID([]byte("message"))
	v := networkVector{
		NetworkKey: k.Bytes(), NetworkID: id.String(),
		HelloKey: hello[:], RecordKey: record[:], BeaconKey: beacon[:], CheckWords: k.CheckWords(),
		Prefix6: k.Prefix6(), Prefix4: k.Prefix4(), InfoHashes: map[string]hexBytes{},
		WireGuardA: a[:], WireGuardB: b[:], PresharedKey: psk[:],
		SignedMessage: "message", Signature: sig[:],
	}
	for _, day := range []int64{0, 20000, 20651} {
		h := k.InfoHash(day)
		v.InfoHashes[fmt.Sprint(day)] = h[:]
	}
	relays := k.ID().RelayInfoHash()
	v.RelayInfoHash = relays[:]
	return v
}

func makeNodeVector(t *testing.T, k NetworkKey, i byte) nodeVector {
	n := testNode(t, 0x10+i)
	public, sig := n.Public(), n.Sign(nil)
	v := nodeVector{
		Seed: n.Seed(), Public: public[:], String: public.String(), ID: public.ID(),
		Prefix6: k.Prefix6(), Address6: Address6(k.Prefix6(), public),
		Prefix4: k.Prefix4(), Small: netip.MustParsePrefix("192.0.2.64/29"), Signature: sig[:],
	}
	for probe := range 3 {
		v.Addresses = append(v.Addresses, Address4(v.Prefix4, public, probe))
	}
	for probe := range 6 {
		v.InSmall = append(v.InSmall, Address4(v.Small, public, probe))
	}
	return v
}

func makePairVector(t *testing.T, k NetworkKey, i byte) pairVector {
	a, b := testProbe(t, 0x20+i), testProbe(t, 0x33-2*i)
	p, err := NewPair(k, a, b.Public())
	if err != nil {
		t.Fatal(err)
	}
	pa, pb := a.Public(), b.Public()
	return pairVector{
		k.Bytes(), a.key[:], pa[:], b.key[:], pb[:],
		p.SendKey[:], p.RecvKey[:], p.SendTag[:], p.RecvTag[:],
	}
}

func repeated(b byte) (out [32]byte) {
	for i := range out {
		out[i] = b
	}
	return out
}

func testNetwork(t testing.TB, b byte) NetworkKey {
	t.Helper()
	raw := repeated(b)
	k, err := ParseNetworkKey(raw[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testNode(t testing.TB, b byte) NodePrivate {
	t.Helper()
	raw := repeated(b)
	k, err := ParseNodePrivate(raw[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testProbe(t testing.TB, b byte) ProbePrivate {
	t.Helper()
	raw := repeated(b)
	k, err := ParseProbePrivate(raw[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}
