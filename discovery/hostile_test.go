package discovery

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// capture runs one exchange between two fresh hosts and returns its datagrams.
func capture(t *testing.T) (w *world, a, b *host, datagrams []flight) {
	t.Helper()
	w = newWorld(t, 1)
	a, b = w.add(networkKey(t, 1), addrA), w.add(networkKey(t, 1), addrB)
	w.tap = func(from, to netip.AddrPort, data []byte) {
		datagrams = append(datagrams, flight{from: from, to: to, data: data})
	}
	a.hint(SourceStatic, b.addr)
	w.run(time.Second, nil)
	w.tap = nil
	if len(datagrams) != 4 || len(b.mets) != 1 {
		t.Fatalf("captured %d datagrams and %d meetings", len(datagrams), len(b.mets))
	}
	return w, a, b, datagrams
}

// Whoever copies the datagrams of an exchange and sends them again, from where
// they came or from elsewhere, now or later, changes nothing and never gets more
// bytes than it sends.
func TestReplaysChangeNothing(t *testing.T) {
	elsewhere := netip.MustParseAddrPort("192.0.2.66:40066")
	for _, wait := range []time.Duration{0, time.Second, 20 * time.Second, time.Minute, 3 * time.Minute, 10 * time.Minute, 25 * time.Hour} {
		w, a, b, datagrams := capture(t)
		w.run(w.now+wait, nil)
		for i, d := range datagrams {
			for _, h := range []*host{a, b} {
				for _, from := range []netip.AddrPort{d.from, a.addr, b.addr, elsewhere} {
					h.g.seen = newSeen() // or it would not even be opened
					mets, sends := len(h.mets), len(h.sends)
					h.receive(from, d.data)
					if len(h.mets) != mets || len(h.twins) != 0 {
						t.Errorf("%v later, message %d from %v: a meeting", wait, i, from)
					}
					out := 0
					for _, s := range h.sends[sends:] {
						out += s.size
						if s.to != from {
							t.Errorf("%v later, message %d from %v: sent to %v", wait, i, from, s.to)
						}
					}
					if out > len(d.data) {
						t.Errorf("%v later, message %d: %d bytes for %d", wait, i, out, len(d.data))
					}
				}
			}
		}
	}
}

// A confirm that is copied and sent from elsewhere, before the true one arrives,
// gains nothing and harms nothing.
func TestStolenConfirm(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(networkKey(t, 1), addrA), w.add(networkKey(t, 1), addrB)
	thief := netip.MustParseAddrPort("192.0.2.66:40066")
	a.hint(SourceStatic, b.addr)
	w.run(w.now+2*w.minDelay, nil) // the confirm is on its way
	if reason := b.receive(thief, w.inFlight[0].data); reason != dropCookie || len(b.mets) != 0 {
		t.Errorf("a stolen confirm: %q, %d meetings", reason, len(b.mets))
	}
	w.run(time.Second, nil)
	if len(b.mets) != 1 || b.mets[0].Addr != a.addr {
		t.Errorf("the true confirm: %+v", b.mets)
	}
}

// A member that was at one address and is at another now cannot be put back by
// the confirm of the first meeting, cookie secrets being what they are.
func TestOldConfirmDoesNotMoveAMember(t *testing.T) {
	w, a, b, datagrams := capture(t)
	old := a.addr
	a.addr = netip.MustParseAddrPort("192.0.2.9:40009")
	a.g.Lost(b.id())
	a.hint(SourceStatic, b.addr)
	w.run(5*time.Second, nil)
	if len(b.mets) != 2 || b.mets[1].Addr != a.addr {
		t.Fatalf("not met at the new address: %d meetings", len(b.mets))
	}
	for ; w.now < 6*time.Minute; w.now += 7 * time.Second {
		b.g.seen = newSeen()
		b.receive(old, datagrams[2].data)
	}
	if len(b.mets) != 2 {
		t.Error("an old confirm counts again")
	}
}

// A copy from the same source is dropped unopened; a copy from elsewhere must
// not keep the original from being heard.
func TestCopiesAreNotOpened(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(networkKey(t, 1), addrA), w.add(networkKey(t, 1), addrB)
	a.hint(SourceStatic, b.addr)
	hello := w.inFlight[0].data
	var reasons []string
	for _, from := range []string{"192.0.2.66:40066", addrA, addrA, "198.51.100.1:40009", addrA} {
		reasons = append(reasons, b.receive(netip.MustParseAddrPort(from), hello))
	}
	if d := cmp.Diff([]string{"", "", dropReplay, "", dropReplay}, reasons); d != "" {
		t.Errorf("reasons (-want +got):\n%s", d)
	}
	forged := slices.Clone(hello)
	forged[900] ^= 1
	b.receive(netip.MustParseAddrPort("192.0.2.67:1"), forged)
	if reason := b.receive(netip.MustParseAddrPort("192.0.2.67:1"), hello); reason != "" {
		t.Errorf("after a forgery with its nonce: %q", reason)
	}
}

// A ready counts from the member that was asked, from where it was asked, for
// the cookie that it gave, and from nobody else.
func TestForgedReady(t *testing.T) {
	w := newWorld(t, 1)
	key := networkKey(t, 1)
	a, b := w.add(key, addrA), w.add(key, addrB)
	liar := w.nodeKey()
	var reply wire.Hello
	w.tap = func(_, to netip.AddrPort, data []byte) {
		if h, _, err := wire.OpenHello(data, key.HelloKey(), key.Prefix6()); err == nil && h.Step == wire.StepReply {
			reply = h
		}
	}
	a.hint(SourceStatic, b.addr)
	w.run(2*w.minDelay, nil)
	w.hosts = []*host{a}

	ready := wire.Hello{Step: wire.StepReady, TxA: reply.TxA, TxB: reply.TxB, MaxVersion: 1, To: a.id(), Observed: a.addr}
	for name, x := range map[string]struct {
		node   keys.NodePrivate
		from   netip.AddrPort
		change func(*wire.Hello)
		reason string
	}{
		"another member":   {liar, b.addr, func(*wire.Hello) {}, dropTransaction},
		"another address":  {b.node, netip.MustParseAddrPort("192.0.2.66:1"), func(*wire.Hello) {}, dropAddress},
		"another cookie":   {b.node, b.addr, func(h *wire.Hello) { h.TxB[0] ^= 1 }, dropTransaction},
		"another hello":    {b.node, b.addr, func(h *wire.Hello) { h.TxA[15] ^= 1 }, dropTransaction},
		"another receiver": {b.node, b.addr, func(h *wire.Hello) { h.To = liar.Public() }, dropRecipient},
	} {
		h := ready
		x.change(&h)
		data, err := wire.SealHello(h, key.HelloKey(), x.node)
		if err != nil {
			t.Fatal(err)
		}
		if reason := a.receive(x.from, data); reason != x.reason {
			t.Errorf("%s: %q, want %q", name, reason, x.reason)
		}
	}
	if len(a.met(b.id(), true)) != 0 {
		t.Fatal("a forged ready counts")
	}
	data, err := wire.SealHello(ready, key.HelloKey(), b.node)
	if err != nil {
		t.Fatal(err)
	}
	if reason := a.receive(b.addr, data); reason != "" || len(a.met(b.id(), true)) != 1 {
		t.Errorf("the true ready: %q", reason)
	}
}

// A confirm that is repeated is answered again, as often as any hello is and no
// more, and counts once.
func TestRepeatedConfirms(t *testing.T) {
	w, a, b, datagrams := capture(t)
	key := networkKey(t, 1)
	confirm, _, err := wire.OpenHello(datagrams[2].data, key.HelloKey(), key.Prefix6())
	if err != nil {
		t.Fatal(err)
	}
	w.run(20*time.Second, nil)
	b.sends = nil
	for range 10 * prefixAnswersBurst {
		data, err := wire.SealHello(confirm, key.HelloKey(), a.node)
		if err != nil {
			t.Fatal(err)
		}
		b.receive(a.addr, data)
	}
	if len(b.sends) != prefixAnswersBurst || len(b.mets) != 1 {
		t.Errorf("%d answers, %d meetings; want %d, 1", len(b.sends), len(b.mets), prefixAnswersBurst)
	}
}

// The responder keeps nothing of a hello, however many come and from wherever,
// and answers a bounded number.
func TestHellosLeaveNoState(t *testing.T) {
	w, _, b, _ := capture(t)
	asker := w.nodeKey()
	hello := wire.Hello{
		Step: wire.StepHello, TxA: [16]byte{1}, MaxVersion: 1,
		Signed: signRecord(t, networkKey(t, 1), asker, keys.ProbePublic{1}, 1),
	}
	data, err := wire.SealHello(hello, networkKey(t, 1).HelloKey(), asker)
	if err != nil {
		t.Fatal(err)
	}
	targets, used, known := len(b.g.targets.byAddr), len(b.g.jar.current.used), len(b.g.members.known)
	b.sends = nil
	const n, over = 5_000, 10 * time.Second
	for i := range n {
		w.now += over / n
		b.receive(netip.AddrPortFrom(netip.AddrFrom4([4]byte{11, byte(i >> 8), byte(i), 1}), 4000), data)
	}
	w.inFlight = nil
	if len(b.g.targets.byAddr) != targets || len(b.g.jar.current.used) != used || len(b.g.members.known) != known || len(b.mets) != 1 {
		t.Error("hellos left state")
	}
	if got := len(b.g.replies.prefixes); got > maxPrefixes {
		t.Errorf("%d prefixes in the limiter", got)
	}
	if limit := int(answersBurst + answersPerSecond*over.Seconds()); len(b.sends) > limit || len(b.sends) < limit/2 {
		t.Errorf("%d answers to %d hellos, want about %d", len(b.sends), n, limit)
	}
	if b.reasons[""]+b.reasons[dropRateLimit] < n {
		t.Errorf("reasons: %v", b.reasons)
	}

	// One prefix cannot use up what is there for all.
	w.run(w.now+time.Minute, nil)
	b.sends = nil
	for i := range 1000 {
		b.receive(netip.AddrPortFrom(netip.AddrFrom4([4]byte{12, 0, 0, byte(i)}), 4000), data)
	}
	if len(b.sends) != prefixAnswersBurst {
		t.Errorf("%d answers to one prefix at once, want %d", len(b.sends), prefixAnswersBurst)
	}
	if reason := b.receive(netip.MustParseAddrPort("13.0.0.1:4000"), data); reason != "" {
		t.Errorf("another prefix is not answered: %s", reason)
	}
}

// Sixty thousand hostile datagrams leave memory as it was and are counted by
// reason; members meet as before.
func TestSixtyThousandHostileDatagrams(t *testing.T) {
	w, a, b, datagrams := capture(t)
	rng := rand.New(rand.NewPCG(7, 7))
	foreign := w.add(networkKey(t, 2), "192.0.2.50:4000")
	foreign.hint(SourceStatic, b.addr)
	sealed := w.inFlight[0].data
	w.hosts = []*host{a, b}
	w.inFlight = nil

	makers := map[string]func(i int) []byte{
		"garbage":  func(int) []byte { return mustBytes(w, rng.IntN(1500)) },
		"replayed": func(i int) []byte { return datagrams[i%4].data },
		"truncated": func(i int) []byte {
			d := datagrams[i%4].data
			return d[:rng.IntN(len(d))]
		},
		"oversized": func(i int) []byte { return append(slices.Clone(datagrams[i%4].data), 0) },
		"flipped": func(i int) []byte {
			d := slices.Clone(datagrams[i%4].data)
			d[2+rng.IntN(len(d)-2)] ^= 1 << rng.IntN(8)
			return d
		},
		"other version": func(i int) []byte {
			d := slices.Clone(datagrams[i%4].data)
			d[0] = 0xa2
			return d
		},
		"other kind": func(i int) []byte {
			d := slices.Clone(datagrams[i%4].data)
			d[1] = 3
			return d
		},
		"other network": func(int) []byte { return sealed },
	}
	before := heap()
	b.reasons = make(map[string]int)
	n := 0
	for n < 60_000 {
		for _, make := range makers {
			w.now += 100 * time.Microsecond
			from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(11 + n%80), byte(rng.Uint32()), byte(rng.Uint32()), 1}), uint16(rng.Uint32()|1))
			b.receive(from, make(n/len(makers)))
			n++
		}
		w.inFlight = w.inFlight[:0]
		b.sends = b.sends[:0]
	}
	if grown := int64(heap()) - int64(before); grown > 1<<20 {
		t.Errorf("heap grew by %d bytes", grown)
	}
	if len(b.mets) != 1 {
		t.Errorf("%d meetings", len(b.mets))
	}
	stats := b.g.Stats()
	for _, reason := range []string{"version", "kind", "size", "seal", dropRateLimit, dropRecipient, dropCookie} {
		if stats.Dropped[reason] == 0 || int(stats.Dropped[reason]) != b.reasons[reason] {
			t.Errorf("%s: counted %d, dropped %d", reason, stats.Dropped[reason], b.reasons[reason])
		}
	}
	if len(stats.Dropped) > 20 {
		t.Errorf("%d reasons", len(stats.Dropped))
	}
	c := w.add(networkKey(t, 1), "203.0.113.99:5000")
	c.hint(SourceDHT, b.addr)
	w.run(w.now+time.Second, nil)
	if len(c.met(b.id(), true)) != 1 {
		t.Error("a member does not meet after the flood")
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A member that makes up node keys by the thousand fills no table beyond its
// bound, and others still meet.
func TestMemberThatMakesUpNodes(t *testing.T) {
	w := newWorld(t, 1)
	key := networkKey(t, 1)
	b := w.add(key, addrB)
	for i := range 300 {
		liar := w.add(key, fmt.Sprintf("11.%d.%d.1:4000", i>>8, i&255))
		liar.hint(SourceStatic, b.addr)
		w.run(w.now+200*time.Millisecond, nil)
		w.hosts = []*host{b}
		w.inFlight = nil
	}
	for name, x := range map[string][2]int{
		"known":    {len(b.g.members.known), maxKnown},
		"meetings": {len(b.g.members.meetings), maxMeetings},
		"cookies":  {len(b.g.jar.current.used) + len(b.g.jar.previous.used), 2 * maxUsedCookies},
	} {
		if x[0] > x[1] {
			t.Errorf("%s: %d, at most %d", name, x[0], x[1])
		}
	}
	if len(b.mets) != 300 {
		t.Errorf("%d of the nodes met", len(b.mets))
	}
	members := newMembers()
	now := time.Unix(1000, 0)
	for i := range 2 * maxKnown {
		node := keys.NodePublic{byte(i), byte(i >> 8), 1}
		members.settle(now, netip.AddrPortFrom(netip.AddrFrom4([4]byte{1, 2, byte(i >> 8), byte(i)}), 4000), node)
		members.confirmed(now, node, keys.ProbePublic{})
	}
	if d := cmp.Diff([]int{maxKnown, maxMeetings}, []int{len(members.known), len(members.meetings)}); d != "" {
		t.Errorf("tables (-want +got):\n%s", d)
	}
}
