package keys

import (
	"crypto/ed25519"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/integration/published"
)

type vectors struct {
	Comment     string             `json:"comment"`
	Passphrases []passphraseVector `json:"passphrases"`
	Refused     []published.Hex    `json:"refused_passphrases"`
	Networks    []networkVector    `json:"networks"`
	Nodes       []nodeVector       `json:"nodes"`
	Pairs       []pairVector       `json:"pairs"`
	PublicRelay published.Hex      `json:"public_relay_info_hash"`
}

type passphraseVector struct {
	Raw        published.Hex `json:"raw"`
	Normalized published.Hex `json:"normalized"`
	Network    string        `json:"network"`
	NetworkKey published.Hex `json:"network_key"`
}

type networkVector struct {
	NetworkKey    published.Hex            `json:"network_key"`
	NetworkID     string                   `json:"network_id"`
	HelloKey      published.Hex            `json:"hello_key"`
	RecordKey     published.Hex            `json:"record_key"`
	BeaconKey     published.Hex            `json:"beacon_key"`
	CheckWords    [3]string                `json:"check_words"`
	Prefix6       netip.Prefix             `json:"prefix6"`
	Prefix4       netip.Prefix             `json:"prefix4"`
	InfoHashes    map[string]published.Hex `json:"info_hashes_by_day"`
	RelayInfoHash published.Hex            `json:"relay_info_hash"`
	NoteKeys      map[string]published.Hex `json:"note_keys_of_day_20000"`
	WireGuardA    published.Hex            `json:"wireguard_key_a"`
	WireGuardB    published.Hex            `json:"wireguard_key_b"`
	PresharedKey  published.Hex            `json:"preshared_key"`
	SignedMessage string                   `json:"signed_message"`
	Signature     published.Hex            `json:"network_signature"`
}

type nodeVector struct {
	Seed      published.Hex `json:"seed"`
	Public    published.Hex `json:"public"`
	String    string        `json:"public_base32"`
	ID        NodeID        `json:"id"`
	NoteSlot  int           `json:"note_slot"`
	Prefix6   netip.Prefix  `json:"prefix6"`
	Address6  netip.Addr    `json:"address6"`
	Prefix4   netip.Prefix  `json:"prefix4"`
	Addresses []netip.Addr  `json:"address4_by_probe"`
	Small     netip.Prefix  `json:"small_prefix4"`
	InSmall   []netip.Addr  `json:"small_address4_by_probe"`
	Signature published.Hex `json:"signature_of_empty"`
}

type pairVector struct {
	NetworkKey published.Hex `json:"network_key"`
	PrivateA   published.Hex `json:"probe_private_a"`
	PublicA    published.Hex `json:"probe_public_a"`
	PrivateB   published.Hex `json:"probe_private_b"`
	PublicB    published.Hex `json:"probe_public_b"`
	KeyAToB    published.Hex `json:"key_a_to_b"`
	KeyBToA    published.Hex `json:"key_b_to_a"`
	TagAToB    published.Hex `json:"tag_a_to_b"`
	TagBToA    published.Hex `json:"tag_b_to_a"`
}

// A changed derivation is another protocol, so it takes another Generation before
// new vectors (-update).
func TestVectors(t *testing.T) {
	published.Vectors(t, makeVectors(t), cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	})
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
		v.Passphrases = append(v.Passphrases, passphraseVector{published.Hex(in.raw), p, in.network, k.Bytes()})
	}
	for _, raw := range []string{"", "\n", "tab\tinside", "two\nlines", "\xff\xfe", "bell\a"} {
		if _, err := NormalizePassphrase([]byte(raw)); err == nil {
			t.Errorf("NormalizePassphrase(%q) accepts it", raw)
		}
		v.Refused = append(v.Refused, published.Hex(raw))
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
		Prefix6: k.Prefix6(), Prefix4: k.Prefix4(), InfoHashes: map[string]published.Hex{},
		WireGuardA: a[:], WireGuardB: b[:], PresharedKey: psk[:],
		SignedMessage: "message", Signature: sig[:],
	}
	for _, day := range []int64{0, 20000, 20651} {
		h := k.InfoHash(day)
		v.InfoHashes[fmt.Sprint(day)] = h[:]
	}
	v.NoteKeys = map[string]published.Hex{}
	for _, at := range []string{"203.0.113.7", "2001:db8::7"} {
		v.NoteKeys[at] = published.Hex(k.NoteKey(20000, netip.MustParseAddr(at)).Public().(ed25519.PublicKey))
	}
	relays := k.ID().RelayInfoHash()
	v.RelayInfoHash = relays[:]
	return v
}

func makeNodeVector(t *testing.T, k NetworkKey, i byte) nodeVector {
	n := testNode(t, 0x10+i)
	public, sig := n.Public(), n.Sign(nil)
	v := nodeVector{
		Seed: n.Seed(), Public: public[:], String: public.String(), ID: public.ID(), NoteSlot: public.NoteSlot(),
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
