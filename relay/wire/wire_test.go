package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire/codec"
)

func repeated(b byte) (out [32]byte) {
	for i := range out {
		out[i] = b
	}
	return out
}

func testNetwork(t testing.TB, b byte) keys.NetworkKey {
	t.Helper()
	seed := repeated(b)
	k, err := keys.ParseNetworkKey(seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testNode(t testing.TB, b byte) keys.NodePrivate {
	t.Helper()
	seed := repeated(b)
	k, err := keys.ParseNodePrivate(seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testServer(t testing.TB, b byte) ServerPrivate {
	t.Helper()
	seed := repeated(b)
	k, err := ParseServerPrivate(seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testSigner(t testing.TB) Signer {
	n := testNetwork(t, 1)
	return Signer{n.ID(), n.SignID, testNode(t, 2)}
}

func testCookie() (c Cookie) {
	for i := range c {
		c[i] = byte(i + 1)
	}
	return c
}

// testExchange has always the same key.
func testExchange(t testing.TB) *Exchange {
	t.Helper()
	return exchangeOf(t, testServer(t, 9), 7)
}

// testSession returns both halves of a session, always the same.
func testSession(t testing.TB) (client, server *Session) {
	t.Helper()
	x := testExchange(t)
	seed := repeated(5)
	client, err := NewSession(x.Server(), x.Key(), bytes.NewReader(seed[:]))
	if err != nil {
		t.Fatal(err)
	}
	if server, err = x.Session(client.ClientKey()); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// testRequests is one request of each operation.
func testRequests(t testing.TB) []Request {
	a, b := testNode(t, 3).Public(), testNode(t, 4).Public()
	have := Have{1, 2, 3, 4, 5, 6, 7, 8}
	return []Request{
		{Number: 1, Register: &Register{Blob: []byte("a sealed record")}},
		{Number: 2, Register: &Register{Blob: []byte("another"), Have: have}},
		{Number: 3, Allocate: &Allocate{Peers: []keys.NodePublic{a, b}}},
		{Number: 4, Bind: &Bind{Peer: a}},
		{Number: 5, Refresh: &Refresh{}},
		{Number: 6, Refresh: &Refresh{Have: have}},
		{Number: 7, Release: &Release{Peers: []keys.NodePublic{b}}},
		{Number: 1<<32 - 1, Leave: true},
	}
}

func testResponses(t testing.TB) []Response {
	a, b := testNode(t, 3).Public(), testNode(t, 4).Public()
	return []Response{
		{Number: 1, Cookie: testCookie(), Registered: &Registered{
			Lifetime: 2 * time.Minute, First: 20000, Last: 21023, Others: 3,
			Addrs: []netip.AddrPort{netip.MustParseAddrPort("203.0.113.5:3478"), netip.MustParseAddrPort("[2001:db8::5]:3478")},
		}},
		{Number: 2, Cookie: testCookie(), Allocated: []Allocated{{Peer: a, Port: 20000}, {Peer: b, Code: CodeFull}}},
		{Number: 3, Cookie: testCookie(), Bound: &Bound{Peer: a}},
		{Number: 4, Cookie: testCookie(), Bound: &Bound{Peer: a, PeerBound: true}},
		{Number: 5, Cookie: testCookie(), Refreshed: &Refreshed{}},
		{Number: 6, Cookie: testCookie(), Refreshed: &Refreshed{Others: 63}},
		{Number: 7, Done: true},
		{Number: 8, Error: &Error{Code: CodeCookie}},
		{Number: 9, Cookie: testCookie(), Error: &Error{Code: CodeQuota, Text: "64 blobs a network", RetryAfter: time.Minute}},
	}
}

func testPushes(t testing.TB) []Push {
	a := testNode(t, 3).Public()
	return []Push{
		{Number: 1, Blob: &Blob{Node: a, Data: []byte("a sealed record"), Age: 3 * time.Second}},
		{Number: 2, Gone: &Gone{Node: a}},
		{Number: 3, PeerBound: &PeerBound{Peer: a, Port: 20001, Bound: true}},
		{Number: 4, PeerBound: &PeerBound{Peer: a, Port: 20001}},
		{Number: 1<<32 - 1, Leaving: &Leaving{Grace: 5 * time.Second}},
	}
}

var ignoreProof = cmpopts.IgnoreUnexported(Request{})

var compareAddrs = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

func TestRequestRoundTrip(t *testing.T) {
	client, server := testSession(t)
	by := testSigner(t)
	for _, want := range testRequests(t) {
		b, err := client.SealRequest(testCookie(), 20000, want, by)
		if err != nil {
			t.Fatal(err)
		}
		cookie, key, err := RequestHeader(b)
		if err != nil || cookie != testCookie() || key != client.ClientKey() {
			t.Errorf("header %x, %x, %v", cookie, key, err)
		}
		got, err := server.OpenRequest(b)
		if err != nil {
			t.Fatal(err)
		}
		if want.Refresh == nil {
			want.Network, want.Node = by.Network, by.Node.Public()
		}
		if d := cmp.Diff(want, got, ignoreProof); d != "" {
			t.Error(d)
		}
		if err := got.Verify(20000); err != nil {
			t.Errorf("%s: %v", got.Operation(), err)
		}
		if (len(b)-requestHeadSize-nonceSize-tagSize)%ladder != 0 || len(b) < MinRequest {
			t.Errorf("%s is %d bytes", got.Operation(), len(b))
		}
	}
}

func TestResponseAndPushRoundTrip(t *testing.T) {
	client, server := testSession(t)
	for _, want := range testResponses(t) {
		b, err := server.SealResponse(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := client.OpenResponse(b)
		if d := cmp.Diff(want, got, compareAddrs); err != nil || d != "" {
			t.Errorf("%v\n%s", err, d)
		}
		if tag, ok := ClientTag(b); !ok || !bytes.HasPrefix(client.client[:], tag[:]) {
			t.Errorf("tag %x, %t", tag, ok)
		}
	}
	for _, want := range testPushes(t) {
		b, err := server.SealPush(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := client.OpenPush(b)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%v\n%s", err, d)
		}
	}
}

// The largest of all that may be said fits a frame.
func TestLargestFits(t *testing.T) {
	client, server := testSession(t)
	have := Have(bytes.Repeat([]byte{0xff}, 8))
	var peers []keys.NodePublic
	var allocated []Allocated
	for i := range MaxPeers {
		p := testNode(t, byte(10+i)).Public()
		peers = append(peers, p)
		allocated = append(allocated, Allocated{Peer: p, Port: 65535})
	}
	var addrs []netip.AddrPort
	for i := range MaxAddrs {
		addrs = append(addrs, netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 15: byte(i + 1)}), 65535))
	}
	blob := bytes.Repeat([]byte{0xff}, MaxBlob)
	for _, r := range []Request{
		{Register: &Register{blob, have}},
		{Allocate: &Allocate{peers}},
		{Release: &Release{peers}},
	} {
		r.Number = 1<<32 - 1
		b, err := client.SealRequest(testCookie(), 65535, r, testSigner(t))
		if err != nil || len(b) > MaxFrame || r.Register != nil && len(b) != MaxFrame {
			t.Fatalf("largest %s is %d bytes, %v", r.Operation(), len(b), err)
		}
		got, err := server.OpenRequest(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := got.Verify(65535); err != nil {
			t.Error(err)
		}
	}
	for _, r := range []Response{
		{Registered: &Registered{codec.Longest, addrs, 65535, 65535, maxOthers}},
		{Allocated: allocated},
		{Error: &Error{255, strings.Repeat("x", MaxText), codec.Longest}},
	} {
		r.Number, r.Cookie = 1<<32-1, testCookie()
		b, err := server.SealResponse(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.OpenResponse(b); err != nil {
			t.Error(err)
		}
	}
	b, err := server.SealPush(Push{Number: 1<<32 - 1, Blob: &Blob{testNode(t, 3).Public(), blob, codec.Longest}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.OpenPush(b); err != nil {
		t.Error(err)
	}
}

// Nothing that goes out before a request is proven is longer than what it
// answers.
func TestNoAmplification(t *testing.T) {
	x := testExchange(t)
	ask := AppendAsk(nil, TransactionID{1})
	challenge := x.AppendChallenge(nil, TransactionID{1}, testCookie(), netip.MustParseAddrPort("[2001:db8::1]:1"))
	if len(ask) != AskSize || len(challenge) != ChallengeSize || len(challenge) > len(ask) {
		t.Errorf("a challenge of %d bytes answers an ask of %d", len(challenge), len(ask))
	}
	_, server := testSession(t)
	b, err := server.SealResponse(Response{
		Number: 1<<32 - 1, Cookie: testCookie(),
		Error: &Error{Code: 255, RetryAfter: codec.Longest},
	})
	if err != nil || len(b) > MinRequest {
		t.Errorf("an error of %d bytes answers a request of %d, %v", len(b), MinRequest, err)
	}
	for n := range 200 {
		cause := bytes.Repeat([]byte{4}, n)
		if reset := AppendReset(nil, cause); len(reset) >= max(n, 1) {
			t.Errorf("a reset of %d bytes answers %d", len(reset), n)
		}
	}
}

func TestReset(t *testing.T) {
	cause := []byte("\x04\x00\x00\x00 what could not be served")
	b := AppendReset([]byte("before"), cause)
	got, err := ParseReset(b[len("before"):])
	if err != nil || !bytes.Equal(got[:], cause[:16]) || got != CauseOf(cause) {
		t.Errorf("%x, %v", got, err)
	}
	// Two relays cannot throw resets at each other.
	if again := AppendReset(nil, b[len("before"):]); again != nil {
		t.Errorf("a reset of a reset: %x", again)
	}
	for _, bad := range [][]byte{nil, b[:5], b[len("before") : len(b)-1], append(b[len("before"):len(b):len(b)], 0)} {
		if _, err := ParseReset(bad); err == nil {
			t.Errorf("%x was taken", bad)
		}
	}
}

func TestChallenge(t *testing.T) {
	x := testExchange(t)
	tx := TransactionID(bytes.Repeat([]byte{0x5a}, txSize))
	for _, s := range []string{"198.51.100.7:51423", "[2001:db8::7]:1"} {
		observed := netip.MustParseAddrPort(s)
		b := x.AppendChallenge(nil, tx, testCookie(), observed)
		got, err := OpenChallenge(b, tx, ServerPublic{})
		if want := (Challenge{testCookie(), observed, x.Server(), x.Key()}); err != nil || got != want {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
		if raw := observed.Addr().AsSlice(); bytes.Contains(b, raw) {
			t.Errorf("%v is in the clear: a NAT would rewrite it", observed)
		}
		if _, err := OpenChallenge(b, tx, x.Server()); err != nil {
			t.Error(err)
		}
		if _, err := OpenChallenge(b, tx, testServer(t, 1).Public()); !errors.Is(err, ErrMismatch) {
			t.Errorf("another relay: %v", err)
		}
		if _, err := OpenChallenge(b, TransactionID{1}, x.Server()); !errors.Is(err, ErrMismatch) {
			t.Errorf("another ask: %v", err)
		}
		// Identity, exchange key and signature hold each other.
		for i := len(b) - 2*keySize - sigSize; i < len(b); i++ {
			bad := bytes.Clone(b)
			bad[i] ^= 1
			if _, err := OpenChallenge(bad, tx, ServerPublic{}); !errors.Is(err, ErrSignature) {
				t.Errorf("byte %d changed: %v", i, err)
			}
		}
	}
	for _, observed := range []string{"0.0.0.0:1", "224.0.0.1:1", "255.255.255.255:1", "198.51.100.7:0", "[ff02::1]:1"} {
		b := x.AppendChallenge(nil, tx, testCookie(), netip.MustParseAddrPort(observed))
		if _, err := OpenChallenge(b, tx, ServerPublic{}); !errors.Is(err, ErrBound) {
			t.Errorf("observed at %s: %v", observed, err)
		}
	}
	// A relay that nobody is, with a signature that holds all the same.
	nobody := x.AppendChallenge(nil, tx, testCookie(), netip.MustParseAddrPort("198.51.100.7:1"))
	identity, sig := nobody[len(nobody)-2*keySize-sigSize:], nobody[len(nobody)-sigSize:]
	copy(identity, append([]byte{1}, zeros[:keySize-1]...))
	copy(sig, append([]byte{1}, zeros[:sigSize-1]...))
	if _, err := OpenChallenge(nobody, tx, ServerPublic{}); !errors.Is(err, ErrBound) {
		t.Errorf("an identity of small order: %v", err)
	}
	if _, err := OpenChallenge(x.AppendChallenge(nil, tx, Cookie{}, netip.MustParseAddrPort("198.51.100.7:1")), tx, ServerPublic{}); !errors.Is(err, ErrMissing) {
		t.Errorf("no cookie: %v", err)
	}
}

// Asks are what anybody may flood a relay with.
func TestChallengeAllocatesNothing(t *testing.T) {
	x := testExchange(t)
	ask := AppendAsk(nil, TransactionID{1})
	observed := netip.MustParseAddrPort("198.51.100.7:51423")
	buf := make([]byte, 0, ChallengeSize)
	if n := testing.AllocsPerRun(100, func() {
		tx, err := ParseAsk(ask)
		if err != nil {
			t.Fatal(err)
		}
		buf = x.AppendChallenge(buf[:0], tx, Cookie{1}, observed)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkChallenge(b *testing.B) {
	x := testExchange(b)
	ask := AppendAsk(nil, TransactionID{1})
	observed := netip.MustParseAddrPort("198.51.100.7:51423")
	buf := make([]byte, 0, ChallengeSize)
	b.ReportAllocs()
	for b.Loop() {
		tx, _ := ParseAsk(ask)
		buf = x.AppendChallenge(buf[:0], tx, Cookie{1}, observed)
	}
}

func BenchmarkRequest(b *testing.B) {
	client, server := testSession(b)
	sealed, err := client.SealRequest(testCookie(), 3478, testRequests(b)[0], testSigner(b))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("part=open", func(b *testing.B) {
		for b.Loop() {
			_, _ = server.OpenRequest(sealed)
		}
	})
	r, _ := server.OpenRequest(sealed)
	b.Run("part=verify", func(b *testing.B) {
		for b.Loop() {
			_ = r.Verify(3478)
		}
	})
}

func TestAskRefuses(t *testing.T) {
	ask := AppendAsk(nil, TransactionID{1})
	padded := bytes.Clone(ask)
	padded[len(padded)-1] = 1
	for _, tt := range []struct {
		b    []byte
		want error
	}{
		{ask[:len(ask)-1], ErrSize},
		{append(bytes.Clone(ask), 0), ErrSize},
		{padded, ErrEncoding},
		{append([]byte{0xa2, 0x40}, ask[2:]...), ErrVersion},
		{append([]byte{0xa1, 0x41}, ask[2:]...), ErrKind},
		{append([]byte{0xa1, 0x01}, ask[2:]...), ErrKind},
		{nil, ErrKind},
	} {
		if _, err := ParseAsk(tt.b); !errors.Is(err, tt.want) {
			t.Errorf("%x: %v, want %v", tt.b, err, tt.want)
		}
	}
}
