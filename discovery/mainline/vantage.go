package mainline

import (
	"net/netip"
	"time"
)

// What a new address causes (announcing anew, fast polls) is not repeated within
// a pause that doubles: two nodes that lie together could say another one in
// every answer.
const (
	movedPause   = time.Minute
	movedLongest = time.Hour
)

// A vantage watches where DHT nodes see this host, as most say in the "ip" of
// an answer (BEP 42). One node may lie; two are believed that agree with nobody
// in between who still sees the old address.
type vantage struct {
	addr  netip.AddrPort // that two agreed on; invalid: none yet
	other netip.AddrPort // what one said since
	by    netip.Addr
	moved time.Time // when that was last another one
	pause time.Duration
}

// see takes one node's word. Agreed is true when two agree on an address that
// is not the one they agreed on before, and moved when there was one before.
func (v *vantage) see(now time.Time, by netip.Addr, addr netip.AddrPort) (agreed, moved bool) {
	switch {
	case !addr.IsValid() || addr.Port() == 0:
		return false, false
	case addr == v.addr:
		v.other = netip.AddrPort{}
		return false, false
	case addr != v.other || by == v.by:
		v.other, v.by = addr, by
		return false, false
	}
	if !v.addr.IsValid() {
		v.addr, v.other = addr, netip.AddrPort{}
		return true, false
	}
	switch since := now.Sub(v.moved); {
	case v.moved.IsZero() || since >= 2*movedLongest:
		v.pause = movedPause
	case since < v.pause:
		v.by = by
		return false, false // believed when the pause is over, if it is still said
	default:
		v.pause = min(2*v.pause, movedLongest)
	}
	v.addr, v.other, v.moved = addr, netip.AddrPort{}, now
	return true, true
}
