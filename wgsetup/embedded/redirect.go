package embedded

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// redirects say whose datagrams look as if they came from somewhere else. The
// map is never changed, only replaced; without any it is nil.
type redirects struct {
	to atomic.Pointer[map[netip.AddrPort]*endpoint]
}

// SetRedirects makes WireGuard take its datagrams from each key for such from
// the value, and answer there; of any family. The side port's keep their
// source. Only the last call counts.
func (b *Bind) SetRedirects(all map[netip.AddrPort]netip.AddrPort) {
	if len(all) == 0 {
		b.redirects.to.Store(nil)
		return
	}
	to := make(map[netip.AddrPort]*endpoint, len(all))
	for source, target := range all {
		ep := newEndpoint(target)
		// Where this host was asked over the old path says nothing of the
		// new one; what the side port heard there does.
		if src := b.side.sources.For(time.Now(), ep.dst); !src.IsZero() {
			ep.src.Store(&src)
		}
		to[source] = ep
	}
	b.redirects.to.Store(&to)
}

// of returns what stands for the source, or nil.
func (r *redirects) of(source netip.AddrPort) *endpoint {
	if to := r.to.Load(); to != nil {
		return (*to)[source]
	}
	return nil
}
