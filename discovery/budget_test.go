package discovery

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

func hostile(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(20 + i>>16), byte(i >> 8), byte(i), 7}), 6881)
}

// most is the largest number of sends within any span.
func most(sends []sendAt, span time.Duration) int {
	worst, first := 0, 0
	for i, s := range sends {
		for s.at-sends[first].at >= span {
			first++
		}
		worst = max(worst, i-first+1)
	}
	return worst
}

// However many addresses the DHT names, at most 10 hellos go out in any second
// and 200 in any hour, all tables stay bounded, and what the LAN, the user and
// the cache name is asked in the same instant.
func TestHostileDHT(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add(networkKey(t, 1), addrA)
	n := 0
	for w.now < 3*time.Hour {
		burst := 2
		if w.now < 10*time.Second {
			burst = 2000
		}
		for range burst {
			a.hint(SourceDHT, hostile(n))
			n++
		}
		w.run(w.now+time.Second, nil)
		if len(a.g.targets.byAddr) > dhtTargets || len(a.g.targets.byTx) > dhtTargets || len(a.g.targets.negative) > maxNegative {
			t.Fatalf("%d targets, %d transactions, %d refused", len(a.g.targets.byAddr), len(a.g.targets.byTx), len(a.g.targets.negative))
		}
	}
	if got := most(a.sends, time.Second); got > 10 {
		t.Errorf("%d hellos in a second", got)
	}
	if got := most(a.sends, time.Hour); got > 200 || got < 150 {
		t.Errorf("%d hellos in an hour, want nearly 200", got)
	}
	for i, src := range []Source{SourceLAN, SourceStatic, SourceCache, SourceRendezvous, SourceGossip} {
		a.sends = nil
		addr := netip.AddrPortFrom(netip.MustParseAddr("192.168.7.7"), uint16(4000+i))
		a.hint(src, addr)
		if len(a.sends) == 0 || a.sends[0].to != addr {
			t.Errorf("a hint of %s is not asked at once", src)
		}
	}
	// Even the same address: the DHT named it first and had no budget for it.
	a.sends = nil
	shared := netip.MustParseAddrPort("8.8.4.4:4001")
	a.hint(SourceDHT, shared)
	if len(a.sends) != 0 {
		t.Fatal("the DHT still has a budget")
	}
	a.hint(SourceStatic, shared)
	if len(a.sends) != 1 {
		t.Error("an address that the DHT named first has to wait with the DHT's")
	}
}

// Every table of targets is bounded, whoever names them.
func TestTargetsAreBounded(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add(networkKey(t, 1), addrA)
	for src, q := range a.g.targets.queues {
		for i := range q.limit + 100 {
			a.g.Hint(a.now(), src, netip.AddrPortFrom(netip.AddrFrom4([4]byte{30, src[0], byte(i >> 8), byte(i)}), uint16(5000+len(src))))
		}
	}
	counts := make(map[Source]int)
	for _, x := range a.g.targets.byAddr {
		counts[x.source]++
	}
	for src, q := range a.g.targets.queues {
		if q.count != counts[src] || q.count > q.limit || q.count < q.limit*3/4 {
			t.Errorf("%s: %d targets, counted as %d, at most %d", src, counts[src], q.count, q.limit)
		}
	}
	w.run(targetLifetime+time.Hour, nil)
	if got := len(a.g.targets.byAddr) + len(a.g.targets.byTx); got != 0 {
		t.Errorf("%d targets left that nobody names any more", got)
	}
}

// Addresses of the DHT that never answer do not keep a new one waiting, not
// even after they have eaten all of the budget that they may.
func TestNewBeforeDead(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(networkKey(t, 1), addrA), w.add(networkKey(t, 1), addrB)
	for w.now < 10*time.Minute {
		for i := range 20 {
			a.hint(SourceDHT, hostile(i))
		}
		w.run(w.now+time.Second, nil)
	}
	start := w.now
	a.hint(SourceDHT, b.addr)
	w.run(w.now+time.Second, nil)
	if m := a.met(b.id(), false); len(m) != 1 || m[0].at != start+2*w.minDelay {
		t.Errorf("met: %+v; want at %v", m, start+2*w.minDelay)
	}
}

// Nor while they are still being asked each second and use up the budget.
func TestNewBeforeRepeated(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(networkKey(t, 1), addrA), w.add(networkKey(t, 1), addrB)
	for w.now < 4*time.Second {
		for i := range 30 {
			a.hint(SourceDHT, hostile(i))
		}
		w.run(w.now+100*time.Millisecond, nil)
	}
	start := w.now
	for len(a.mets) == 0 && w.now < start+time.Minute {
		for i := range 30 {
			a.hint(SourceDHT, hostile(i))
		}
		a.hint(SourceDHT, b.addr)
		w.run(w.now+100*time.Millisecond, nil)
	}
	if took := w.now - start; took > 1100*time.Millisecond {
		t.Errorf("met after %v", took)
	}
}

// Once the budget is gone, what several polls named is asked before what was
// named once, however long that has waited, and is not displaced by it.
func TestAgreedComesFirst(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add(networkKey(t, 1), addrA)
	for i := range 600 {
		a.hint(SourceDHT, hostile(i))
	}
	w.run(30*time.Second, nil)
	agreed := netip.MustParseAddrPort(addrB)
	for range 3 {
		a.hint(SourceDHT, agreed)
		w.run(w.now+time.Second, nil)
	}
	a.sends = nil
	w.run(w.now+time.Minute+time.Second, nil)
	if len(a.sends) == 0 || a.sends[0].to != agreed {
		t.Errorf("asked: %v; want %v first", a.sends, agreed)
	}
	a.hint(SourceDHT, agreed)
	for i := range 2 * dhtTargets {
		a.hint(SourceDHT, hostile(1000+i))
	}
	if a.g.targets.byAddr[agreed] == nil {
		t.Error("displaced by addresses that came up once")
	}
}

// Of a flood and an address that poll after poll agrees on, the latter stays and
// is asked first.
func TestAgreedBeforeFlood(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add(networkKey(t, 1), addrA)
	agreed := netip.MustParseAddrPort(addrB)
	n := 0
	flood := func(until time.Duration, withAgreed bool) {
		for w.now < until {
			for range 300 {
				a.hint(SourceDHT, hostile(n))
				n++
			}
			if withAgreed {
				a.hint(SourceDHT, agreed)
			}
			w.run(w.now+time.Second, nil)
		}
	}
	flood(5*time.Minute, false) // eats the budget first
	a.sends = nil
	flood(10*time.Minute, true)
	asked := slices.ContainsFunc(a.sends, func(s sendAt) bool { return s.to == agreed })
	if !asked {
		t.Errorf("not asked in five minutes among %d hellos", len(a.sends))
	}
	if a.g.targets.byAddr[agreed] == nil {
		t.Error("displaced by the flood")
	}
}

// Behind two NATs the hellos are the punch: an address that each poll names is
// asked each second for two minutes, then ever more rarely, and is only given up
// when nobody names it.
func TestPunchingPace(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add(networkKey(t, 1), addrA)
	addr := netip.MustParseAddrPort(addrB)
	for w.now < 20*time.Minute {
		a.hint(SourceDHT, addr)
		w.run(w.now+time.Second, nil)
	}
	var gaps []time.Duration
	longest := time.Duration(0)
	for i := 1; i < len(a.sends); i++ {
		gap := a.sends[i].at - a.sends[i-1].at
		gaps = append(gaps, gap)
		if a.sends[i].at <= 90*time.Second {
			longest = max(longest, gap)
		}
	}
	if longest > repeatInterval {
		t.Errorf("a pause of %v in the fast phase", longest)
	}
	// The budget's reserve stops the fast phase a little before its time, and
	// the repeats end at one a minute.
	if n := len(gaps); n < 90 || gaps[n-1] < 45*time.Second || gaps[n-1] > maxRepeatInterval+time.Second {
		t.Errorf("%d hellos, the last pause %v", len(a.sends), gaps[n-1])
	}
	if got := most(a.sends, time.Hour); got > 200 {
		t.Errorf("%d hellos in an hour", got)
	}
}

// What the user gave is asked ever more rarely when it stays silent; who sends
// beacons is there, and is asked each time.
func TestRepeatPaceBySource(t *testing.T) {
	for src, late := range map[Source]time.Duration{
		SourceStatic: maxRepeatInterval, SourceGossip: maxRepeatInterval, SourceLAN: repeatInterval,
	} {
		w := newWorld(t, 1)
		a := w.add(networkKey(t, 1), addrA)
		for w.now < 15*time.Minute {
			a.hint(src, netip.MustParseAddrPort("192.168.1.9:4000"))
			w.run(w.now+time.Second, nil)
		}
		n := len(a.sends)
		if gap := a.sends[n-1].at - a.sends[n-2].at; gap != late {
			t.Errorf("%s: the last pause is %v, want %v", src, gap, late)
		}
		if got := most(a.sends, time.Second); got > 4 {
			t.Errorf("%s: %d hellos in a second", src, got)
		}
		// A hint that comes by itself: a beacon is worth a series, a memory is not.
		w.run(w.now+2*time.Minute, nil)
		a.sends = nil
		a.hint(src, netip.MustParseAddrPort("192.168.1.9:4000"))
		w.run(w.now+time.Minute, nil)
		want := 1
		if src == SourceLAN {
			want = 1 + len(helloGaps)
		}
		if got := len(a.sends); got != want {
			t.Errorf("%s: %d hellos after a late hint, want %d", src, got, want)
		}
	}
}

// Two nodes behind NATs that let in only whom they sent to meet within a poll
// of the second one's start, whoever is first and however long it has waited.
func TestPunchThroughTwoNATs(t *testing.T) {
	for _, wait := range []time.Duration{0, 10 * time.Second, 60 * time.Second, 110 * time.Second} {
		w := newWorld(t, 1)
		a := w.add(networkKey(t, 1), addrA).behindNAT()
		b := w.add(networkKey(t, 1), addrB).behindNAT()
		// Old entries of the DHT, of nodes that are gone.
		poll := func(h *host, members ...*host) {
			for i := range 10 {
				h.hint(SourceDHT, hostile(i))
			}
			for _, m := range members {
				h.hint(SourceDHT, m.addr)
			}
		}
		for w.now < wait {
			poll(a, a)
			w.run(w.now+time.Second, nil)
		}
		met := func() bool { return len(a.met(b.id(), true)) > 0 && len(b.met(a.id(), true)) > 0 }
		for w.now < wait+10*time.Second && !met() {
			poll(b, a, b)
			w.run(w.now+300*time.Millisecond, met)
			poll(a, a, b)
			w.run(w.now+700*time.Millisecond, met)
		}
		if !met() || w.now > wait+2*time.Second {
			t.Errorf("after %v alone: met %v, %v after the second start", wait, met(), w.now-wait)
		}
		if n := a.starts(b.id()) + b.starts(a.id()); n != 1 {
			t.Errorf("after %v alone: %d sides start", wait, n)
		}
	}
}

// What never answered and was displaced is not asked again for a while.
func TestNegativeCache(t *testing.T) {
	w := newWorld(t, 1)
	a := w.add(networkKey(t, 1), addrA)
	dead := netip.MustParseAddrPort(addrB)
	for w.now < 30*time.Second {
		a.hint(SourceDHT, dead)
		w.run(w.now+time.Second, nil)
	}
	w.run(w.now+staleHint, nil)
	for i := range 2 * dhtTargets {
		a.hint(SourceDHT, hostile(i))
	}
	if a.hint(SourceDHT, dead) || a.g.Stats().Ignored[dropNegative] != 1 {
		t.Errorf("asked again; ignored %v", a.g.Stats().Ignored)
	}
	if !a.hint(SourceStatic, dead) {
		t.Error("the user's word is ignored too")
	}
	w.run(w.now+negativeTime, nil)
	if !a.hint(SourceDHT, dead) {
		t.Error("refused for ever")
	}
	for i := range 2 * maxNegative {
		a.g.targets.refuse(a.now(), hostile(i))
	}
	if got := len(a.g.targets.negative); got > maxNegative {
		t.Errorf("%d addresses refused", got)
	}
}

// After a change of network everything is taken up anew, within the budgets.
func TestKick(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(networkKey(t, 1), addrA), w.add(networkKey(t, 1), addrB)
	slow := netip.MustParseAddrPort("192.0.2.200:4000")
	for w.now < 10*time.Minute {
		a.hint(SourceStatic, slow)
		w.run(w.now+30*time.Second, nil)
	}
	a.hint(SourceStatic, b.addr)
	w.run(w.now+time.Second, nil)
	a.sends = nil
	a.g.Kick(a.now())
	a.advance()
	if len(a.sends) != 1 || a.sends[0].to != slow {
		t.Errorf("sends after a kick: %v", a.sends)
	}
	if !a.hint(SourceStatic, b.addr) {
		t.Error("a member met before the change is left alone after it")
	}
}

// A bucket and a window keep their promise over any span, and say truly when
// they have something again.
func TestLimitsOverAnySpan(t *testing.T) {
	w := newWorld(t, 3)
	b := bucket{rate: 3, burst: 7}
	win := newWindow(5, time.Second)
	now := time.Unix(1000, 0)
	var taken, passed []sendAt
	for range 20_000 {
		now = now.Add(time.Duration(w.rng.Int64N(int64(100 * time.Millisecond))))
		at := now.Sub(time.Unix(0, 0))
		if ready := !b.ready(now, 2).After(now); ready != b.take(now, 2) {
			t.Fatal("ready and take of a bucket differ")
		} else if ready {
			taken = append(taken, sendAt{at: at})
		} else if next := b.ready(now, 2); w.rng.IntN(10) == 0 {
			if now = next; !b.take(now, 2) {
				t.Fatal("a bucket is not ready when it said it would be")
			}
			taken = append(taken, sendAt{at: now.Sub(time.Unix(0, 0))})
		}
		if !win.ready(now).After(now) {
			win.add(now)
			passed = append(passed, sendAt{at: now.Sub(time.Unix(0, 0))})
		}
	}
	for _, span := range []time.Duration{time.Second, 10 * time.Second, time.Minute} {
		if got, limit := most(taken, span), int(7+3*span.Seconds()); got > limit {
			t.Errorf("bucket: %d in %v, at most %d", got, span, limit)
		}
	}
	if got := most(passed, time.Second); got != 5 {
		t.Errorf("window: %d in a second, want 5", got)
	}
}
