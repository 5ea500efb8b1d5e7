package wire

import (
	"bytes"
	"crypto/ecdh"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire/codec"
	"github.com/credant/credant/integration/published"
)

type vectors struct {
	Comment    string            `json:"comment"`
	Relay      relayVector       `json:"relay"`
	Challenges []challengeVector `json:"challenges"`
	Session    sessionVector     `json:"session"`
	Requests   []requestVector   `json:"requests"`
	Responses  []responseVector  `json:"responses"`
	Pushes     []pushVector      `json:"pushes"`
	Resets     []resetVector     `json:"resets"`
	Haves      []haveVector      `json:"haves"`
	Refused    []refusedVector   `json:"refused_bodies"`
}

type relayVector struct {
	Seed      published.Hex `json:"seed"`
	Identity  published.Hex `json:"identity"`
	Written   string        `json:"written"`
	Exchange  published.Hex `json:"exchange_private"`
	Public    published.Hex `json:"exchange_key"`
	Signature published.Hex `json:"exchange_signature"`
}

type challengeVector struct {
	Tx       published.Hex  `json:"transaction_id"`
	Ask      published.Hex  `json:"ask"`
	Cookie   published.Hex  `json:"cookie"`
	Observed netip.AddrPort `json:"observed"`
	Frame    published.Hex  `json:"challenge"`
}

type sessionVector struct {
	Private  published.Hex `json:"client_private"`
	Client   published.Hex `json:"client_key"`
	Request  published.Hex `json:"request_key"`
	Response published.Hex `json:"response_key"`
	Push     published.Hex `json:"push_key"`
}

type requestVector struct {
	Network   published.Hex   `json:"network_key"`
	NetworkID published.Hex   `json:"network_id,omitempty"`
	Seed      published.Hex   `json:"node_seed"`
	Cookie    published.Hex   `json:"cookie"`
	Port      uint16          `json:"port"`
	Number    uint32          `json:"number"`
	Operation string          `json:"operation"`
	Blob      published.Hex   `json:"blob,omitempty"`
	Have      published.Hex   `json:"have,omitempty"`
	Peers     []published.Hex `json:"peers,omitempty"`
	Content   published.Hex   `json:"content"`
	Member    published.Hex   `json:"member_signature,omitempty"`
	Node      published.Hex   `json:"node_signature,omitempty"`
	Body      published.Hex   `json:"body"`
	Nonce     published.Hex   `json:"nonce"`
	Frame     published.Hex   `json:"frame"`
}

type responseVector struct {
	Number   uint32          `json:"number"`
	Cookie   published.Hex   `json:"cookie,omitempty"`
	Result   string          `json:"result"`
	Lifetime int             `json:"lifetime_seconds,omitempty"`
	Addrs    []string        `json:"addresses,omitempty"`
	First    uint16          `json:"first_port,omitempty"`
	Last     uint16          `json:"last_port,omitempty"`
	Others   int             `json:"others,omitempty"`
	Ports    []allocatedJSON `json:"allocations,omitempty"`
	Peer     published.Hex   `json:"peer,omitempty"`
	Bound    bool            `json:"peer_bound,omitempty"`
	Code     uint8           `json:"code,omitempty"`
	Text     string          `json:"text,omitempty"`
	Retry    int             `json:"retry_after_seconds,omitempty"`
	Body     published.Hex   `json:"body"`
	Nonce    published.Hex   `json:"nonce"`
	Frame    published.Hex   `json:"frame"`
}

type allocatedJSON struct {
	Peer published.Hex `json:"peer"`
	Port uint16        `json:"port,omitempty"`
	Code uint8         `json:"code,omitempty"`
}

type pushVector struct {
	Number uint32        `json:"number"`
	Event  string        `json:"event"`
	Node   published.Hex `json:"node,omitempty"`
	Blob   published.Hex `json:"blob,omitempty"`
	Age    int           `json:"age_seconds,omitempty"`
	Port   uint16        `json:"port,omitempty"`
	Bound  bool          `json:"bound,omitempty"`
	Grace  int           `json:"grace_seconds,omitempty"`
	Body   published.Hex `json:"body"`
	Nonce  published.Hex `json:"nonce"`
	Frame  published.Hex `json:"frame"`
}

type resetVector struct {
	Cause published.Hex `json:"cause"`
	Frame published.Hex `json:"reset"`
}

type haveVector struct {
	Blobs []haveJSON    `json:"blobs"`
	Have  published.Hex `json:"have"`
}

type haveJSON struct {
	Node published.Hex `json:"node"`
	Blob published.Hex `json:"blob"`
}

// A refusedVector is a body that a receiver must not take, and why.
type refusedVector struct {
	What   string        `json:"what"`
	As     string        `json:"as"`
	Body   published.Hex `json:"body"`
	Reason string        `json:"reason"`
}

func TestVectors(t *testing.T) {
	readVectors(t, published.Vectors(t, makeVectors(t), compareAddrs))
}

// readVectors goes the other way: what is published parses to what it says.
func readVectors(t *testing.T, v vectors) {
	client, server := testSession(t)
	for _, c := range v.Challenges {
		tx, err := ParseAsk(c.Ask)
		if err != nil || !bytes.Equal(tx[:], c.Tx) {
			t.Errorf("ask: %x, %v", tx, err)
		}
		got, err := OpenChallenge(c.Frame, tx, ServerPublic(v.Relay.Identity))
		if err != nil || got.Observed != c.Observed || !bytes.Equal(got.Cookie[:], c.Cookie) || !bytes.Equal(got.Exchange[:], v.Relay.Public) {
			t.Errorf("challenge: %+v, %v", got, err)
		}
	}
	for _, q := range v.Requests {
		r, err := server.OpenRequest(q.Frame)
		if err == nil {
			err = r.Verify(q.Port)
		}
		if err != nil || r.Number != q.Number || r.Operation() != q.Operation {
			t.Errorf("%s: %+v, %v", q.Operation, r, err)
		}
	}
	for i, p := range v.Responses {
		r, err := client.OpenResponse(p.Frame)
		if d := cmp.Diff(testResponses(t)[i], r, compareAddrs); err != nil || d != "" {
			t.Errorf("%s: %v\n%s", p.Result, err, d)
		}
	}
	for i, p := range v.Pushes {
		r, err := client.OpenPush(p.Frame)
		if d := cmp.Diff(testPushes(t)[i], r); err != nil || d != "" {
			t.Errorf("%s: %v\n%s", p.Event, err, d)
		}
	}
	for _, r := range v.Resets {
		if cause, err := ParseReset(r.Frame); err != nil || !bytes.HasPrefix(r.Cause, cause[:]) {
			t.Errorf("reset: %x, %v", cause, err)
		}
	}
	for _, r := range v.Refused {
		if got := refuse(t, r.As, r.Body); got != r.Reason {
			t.Errorf("%s, as %s: %q, want %q", r.What, r.As, got, r.Reason)
		}
	}
}

func makeVectors(t *testing.T) vectors {
	x, identity := testExchange(t), testServer(t, 9)
	v := vectors{
		Comment: "The relay protocol of CredAnt, version 1: docs/relay.md. Byte strings are in hex. All frames are of one relay and one session.",
		Relay: relayVector{
			identity.Seed(), x.server[:], x.server.String(), x.private.Bytes(), bytes.Clone(x.tail[keySize : 2*keySize]), x.tail[2*keySize:],
		},
	}
	for i, s := range []string{"198.51.100.7:51423", "[2001:db8::7]:443"} {
		tx := TransactionID(bytes.Repeat([]byte{byte(0x50 + i)}, txSize))
		cookie, observed := testCookie(), netip.MustParseAddrPort(s)
		v.Challenges = append(v.Challenges, challengeVector{tx[:], AppendAsk(nil, tx), cookie[:], observed, x.AppendChallenge(nil, tx, cookie, observed)})
	}
	client, server := testSession(t)
	private := repeated(5)
	v.Session = sessionVector{private[:], client.client[:], client.request[:], client.response[:], client.push[:]}

	for i, r := range testRequests(t) {
		v.Requests = append(v.Requests, makeRequestVector(t, client, byte(i), r))
	}
	for i, r := range testResponses(t) {
		v.Responses = append(v.Responses, makeResponseVector(t, server, byte(0x40+i), r))
	}
	for i, p := range testPushes(t) {
		v.Pushes = append(v.Pushes, makePushVector(t, server, byte(0x80+i), p))
	}
	for _, cause := range [][]byte{v.Requests[0].Frame, append([]byte{4, 0, 0, 0, 1, 2, 3, 4, 9}, make([]byte, 23)...)} {
		v.Resets = append(v.Resets, resetVector{cause, AppendReset(nil, cause)})
	}
	var have Have
	var blobs []haveJSON
	for i := range 3 {
		h := have
		v.Haves = append(v.Haves, haveVector{append([]haveJSON(nil), blobs...), h[:]})
		node, b := testNode(t, byte(i+2)).Public(), []byte(fmt.Sprint("blob ", i))
		have.Toggle(node, b)
		blobs = append(blobs, haveJSON{node[:], b})
	}
	v.Refused = makeRefused(t, client)
	return v
}

func nonceOf(b byte) (n [nonceSize]byte) {
	copy(n[:], bytes.Repeat([]byte{b}, nonceSize))
	return n
}

func makeRequestVector(t *testing.T, s *Session, i byte, r Request) requestVector {
	t.Helper()
	by, cookie, nonce, port := testSigner(t), testCookie(), nonceOf(i), uint16(DefaultPort)
	if r.Bind != nil {
		port = 20000
	}
	frame, err := s.sealRequest(nonce, cookie, port, r, by)
	if err != nil {
		t.Fatal(err)
	}
	body, err := codec.Open(frame, requestHeadSize, &s.request)
	if err != nil {
		t.Fatal(err)
	}
	var c requestCBOR
	if err := decoder.Decode(body, &c); err != nil {
		t.Fatal(err)
	}
	v := requestVector{
		Network: testNetwork(t, 1).Bytes(), NetworkID: by.Network[:], Seed: by.Node.Seed(), Cookie: cookie[:], Port: port,
		Number: r.Number, Operation: r.Operation(), Content: published.Hex(c.Content), Body: body, Nonce: nonce[:], Frame: frame,
	}
	if r.Refresh == nil {
		v.Member, v.Node = c.Member[:], c.Node[:]
	}
	var peers []keys.NodePublic
	var have Have
	switch {
	case r.Register != nil:
		v.Blob, have = r.Register.Blob, r.Register.Have
	case r.Refresh != nil:
		have = r.Refresh.Have
	case r.Allocate != nil:
		peers = r.Allocate.Peers
	case r.Release != nil:
		peers = r.Release.Peers
	case r.Bind != nil:
		peers = []keys.NodePublic{r.Bind.Peer}
	}
	if have != (Have{}) {
		v.Have = have[:]
	}
	for _, p := range peers {
		v.Peers = append(v.Peers, p[:])
	}
	return v
}

func makeResponseVector(t *testing.T, s *Session, i byte, r Response) responseVector {
	t.Helper()
	nonce := nonceOf(i)
	frame, err := s.sealResponse(nonce, r)
	if err != nil {
		t.Fatal(err)
	}
	v := responseVector{Number: r.Number, Body: codec.Encode(r.encode()), Nonce: nonce[:], Frame: frame}
	if !r.Cookie.IsZero() {
		v.Cookie = r.Cookie[:]
	}
	switch {
	case r.Registered != nil:
		g := r.Registered
		v.Result, v.Lifetime, v.First, v.Last, v.Others = "registered", int(g.Lifetime/time.Second), g.First, g.Last, g.Others
		for _, a := range g.Addrs {
			v.Addrs = append(v.Addrs, a.String())
		}
	case r.Allocated != nil:
		v.Result = "allocated"
		for _, a := range r.Allocated {
			v.Ports = append(v.Ports, allocatedJSON{a.Peer[:], a.Port, uint8(a.Code)})
		}
	case r.Bound != nil:
		v.Result, v.Peer, v.Bound = "bound", r.Bound.Peer[:], r.Bound.PeerBound
	case r.Refreshed != nil:
		v.Result, v.Others = "refreshed", r.Refreshed.Others
	case r.Done:
		v.Result = "done"
	case r.Error != nil:
		v.Result, v.Code, v.Text, v.Retry = "error", uint8(r.Error.Code), r.Error.Text, int(r.Error.RetryAfter/time.Second)
	}
	return v
}

func makePushVector(t *testing.T, s *Session, i byte, p Push) pushVector {
	t.Helper()
	nonce := nonceOf(i)
	frame, err := s.sealPush(nonce, p)
	if err != nil {
		t.Fatal(err)
	}
	v := pushVector{Number: p.Number, Body: codec.Encode(p.encode()), Nonce: nonce[:], Frame: frame}
	switch {
	case p.Blob != nil:
		v.Event, v.Node, v.Blob, v.Age = "blob", p.Blob.Node[:], p.Blob.Data, int(p.Blob.Age/time.Second)
	case p.Gone != nil:
		v.Event, v.Node = "gone", p.Gone.Node[:]
	case p.PeerBound != nil:
		v.Event, v.Node, v.Port, v.Bound = "peer-bound", p.PeerBound.Peer[:], p.PeerBound.Port, p.PeerBound.Bound
	case p.Leaving != nil:
		v.Event, v.Grace = "leaving", int(p.Leaving.Grace/time.Second)
	}
	return v
}

// refuse reads a body as what it is said to be, and says why it is refused.
func refuse(t *testing.T, as string, body []byte) string {
	t.Helper()
	_, server := testSession(t)
	var err error
	switch as {
	case "request":
		var r Request
		if r, err = server.parseRequest(testCookie(), body); err == nil {
			err = r.Verify(DefaultPort)
		}
	case "response":
		_, err = parseResponse(body)
	case "push":
		_, err = parsePush(body)
	default:
		err = errors.New("no such body")
	}
	return DropReason(err)
}

func makeRefused(t *testing.T, s *Session) (list []refusedVector) {
	t.Helper()
	by := testSigner(t)
	node := by.Node.Public()
	a, b := testNode(t, 3).Public(), testNode(t, 4).Public()
	add := func(what, as string, body []byte) {
		reason := refuse(t, as, body)
		if reason == "" || reason == "other" {
			t.Errorf("%s, as %s, is refused for %q", what, as, reason)
		}
		list = append(list, refusedVector{what, as, body, reason})
	}
	request := func(what string, c contentCBOR, sign bool) {
		add(what, "request", s.requestBody(codec.Encode(c), testCookie(), DefaultPort, by, sign))
	}
	base := contentCBOR{Network: codec.Bytes32(by.Network), Node: codec.Bytes32(node), Number: 1}
	with := func(change func(*contentCBOR)) contentCBOR {
		c := base
		change(&c)
		return c
	}
	add("nothing", "request", []byte{})
	add("an empty map", "request", []byte{0xa0})
	add("bytes after the item", "request", append(codec.Encode(requestCBOR{Content: codec.Encode(with(func(c *contentCBOR) { c.Leave = true }))}), 0))
	request("no operation", base, true)
	request("two operations", with(func(c *contentCBOR) { c.Leave, c.Bind = true, &peerCBOR{codec.Bytes32(a)} }), true)
	request("no number", with(func(c *contentCBOR) { c.Leave, c.Number = true, 0 }), true)
	request("no network id", with(func(c *contentCBOR) { c.Leave, c.Network = true, codec.Bytes32{} }), true)
	request("no signatures", with(func(c *contentCBOR) { c.Leave = true }), false)
	request("a refresh that names a node", with(func(c *contentCBOR) { c.Refresh = &refreshCBOR{} }), false)
	request("a refresh with signatures", contentCBOR{Number: 1, Refresh: &refreshCBOR{}}, true)
	request("an allocation for itself", with(func(c *contentCBOR) { c.Allocate = &peersCBOR{[]codec.Bytes32{codec.Bytes32(node)}} }), true)
	request("one peer twice", with(func(c *contentCBOR) {
		c.Allocate = &peersCBOR{[]codec.Bytes32{codec.Bytes32(a), codec.Bytes32(b), codec.Bytes32(a)}}
	}), true)
	request("no peer", with(func(c *contentCBOR) { c.Bind = &peerCBOR{} }), true)
	request("17 peers", with(func(c *contentCBOR) {
		c.Release = new(peersCBOR)
		for i := range MaxPeers + 1 {
			c.Release.Peers = append(c.Release.Peers, codec.Bytes32{byte(i + 1)})
		}
	}), true)
	request("an empty blob", with(func(c *contentCBOR) { c.Register = &registerCBOR{} }), true)
	request("a node that did not sign", with(func(c *contentCBOR) { c.Leave, c.Node = true, codec.Bytes32(a) }), true)
	request("another network", with(func(c *contentCBOR) { c.Leave, c.Network = true, codec.Bytes32(testNetwork(t, 50).ID()) }), true)

	// Anybody's signature holds under a key of small order: of these, as it stands.
	everybody, all := codec.Bytes32{1}, codec.Bytes64{1}
	unsigned := func(c contentCBOR) []byte {
		return codec.Encode(requestCBOR{Content: codec.Encode(c), Member: all, Node: all})
	}
	add("a node and a network of small order", "request", unsigned(with(func(c *contentCBOR) { c.Leave, c.Network, c.Node = true, everybody, everybody })))
	request("a peer of small order", with(func(c *contentCBOR) { c.Bind = &peerCBOR{everybody} }), true)

	add("no number", "response", codec.Encode(responseCBOR{Done: true}))
	add("no result", "response", codec.Encode(responseCBOR{Number: 1}))
	add("two results", "response", codec.Encode(responseCBOR{Number: 1, Done: true, Refreshed: &refreshedCBOR{}}))
	add("a port and a code", "response", codec.Encode(responseCBOR{Number: 1, Allocated: []allocatedCBOR{{codec.Bytes32(a), 1, 3}}}))
	add("port 0 and no code", "response", codec.Encode(responseCBOR{Number: 1, Allocated: []allocatedCBOR{{Peer: codec.Bytes32(a)}}}))
	add("ports in no order", "response", codec.Encode(responseCBOR{Number: 1, Registered: &registeredCBOR{Lifetime: 120, First: 2, Last: 1}}))
	add("no lifetime", "response", codec.Encode(responseCBOR{Number: 1, Registered: &registeredCBOR{First: 1, Last: 2}}))
	add("an address of everybody", "response", codec.Encode(responseCBOR{Number: 1, Registered: &registeredCBOR{
		Lifetime: 120, First: 1, Last: 2, Addrs: []codec.AddrPort{codec.NewAddrPort(netip.MustParseAddrPort("224.0.0.1:3478"))},
	}}))
	add("text for a terminal", "response", codec.Encode(responseCBOR{Number: 1, Error: &errorCBOR{Code: 1, Text: "\x1b[2J"}}))
	add("a cookie of 23 bytes", "response", codec.Encode(map[int]any{1: 1, 2: make([]byte, 23), 7: true}))

	add("a peer of small order", "response", codec.Encode(responseCBOR{Number: 1, Bound: &boundCBOR{Peer: everybody}}))

	add("no number", "push", codec.Encode(pushCBOR{Gone: &peerCBOR{codec.Bytes32(a)}}))
	add("two events", "push", codec.Encode(pushCBOR{Number: 1, Gone: &peerCBOR{codec.Bytes32(a)}, Leaving: &leavingCBOR{}}))
	add("no port", "push", codec.Encode(pushCBOR{Number: 1, PeerBound: &peerBoundCBOR{Peer: codec.Bytes32(a)}}))
	add("an empty blob", "push", codec.Encode(pushCBOR{Number: 1, Blob: &blobCBOR{Node: codec.Bytes32(a)}}))
	add("a node of small order", "push", codec.Encode(pushCBOR{Number: 1, Gone: &peerCBOR{everybody}}))
	add("one key twice", "push", []byte{0xa2, 1, 1, 1, 1})
	add("an indefinite length", "push", []byte{0xbf, 1, 1, 0xff})
	return list
}

// The vectors are of keys that anybody can compute.
func TestVectorKeys(t *testing.T) {
	client, _ := testSession(t)
	seed := repeated(5)
	private, err := ecdh.X25519().NewPrivateKey(seed[:])
	if err != nil || !bytes.Equal(private.PublicKey().Bytes(), client.client[:]) {
		t.Errorf("client key %x, %v", client.client, err)
	}
}
