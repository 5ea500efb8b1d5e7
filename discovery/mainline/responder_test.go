package mainline

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/anacrolix/dht/v2/bep44"
	"github.com/anacrolix/dht/v2/krpc"
	"github.com/anacrolix/torrent/bencode"
)

// The responder is asked, and its answers are read, with the library's codec: what
// both do wrong in the same way is left to the tests with libtorrent.

var responderStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// An asker sends queries to a responder.
type asker struct {
	t    *testing.T
	r    *responder
	from netip.AddrPort
	now  time.Time
}

func newAsker(t *testing.T, r *responder, from string) *asker {
	return &asker{t: t, r: r, from: netip.MustParseAddrPort(from), now: responderStart}
}

// send returns the answer, without its checks, and the drop reason.
func (a *asker) send(method string, args krpc.MsgArgs) (krpc.Msg, string) {
	a.t.Helper()
	args.ID = krpc.IdFromString(id20)
	b := bencode.MustMarshal(krpc.Msg{Q: method, Y: "q", T: "tt", A: &args, ReadOnly: true})
	msg, reason := examine(b, false)
	if reason != "" {
		a.t.Fatalf("the guard drops %q: %s", b, reason)
	}
	out, reason := a.r.Receive(a.now, a.from, msg)
	if len(out) == 0 {
		return krpc.Msg{}, reason
	}
	if len(out) > maxAnswer {
		a.t.Errorf("an answer of %d bytes to %s", len(out), method)
	}
	if _, refused := examine(out, true); refused != "" {
		a.t.Fatalf("our own guard drops the answer %q: %s", out, refused)
	}
	var m krpc.Msg
	if err := bencode.Unmarshal(out, &m); err != nil {
		a.t.Fatalf("the library does not decode %q: %v", out, err)
	}
	if m.T != "tt" {
		a.t.Errorf("transaction %q in %q", m.T, out)
	}
	return m, reason
}

// ask is send for what is to succeed.
func (a *asker) ask(method string, args krpc.MsgArgs) krpc.Return {
	a.t.Helper()
	m, reason := a.send(method, args)
	if reason != "" || m.R == nil {
		a.t.Fatalf("%s: %q, %+v", method, reason, m)
	}
	if seen := m.IP.ToNodeAddrPort().AddrPort; seen != a.from {
		a.t.Errorf("%s says that %v asked, not %v", method, seen, a.from)
	}
	if nodeID(m.R.ID) != a.r.id {
		a.t.Errorf("%s is answered as %x", method, m.R.ID)
	}
	return *m.R
}

// refused is send for what is to be refused with a code.
func (a *asker) refused(code int, method string, args krpc.MsgArgs) {
	a.t.Helper()
	m, reason := a.send(method, args)
	if reason == "" || m.E == nil || m.E.Code != code {
		a.t.Errorf("%s: %q, %+v, want error %d", method, reason, m.E, code)
	}
}

func (a *asker) announce(hash krpc.ID) {
	a.t.Helper()
	r := a.ask("get_peers", krpc.MsgArgs{InfoHash: hash})
	a.ask("announce_peer", krpc.MsgArgs{InfoHash: hash, ImpliedPort: true, Token: *r.Token})
}

func (a *asker) peers(hash krpc.ID) map[netip.AddrPort]bool {
	a.t.Helper()
	found := make(map[netip.AddrPort]bool)
	for _, v := range a.ask("get_peers", krpc.MsgArgs{InfoHash: hash}).Values {
		found[v.ToNodeAddrPort().AddrPort] = true
	}
	return found
}

// Two members behind one address are both found, until they have not announced
// themselves for half an hour.
func TestServingKeepsMembersBehindOneAddressApart(t *testing.T) {
	r := newResponder(nodeID{1})
	hash := krpc.ID{7}
	a, b := newAsker(t, r, "203.0.113.1:1001"), newAsker(t, r, "203.0.113.1:1002")
	a.announce(hash)
	b.announce(hash)
	b.now = b.now.Add(peerExpiry - time.Minute)
	if got := b.peers(hash); len(got) != 2 || !got[a.from] || !got[b.from] {
		t.Errorf("peers %v, want both", got)
	}
	b.announce(hash)
	b.now = b.now.Add(time.Minute)
	if got := b.peers(hash); len(got) != 1 || !got[b.from] {
		t.Errorf("peers %v, want the one that announced itself anew", got)
	}
	if got := b.peers(krpc.ID{8}); len(got) != 0 {
		t.Errorf("peers %v under another hash", got)
	}
}

func TestServingAnnouncePort(t *testing.T) {
	a := newAsker(t, newResponder(nodeID{1}), "203.0.113.1:1001")
	hash := krpc.ID{7}
	token := *a.ask("get_peers", krpc.MsgArgs{InfoHash: hash}).Token
	port := 0
	a.refused(203, "announce_peer", krpc.MsgArgs{InfoHash: hash, Token: token})
	a.refused(203, "announce_peer", krpc.MsgArgs{InfoHash: hash, Token: token, Port: &port})
	port = 1 << 16
	a.refused(203, "announce_peer", krpc.MsgArgs{InfoHash: hash, Token: token, Port: &port})
	port = 4000
	a.ask("announce_peer", krpc.MsgArgs{InfoHash: hash, Token: token, Port: &port})
	a.ask("announce_peer", krpc.MsgArgs{InfoHash: hash, Token: token, Port: &port, ImpliedPort: true})
	want := []netip.AddrPort{a.from, netip.MustParseAddrPort("203.0.113.1:4000")}
	if got := a.peers(hash); len(got) != 2 || !got[want[0]] || !got[want[1]] {
		t.Errorf("peers %v, want %v", got, want)
	}
}

// A token is good at the address it was sent to, for five minutes at least and ten
// at most.
func TestServingTokens(t *testing.T) {
	r := newResponder(nodeID{1})
	a, b := newAsker(t, r, "203.0.113.1:1001"), newAsker(t, r, "203.0.113.2:1001")
	for _, start := range []time.Duration{0, time.Minute, tokenEvery - time.Second} {
		a.now = responderStart.Add(start)
		token := *a.ask("get", krpc.MsgArgs{Target: krpc.ID{1}}).Token
		args := krpc.MsgArgs{InfoHash: krpc.ID{7}, ImpliedPort: true, Token: token}
		b.now = a.now
		b.refused(203, "announce_peer", args)
		a.now = a.now.Add(tokenEvery)
		a.ask("announce_peer", args)
		a.now = a.now.Add(tokenEvery)
		a.refused(203, "announce_peer", args)
	}
	if other := newResponder(nodeID{1}); other.tokens.valid(a.now, a.from.Addr(), []byte(*a.ask("get", krpc.MsgArgs{Target: krpc.ID{1}}).Token)) {
		t.Error("another node takes the token")
	}
}

// Who asks is told of no address in somebody's network, and who is in one is.
func TestServingPrivateAddresses(t *testing.T) {
	r := newResponder(nodeID{1})
	hash := krpc.ID{7}
	inside, outside := newAsker(t, r, "10.0.0.1:1001"), newAsker(t, r, "203.0.113.1:1001")
	inside.announce(hash)
	outside.announce(hash)
	r.routing.answered(responderStart, node{nodeID{2}, netip.MustParseAddrPort("10.0.0.2:6881")})
	if got := outside.peers(hash); len(got) != 1 || !got[outside.from] {
		t.Errorf("outside: peers %v", got)
	}
	if got := outside.ask("find_node", krpc.MsgArgs{Target: krpc.ID{2}}).Nodes; len(got) != 0 {
		t.Errorf("outside: nodes %v", got)
	}
	if got := inside.peers(hash); len(got) != 2 {
		t.Errorf("inside: peers %v", got)
	}
	if got := inside.ask("find_node", krpc.MsgArgs{Target: krpc.ID{2}}).Nodes; len(got) != 1 {
		t.Errorf("inside: nodes %v", got)
	}
}

// The nodes closest to the target are named, of the families that are wanted.
func TestServingNodes(t *testing.T) {
	r4, r6 := newResponder(nodeID{1}), newResponder(nodeID{1})
	r4.sibling, r6.sibling = r6, r4
	for i := range byte(40) {
		r4.routing.answered(responderStart, node{nodeID{0x80 | i}, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, i + 1}), 6881)})
		r6.routing.answered(responderStart, node{nodeID{0x80 | i}, netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 7: i, 15: 1}), 6881)})
	}
	a4, a6 := newAsker(t, r4, "203.0.113.1:1001"), newAsker(t, r6, "[2001:4860::1]:1001")
	for _, c := range []struct {
		want     []krpc.Want
		a        *asker
		n4, n6   int
		families string
	}{
		{nil, a4, closestK, 0, "none over IPv4"},
		{nil, a6, 0, closestK, "none over IPv6"},
		{[]krpc.Want{"n4"}, a6, closestK, 0, "n4 over IPv6"},
		{[]krpc.Want{"n6", "n4"}, a4, closestK, closestK, "both"},
		{[]krpc.Want{"n9"}, a4, 0, 0, "unknown"},
	} {
		for method, args := range map[string]krpc.MsgArgs{
			"find_node": {Target: krpc.ID{0x80}}, "get": {Target: krpc.ID{0x80}}, "get_peers": {InfoHash: krpc.ID{0x80}},
		} {
			args.Want = c.want
			got := c.a.ask(method, args)
			if len(got.Nodes) != c.n4 || len(got.Nodes6) != c.n6 {
				t.Errorf("want %s: %s names %d and %d nodes, want %d and %d", c.families, method, len(got.Nodes), len(got.Nodes6), c.n4, c.n6)
			}
			for i, n := range got.Nodes {
				// All 40 share one bit at most with our id: eight of them have a place.
				if i > 0 && distanceCompare(infoHash{0x80}, nodeID(got.Nodes[i-1].ID), nodeID(n.ID)) >= 0 {
					t.Errorf("want %s: %s names %v not in order", c.families, method, got.Nodes)
				}
			}
		}
	}
}

// What is longest: the most values and nodes of both families, and the longest item.
func TestServingAnswersAreBounded(t *testing.T) {
	r4, r6 := newResponder(nodeID{1}), newResponder(nodeID{1})
	r4.sibling, r6.sibling = r6, r4
	hash := krpc.ID{7}
	for i := range byte(200) {
		id := nodeID{1, 1 << (i % 8), i}
		r4.routing.answered(responderStart, node{id, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, i}), 6881)})
		r6.routing.answered(responderStart, node{id, netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 7: i, 15: 1}), 6881)})
		newAsker(t, r4, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, i, 1}), 5000).String()).announce(hash)
		newAsker(t, r6, netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 5: i, 15: 1}), 5000).String()).announce(hash)
	}
	both := []krpc.Want{krpc.WantNodes, krpc.WantNodes6}
	for _, a := range []*asker{newAsker(t, r4, "203.0.113.1:1001"), newAsker(t, r6, "[2001:4860::1]:1001")} {
		got := a.ask("get_peers", krpc.MsgArgs{InfoHash: hash, Want: both})
		if len(got.Values) < maxValues6 || len(got.Nodes) != closestK || len(got.Nodes6) != closestK {
			t.Errorf("%d values, %d and %d nodes", len(got.Values), len(got.Nodes), len(got.Nodes6))
		}
		all := make(map[netip.AddrPort]bool)
		for range 20 {
			for addr := range a.peers(hash) {
				all[addr] = true
			}
		}
		if len(all) < 100 {
			t.Errorf("asking 20 times gives %d of 200", len(all))
		}
		i, token := signed(1, strings.Repeat("v", MaxItemValue), ""), *got.Token
		a.ask("put", i.args(token, nil))
		if got := a.ask("get", krpc.MsgArgs{Target: i.target(), Want: both}); len(got.V) != maxItemEncoded {
			t.Errorf("the longest item has %d bytes", len(got.V))
		}
	}
}

var itemKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize))

// A signedItem is signed by the library.
type signedItem struct{ bep44.Put }

func signed(seq int64, value, salt string) signedItem {
	key := [32]byte(itemKey.Public().(ed25519.PublicKey))
	p := bep44.Put{V: value, K: &key, Seq: seq}
	if salt != "" {
		p.Salt = []byte(salt)
	}
	p.Sign(itemKey)
	return signedItem{p}
}

func (i signedItem) target() krpc.ID { t := i.Target(); return krpc.ID(t) }

func (i signedItem) args(token string, cas *int64) krpc.MsgArgs {
	a := krpc.MsgArgs{Token: token, V: i.V, K: *i.K, Salt: i.Salt, Sig: i.Sig, Seq: &i.Seq}
	if cas != nil {
		a.Cas = *cas
	}
	return a
}

func TestServingItems(t *testing.T) {
	a := newAsker(t, newResponder(nodeID{1}), "203.0.113.1:1001")
	token := *a.ask("get", krpc.MsgArgs{Target: krpc.ID{1}}).Token
	const salt = "credant-relay"
	first := signed(5, "five", salt)
	a.ask("put", first.args(token, nil))
	a.ask("put", first.args(token, nil)) // again, which renews it
	check := func(want signedItem) {
		t.Helper()
		got := a.ask("get", krpc.MsgArgs{Target: want.target()})
		if got.Seq == nil || *got.Seq != want.Seq || got.K != *want.K || got.Sig != want.Sig ||
			!bytes.Equal(got.V, bencode.MustMarshal(want.V)) || got.Token == nil {
			t.Errorf("get: %+v, want %+v", got, want)
		}
	}
	check(first)
	if got := a.ask("get", krpc.MsgArgs{Target: signed(5, "five", "").target()}); got.V != nil || got.Seq != nil {
		t.Errorf("another salt gives %+v", got)
	}

	same := signed(5, "other", salt)
	a.refused(302, "put", same.args(token, nil))
	older := signed(4, "four", salt)
	a.refused(302, "put", older.args(token, nil))
	next := signed(6, "six", salt)
	wrong, right := int64(4), int64(5)
	a.refused(301, "put", next.args(token, &wrong))
	a.ask("put", next.args(token, &right))
	check(next)

	forged := signed(7, "seven", salt)
	forged.Sig[0]++
	a.refused(206, "put", forged.args(token, nil))
	long := signed(7, strings.Repeat("v", MaxItemValue+1), salt)
	a.refused(205, "put", long.args(token, nil))
	seven := signed(7, "seven", salt)
	a.refused(203, "put", seven.args("x", nil))
	check(next)

	// Who has it already is told only that there is nothing newer.
	for seq, has := range map[int64]bool{5: false, 6: true, 7: true} {
		got := a.ask("get", krpc.MsgArgs{Target: next.target(), Seq: &seq})
		if got.Seq == nil || *got.Seq != 6 || (got.V == nil) != has || (got.K == [32]byte{}) != has {
			t.Errorf("get with seq %d: %+v", seq, got)
		}
	}

	a.now = a.now.Add(itemExpiry - time.Second)
	check(next)
	a.now = a.now.Add(time.Second)
	if got := a.ask("get", krpc.MsgArgs{Target: next.target()}); got.V != nil {
		t.Errorf("%+v after two hours", got)
	}
}

func TestServingImmutableItems(t *testing.T) {
	a := newAsker(t, newResponder(nodeID{1}), "203.0.113.1:1001")
	token := *a.ask("get", krpc.MsgArgs{Target: krpc.ID{1}}).Token
	a.ask("put", krpc.MsgArgs{Token: token, V: "Hello World!"})
	// BEP 44, test vector 3.
	var target krpc.ID
	if err := target.UnmarshalText([]byte("e5f96f6f38320f0f33959cb4d3d656452117aadb")); err != nil {
		t.Fatal(err)
	}
	got := a.ask("get", krpc.MsgArgs{Target: target})
	if string(got.V) != "12:Hello World!" || got.Seq != nil || got.K != ([32]byte{}) {
		t.Errorf("get: %+v", got)
	}
}

// However many ask, nobody is sent more than its budget: neither one address nor the
// network that it is in.
func TestServingIsNoReflector(t *testing.T) {
	r := newResponder(nodeID{1})
	hash := krpc.ID{7}
	for i := range byte(100) {
		newAsker(t, r, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, i, 1}), 5000).String()).announce(hash)
	}
	const seconds = 30
	for _, c := range []struct {
		name    string
		sources int
		limit   int
	}{
		{"one address", 1, addressBurst + addressRate*seconds},
		{"one network", 254, prefixBurst + prefixRate*seconds},
	} {
		sent, dropped := 0, 0
		for ms := range seconds * 1000 {
			from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(c.sources), byte(1 + ms%c.sources)}), uint16(1000+ms%7))
			a := &asker{t: t, r: r, from: from, now: responderStart.Add(time.Hour/4 + time.Duration(ms)*time.Millisecond)}
			m, reason := a.send("get_peers", krpc.MsgArgs{InfoHash: hash})
			if reason != "" {
				dropped++
				continue
			}
			sent += len(bencode.MustMarshal(m))
		}
		if sent > c.limit || dropped == 0 || sent < c.limit/2 {
			t.Errorf("%s was sent %d bytes, want at most %d; %d queries dropped", c.name, sent, c.limit, dropped)
		}
	}
	// Others are answered meanwhile.
	newAsker(t, r, "192.0.2.1:1001").ask("ping", krpc.MsgArgs{})
}

// A flood is bounded in all that it leaves behind and, from one network, leaves room
// for others.
func TestServingFloodIsBounded(t *testing.T) {
	r := newResponder(nodeID{1})
	hash := infoHash{7}
	honest := newAsker(t, r, "192.0.2.1:1001")
	now := responderStart
	before := heap()
	for i := range uint32(100_000) {
		now = now.Add(time.Millisecond / 5)
		var id infoHash
		binary.BigEndian.PutUint32(id[:], i*2654435761)
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{100 + byte(i%64), byte(i >> 14), byte(i >> 6), byte(i)}), 5000)
		r.limits.buckets(now, from.Addr())
		r.routing.asked(now, node{nodeID(id), from})
		r.routing.answered(now, node{nodeID(id), from})
		r.peers.add(now, hash, from)
		r.peers.add(now, id, from)
		if i%16 == 0 { // a signature a piece
			long := append(id[:], make([]byte, MaxItemValue-len(id))...)
			r.items.put(now, from.Addr(), putRequest{item: item{v: appendString(nil, long)}})
		}
	}
	for name, c := range map[string][2]int{
		"peers":           {r.peers.peers.len(), maxPeers},
		"hashes":          {len(r.peers.ofHash), maxPeers},
		"peers of a hash": {len(r.peers.ofHash[hash]), maxPeersOfHash},
		"items":           {r.items.items.len(), maxItems},
		"nodes":           {r.routing.size(), maxRouted},
		"candidates":      {len(r.routing.candidates), maxCandidates},
		"addresses":       {r.limits.address.bySource.len(), maxAddressBudgets},
		"networks":        {r.limits.prefix.bySource.len(), maxPrefixBudgets},
	} {
		if c[0] > c[1] || c[0] == 0 {
			t.Errorf("%d %s, want at most %d", c[0], name, c[1])
		}
	}
	grown := int64(heap() - before)
	t.Logf("%d kB are kept", grown>>10)
	if grown > 20<<20 {
		t.Errorf("%d kB are kept, want at most 20 MB", grown>>10)
	}

	r = newResponder(nodeID{1})
	honest.r = r
	honest.announce(krpc.ID(hash))
	for i := range 100_000 {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), uint16(1000+i/256))
		r.peers.add(responderStart, hash, from)
		r.peers.add(responderStart, infoHash{byte(i), byte(i >> 8), 1}, from)
	}
	if r.peers.peers.get(peerKey{hash, honest.from}) == nil {
		t.Errorf("the honest one is lost among %d", len(r.peers.ofHash[hash]))
	}
	if n := r.peers.peers.len(); n > maxPeersOfSource+1 {
		t.Errorf("one network has %d announces", n)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkReceive(b *testing.B) {
	r := newResponder(nodeID{1})
	for i := range byte(200) {
		r.routing.answered(responderStart, node{nodeID{1, 1 << (i % 8), i}, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, i}), 6881)})
	}
	query := bencode.MustMarshal(krpc.Msg{Q: "get_peers", Y: "q", T: "tt", A: &krpc.MsgArgs{InfoHash: krpc.ID{7}, ID: krpc.ID{1}}})
	now, i := responderStart, uint32(0)
	b.ReportAllocs()
	for b.Loop() {
		i++
		now = now.Add(time.Millisecond)
		msg, _ := examine(query, false)
		r.Receive(now, netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)}), 5000), msg)
	}
}
