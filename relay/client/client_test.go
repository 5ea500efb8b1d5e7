package client

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

const rtt = 40 * time.Millisecond

// pairUp makes two hosts that are registered and have an allocation.
func pairUp(w *world, addrs ...netip.AddrPort) (a, b *host) {
	a, b = w.add(addrs...), w.add(addrs...)
	a.client.SetBlob(w.now, []byte("blob of a"))
	b.client.SetBlob(w.now, []byte("blob of b"))
	a.setPeers(b)
	b.setPeers(a)
	w.until(2*time.Second, "both bound", func() bool { return a.ready(b) && b.ready(a) })
	w.run(time.Second) // the second copies of pushes
	return a, b
}

// A fresh client is registered after two round trips and bound after two more,
// and has said no more than it takes.
func TestRoundTrips(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(main4), w.add(main4)
	a.client.SetBlob(w.now, []byte("a"))
	a.setPeers(b)
	w.run(4 * rtt)
	got := map[string]time.Duration{}
	for _, s := range a.said {
		got[fmt.Sprintf("%T", s.out)] = s.at
	}
	w.run(time.Second)
	for what, want := range map[string]time.Duration{
		"client.Up": rtt, "client.Registered": 2 * rtt, "client.Allocated": 2 * rtt,
	} {
		if got[what] != want {
			t.Errorf("%s after %v, want %v", what, got[what], want)
		}
	}
	if bound := a.said[len(a.said)-1]; bound.at != 4*rtt || bound.out != (Bound{b.node.Public(), netip.MustParseAddrPort("203.0.113.5:20000"), false}) {
		t.Errorf("%+v, want a Bound after %v", bound, 4*rtt)
	}
	if n := a.kinds(); n[wire.KindAsk] != 2 || n[wire.KindRequest] != 3 {
		t.Errorf("sent %v", n)
	}
	if up := told[Up](a)[0]; up.RTT != rtt || up.Observed != a.source(main4) || up.Addr != main4 || up.Key != w.relay.identity.Public() {
		t.Errorf("%+v", up)
	}
}

// Blob and peers may come at any time; what came before the challenge leaves in
// one flight with it.
func TestOneFlight(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(main4), w.add(main4)
	w.run(rtt / 2)
	a.client.SetBlob(w.now, []byte("a"))
	a.setPeers(b)
	w.run(rtt + rtt/4)
	var at []time.Duration
	for _, s := range a.sent {
		at = append(at, s.at)
	}
	if len(at) != 3 || at[0] != 0 || at[1] != rtt || at[2] != rtt {
		t.Errorf("sent at %v", at)
	}
}

func TestRefreshAndBlobTakeOneRoundTrip(t *testing.T) {
	w := newWorld(t, 1)
	a, b := pairUp(w, main4)
	w.run(10 * time.Second)
	a.forget()
	b.forget()

	a.client.SetBlob(w.now, []byte("another"))
	changed := w.now
	w.run(rtt / 2)
	if !bytes.Equal(w.relay.blobs[a.node.Public()].blob, []byte("another")) {
		t.Error("the relay does not have the blob after half a round trip")
	}
	w.run(rtt / 2)
	if found := told[Found](b); len(found) != 1 || string(found[0].Blob) != "another" || found[0].Node != a.node.Public() {
		t.Errorf("b was told %+v", b.said)
	}
	w.run(20 * time.Second)
	if n := a.kinds(); n[wire.KindRequest] != 1 || n[wire.KindAsk] != 0 || len(told[Registered](a)) != 0 {
		t.Errorf("sent %v, told %+v", n, a.said)
	}
	// The registration counts as a refresh; the next is due 25 s later.
	a.forget()
	w.run(changed.Add(rtt + refreshEvery + rtt).Sub(w.now))
	if n := a.kinds(); n[wire.KindRequest] != 1 || n[wire.KindAsk] != 0 || w.relay.requests["refresh"] == 0 {
		t.Errorf("sent %v, relay got %v", n, w.relay.requests)
	}
}

// However often the blob changes, and whatever the relay thinks of that: the last
// one is there in the end.
func TestManyBlobs(t *testing.T) {
	for _, every := range []time.Duration{time.Millisecond, 50 * time.Millisecond, 300 * time.Millisecond} {
		w := newWorld(t, 1)
		e := w.runEngine()
		w.jitter = 100 * time.Millisecond
		a, b := w.add(main4), w.add(main4)
		b.client.SetBlob(w.now, []byte("b"))
		a.client.SetBlob(w.now, []byte("a"))
		w.run(time.Second)
		a.forget()
		for i := range byte(50) {
			a.client.SetBlob(w.now, []byte{i})
			w.run(every)
		}
		w.run(5 * time.Second)
		found := told[Found](b)
		if len(found) == 0 || found[len(found)-1].Blob[0] != 49 || a.client.Status().LastError != "" {
			t.Errorf("every %v: b was told %+v, the relay refused %v", every, found, e.Stats().Refused)
		}
		if n := len(a.sent); n > 60 {
			t.Errorf("every %v: sent %d", every, n)
		}
	}
}

// What a registered client with a bound pair costs while nothing happens.
func TestIdle(t *testing.T) {
	w := newWorld(t, 1)
	a, _ := pairUp(w, main4)
	w.run(time.Minute)
	a.forget()
	w.run(10 * time.Minute)
	n := a.kinds()
	// 24 refreshes, 11 binds.
	if n[wire.KindAsk] != 0 || n[wire.KindRequest] > 35 || len(a.said) != 0 {
		t.Errorf("sent %v, told %+v", n, a.said)
	}
	t.Logf("%d datagrams in ten minutes", 2*len(a.sent))

	c := w.add(main4) // nothing to say
	w.run(time.Hour)
	if n := c.kinds(); n[wire.KindAsk] > 61 || len(n) != 1 {
		t.Errorf("with nothing to say: sent %v", n)
	}
}

// A registration in reserve lives on half of the datagrams, and what was missed
// comes at once when it is called in.
func TestStandby(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(main4), w.add(main4)
	a.client.SetBlob(w.now, []byte("a"))
	b.client.SetBlob(w.now, []byte("b"))
	a.client.SetStandby(w.now, true)
	w.run(5 * time.Second)
	before := a.kinds()[wire.KindRequest]
	const minutes = 11
	w.run(minutes * time.Minute)
	if n := a.kinds()[wire.KindRequest] - before; n != minutes*int(time.Minute/standbyEvery)+1 {
		t.Errorf("%d requests in %d minutes", n, minutes)
	}
	if !a.client.Status().Registered {
		t.Error("not registered any more")
	}
	at := w.now
	a.client.SetStandby(w.now, false)
	a.pump()
	w.run(time.Second)
	if c := a.client; c.registration.refreshAt.Sub(at) > refreshEvery+rtt || c.registration.refreshAt.Sub(at) < refreshEvery {
		t.Errorf("the next refresh but one is after %v", c.registration.refreshAt.Sub(at))
	}
}

func TestNobodyThere(t *testing.T) {
	w := newWorld(t, 1)
	w.relay.dead = true
	a := w.add(main4)
	a.client.SetBlob(w.now, []byte("a"))
	w.run(3 * time.Minute)
	var at []time.Duration
	for _, s := range a.sent {
		at = append(at, s.at.Round(time.Millisecond))
	}
	want := "[0s 100ms 350ms 850ms 1.85s 3.85s 8.85s 18.85s 48.85s 1m48.85s 2m48.85s]"
	if fmt.Sprint(at) != want {
		t.Errorf("asked at %v, want %v", at, want)
	}
	if len(a.said) != 1 || a.said[0].at != 3850*time.Millisecond || a.said[0].out != (Down{"no answer to 203.0.113.5:3478"}) {
		t.Errorf("told %+v", a.said)
	}
	if s := a.client.Status(); s.State != StateDown || s.LastError == "" || s.Key != w.relay.identity.Public() {
		t.Errorf("%+v", s)
	}
	w.relay.dead = false
	w.until(time.Minute, "up", func() bool { return a.client.Status().Registered })
	if s := a.client.Status(); s.State != StateUp || s.LastError != "" {
		t.Errorf("%+v", s)
	}
}

func TestPinnedKey(t *testing.T) {
	for _, pinned := range []bool{true, false} {
		w := newWorld(t, 1)
		a := w.add(main4)
		if !pinned {
			a.client.link.want = wire.ServerPublic{}
		}
		a.client.SetBlob(w.now, []byte("a"))
		w.relay.identity = wire.GenerateServer()
		w.relay.restart()
		w.run(time.Second)
		if up := len(told[Up](a)) == 1; up == pinned {
			t.Errorf("pinned %t: told %+v", pinned, a.said)
		}
		if pinned && (a.drops["mismatch"] == 0 || len(w.relay.requests) != 0) {
			t.Errorf("drops %v, the relay got %v", a.drops, w.relay.requests)
		}
		if s := a.client.Status(); !pinned && (s.Key != w.relay.identity.Public() || told[Up](a)[0].Key != s.Key) {
			t.Errorf("%+v, told %+v", s, a.said)
		}
	}
}

// What the relay sends again is not told again.
func TestSameBlob(t *testing.T) {
	w := newWorld(t, 1)
	a, b := pairUp(w, main4)
	a.forget()
	for range 3 {
		w.relay.push(a.node.Public(), wire.Push{Blob: &wire.Blob{Node: b.node.Public(), Data: []byte("blob of b")}})
	}
	w.run(time.Second)
	if len(a.said) != 0 {
		t.Errorf("told %+v", a.said)
	}
}

// The word that the peer has bound overtakes the answer to the bind.
func TestPeerBoundOvertakes(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(main4), w.add(main4)
	w.relay.tamper = func(r *wire.Response) {
		if r.Bound != nil {
			w.relay.push(a.node.Public(), wire.Push{PeerBound: &wire.PeerBound{Peer: b.node.Public(), Port: 20000, Bound: true}})
		}
	}
	a.setPeers(b)
	w.run(4*rtt + rtt/2)
	if !a.ready(b) {
		t.Errorf("told %+v", a.said)
	}
}

func TestCookieRenewal(t *testing.T) {
	var k cookie
	for _, tt := range []struct {
		c      byte
		number uint32
		want   byte
	}{{1, 0, 1}, {2, 5, 2}, {3, 4, 2}, {0, 6, 2}, {4, 5, 4}, {5, 9, 5}} {
		c := wire.Cookie{tt.c}
		if k.renew(epoch, c, tt.number); k.Cookie[0] != tt.want {
			t.Errorf("cookie %d of %d: holds %d, want %d", tt.c, tt.number, k.Cookie[0], tt.want)
		}
	}
	if !k.isGood(epoch.Add(cookieKept-1)) || k.isGood(epoch.Add(cookieKept)) {
		t.Error("a cookie is good for another time")
	}
}

func TestLeaving(t *testing.T) {
	w := newWorld(t, 1)
	a, _ := pairUp(w, main4)
	a.forget()
	w.relay.leaving(5 * time.Second)
	w.run(time.Second)
	if len(a.said) != 1 || a.said[0].out != (Leaving{5 * time.Second}) || len(a.sent) != 0 {
		t.Errorf("told %+v", a.said)
	}
}

// Who has allocations and no blob keeps them, and the place where the relay
// pushes to, without a refresh.
func TestAllocationsAlone(t *testing.T) {
	w := newWorld(t, 1)
	e := w.runEngine()
	a, b := w.add(main4), w.add(main4)
	a.setPeers(b)
	w.run(10 * time.Minute)
	b.setPeers(a)
	if took := w.until(time.Second, "both bound", func() bool { return a.ready(b) && b.ready(a) }); took > 5*rtt {
		t.Errorf("both bound after %v", took)
	}
	w.run(time.Hour)
	if s := e.Stats(); s.Allocations != 1 || s.Bound != 1 || len(s.Refused) != 0 || len(e.drops) != 0 {
		t.Errorf("%+v, dropped %v", s, e.drops)
	}
	if len(told[Lost](a)) != 0 || len(told[Allocated](a)) != 1 || a.client.Status().LastError != "" {
		t.Errorf("told %+v", a.said)
	}
	a.port++
	w.run(refreshEvery + time.Second)
	if up := told[Up](a); len(up) != 2 || up[1].Observed != a.source(main4) {
		t.Errorf("told %+v", a.said)
	}

	// A blob that is taken back runs out, and the pair stays.
	a.client.SetBlob(w.now, []byte("a"))
	w.run(time.Minute)
	a.client.SetBlob(w.now, nil)
	w.run(3 * time.Minute)
	if s := e.Stats(); s.Registrations != 0 || s.Bound != 1 || !a.ready(b) {
		t.Errorf("%+v", s)
	}
}

func TestPeersComeAndGo(t *testing.T) {
	w := newWorld(t, 1)
	a, b := pairUp(w, main4)
	c := w.add(main4)
	a.setPeers(c, b, a, b)
	w.run(time.Second)
	if s := a.client.Status(); len(s.Allocations) != 2 || a.port4(c) != netip.AddrPortFrom(main4.Addr(), 20001) || a.ready(c) {
		t.Errorf("%+v", s)
	}
	c.setPeers(a)
	w.until(5*rtt, "the third bound", func() bool { return a.ready(c) && c.ready(a) })

	a.forget()
	b.forget()
	old := a.port4(b)
	a.setPeers(c)
	if a.client.Owns(old) {
		t.Error("still owns the port")
	}
	w.run(2 * rtt)
	if bound := told[Bound](b); len(bound) != 1 || bound[0].Ready || w.relay.requests["release"] != 1 {
		t.Errorf("b was told %+v", b.said)
	}
	if len(a.said) != 0 {
		t.Errorf("a was told %+v", a.said)
	}
	a.client.SetBlob(w.now, nil)
	a.setPeers()
	w.run(time.Second)
	if w.relay.requests["leave"] != 1 || len(w.relay.blobs) != 1 || len(told[Gone](b)) != 1 {
		t.Errorf("relay got %v, b was told %+v", w.relay.requests, b.said)
	}
	a.forget()
	w.run(30 * time.Second)
	if n := a.kinds(); n[wire.KindRequest] != 0 {
		t.Errorf("after leaving: sent %v", n)
	}
}

func TestManyPeers(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add(main4)
	var peers []keys.NodePublic
	for i := range 2000 {
		peers = append(peers, keys.NodePublic{2, byte(i), byte(i >> 8)})
	}
	a.client.SetPeers(w.now, peers)
	w.relay.last = 40000
	w.run(10 * time.Second)
	n := 0
	for _, p := range a.client.Status().Allocations {
		if p.Bound {
			n++
		}
	}
	if n != maxPairs {
		t.Errorf("%d bound, want %d", n, maxPairs)
	}
	a.client.SetPeers(w.now, peers[:1])
	w.run(10 * time.Second)
	if w.relay.requests["release"] != (maxPairs-1+15)/16 {
		t.Errorf("relay got %v", w.relay.requests)
	}
}
