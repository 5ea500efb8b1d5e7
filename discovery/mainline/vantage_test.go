package mainline

import (
	"net/netip"
	"testing"
	"time"
)

func TestVantage(t *testing.T) {
	now := time.Unix(1000, 0)
	n1, n2, n3 := netip.MustParseAddr("5.1.1.1"), netip.MustParseAddr("5.1.1.2"), netip.MustParseAddr("5.1.1.3")
	home, away := netip.MustParseAddrPort("5.9.9.9:1000"), netip.MustParseAddrPort("5.8.8.8:2000")
	var v vantage
	for i, step := range []struct {
		by            netip.Addr
		addr          netip.AddrPort
		later         time.Duration
		agreed, moved bool
	}{
		{n1, home, 0, false, false},
		{n1, netip.AddrPort{}, 0, false, false},
		{n2, home, 0, true, false},
		{n3, away, time.Hour, false, false},
		{n3, away, 0, false, false}, // the same liar again
		{n1, home, 0, false, false},
		{n3, away, 0, false, false},
		{n1, away, 0, true, true},
		{n2, away, 0, false, false},
		{n1, home, 0, false, false},
		{n2, home, 0, false, false}, // back already: too soon
		{n1, home, movedPause, true, true},
		{n1, away, movedPause, false, false},
		{n2, away, 0, false, false}, // the pause has doubled
		{n2, away, movedPause, false, false},
		{n1, away, 0, true, true},
	} {
		now = now.Add(step.later)
		if agreed, moved := v.see(now, step.by, step.addr); agreed != step.agreed || moved != step.moved {
			t.Errorf("step %d: agreed %v, moved %v, want %v, %v", i, agreed, moved, step.agreed, step.moved)
		}
	}
}

// Two nodes that lie together, in every other answer, cause ever fewer moves.
func TestVantageOfLiars(t *testing.T) {
	n1, n2 := netip.MustParseAddr("5.1.1.1"), netip.MustParseAddr("5.1.1.2")
	var v vantage
	now, moves := time.Unix(1000, 0), 0
	for i := range 24 * 3600 {
		now = now.Add(time.Second)
		addr := netip.AddrPortFrom(netip.MustParseAddr("5.9.9.9"), uint16(1000+i/2))
		by := n1
		if i%2 == 1 {
			by = n2
		}
		if _, moved := v.see(now, by, addr); moved {
			moves++
		}
	}
	if moves > 40 {
		t.Errorf("%d moves in a day", moves)
	}
}

// A NAT that takes another port for each destination never makes two agree.
func TestVantageOfDependentMapping(t *testing.T) {
	var v vantage
	for i := range 1000 {
		by := netip.AddrFrom4([4]byte{5, 1, byte(i >> 8), byte(i)})
		addr := netip.AddrPortFrom(netip.MustParseAddr("5.9.9.9"), uint16(2000+i))
		if agreed, _ := v.see(time.Unix(int64(1000+i), 0), by, addr); agreed || v.addr.IsValid() {
			t.Fatalf("moved after %d answers", i)
		}
	}
}
