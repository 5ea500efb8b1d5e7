package control

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
)

// settleAfter is how long a claim of an IPv4 address stays tentative without a
// conflict. It outlasts the exchange of records with whoever is there, so that
// a newcomer gives way to those who already use an address.
const settleAfter = 10 * time.Second

// claim is what a record says: this node uses that IPv4 address.
type claim struct {
	node    keys.NodePublic
	addr    netip.Addr
	settled bool
}

// beats tells whether a's claim wins over b's claim of the same address: a
// settled claim beats a tentative one, and between equals the lower node key
// wins, so that all nodes come to the same answer on their own.
func (a claim) beats(b claim) bool {
	if a.settled != b.settled {
		return a.settled
	}
	return a.node.Compare(b.node) < 0
}

// holders says which node holds each claimed address.
func holders(claims []claim) map[netip.Addr]claim {
	held := make(map[netip.Addr]claim, len(claims))
	for _, c := range claims {
		if !c.addr.IsValid() {
			continue
		}
		if h, taken := held[c.addr]; !taken || c.beats(h) {
			held[c.addr] = c
		}
	}
	return held
}

// addressing decides this node's overlay IPv4 addresses. It is a state
// machine: review tells it what the others claim and what time it is.
type addressing struct {
	self   keys.NodePublic
	prefix netip.Prefix // invalid: this node uses IPv6 only
	fixed  []netip.Addr // chosen by the user; empty: one from the node key
	own    []claim
	since  time.Time // when own was chosen
}

// newAddressing starts with the addresses that the user fixed, or the one that
// is remembered, or the first one of the node key.
func newAddressing(now time.Time, self keys.NodePublic, prefix netip.Prefix, fixed []netip.Addr, m memory) *addressing {
	a := &addressing{self: self, prefix: prefix, fixed: fixed, since: now}
	switch {
	case !prefix.IsValid():
	case len(fixed) > 0:
		for _, addr := range fixed {
			a.own = append(a.own, claim{self, addr, m.Settled4 && addr == m.Address4})
		}
	case prefix.Contains(m.Address4):
		a.own = []claim{{self, m.Address4, m.Settled4}}
	default:
		a.own = []claim{{self, keys.Address4(prefix, self, 0), false}}
	}
	return a
}

// review settles what nobody disputes and gives up what another node holds.
// It reports whether the own claims changed, and a sentence for the user where
// an address that was asked for belongs to somebody else.
func (a *addressing) review(now time.Time, others []claim, nameOf func(keys.NodePublic) string) (changed bool, notices []string) {
	held := holders(others)
	kept := a.own[:0:0]
	for _, c := range a.own {
		holder, disputed := held[c.addr]
		switch {
		case disputed && !c.beats(holder):
			changed = true
			if len(a.fixed) > 0 {
				notices = append(notices, fmt.Sprintf("the address %s belongs to %s: choose another with --ip", c.addr, nameOf(holder.node)))
				continue
			}
			kept = append(kept, claim{a.self, a.next(held), false})
			a.since = now
		case !c.settled && now.Sub(a.since) >= settleAfter:
			changed = true
			c.settled = true
			kept = append(kept, c)
		default:
			kept = append(kept, c)
		}
	}
	a.own = slices.DeleteFunc(kept, func(c claim) bool { return !c.addr.IsValid() })
	return changed, notices
}

// next is the first address in the node key's probing order that nobody holds.
// It is the zero Addr where the prefix is full.
func (a *addressing) next(held map[netip.Addr]claim) netip.Addr {
	for probe := range keys.Hosts4(a.prefix) {
		addr := keys.Address4(a.prefix, a.self, probe)
		if _, taken := held[addr]; !taken {
			return addr
		}
	}
	return netip.Addr{}
}

// due is when review has something to do by itself; the zero time when not.
func (a *addressing) due() time.Time {
	if slices.ContainsFunc(a.own, func(c claim) bool { return !c.settled }) {
		return a.since.Add(settleAfter)
	}
	return time.Time{}
}

// checkFixed refuses addresses that the user cannot have in the prefix.
func checkFixed(fixed []netip.Addr, prefix netip.Prefix) error {
	for _, addr := range fixed {
		if !addr.Is4() {
			return fmt.Errorf("address %s: only IPv4 addresses can be chosen, the IPv6 address comes from the node key", addr)
		}
		if !prefix.Contains(addr) {
			return fmt.Errorf("address %s is not in the network's %s: choose one there, or give --subnet on every node", addr, prefix)
		}
		if addr == prefix.Addr() || addr == lastAddr(prefix) {
			return fmt.Errorf("address %s is the network or broadcast address of %s: choose another", addr, prefix)
		}
	}
	return nil
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}
