package natpunch

import (
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
)

// refusedFor is how long a path is not nominated again that the peer refused.
const refusedFor = 30 * time.Second

// avoided is a path that answers checks, and did not carry traffic.
type avoided struct {
	base  netip.Addr // zero: from any
	addr  netip.AddrPort
	until time.Time
}

// Avoid says that traffic could not be moved to addr, though checks pass: it is
// not selected for d. If it is what is selected, a Select or a Lost follows. The
// peer learns of it when it nominates the path.
func (a *Agent) Avoid(now time.Time, node keys.NodePublic, addr netip.AddrPort, d time.Duration) {
	a.now = now
	if c, ok := a.peers[node]; ok {
		c.avoid(now, netip.Addr{}, plain(addr), d)
		a.reschedule(c)
	}
}

func (l *checkList) avoid(now time.Time, base netip.Addr, addr netip.AddrPort, d time.Duration) {
	l.avoided = slices.DeleteFunc(l.avoided, func(x avoided) bool { return x.addr == addr && (x.base == base || !base.IsValid()) })
	if d <= 0 {
		return
	}
	if len(l.avoided) == maxAvoided {
		l.avoided = slices.Delete(l.avoided, 0, 1)
	}
	l.avoided = append(l.avoided, avoided{base, addr, now.Add(d)})
	for _, p := range l.pairs {
		if p.remote != addr || base.IsValid() && p.base != base {
			continue
		}
		p.stop()
		p.state, p.nominatedAt = failed, time.Time{}
		if l.exchange.pair == p {
			l.exchange = exchange{}
		}
	}
	if p := l.selected; p != nil && p.remote == addr && (p.base == base || !base.IsValid()) {
		l.restart(now, "traffic did not follow to "+addr.String())
		l.round.lost = p
	}
}

// avoidNoMore gives the paths another chance whose time is over, where they would
// be better than what there is.
func (l *checkList) avoidNoMore(now time.Time) {
	var over []*candidatePair
	l.avoided = slices.DeleteFunc(l.avoided, func(x avoided) bool {
		if now.Before(x.until) {
			return false
		}
		for _, p := range l.pairs {
			if x.is(p.base, p.remote) {
				over = append(over, p)
			}
		}
		return true
	})
	for _, p := range over {
		if l.trust == settled {
			l.tryBetter(now, []*candidatePair{p})
		}
	}
}

// avoids reports whether the path from base to addr is not to be selected now.
func (l *checkList) avoids(now time.Time, base netip.Addr, addr netip.AddrPort) bool {
	return slices.ContainsFunc(l.avoided, func(x avoided) bool { return x.is(base, addr) && now.Before(x.until) })
}

// is reports whether the path is the avoided one.
func (x avoided) is(base netip.Addr, addr netip.AddrPort) bool {
	return x.addr == addr && (x.base == base || !x.base.IsValid())
}

// refused takes the peer's word that it will not follow the nomination of p.
func (l *checkList) refused(now time.Time, p *candidatePair) {
	was := l.selected == p && l.trust == settled
	l.avoid(now, p.base, p.remote, refusedFor)
	if was {
		l.round.why = "the peer refuses the path"
	}
	if l.controlling {
		l.consider(now)
	}
}
