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
		by    netip.Addr
		addr  netip.AddrPort
		later time.Duration
		want  bool
	}{
		{n1, home, 0, false},
		{n1, netip.AddrPort{}, 0, false},
		{n2, home, 0, false}, // agreed on; nothing was announced elsewhere
		{n3, away, time.Hour, false},
		{n3, away, 0, false}, // the same liar again
		{n1, home, 0, false},
		{n3, away, 0, false},
		{n1, away, 0, true}, // moved
		{n2, away, 0, false},
		{n1, home, 0, false},
		{n2, home, 0, false}, // back already: too soon to announce again
		{n1, away, movedPause, false},
		{n2, away, 0, true},
	} {
		now = now.Add(step.later)
		if got := v.see(now, step.by, step.addr); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
}

// A NAT that takes another port for each destination never makes two agree.
func TestVantageOfDependentMapping(t *testing.T) {
	var v vantage
	for i := range 1000 {
		by := netip.AddrFrom4([4]byte{5, 1, byte(i >> 8), byte(i)})
		addr := netip.AddrPortFrom(netip.MustParseAddr("5.9.9.9"), uint16(2000+i))
		if v.see(time.Unix(int64(1000+i), 0), by, addr) || v.addr.IsValid() {
			t.Fatalf("moved after %d answers", i)
		}
	}
}
