package mainline

import (
	"net/netip"
	"time"
)

// movedPause is the least between two announcements that a new address causes:
// a NAT that takes another port for each destination must not cause a stream of
// them, nor two nodes that lie together.
const movedPause = time.Minute

// A vantage watches where DHT nodes see this host, as most say in the "ip" of
// an answer (BEP 42). One node may lie; two that agree are believed, as far as
// announcing anew goes.
type vantage struct {
	addr  netip.AddrPort // that two agreed on; invalid: none yet
	other netip.AddrPort // what one said since
	by    netip.Addr
	moved time.Time
}

// see takes one node's word. It reports whether this host has got another
// address, so that what is announced is out of date.
func (v *vantage) see(now time.Time, by netip.Addr, addr netip.AddrPort) bool {
	switch {
	case !addr.IsValid() || addr.Port() == 0:
		return false
	case addr == v.addr:
		v.other = netip.AddrPort{}
		return false
	case addr != v.other || by == v.by:
		v.other, v.by = addr, by
		return false
	}
	known := v.addr.IsValid()
	v.addr, v.other = addr, netip.AddrPort{}
	if !known || !v.moved.IsZero() && now.Sub(v.moved) < movedPause {
		return false
	}
	v.moved = now
	return true
}
