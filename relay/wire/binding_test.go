package wire

import (
	"bytes"
	"crypto/ecdh"
	"errors"
	"testing"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire/codec"
)

func exchangeOf(t testing.TB, identity ServerPrivate, b byte) *Exchange {
	t.Helper()
	seed := repeated(b)
	private, err := ecdh.X25519().NewPrivateKey(seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return newExchange(identity, private)
}

// What was signed for one place is of no use at any other: a relay that has a
// request cannot use it elsewhere, even where it knows all keys of the seals.
func TestSignaturesBind(t *testing.T) {
	client, server := testSession(t)
	by := testSigner(t)
	b, err := client.SealRequest(testCookie(), 20000, Request{Number: 1, Bind: &Bind{testNode(t, 3).Public()}}, by)
	if err != nil {
		t.Fatal(err)
	}
	good, err := server.OpenRequest(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := good.Verify(20000); err != nil {
		t.Fatal(err)
	}
	if err := good.Verify(20001); !errors.Is(err, ErrSignature) {
		t.Errorf("another port: %v", err)
	}
	body, err := codec.Open(b, requestHeadSize, &server.request)
	if err != nil {
		t.Fatal(err)
	}
	other := *server
	other.server = testServer(t, 8).Public()
	otherClient := *server
	otherClient.client[0] ^= 1
	for name, tt := range map[string]struct {
		s      *Session
		cookie Cookie
	}{
		"another relay":      {&other, testCookie()},
		"another cookie":     {server, Cookie{1}},
		"another client key": {&otherClient, testCookie()},
	} {
		r, err := tt.s.parseRequest(tt.cookie, body)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Verify(20000); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The two signatures have different labels: neither stands for the other.
	var c requestCBOR
	if err := decoder.Decode(body, &c); err != nil {
		t.Fatal(err)
	}
	c.Member, c.Node = c.Node, c.Member
	r, err := server.parseRequest(testCookie(), codec.Encode(c))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(20000); !errors.Is(err, ErrSignature) {
		t.Errorf("signatures swapped: %v", err)
	}
}

// A member cannot speak for another node, a node not for another network.
func TestForeignSigners(t *testing.T) {
	client, server := testSession(t)
	a := testSigner(t)
	otherNetwork := testNetwork(t, 50)
	for name, by := range map[string]Signer{
		"no member":                   {a.Network, otherNetwork.SignID, a.Node},
		"a member of another network": {otherNetwork.ID(), a.Member, a.Node},
	} {
		b, err := client.SealRequest(testCookie(), 3478, Request{Number: 1, Leave: true}, by)
		if err != nil {
			t.Fatal(err)
		}
		r, err := server.OpenRequest(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Verify(3478); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// As another node: the content names b, a signs.
	b := testNode(t, 3).Public()
	content := codec.Encode(contentCBOR{Network: codec.Bytes32(a.Network), Node: codec.Bytes32(b), Number: 1, Leave: true})
	r, err := server.parseRequest(testCookie(), client.requestBody(content, testCookie(), 3478, a, true))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(3478); !errors.Is(err, ErrSignature) || r.Node != b {
		t.Errorf("as another node: %v", err)
	}
	if err := (Request{Network: a.Network, Node: b, Number: 1, Leave: true}).Verify(3478); !errors.Is(err, ErrMissing) {
		t.Errorf("a request that nobody opened: %v", err)
	}
}

// No byte of a sealed frame can be changed, cut or added.
func TestSealsBind(t *testing.T) {
	client, server := testSession(t)
	request, err := client.SealRequest(testCookie(), 3478, testRequests(t)[0], testSigner(t))
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.SealResponse(testResponses(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	push, err := server.SealPush(testPushes(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		b    []byte
		open func([]byte) error
	}{
		"request":  {request, func(b []byte) error { _, err := server.OpenRequest(b); return err }},
		"response": {response, func(b []byte) error { _, err := client.OpenResponse(b); return err }},
		"push":     {push, func(b []byte) error { _, err := client.OpenPush(b); return err }},
	} {
		if err := tt.open(tt.b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range tt.b {
			bad := bytes.Clone(tt.b)
			bad[i] ^= 1
			if err := tt.open(bad); err == nil {
				t.Errorf("%s: byte %d changed, and taken", name, i)
			}
		}
		for _, bad := range [][]byte{nil, tt.b[:1], tt.b[:len(tt.b)/2], tt.b[:len(tt.b)-1], append(bytes.Clone(tt.b), 0)} {
			if err := tt.open(bad); err == nil {
				t.Errorf("%s of %d bytes, cut to %d, and taken", name, len(tt.b), len(bad))
			}
		}
	}
}

// Each direction and use has its own key.
func TestKeysDiffer(t *testing.T) {
	client, server := testSession(t)
	if client.request != server.request || client.response != server.response || client.push != server.push {
		t.Fatal("the two halves differ")
	}
	again := exchangeOf(t, testServer(t, 8), 7) // another relay with the same exchange key
	foreign, err := again.Session(client.ClientKey())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[[keySize]byte]bool{}
	for _, k := range [][keySize]byte{client.request, client.response, client.push, foreign.request, foreign.response, foreign.push} {
		if seen[k] || k == [keySize]byte{} {
			t.Errorf("key %x twice", k)
		}
		seen[k] = true
	}
	b, err := server.SealResponse(testResponses(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	b[1] = byte(KindPush)
	if _, err := client.OpenPush(b); !errors.Is(err, ErrSeal) {
		t.Errorf("a response as a push: %v", err)
	}
}

// Keys of small order agree on nothing that is secret.
func TestSmallOrderKeys(t *testing.T) {
	x := testExchange(t)
	for _, k := range [][keySize]byte{{}, {1}} {
		if _, err := x.Session(k); !errors.Is(err, ErrBound) {
			t.Errorf("client key %x: %v", k, err)
		}
		if _, err := NewSession(x.Server(), k, nil); !errors.Is(err, ErrBound) {
			t.Errorf("exchange key %x: %v", k, err)
		}
	}
}

// A later version adds fields: they are passed over, and signed with the rest.
func TestUnknownFields(t *testing.T) {
	client, server := testSession(t)
	by := testSigner(t)
	type laterContent struct {
		contentCBOR
		Extra string `cbor:"77,keyasint"`
	}
	content := codec.Encode(laterContent{
		contentCBOR{Network: codec.Bytes32(by.Network), Node: codec.Bytes32(by.Node.Public()), Number: 5, Register: &registerCBOR{Blob: codec.Blob("b")}}, "later",
	})
	b, err := seal(client.requestHead(testCookie()), &client.request, newNonce(), client.requestBody(content, testCookie(), 3478, by, true))
	if err != nil {
		t.Fatal(err)
	}
	r, err := server.OpenRequest(b)
	if err != nil || string(r.Register.Blob) != "b" {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := r.Verify(3478); err != nil {
		t.Error(err)
	}

	type laterResponse struct {
		responseCBOR
		Extra []string `cbor:"99,keyasint"`
	}
	b, err = seal(server.responseHead(KindResponse), &server.response, newNonce(), codec.Encode(laterResponse{responseCBOR{Number: 3, Done: true}, []string{"later"}}))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := client.OpenResponse(b); err != nil || got.Number != 3 || !got.Done {
		t.Errorf("%+v, %v", got, err)
	}

	// A push of a kind that is not known yet is a push all the same; a request
	// for an operation that is not known can be answered.
	b, err = seal(server.responseHead(KindPush), &server.push, newNonce(), codec.Encode(map[int]any{1: 9, 50: "later"}))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := client.OpenPush(b); err != nil || got.Number != 9 || got.events() != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	content = codec.Encode(map[int]any{1: by.Network[:], 2: append([]byte(nil), by.Node.Seed()...), 3: 8, 50: "later"})
	b, err = seal(client.requestHead(testCookie()), &client.request, newNonce(), client.requestBody(content, testCookie(), 3478, by, true))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := server.OpenRequest(b); !errors.Is(err, ErrKind) || got.Number != 8 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestSealRefuses(t *testing.T) {
	client, server := testSession(t)
	by := testSigner(t)
	self, a := by.Node.Public(), testNode(t, 3).Public()
	many := make([]keys.NodePublic, MaxPeers+1)
	for i := range many {
		many[i] = keys.NodePublic{byte(i + 1)}
	}
	for name, tt := range map[string]struct {
		r    Request
		want error
	}{
		"no number":      {Request{Leave: true}, ErrMissing},
		"no operation":   {Request{Number: 1}, ErrKind},
		"two operations": {Request{Number: 1, Leave: true, Refresh: &Refresh{}}, ErrBound},
		"no blob":        {Request{Number: 1, Register: &Register{}}, ErrBound},
		"a long blob":    {Request{Number: 1, Register: &Register{Blob: make([]byte, MaxBlob+1)}}, ErrBound},
		"no peers":       {Request{Number: 1, Allocate: &Allocate{}}, ErrBound},
		"many peers":     {Request{Number: 1, Allocate: &Allocate{many}}, ErrBound},
		"itself":         {Request{Number: 1, Allocate: &Allocate{[]keys.NodePublic{self}}}, ErrBound},
		"one twice":      {Request{Number: 1, Release: &Release{[]keys.NodePublic{a, a}}}, ErrBound},
		"nobody":         {Request{Number: 1, Bind: &Bind{}}, ErrBound},
	} {
		if _, err := client.SealRequest(testCookie(), 3478, tt.r, by); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	for name, r := range map[string]Response{
		"no number":       {Done: true},
		"no result":       {Number: 1},
		"two results":     {Number: 1, Done: true, Refreshed: &Refreshed{}},
		"no lifetime":     {Number: 1, Registered: &Registered{First: 1, Last: 1}},
		"no ports":        {Number: 1, Registered: &Registered{Lifetime: 1e9}},
		"ports backwards": {Number: 1, Registered: &Registered{Lifetime: 1e9, First: 2, Last: 1}},
		"many addresses":  {Number: 1, Registered: &Registered{Lifetime: 1e9, First: 1, Last: 1, Addrs: testResponses(t)[0].Registered.Addrs[:0:0], Others: 1 << 16}},
		"port and code":   {Number: 1, Allocated: []Allocated{{a, 1, CodeFull}}},
		"neither":         {Number: 1, Allocated: []Allocated{{Peer: a}}},
		"no code":         {Number: 1, Error: &Error{Text: "no"}},
		"a bell":          {Number: 1, Error: &Error{Code: 1, Text: "\a"}},
	} {
		if _, err := server.SealResponse(r); err == nil {
			t.Errorf("response with %s was sealed", name)
		}
	}
	for name, p := range map[string]Push{
		"no number":  {Gone: &Gone{a}},
		"no event":   {Number: 1},
		"two events": {Number: 1, Gone: &Gone{a}, Leaving: &Leaving{}},
		"no node":    {Number: 1, Gone: &Gone{}},
		"no port":    {Number: 1, PeerBound: &PeerBound{Peer: a}},
		"no blob":    {Number: 1, Blob: &Blob{Node: a}},
	} {
		if _, err := server.SealPush(p); err == nil {
			t.Errorf("push with %s was sealed", name)
		}
	}
}
