package relay

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

// wireGuard is a data message as short as it can be.
func wireGuard() []byte {
	b := make([]byte, 32)
	b[0] = 4
	return b
}

// Nobody binds for another: not an outsider who knows the ids, not a member for
// another node, not a node for a pair of others.
func TestForgedBinds(t *testing.T) {
	w := newWorld(t, 1)
	office, elsewhere := w.network(), w.network()
	a, b := w.join(office, "198.51.100.1:5001"), w.join(office, "198.51.100.2:5002")
	port := w.connect(a, b)
	a.mustAllocate(w.join(office, "198.51.100.3:5003")) // so that the next port is open
	before := maps.Clone(w.flows)
	bindTo := func(peer *client) wire.Request { return wire.Request{Bind: &wire.Bind{Peer: peer.node()}} }

	outsider := w.join(elsewhere, "192.0.2.66:6666")
	outsider.signer.Network = office.Network // signs with another network's key
	outsider.ask(outsider.at(port))
	if reason := w.receive(outsider.at(port), outsider.addr, outsider.seal(outsider.at(port), bindTo(b))); reason != "signature" {
		t.Errorf("an outsider's bind: %q", reason)
	}

	member := w.join(office, "192.0.2.67:6667")
	if r := member.bind(port, b.node()); r == nil || r.Error == nil || r.Error.Code != wire.CodeUnknown {
		t.Errorf("a third node's bind answered with %+v", r)
	}
	// In its own session, which is proven, in the name of another.
	other := w.join(office, "192.0.2.68:6668")
	own := member.signer
	member.signer.Node = other.signer.Node
	if reason := w.receive(member.at(port), member.addr, member.seal(member.at(port), bindTo(b))); reason != dropIdentity {
		t.Errorf("another's name in a session: %q", reason)
	}
	member.signer = own
	// From where it cannot receive: with a cookie of its own address.
	spoofed := netip.MustParseAddrPort("203.0.113.99:9999")
	request := a.seal(a.at(port), bindTo(b))
	if reason := w.receive(a.at(port), spoofed, slices.Clone(request)); reason != "refused-cookie" {
		t.Errorf("a bind from elsewhere: %q", reason)
	}
	// To another port than the cookie was issued for.
	if reason := w.receive(a.at(port+1), a.addr, slices.Clone(request)); reason != "refused-cookie" {
		t.Errorf("a bind at another port: %q", reason)
	}
	if reason := w.receive(a.front, a.addr, slices.Clone(request)); reason != "refused-cookie" {
		t.Errorf("a bind at the front: %q", reason)
	}
	// It is still good where it belongs, for all the copies that came before.
	if reason := w.receive(a.at(port), a.addr, request); reason != "" {
		t.Errorf("the bind itself: %q", reason)
	}
	if !maps.EqualFunc(before, w.flows, func(x, y Flow) bool { return x.To == y.To && x.From == y.From }) {
		t.Errorf("flows %v, want %v", w.flows, before)
	}
	w.check()
}

// Whatever of a conversation comes again, later, from the same address or from
// another, changes nothing.
func TestReplays(t *testing.T) {
	w := newWorld(t, 2)
	office := w.network()
	a, b := w.join(office, "198.51.100.1:5001"), w.join(office, "198.51.100.2:5002")
	attacker := netip.MustParseAddrPort("192.0.2.66:6666")
	type sent struct {
		at   netip.AddrPort
		data []byte
	}
	var tape []sent
	do := func(at netip.AddrPort, r wire.Request) {
		t.Helper()
		if a.cookies[at].IsZero() {
			a.ask(at)
		}
		data := a.seal(at, r)
		tape = append(tape, sent{at, slices.Clone(data)})
		w.proven[a.addr] = true
		w.receive(at, a.addr, data)
	}
	b.mustRegister("b")
	do(a.front, wire.Request{Register: &wire.Register{Blob: []byte("old")}})
	do(a.front, wire.Request{Allocate: &wire.Allocate{Peers: []keys.NodePublic{b.node()}}})
	do(a.at(20000), wire.Request{Bind: &wire.Bind{Peer: b.node()}})
	b.mustBind(20000, a)
	do(a.front, wire.Request{Release: &wire.Release{Peers: []keys.NodePublic{b.node()}}})
	do(a.front, wire.Request{Leave: true})
	old := len(tape)
	// The process starts again and does other things.
	a.newSession()
	clear(a.cookies)
	do(a.front, wire.Request{Register: &wire.Register{Blob: []byte("new")}})
	w.connect(a, b)

	state := func() string {
		st := w.s.Stats()
		return fmt.Sprint(w.flows, st.Allocations, st.Bound, st.Registrations, b.blobs(), len(b.pushes))
	}
	want := state()
	for _, wait := range []time.Duration{0, time.Second, 50 * time.Second, 65 * time.Second} {
		w.pass(wait)
		for i, s := range tape {
			for _, from := range []netip.AddrPort{a.addr, attacker} {
				reason := w.receive(s.at, from, slices.Clone(s.data))
				if reason == "" || i < old && from == a.addr && reason != "refused-cookie" && reason != dropCookie {
					t.Errorf("after %v, copy %d from %v: %q", wait, i, from, reason)
				}
			}
		}
		if got := state(); got != want {
			t.Fatalf("after %v the copies changed %s to %s", wait, want, got)
		}
		a.refresh(a.have())
		b.refresh(b.have())
		a.mustBind(20000, b)
		b.mustBind(20000, a)
		want = state()
	}
	// Nor when the node is forgotten.
	a.request(a.front, wire.Request{Leave: true})
	b.request(b.front, wire.Request{Leave: true})
	for i := range w.s.nodes {
		w.s.nodes[i].due.at = 0
	}
	for len(w.s.nodes) > 0 {
		w.s.forget(w.s.nodes[0])
	}
	for i, s := range tape {
		if reason := w.receive(s.at, a.addr, slices.Clone(s.data)); reason == "" {
			t.Errorf("copy %d after all is forgotten is served", i)
		}
	}
	if st := w.s.Stats(); st.Registrations+st.Allocations != 0 {
		t.Errorf("copies brought %+v", st)
	}
}

// For every sequence of datagrams from a source that has proved nothing, no more
// bytes go to it than came from it. The world counts.
func TestNoAmplification(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed)
		office := w.network()
		a, b := w.join(office, "198.51.100.1:5001"), w.join(office, "198.51.100.2:5002")
		a.mustRegister("a")
		b.mustRegister("b")
		port := w.connect(a, b)
		victims := make([]netip.AddrPort, 5)
		for i := range victims {
			victims[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(w.rng.IntN(250))}), uint16(1+w.rng.IntN(65535)))
		}
		for range 2000 {
			at := front4
			if w.rng.IntN(2) == 0 {
				at = a.at(port)
			}
			from := victims[w.rng.IntN(len(victims))]
			data := w.nonsense(a, at)
			if wire.IsRelay(data) {
				w.receive(at, from, data)
			} else {
				w.unknown(at, from, data)
			}
			if w.rng.IntN(50) == 0 {
				w.pass(time.Duration(w.rng.IntN(5000)) * time.Millisecond)
			}
		}
		for _, v := range victims {
			if w.in[v] == 0 || w.out[v] == 0 {
				t.Errorf("seed %d: %d bytes in, %d out: nothing was tried", seed, w.in[v], w.out[v])
			}
		}
	}
}

// nonsense is something that a stranger could send, or copy from a.
func (w *world) nonsense(a *client, at netip.AddrPort) []byte {
	var data []byte
	switch w.rng.IntN(7) {
	case 0:
		data = wire.AppendAsk(nil, wire.TransactionID{byte(w.rng.IntN(256))})
	case 1: // of the known session, its cookie of another address
		a.cookies[at] = wire.Cookie{1}
		data = a.seal(at, wire.Request{Refresh: &wire.Refresh{}})
	case 2: // of a session nobody knows
		data = a.seal(at, wire.Request{Bind: &wire.Bind{Peer: keys.NodePublic{2}}})
		data[40]++
	case 3:
		data = wireGuard()
	case 4:
		data = append([]byte{0xa1, 1}, make([]byte, w.rng.IntN(200))...)
	case 5:
		data = wire.AppendReset(nil, wireGuard())
	case 6:
		data = append([]byte{0xa1, 0x42}, make([]byte, w.rng.IntN(300))...)
	}
	if w.rng.IntN(4) == 0 {
		data = data[:2+w.rng.IntN(len(data)-1)]
	}
	if w.rng.IntN(4) == 0 {
		data[w.rng.IntN(len(data))] ^= byte(1 << w.rng.IntN(8))
	}
	return data
}

// A spoofed source never has anything forwarded to it, even where somebody sees
// the victim's traffic to the relay and copies it.
func TestSpoofedSourceGetsNothing(t *testing.T) {
	w := newWorld(t, 3)
	office := w.network()
	a, b := w.join(office, "198.51.100.1:5001"), w.join(office, "198.51.100.2:5002")
	port := w.connect(a, b)
	victim := netip.MustParseAddrPort("192.0.2.1:53")
	for range 200 {
		// The attacker is a itself: it has all keys, and not the victim's address.
		w.receive(a.at(port), victim, wire.AppendAsk(nil, wire.TransactionID{9}))
		for _, cookie := range []wire.Cookie{a.cookies[a.at(port)], a.cookies[a.front], {7}} {
			c := *a
			c.cookies = map[netip.AddrPort]wire.Cookie{a.at(port): cookie, a.front: cookie}
			w.receive(a.at(port), victim, c.seal(a.at(port), wire.Request{Bind: &wire.Bind{Peer: b.node()}}))
			w.receive(a.front, victim, c.seal(a.front, wire.Request{Register: &wire.Register{Blob: []byte("x")}}))
			a.number = c.number
		}
		w.pass(10 * time.Millisecond)
	}
	for _, f := range w.flows {
		if f.To == victim || f.Source == victim {
			t.Errorf("%v was installed", f)
		}
	}
	if len(w.flows) != 2 {
		t.Errorf("%d flows", len(w.flows))
	}
}
