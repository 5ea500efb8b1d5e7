package relay

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/relay/wire"
)

// In any span a pace lets through its burst and one each interval.
func TestPace(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		p := pace{interval: 1 + rng.Int64N(1e9), burst: 10 + rng.Int64N(100)}
		var full, now, passed int64
		now = rng.Int64N(1e12)
		start := now
		for range 2000 {
			n := 1 + rng.Int64N(3)
			if p.take(&full, now, n, 0) {
				passed += n
			}
			now += rng.Int64N(p.interval)
		}
		most := p.burst + (now-start)/p.interval + 1
		if passed > most || passed < most-p.burst-10 {
			t.Errorf("%+v: %d passed, want up to %d", p, passed, most)
		}
	}
	p := pace{interval: 10, burst: 10}
	var full int64
	if !p.take(&full, 0, 5, 5) || p.take(&full, 0, 1, 5) || !p.take(&full, 0, 5, 0) || p.take(&full, 0, 1, 0) {
		t.Error("the reserve is not kept, or not given")
	}
}

// A sieve holds each sender to its pace, and lets nearly everyone pass whom the
// flood of another does not concern.
func TestSieve(t *testing.T) {
	s := newSieve(pace{int64(time.Second), 4}, rand.NewChaCha8([32]byte{1}))
	passed := 0
	for range 1000 {
		if s.take(1, 42) {
			passed++
		}
	}
	if passed != 4 {
		t.Errorf("%d passed, want 4", passed)
	}
	for sender := range uint64(300) { // a flood from 300 senders
		for range 20 {
			s.take(1, 1000+sender)
		}
	}
	held := 0
	for sender := range uint64(1000) {
		if !s.take(1, 1e6+sender) {
			held++
		}
	}
	if held > 30 {
		t.Errorf("%d of 1000 others were held", held)
	}
}

func TestPrefixes(t *testing.T) {
	for _, p := range []struct {
		a, b        string
		same, wider bool
	}{
		{"198.51.100.1", "198.51.100.200", true, true},
		{"198.51.100.1", "198.51.101.1", false, true},
		{"198.51.100.1", "198.52.100.1", false, false},
		{"2001:db8:1::1", "2001:db8:1:ffff::2", true, true},
		{"2001:db8:1::1", "2001:db8:2::1", false, true},
		{"2001:db8:1::1", "2001:db9:1::1", false, false},
		{"0.0.0.1", "::1", false, false},
	} {
		a, b := prefixOf(netip.MustParseAddr(p.a)), prefixOf(netip.MustParseAddr(p.b))
		if (a == b) != p.same || (a.wider() == b.wider()) != p.wider {
			t.Errorf("%s and %s: one prefix %v, one provider %v", p.a, p.b, a == b, a.wider() == b.wider())
		}
		if a.wider() == b || a == a.wider() {
			t.Errorf("%s: a prefix is a provider's", p.a)
		}
	}
}

// The table of prefixes keeps its bound and forgets none that holds something.
// Where all do, providers share.
func TestSourcesAreBounded(t *testing.T) {
	table := newSources(100, rand.New(rand.NewPCG(1, 1)))
	kept, _ := table.get(0, addr4(7, 1).Addr())
	kept.held = 1
	for i := range uint32(5000) {
		if src, _ := table.get(int64(i), addr4(100+i, 1).Addr()); src == nil {
			t.Fatal("no room although most hold nothing")
		}
	}
	if again, fresh := table.get(6000, addr4(7, 1).Addr()); again != kept || fresh || len(table.list) > 125 {
		t.Errorf("the prefix that holds something was forgotten, or %d are too many", len(table.list))
	}
	for _, src := range table.list {
		src.held = 1
	}
	first, _ := table.get(6000, netip.MustParseAddr("2001:db8:1::1"))
	second, _ := table.get(6000, netip.MustParseAddr("2001:db8:2::1"))
	if first == nil || first != second {
		t.Error("a provider's prefixes do not share where there is no more room")
	}
	for i := range uint32(200) {
		if src, _ := table.get(6000, netip.AddrFrom4([4]byte{20, byte(i), 1, 1})); src != nil {
			src.held++
		}
	}
	if src, _ := table.get(6000, netip.MustParseAddr("30.1.1.1")); src != nil || len(table.list) > 125 {
		t.Errorf("%d prefixes are more than the bound", len(table.list))
	}
}

func TestCookies(t *testing.T) {
	jar := newCookieJar(rand.NewChaCha8([32]byte{1}))
	a, b := netip.MustParseAddrPort("198.51.100.1:5001"), netip.MustParseAddrPort("198.51.100.1:5002")
	for _, now := range []int64{0, 1, cookieLifetime - 1, cookieLifetime, 5*cookieLifetime + 7, 100 * cookieLifetime} {
		c := jar.issue(now, a, 3478)
		for _, later := range []int64{0, 1, cookieLifetime / 2, cookieLifetime} {
			if issued, ok := jar.check(now+later, c, a, 3478); !ok || issued != now {
				t.Errorf("issued at %d, %d later: %d, %v", now, later, issued, ok)
			}
		}
		bad := c
		bad[23] ^= 1
		_, otherPort := jar.check(now, c, b, 3478)
		_, otherRelayPort := jar.check(now, c, a, 3479)
		_, forged := jar.check(now, bad, a, 3478)
		bad = c
		bad[7]++
		_, redated := jar.check(now+9, bad, a, 3478)
		_, old := jar.check(now+cookieLifetime+1, c, a, 3478)
		if otherPort || otherRelayPort || forged || redated || old {
			t.Errorf("issued at %d: taken from another port %v, for another %v, forged %v, redated %v, old %v", now, otherPort, otherRelayPort, forged, redated, old)
		}
	}
	// Secrets go, although nobody asked for long.
	c := jar.issue(200*cookieLifetime, a, 3478)
	jar.rotate(202 * cookieLifetime)
	if jar.cookie(200*cookieLifetime, a, 3478) == c {
		t.Error("an old secret is still in use")
	}
}

// A port set knows what a map would.
func TestPortSets(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var a, b portSet
	inA, inB := map[int]bool{}, map[int]bool{}
	for range 20000 {
		n := rng.IntN(200)
		switch rng.IntN(6) {
		case 0, 1:
			a.add(n)
			inA[n] = true
		case 2:
			a.remove(n)
			delete(inA, n)
		case 3:
			b.add(n)
			inB[n] = true
		case 4:
			b.remove(n)
			delete(inB, n)
		}
		total := 1 + rng.IntN(200)
		want := 0
		for want < total && (inA[want] || inB[want]) {
			want++
		}
		got, ok := lowestFree(total, a, b, nil)
		if ok != (want < total) || ok && got != want || a.has(n) != inA[n] {
			t.Fatalf("lowest free under %d is %d, %v, want %d", total, got, ok, want)
		}
	}
}

func TestPortRange(t *testing.T) {
	for s, n := range map[string]int{"20000-21023": 1024, "5-5": 1, "7": 1} {
		r, err := ParsePortRange(s)
		if again, err2 := ParsePortRange(r.String()); err != nil || err2 != nil || r.Len() != n || again != r {
			t.Errorf("%q is %v, %d ports, %v", s, r, r.Len(), err)
		}
	}
	for _, s := range []string{"", "-", "0-5", "9-5", "1-65536", "a-b", "1-2-3"} {
		if r, err := ParsePortRange(s); err == nil {
			t.Errorf("%q is %v", s, r)
		}
	}
	if (PortRange{}).Contains(0) {
		t.Error("no range holds port 0")
	}
}

type timedInt struct{ d due }

func (t *timedInt) when() *due { return &t.d }

// A schedule gives what it holds in the order of its times.
func TestSchedule(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var s schedule
	items := make([]*timedInt, 100)
	for i := range items {
		items[i] = new(timedInt)
	}
	for range 5000 {
		item := items[rng.IntN(len(items))]
		if rng.IntN(3) == 0 {
			s.remove(item)
		} else {
			s.set(item, rng.Int64N(1000))
		}
		want, ok := int64(0), false
		for _, item := range items {
			if item.d.place != 0 && (!ok || item.d.at < want) {
				want, ok = item.d.at, true
			}
		}
		if got, has := s.next(); got != want || has != ok {
			t.Fatalf("next is %d, %v, want %d, %v", got, has, want, ok)
		}
	}
	if !slices.ContainsFunc(s, func(timed) bool { return true }) {
		t.Error("nothing was tested")
	}
}

func BenchmarkAsk(b *testing.B) {
	w := newWorld(b, 1)
	ask := make([]byte, wire.AskSize)
	ask[0], ask[1] = 0xa1, 0x40
	i := 0
	for b.Loop() {
		w.now = w.now.Add(100 * time.Microsecond)
		if w.s.Receive(w.now, front4, addr4(uint32(i%100000), 1), ask) != "" {
			b.Fatal("not answered")
		}
		i++
		w.s.Advance(w.now)
	}
}

// A refresh in a session that is known, as nodes send them all day.
func BenchmarkRefresh(b *testing.B) {
	w := newWorld(b, 1)
	c := w.join(w.network(), "198.51.100.1:5001")
	c.mustRegister("x")
	for b.Loop() {
		w.now = w.now.Add(100 * time.Millisecond)
		if r := c.refresh(wire.Have{}); r == nil || r.Refreshed == nil {
			b.Fatalf("answered with %+v", r)
		}
	}
}
