package discovery

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/credant/credant/discovery/wire"
)

const (
	addrA = "198.51.100.1:40001"
	addrB = "203.0.113.2:40002"
)

// From the hint the initiator meets in one round trip and has the path proven in
// two, and the responder in one and a half: no timer stands in between.
func TestMeetInTwoRoundTrips(t *testing.T) {
	for _, src := range []Source{SourceCache, SourceLAN, SourceDHT, SourceStatic, SourceRendezvous, SourceGossip} {
		w := newWorld(t, 1)
		a, b := w.add(networkKey(t, 1), addrA), w.add(networkKey(t, 1), addrB)
		if !a.hint(src, b.addr) {
			t.Fatalf("%s: hint refused", src)
		}
		w.run(time.Second, nil)

		oneWay := w.minDelay
		base := Met{
			Addr: b.addr, RTT: 2 * oneWay, Observed: a.addr, Version: 1, Node: b.id(),
			Source: src, Initiator: true,
		}
		ready := base
		ready.Ready, ready.StartHandshake = true, true
		want := []metAt{{2 * oneWay, base}, {4 * oneWay, ready}}
		ignore := cmp.FilterPath(func(p cmp.Path) bool {
			f := p.Last().String()
			return f == ".Record" || f == ".Signed" || f == ".Age"
		}, cmp.Ignore())
		opts := cmp.Options{ignore, cmp.AllowUnexported(metAt{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })}
		if d := cmp.Diff(want, a.mets, opts); d != "" {
			t.Errorf("%s: initiator (-want +got):\n%s", src, d)
		}
		want = []metAt{{3 * oneWay, Met{
			Addr: a.addr, RTT: 2 * oneWay, Observed: b.addr, Version: 1, Node: a.id(),
			Source: SourceHello, Ready: true,
		}}}
		if d := cmp.Diff(want, b.mets, opts); d != "" {
			t.Errorf("%s: responder (-want +got):\n%s", src, d)
		}
		for _, m := range []metAt{a.mets[0], a.mets[1], b.mets[0]} {
			r, err := m.Signed.Verify(networkKey(t, 1).Prefix6())
			if d := cmp.Diff(r, m.Record, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})); d != "" || err != nil {
				t.Errorf("%s: record passed on: %v %s", src, err, d)
			}
		}
		if len(a.sends) != 2 || len(b.sends) != 2 {
			t.Errorf("%s: %d and %d datagrams, want 2 and 2", src, len(a.sends), len(b.sends))
		}
		for _, s := range append(a.sends, b.sends...) {
			if s.size != wire.HelloSize {
				t.Errorf("%s: a datagram of %d bytes, want all of %d", src, s.size, wire.HelloSize)
			}
		}
	}
}

// The responder's Met must come before the ready that lets the other start.
func TestInstallBeforeReady(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(networkKey(t, 1), addrA), w.add(networkKey(t, 1), addrB)
	a.hint(SourceStatic, b.addr)
	reply := b.answer(w.inFlight[0].data, a.addr)
	w.inFlight = nil
	a.receive(b.addr, reply[0].(Send).Data)
	outputs := b.answer(w.inFlight[0].data, a.addr)
	if len(outputs) != 2 {
		t.Fatalf("%d outputs of a confirm, want 2", len(outputs))
	}
	_, met := outputs[0].(Met)
	_, ready := outputs[1].(Send)
	if !met || !ready {
		t.Errorf("outputs of a confirm: %T, %T; want Met, Send", outputs[0], outputs[1])
	}
}

// A greeter without a record neither asks nor answers; what it was told before
// is asked as soon as it has one.
func TestSilentWithoutRecord(t *testing.T) {
	w := newWorld(t, 1)
	key := networkKey(t, 1)
	a, b := w.add(key, addrA), w.add(key, addrB)
	silent := NewGreeter(GreeterConfig{Network: key, Node: a.node, Probe: a.probe})
	a.g = silent
	a.hint(SourceStatic, b.addr)
	if _, ok := silent.Next(); ok {
		t.Error("a silent greeter has something to do")
	}
	b.hint(SourceStatic, a.addr)
	w.run(time.Second, nil)
	if len(a.sends) != 0 {
		t.Errorf("sent %d datagrams", len(a.sends))
	}
	if a.reasons[dropNoRecord] == 0 {
		t.Errorf("drops: %v", a.reasons)
	}
	a.setRecord(key)
	w.run(2*time.Second, nil)
	if len(a.met(b.id(), true)) == 0 {
		t.Error("not met after the record was set")
	}
	if err := a.g.SetRecord(a.now(), signRecord(t, key, b.node, b.probe, 1)); err == nil {
		t.Error("another node's record was taken")
	}
}

// Each of the four messages may be lost, and the exchange still ends.
func TestEachLossIsMadeGood(t *testing.T) {
	for lose := 1; lose <= 4; lose++ {
		w := newWorld(t, 1)
		a, b := w.add(networkKey(t, 1), addrA), w.add(networkKey(t, 1), addrB)
		n := 0
		a.hint(SourceStatic, b.addr)
		w.run(5*time.Second, func() bool {
			// The datagram is taken away as it is sent.
			if w.sent > n {
				if n = w.sent; n == lose {
					w.inFlight = nil
				}
			}
			return false
		})
		if len(a.met(b.id(), true)) != 1 || len(b.met(a.id(), true)) != 1 {
			t.Errorf("message %d lost: %d and %d meetings, want one each", lose, len(a.met(b.id(), true)), len(b.met(a.id(), true)))
		}
		if a.starts(b.id()) != 1 || b.starts(a.id()) != 0 {
			t.Errorf("message %d lost: started %d and %d times", lose, a.starts(b.id()), b.starts(a.id()))
		}
		if at := a.met(b.id(), true)[0].at; at > 700*time.Millisecond {
			t.Errorf("message %d lost: met after %v", lose, at)
		}
		if rtt := a.met(b.id(), true)[0].RTT; rtt != 2*w.minDelay {
			t.Errorf("message %d lost: round trip %v, want %v in spite of retransmission", lose, rtt, 2*w.minDelay)
		}
	}
}

// Hellos to an address that stays silent go out on the schedule, and end.
func TestRetransmissions(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add(networkKey(t, 1), addrA)
	times := func() (ts []time.Duration) {
		for _, s := range a.sends {
			ts = append(ts, s.at)
		}
		return ts
	}
	a.hint(SourceStatic, netip.MustParseAddrPort("10.1.2.3:500"))
	w.run(time.Minute, nil)
	want := []time.Duration{0, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second}
	if d := cmp.Diff(want, times()); d != "" {
		t.Errorf("hellos (-want +got):\n%s", d)
	}
	a.sends = nil
	a.hint(SourceStatic, netip.MustParseAddrPort("10.1.2.3:500"))
	w.run(2*time.Minute, nil)
	if len(a.sends) != len(want) {
		t.Errorf("%d hellos after another hint, want %d again", len(a.sends), len(want))
	}
}

// A member whose clock is years off meets like any other, in both directions.
func TestClocksYearsApart(t *testing.T) {
	for _, years := range []int{-30, 40} {
		w := newWorld(t, 1)
		key := networkKey(t, 1)
		a := w.add(key, addrA)
		b := w.addNode(key, addrB, w.nodeKey(), a.epoch.AddDate(years, 0, 0))
		a.hint(SourceLAN, b.addr)
		w.run(time.Second, nil)
		if len(a.met(b.id(), true)) != 1 || len(b.met(a.id(), true)) != 1 {
			t.Errorf("%d years apart: not met", years)
		}
		book := NewBook(key.Prefix6(), 0)
		if _, c, err := book.Put(a.now(), a.mets[0].Signed, a.mets[0].Age); c != New || err != nil {
			t.Errorf("%d years apart: the book says %v, %v", years, c, err)
		}
	}
}

// The machines are told the time. None of them asks.
func TestNobodyReadsTheClock(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, call := range []string{"time.Now(", "time.Since(", "time.Until(", "time.After(", "time.NewT", "go func"} {
			if strings.Contains(string(b), call) {
				t.Errorf("%s has %s", name, call)
			}
		}
	}
}

// Nodes with different passphrases do not answer each other.
func TestAnotherNetwork(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(networkKey(t, 1), addrA), w.add(networkKey(t, 2), addrB)
	a.hint(SourceStatic, b.addr)
	w.run(time.Minute, nil)
	if len(b.sends) != 0 || len(b.mets) != 0 || len(a.mets) != 0 {
		t.Errorf("%d answers, %d and %d meetings", len(b.sends), len(a.mets), len(b.mets))
	}
	if d := cmp.Diff(map[string]int{"seal": len(a.sends)}, b.reasons); d != "" {
		t.Errorf("drops (-want +got):\n%s", d)
	}
}

// An address that turns out to be the node's own is asked once and then left
// alone, even if it keeps being named.
func TestSelf(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add(networkKey(t, 1), addrA)
	for range 60 {
		a.hint(SourceDHT, a.addr)
		w.run(w.now+time.Second, nil)
	}
	if len(a.sends) != 1 || a.reasons[dropSelf] != 1 || len(a.mets)+len(a.twins) != 0 {
		t.Errorf("%d hellos to myself, drops %v", len(a.sends), a.reasons)
	}
	a.g.SetOwnAddresses([]netip.AddrPort{a.addr})
	if a.hint(SourceDHT, a.addr) {
		t.Error("own address accepted as a hint")
	}
}

// Two hosts with one node key find out, and do not meet.
func TestTwin(t *testing.T) {
	w := newWorld(t, 1)
	key := networkKey(t, 1)
	a := w.add(key, addrA)
	b := w.addNode(key, addrB, a.node, a.epoch)
	for range 60 {
		a.hint(SourceDHT, b.addr)
		w.run(w.now+time.Second, nil)
	}
	want := []Twin{{Addr: b.addr, Probe: b.probe}}
	if d := cmp.Diff(want, a.twins, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
		t.Errorf("twins of the asker (-want +got):\n%s", d)
	}
	want = []Twin{{Addr: a.addr, Probe: a.probe}}
	if d := cmp.Diff(want, b.twins, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
		t.Errorf("twins of the asked (-want +got):\n%s", d)
	}
	if len(a.mets)+len(b.mets) != 0 {
		t.Error("twins met")
	}
}

// A member that was met is left alone for a while, until it is lost; one that
// restarted meets again at once.
func TestKnownLostRestarted(t *testing.T) {
	w := newWorld(t, 1)
	key := networkKey(t, 1)
	a, b := w.add(key, addrA), w.add(key, addrB)
	a.hint(SourceDHT, b.addr)
	w.run(time.Second, nil)
	if a.hint(SourceDHT, b.addr) || b.hint(SourceDHT, a.addr) {
		t.Error("a member met a second ago is asked again")
	}
	if got := a.g.Stats().Ignored[dropKnown]; got != 1 {
		t.Errorf("ignored as known: %d", got)
	}
	a.g.Lost(b.id())
	if !a.hint(SourceDHT, b.addr) {
		t.Error("a lost member is not asked again")
	}
	w.run(2*time.Second, nil)
	if got := len(a.met(b.id(), true)); got != 2 {
		t.Fatalf("met %d times, want twice", got)
	}

	again := w.addNode(key, addrB, b.node, b.epoch)
	w.hosts = []*host{a, again}
	again.hint(SourceCache, a.addr)
	w.run(3*time.Second, nil)
	if again.starts(a.id()) != 1 || a.mets[len(a.mets)-1].Record.Probe != again.probe {
		t.Error("a restarted member does not meet anew")
	}
}

// A host that answers from another of its addresses is asked there.
func TestAnswerFromElsewhere(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(networkKey(t, 1), addrA), w.add(networkKey(t, 1), addrB)
	alias := netip.MustParseAddrPort("203.0.113.77:40002")
	a.hint(SourceStatic, alias)
	hello := w.inFlight[0]
	w.inFlight = nil
	b.receive(hello.from, hello.data) // arrives at the alias, and b answers from its address
	w.run(time.Second, nil)
	if a.reasons[dropAddress] != 1 {
		t.Errorf("drops: %v", a.reasons)
	}
	if m := a.met(b.id(), true); len(m) != 1 || m[0].Addr != b.addr || m[0].Source != SourceHello {
		t.Errorf("met: %+v", m)
	}
}

// The round trip is longer than the pause between hellos: the answers to all of
// them arrive, and one counts.
func TestSlowRoundTrip(t *testing.T) {
	w := newWorld(t, 1)
	w.minDelay, w.maxDelay = 400*time.Millisecond, 400*time.Millisecond
	a, b := w.add(networkKey(t, 1), addrA), w.add(networkKey(t, 1), addrB)
	a.hint(SourceStatic, b.addr)
	w.run(time.Minute, nil)
	if len(a.met(b.id(), false)) != 1 || len(a.met(b.id(), true)) != 1 || len(b.mets) != 1 {
		t.Errorf("met %d, %d and %d times", len(a.met(b.id(), false)), len(a.met(b.id(), true)), len(b.mets))
	}
	if got := a.mets[0].RTT; got != 800*time.Millisecond {
		t.Errorf("round trip %v", got)
	}
	if a.reasons[dropDuplicate] != 2 {
		t.Errorf("drops: %v; want two answers too many", a.reasons)
	}
}

// A member that vanishes between reply and ready is let go, and met when it is
// named again.
func TestConfirmIsGivenUp(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(networkKey(t, 1), addrA), w.add(networkKey(t, 1), addrB)
	a.hint(SourceStatic, b.addr)
	w.run(2*w.minDelay, nil)
	w.hosts = []*host{a}
	w.run(time.Minute, nil)
	if got, want := len(a.sends), 1+1+len(confirmGaps); got != want {
		t.Errorf("%d datagrams, want %d", got, want)
	}
	w.hosts = []*host{a, b}
	a.hint(SourceStatic, b.addr)
	w.run(2*time.Minute, nil)
	if len(a.met(b.id(), true)) != 1 {
		t.Error("not met when named again")
	}
}

// Who came by itself is not asked any more.
func TestAnsweredHintIsDropped(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(networkKey(t, 1), addrA), w.add(networkKey(t, 1), addrB)
	a.hint(SourceCache, b.addr)
	w.inFlight = nil // lost
	b.hint(SourceDHT, a.addr)
	w.run(time.Minute, nil)
	if len(a.sends) != 3 { // hello, reply, ready
		t.Errorf("%d datagrams, want 3", len(a.sends))
	}
	if m := a.met(b.id(), true); len(m) != 1 || m[0].Source != SourceCache || m[0].Initiator {
		t.Errorf("met: %+v", m)
	}
}

// A member that is met at two addresses at a time is started with once.
func TestTwoAddressesOneStart(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(networkKey(t, 1), addrA), w.add(networkKey(t, 1), addrB)
	a.hint(SourceDHT, b.addr)
	w.run(time.Second, nil)
	b.addr = netip.MustParseAddrPort("192.168.1.2:40002")
	a.hint(SourceLAN, b.addr)
	w.run(2*time.Second, nil)
	if len(a.met(b.id(), true)) != 2 || a.starts(b.id()) != 1 {
		t.Errorf("met %d times, started %d times; want twice, once", len(a.met(b.id(), true)), a.starts(b.id()))
	}
}
