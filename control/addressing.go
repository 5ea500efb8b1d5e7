package control

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// settleAfter is how long a claim of an address stays tentative without a
// conflict. It outlasts the exchange of records with whoever is there, so that
// a newcomer gives way to those who already use an address.
const settleAfter = 10 * time.Second

// maxFixed is how many addresses a node may choose: its own IPv6 address is in
// its record as well.
const maxFixed = wire.MaxAddresses - 1

// claim is what a record says: this node uses that address. The IPv6 address
// that follows from a node's key is none, for nobody else can have it.
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

// addressing decides this node's overlay addresses, besides the IPv6 address of
// its key. It is a state machine: review tells it what the others claim and what
// time it is.
type addressing struct {
	self   keys.NodePublic
	prefix netip.Prefix // IPv4; invalid: this node uses IPv6 only
	fixed  []netip.Addr // chosen by the user; no IPv4 among them: one from the node key
	own    []claim      // IPv4 first
	since  map[netip.Addr]time.Time
	moved  string // a sentence on an address that was lost and replaced
}

// newAddressing starts with the addresses that the user fixed, and for IPv4,
// where none is fixed, with the one that is remembered, or the first one of the
// node key.
func newAddressing(now time.Time, self keys.NodePublic, prefix netip.Prefix, fixed []netip.Addr, m memory) *addressing {
	a := &addressing{self: self, prefix: prefix, fixed: fixed, since: make(map[netip.Addr]time.Time)}
	for _, addr := range fixed {
		if a.fits(addr) {
			a.add(now, claim{self, addr, m.settled(addr)})
		}
	}
	switch {
	case !a.derives():
	case prefix.Contains(m.Address4):
		a.add(now, claim{self, m.Address4, m.settled(m.Address4)})
	default:
		a.add(now, claim{self, keys.Address4(prefix, self, 0), false})
	}
	return a
}

// add claims an address. IPv4 goes first: it is what people use.
func (a *addressing) add(now time.Time, c claim) {
	if !c.addr.IsValid() {
		return
	}
	a.since[c.addr] = now
	at := len(a.own)
	if c.addr.Is4() {
		for at > 0 && a.own[at-1].addr.Is6() {
			at--
		}
	}
	a.own = slices.Insert(a.own, at, c)
}

// fits tells whether the node can have the address here.
func (a *addressing) fits(addr netip.Addr) bool {
	return addr.Is6() || a.prefix.IsValid() && a.prefix.Contains(addr)
}

// derives tells whether the IPv4 address follows from the node key.
func (a *addressing) derives() bool {
	return a.prefix.IsValid() && !slices.ContainsFunc(a.fixed, netip.Addr.Is4)
}

// own4 are the IPv4 addresses.
func (a *addressing) own4() []claim {
	n := 0
	for n < len(a.own) && a.own[n].addr.Is4() {
		n++
	}
	return a.own[:n]
}

func (a *addressing) has(addr netip.Addr) bool {
	return slices.ContainsFunc(a.own, func(c claim) bool { return c.addr == addr })
}

// review settles what nobody disputes, gives up what another node holds, and
// takes what was asked for and has become free. It reports whether the own claims
// changed, and sentences for the user on what is not as it was asked for.
func (a *addressing) review(now time.Time, others []claim, nameOf func(keys.NodePublic) string) (changed bool, notices []string) {
	held := holders(others)
	var lost *claim
	own := a.own
	a.own = nil
	for _, c := range own {
		holder, disputed := held[c.addr]
		if disputed && !c.beats(holder) {
			changed = true
			delete(a.since, c.addr)
			if !slices.Contains(a.fixed, c.addr) && c.settled {
				lost = &holder
			}
			continue
		}
		if !c.settled && now.Sub(a.since[c.addr]) >= settleAfter {
			changed, c.settled = true, true
		}
		a.own = append(a.own, c)
	}
	for _, addr := range a.fixed {
		holder, taken := held[addr]
		switch {
		case a.has(addr):
		case !a.fits(addr):
			if a.prefix.IsValid() {
				notices = append(notices, fmt.Sprintf("the address %s is not in the network's subnet %s: choose one there with --ip", addr, a.prefix))
			}
		case taken:
			notices = append(notices, fmt.Sprintf("the address %s belongs to %s: choose another with --ip", addr, nameOf(holder.node)))
		default:
			changed = true
			a.add(now, claim{a.self, addr, false})
		}
	}
	if a.derives() && len(a.own4()) == 0 {
		next := a.next(held)
		if next.IsValid() {
			changed = true
			a.add(now, claim{a.self, next, false})
		} else {
			notices = append(notices, fmt.Sprintf("all addresses of the subnet %s are taken: this node is reached by IPv6 only; choose a larger --subnet on every node", a.prefix))
		}
		if lost != nil && next.IsValid() {
			a.moved = fmt.Sprintf("this node's address is %s now: %s had %s as well, and keeps it", next, nameOf(lost.node), lost.addr)
		}
	}
	if a.moved != "" {
		notices = append(notices, a.moved)
	}
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
func (a *addressing) due() (due time.Time) {
	for _, c := range a.own {
		if at := a.since[c.addr].Add(settleAfter); !c.settled && (due.IsZero() || at.Before(due)) {
			due = at
		}
	}
	return due
}

// checkFixed refuses addresses that the user cannot have in the prefixes.
func checkFixed(fixed []netip.Addr, prefix, prefix6 netip.Prefix) error {
	if len(fixed) > maxFixed {
		return fmt.Errorf("%d addresses: a node has at most %d: give fewer with --ip", len(fixed), maxFixed)
	}
	for i, addr := range fixed {
		switch {
		case slices.Contains(fixed[:i], addr):
			return fmt.Errorf("address %s is given twice: give it once with --ip", addr)
		case addr.Is6() && !prefix6.Contains(addr):
			return fmt.Errorf("address %s is not in the network's %s: choose one there, such as %s", addr, prefix6, firstChoice(prefix6))
		case addr.Is6() && !keys.Choosable6(prefix6, addr):
			return fmt.Errorf("address %s may be another node's own: choose one that is written with \"::\" for two groups of zeros at least, such as %s", addr, firstChoice(prefix6))
		case addr.Is6():
		case !prefix.Contains(addr):
			return fmt.Errorf("address %s is not in the network's %s: choose one there, or give --subnet on every node", addr, prefix)
		case addr == prefix.Addr() || addr == lastAddr(prefix):
			return fmt.Errorf("address %s is the network or broadcast address of %s: choose another", addr, prefix)
		}
	}
	return nil
}

// firstChoice is an example of an IPv6 address that can be chosen.
func firstChoice(prefix6 netip.Prefix) netip.Addr {
	b := prefix6.Addr().As16()
	b[15] = 5
	return netip.AddrFrom16(b)
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}
