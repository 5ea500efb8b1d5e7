package wire

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire/codec"
	"github.com/credant/credant/integration/published"
)

type vectors struct {
	Comment   string           `json:"comment"`
	Network   published.Hex    `json:"network_key"`
	Envelopes []envelopeVector `json:"envelopes"`
	Records   []recordVector   `json:"records"`
	Hellos    []helloVector    `json:"hellos"`
	Beacons   []beaconVector   `json:"beacons"`
	Signals   []signalVector   `json:"signals"`
	Refused   []refusedVector  `json:"refused_bodies"`
}

// An envelopeVector is one body sealed: open(kind, key, sealed) is body.
type envelopeVector struct {
	Kind   Kind          `json:"kind"`
	Size   int           `json:"size"`
	Key    published.Hex `json:"key"`
	Nonce  published.Hex `json:"nonce"`
	Body   published.Hex `json:"body"`
	Sealed published.Hex `json:"sealed"`
}

type recordVector struct {
	Seed      published.Hex `json:"node_seed"`
	Record    recordJSON    `json:"record"`
	Payload   published.Hex `json:"payload"`
	Signature published.Hex `json:"signature"`
	Signed    published.Hex `json:"signed_record"`
}

// recordJSON is a Record in types that any language can read.
type recordJSON struct {
	Node         published.Hex  `json:"node"`
	WireGuard    published.Hex  `json:"wireguard"`
	Probe        published.Hex  `json:"probe"`
	Seq          uint64         `json:"seq"`
	Lifetime     int            `json:"lifetime_seconds"`
	Name         string         `json:"name"`
	Addresses    []AddressClaim `json:"addresses"`
	Subnet       netip.Prefix   `json:"subnet,omitzero"`
	Routes       []netip.Prefix `json:"routes,omitempty"`
	Candidates   []Candidate    `json:"candidates"`
	NAT4         natJSON        `json:"nat4,omitzero"`
	NAT6         natJSON        `json:"nat6,omitzero"`
	Relays       []relayJSON    `json:"relays,omitempty"`
	Capabilities []string       `json:"capabilities,omitempty"`
	MaxVersion   uint8          `json:"max_version"`
	Aliases      []string       `json:"aliases,omitempty"`
	Departed     bool           `json:"departed,omitempty"`
}

// natJSON has the numbers of the encoding.
type natJSON struct {
	Mapping, Filtering uint8
	PortPreserved      bool
	Hairpin            bool
	Step               int16
	Low, High          uint16
	LifetimeSeconds    int
}

func newNATJSON(n NATBehavior) natJSON {
	return natJSON{
		uint8(n.Mapping), uint8(n.Filtering), n.PortPreserved,
		n.Hairpin, n.Step, n.Low, n.High, int(n.Lifetime / time.Second),
	}
}

type relayJSON struct {
	Key  published.Hex
	Addr netip.AddrPort
}

func newRecordJSON(r Record) recordJSON {
	j := recordJSON{
		r.Node[:], r.WireGuard[:], r.Probe[:], r.Seq, int(r.Lifetime / time.Second), r.Name,
		r.Addresses, r.Subnet, r.Routes, r.Candidates, newNATJSON(r.NAT4), newNATJSON(r.NAT6), nil, r.Capabilities, r.MaxVersion, r.Aliases, r.Departed,
	}
	for _, x := range r.Relays {
		j.Relays = append(j.Relays, relayJSON{x.Key[:], x.Addr})
	}
	return j
}

type helloVector struct {
	Seed       published.Hex  `json:"sender_seed"`
	Step       Step           `json:"step"`
	TxA        published.Hex  `json:"tx_a"`
	TxB        published.Hex  `json:"tx_b,omitempty"`
	MaxVersion uint8          `json:"max_version"`
	Observed   netip.AddrPort `json:"observed,omitzero"`
	To         published.Hex  `json:"to,omitempty"`
	From       published.Hex  `json:"from"`
	AgeSeconds int            `json:"age_seconds"`
	Starts     bool           `json:"starts"`
	Signed     published.Hex  `json:"signed_record,omitempty"`
	Content    published.Hex  `json:"content"`
	Body       published.Hex  `json:"body"`
}

type beaconVector struct {
	Node      published.Hex `json:"node"`
	Port      uint16        `json:"port"`
	Tx        uint64        `json:"tx"`
	WantReply bool          `json:"want_reply"`
	Body      published.Hex `json:"body"`
}

type signalVector struct {
	Kind       string          `json:"kind"`
	AgeSeconds int             `json:"age_seconds,omitempty"`
	Signed     published.Hex   `json:"signed_record,omitempty"`
	Observed   netip.AddrPort  `json:"observed,omitzero"`
	Node       published.Hex   `json:"node,omitempty"`
	Forwarded  published.Hex   `json:"forwarded_body,omitempty"`
	From       published.Hex   `json:"from,omitempty"`
	Last       published.Hex   `json:"last,omitempty"`
	Sums       []published.Hex `json:"sums,omitempty"`
	Entries    []entryVector   `json:"entries,omitempty"`
	Follow     bool            `json:"follow,omitempty"`
	Body       published.Hex   `json:"body"`
}

// An entryVector is an entry, and the node key that hashes to its node hash.
type entryVector struct {
	Node published.Hex `json:"node"`
	Hash published.Hex `json:"node_hash"`
	Seq  uint64        `json:"seq"`
}

func newEntryVector(node keys.NodePublic, seq uint64) entryVector {
	return entryVector{node[:], hash8(uint64(HashNode(node))), seq}
}

func hash8(n uint64) published.Hex { return binary.BigEndian.AppendUint64(nil, n) }

// A refusedVector is a body that a receiver must not take, and why.
type refusedVector struct {
	What   string        `json:"what"`
	As     string        `json:"as"`
	Body   published.Hex `json:"body"`
	Reason string        `json:"reason"`
}

func TestVectors(t *testing.T) {
	readVectors(t, published.Vectors(t, makeVectors(t), compareAddresses))
}

// readVectors goes the other way: what is published parses to what it says.
func readVectors(t *testing.T, v vectors) {
	prefix6 := testNetwork(t).Prefix6()
	for _, e := range v.Envelopes {
		open := func() ([]byte, error) { return Open(e.Kind, [32]byte(e.Key), e.Sealed) }
		if e.Size != e.Kind.Size() {
			tag, _ := PairTag(e.Sealed)
			open = func() ([]byte, error) {
				return OpenPair(e.Kind, &keys.Pair{RecvKey: [32]byte(e.Key), RecvTag: tag}, e.Sealed)
			}
		}
		if body, err := open(); err != nil || !bytes.Equal(body, e.Body) {
			t.Errorf("open %v: %x, %v", e.Kind, body, err)
		}
	}
	for i, r := range v.Records {
		signed, err := ParseSigned(r.Signed)
		if err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		record, err := signed.Verify(prefix6)
		if d := cmp.Diff(r.Record, newRecordJSON(record), compareAddresses); err != nil || d != "" {
			t.Errorf("record %d: %v\n%s", i, err, d)
		}
	}
	for _, h := range v.Hellos {
		got, _, err := parseHello(h.Body, prefix6)
		if err != nil || got.Step != h.Step || got.Observed != h.Observed || !bytes.Equal(got.From[:], h.From) ||
			got.Age != time.Duration(h.AgeSeconds)*time.Second {
			t.Errorf("%v: %+v, %v", h.Step, got, err)
		}
	}
	for _, b := range v.Beacons {
		if got, err := parseBeacon(b.Body); err != nil || got != (Beacon{keys.NodePublic(b.Node), b.Port, b.Tx, b.WantReply}) {
			t.Errorf("beacon: %+v, %v", got, err)
		}
	}
	for _, s := range v.Signals {
		if _, err := parseSignal(s.Body); err != nil {
			t.Errorf("%s: %v", s.Kind, err)
		}
	}
	for _, r := range v.Refused {
		if got := DropReason(parseAs(t, r.As, r.Body)); got != r.Reason {
			t.Errorf("%s: refused as %q, want %q", r.What, got, r.Reason)
		}
	}
}

func parseAs(t *testing.T, what string, body []byte) (err error) {
	t.Helper()
	prefix6 := testNetwork(t).Prefix6()
	switch what {
	case "signed_record":
		var s SignedRecord
		if s, err = ParseSigned(body); err == nil {
			_, err = s.Verify(prefix6)
		}
	case "hello":
		_, _, err = parseHello(body, prefix6)
	case "beacon":
		_, err = parseBeacon(body)
	case "signal":
		_, err = parseSignal(body)
	default:
		t.Fatalf("no parser of %q", what)
	}
	return err
}

func makeVectors(t *testing.T) vectors {
	t.Helper()
	network := testNetwork(t)
	a, b := testNode(t, 2), testNode(t, 3)
	v := vectors{
		Comment: "Byte strings are hexadecimal. docs/wire.md says what each is; all keys are of the network below.",
		Network: network.Bytes(),
	}

	steps, from := exchange(t, a, b)
	for i, h := range steps {
		v.Hellos = append(v.Hellos, makeHelloVector(t, h, from[i]))
	}
	for _, n := range []keys.NodePrivate{a, b} {
		for _, r := range []Record{testRecord(t, n), fullRecord(t, n), departedRecord(t, n)} {
			s := sign(t, r, n)
			v.Records = append(v.Records, recordVector{n.Seed(), newRecordJSON(r), s.Payload, s.Signature[:], s.Marshal()})
		}
	}
	for _, x := range []Beacon{{a.Public(), 51423, 7, true}, {b.Public(), 1, 1<<53 - 1, false}} {
		v.Beacons = append(v.Beacons, beaconVector{x.Node[:], x.Port, x.Tx, x.WantReply, x.encode()})
	}
	signed, node := sign(t, testRecord(t, a), a), b.Public()
	observed := netip.MustParseAddrPort("198.51.100.7:51423")
	body := []byte("sealed for another")
	v.Signals = []signalVector{
		{
			Kind: "introduce", AgeSeconds: 90, Signed: signed.Marshal(), Observed: observed,
			Body: Signal{Introduce: &Introduce{90 * time.Second, signed, observed}}.encode(),
		},
		{Kind: "forward", Node: node[:], Forwarded: body, Body: Signal{Forward: &Forward{node, body}}.encode()},
		{Kind: "forwarded", Node: node[:], Forwarded: body, Body: Signal{Forwarded: &Forwarded{node, body}}.encode()},
	}
	v.Signals = append(v.Signals, digestVectors(a.Public(), b.Public())...)
	v.Refused = refusedVectors(t)
	v.Envelopes = envelopeVectors(t, v)
	return v
}

// digestVectors are of a network in which x has published its record 7 and y
// its record 2⁵³ - 1.
func digestVectors(x, y keys.NodePublic) []signalVector {
	all := []entryVector{newEntryVector(x, 7), newEntryVector(y, 1<<53-1)}
	entries := []Entry{{HashNode(x), 7}, {HashNode(y), 1<<53 - 1}}
	if entries[0].Node > entries[1].Node {
		slices.Reverse(all)
		slices.Reverse(entries)
	}
	halves := make([][]Entry, 2)
	for _, e := range entries {
		halves[e.Node>>63] = append(halves[e.Node>>63], e)
	}
	sums := []uint64{SumEntries(halves[0]), SumEntries(halves[1])}
	whole := SumEntries(entries)
	return []signalVector{
		{Kind: "digest", Sums: []published.Hex{hash8(whole)}, Entries: all, Body: Signal{Digest: &Digest{Sums: []uint64{whole}}}.encode()},
		{Kind: "digest", Sums: []published.Hex{hash8(sums[0]), hash8(sums[1])}, Entries: all, Body: Signal{Digest: &Digest{Sums: sums}}.encode()},
		{Kind: "digest", From: hash8(0), Last: hash8(uint64(LastHash)), Entries: all, Body: Signal{Digest: &Digest{Last: LastHash, Entries: entries}}.encode()},
		{Kind: "digest", Entries: all[:1], Follow: true, Body: Signal{Digest: &Digest{Entries: entries[:1], Follow: true}}.encode()},
		{Kind: "want", Entries: []entryVector{{all[1].Node, all[1].Hash, 5}}, Body: Signal{Want: &Want{[]Entry{{entries[1].Node, 5}}}}.encode()},
	}
}

func makeHelloVector(t *testing.T, h Hello, node keys.NodePrivate) helloVector {
	t.Helper()
	body, err := h.encode(node)
	if err != nil {
		t.Fatal(err)
	}
	var s signedHelloCBOR
	if err := decoder.Decode(body, &s); err != nil {
		t.Fatal(err)
	}
	v := helloVector{
		Seed: node.Seed(), Step: h.Step, TxA: h.TxA[:], MaxVersion: h.MaxVersion, Observed: h.Observed,
		From: h.From[:], AgeSeconds: int(h.Age / time.Second), Starts: h.Starts, Content: published.Hex(s.Content), Body: body,
	}
	if h.Step != StepHello {
		v.TxB, v.To = h.TxB[:], h.To[:]
	}
	if !h.Signed.IsZero() {
		v.Signed = h.Signed.Marshal()
	}
	return v
}

func envelopeVectors(t *testing.T, v vectors) []envelopeVector {
	t.Helper()
	network, nonce := testNetwork(t), [24]byte{}
	for i := range nonce {
		nonce[i] = byte(0x40 + i)
	}
	pair, _ := testPairs(t)
	pairNonce := nonce
	copy(pairNonce[:], pair.SendTag[:])

	var out []envelopeVector
	add := func(kind Kind, key [32]byte, nonce [24]byte, body []byte, size int) {
		sealed, err := seal(kind, key, nonce, body, size)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, envelopeVector{kind, size, key[:], nonce[:], body, sealed})
	}
	add(KindHello, network.HelloKey(), nonce, v.Hellos[0].Body, HelloSize)
	add(KindBeacon, network.BeaconKey(), nonce, v.Beacons[0].Body, BeaconSize)
	add(KindCheck, pair.SendKey, pairNonce, []byte{0xa0}, CheckSize)
	add(KindCheck, pair.SendKey, pairNonce, []byte{0xa0}, 160)
	add(KindSignal, pair.SendKey, pairNonce, v.Signals[0].Body, SignalSize)
	add(KindRecord, network.RecordKey(), nonce, v.Records[0].Signed, RecordSize)
	return out
}

func refusedVectors(t *testing.T) []refusedVector {
	t.Helper()
	a := testNode(t, 2)
	record := func(change func(*Record)) published.Hex {
		r := testRecord(t, a)
		change(&r)
		return forge(r, a).Marshal()
	}
	signed := sign(t, testRecord(t, a), a)
	signed.Signature[63] ^= 0x01
	hello := func(h Hello) published.Hex {
		s := h.Signed.encode()
		return codec.Encode(signedHelloCBOR{Content: codec.Encode(helloCBOR{Step: uint8(h.Step), TxA: h.TxA, Record: &s})})
	}
	// Anybody's signature holds under a key of small order: this one, for any text.
	everybody, all := keys.NodePublic{1}, codec.Bytes64{1}
	nobodys := testRecord(t, a)
	nobodys.Node, nobodys.Addresses = everybody, []AddressClaim{{Addr: keys.Address6(testNetwork(t).Prefix6(), everybody)}}
	ready := codec.Encode(helloCBOR{
		Step: uint8(StepReady), TxA: codec.Bytes16{1}, TxB: codec.Bytes16{2}, From: codec.Bytes32(everybody), To: codec.Bytes32(a.Public()),
		Observed: codec.NewAddrPort(netip.MustParseAddrPort("198.51.100.7:1")),
	})
	return []refusedVector{
		{"a node key of small order", "signed_record", SignedRecord{nobodys.encode(), all}.Marshal(), "bound"},
		{"a relay's key of small order", "signed_record", record(func(r *Record) {
			r.Relays = []Relay{{everybody, netip.MustParseAddrPort("198.51.100.7:3478")}}
		}), "bound"},
		{"a sender of small order", "hello", codec.Encode(signedHelloCBOR{Content: ready, Signature: all}), "bound"},
		{"a beacon of small order", "beacon", Beacon{everybody, 1, 1, false}.encode(), "bound"},
		{"a forward to a key of small order", "signal", Signal{Forward: &Forward{everybody, []byte{1}}}.encode(), "bound"},
		{"a changed signature", "signed_record", signed.Marshal(), "signature"},
		{"another's IPv6 address", "signed_record", record(func(r *Record) {
			r.Addresses[0].Addr = netip.MustParseAddr("fd00::1")
		}), "address"},
		{"an IPv6 address that a key may have", "signed_record", record(func(r *Record) {
			r.Addresses = append(r.Addresses, AddressClaim{Addr: keys.Address6(testNetwork(t).Prefix6(), testNode(t, 3).Public())})
		}), "address"},
		{"an alias twice", "signed_record", record(func(r *Record) { r.Aliases = []string{"git", "git"} }), "bound"},
		{"a name that is no label", "signed_record", record(func(r *Record) { r.Name = "a.b" }), "bound"},
		{"no WireGuard key", "signed_record", record(func(r *Record) { r.WireGuard = [32]byte{} }), "missing"},
		{"a route with host bits", "signed_record", record(func(r *Record) {
			r.Routes = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}
		}), "encoding"},
		{"an unknown key twice", "signed_record", mustHex(t, "a3014101186400186400"), "encoding"},
		{"indefinite length", "signed_record", mustHex(t, "bf014101ff"), "encoding"},
		{"a tag", "signed_record", mustHex(t, "c0a1014101"), "encoding"},
		{"bytes after the map", "beacon", append(Beacon{a.Public(), 1, 1, false}.encode(), 0), "encoding"},
		{"port 0", "beacon", Beacon{a.Public(), 0, 1, false}.encode(), "missing"},
		{"an unknown step", "hello", hello(Hello{Step: 5, TxA: [16]byte{1}, Signed: sign(t, testRecord(t, a), a)}), "kind"},
		{"a reply without its fields", "hello", hello(Hello{Step: StepReply, TxA: [16]byte{1}, Signed: sign(t, testRecord(t, a), a)}), "missing"},
		{"an unknown signal", "signal", mustHex(t, "a109a0"), "kind"},
		{"two signals", "signal", Signal{Forward: &Forward{a.Public(), []byte{1}}, Forwarded: &Forwarded{a.Public(), []byte{1}}}.encode(), "kind"},
		{"sums cut short", "signal", codec.Encode(signalCBOR{Digest: &digestCBOR{Sums: make([]byte, 12)}}), "encoding"},
		{"three sums", "signal", Signal{Digest: &Digest{Sums: make([]uint64, 3)}}.encode(), "bound"},
		{"entries out of order", "signal", Signal{Want: &Want{[]Entry{{2, 1}, {1, 1}}}}.encode(), "bound"},
		{"an entry beyond the range", "signal", Signal{Digest: &Digest{From: 1, Last: 2, Entries: []Entry{{3, 1}}}}.encode(), "bound"},
		{"a want of nothing", "signal", Signal{Want: &Want{}}.encode(), "missing"},
	}
}
