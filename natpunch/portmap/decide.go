package portmap

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// wantedLifetime is what RFC 6886, Section 3.3, recommends for a mapping.
	wantedLifetime = 2 * time.Hour
	// maxLifetime is what a gateway may at most make us believe (RFC 6887, Section 15, recommends a day).
	maxLifetime = 24 * time.Hour
)

// A pace is how often a gateway is asked, and how long each part of that may take.
type pace struct {
	renewMin time.Duration // between two renewals, whatever lifetime is granted
	check    time.Duration // between two looks at a mapping by UPnP: no epoch tells that it is lost
	retryMin time.Duration // after the first round that gave no mapping
	retryMax time.Duration
	kickMin  time.Duration // between two rounds that events ask for: anyone on the LAN can make them
	lead     time.Duration // by which a better protocol may answer later than NAT-PMP: both are a LAN away
	leadUPnP time.Duration // the same for UPnP, whose search takes a while by itself
	giveBack time.Duration // for the end
}

var usualPace = pace{
	renewMin: 30 * time.Second,
	check:    20 * time.Minute,
	retryMin: 10 * time.Second,
	retryMax: time.Hour,
	kickMin:  5 * time.Second,
	lead:     250 * time.Millisecond,
	leadUPnP: 500 * time.Millisecond,
	giveBack: time.Second,
}

// A keeper decides when a gateway is asked again. It is pure: it takes the time.
type keeper struct {
	pace
	expires  time.Time // of the mapping; zero: none, or it has no end
	failures int
	next     time.Time
	last     time.Time // round
}

// granted takes in that a mapping was made or renewed.
func (k *keeper) granted(now time.Time, g grant) {
	k.failures, k.last, k.expires = 0, now, time.Time{}
	wait := maxLifetime
	if g.lifetime > 0 {
		k.expires, wait = now.Add(g.lifetime), g.lifetime/2
	}
	if g.protocol.upnp() {
		wait = min(wait, k.check)
	}
	k.next = now.Add(max(wait, k.renewMin))
}

// unanswered takes in that a renewal got no answer while the mapping may still be there: it is repeated at half of
// what is left (RFC 6887, Section 11.2.1).
func (k *keeper) unanswered(now time.Time) {
	k.last = now
	k.next = now.Add(max(k.expires.Sub(now)/2, k.renewMin))
}

// failed takes in that there is no mapping. wait is how long the gateway asked to be left alone.
func (k *keeper) failed(now time.Time, wait time.Duration) {
	k.last, k.expires = now, time.Time{}
	back := k.retryMax
	if k.failures < 16 { // beyond, the shift would overflow
		back = min(k.retryMin<<(2*k.failures), k.retryMax)
	}
	k.failures++
	k.next = now.Add(min(max(wait, back), k.retryMax))
}

// kick brings the next round forward: something happened.
func (k *keeper) kick(now time.Time) {
	k.failures = 0
	at := now
	if soonest := k.last.Add(k.kickMin); !k.last.IsZero() && soonest.After(now) {
		at = soonest
	}
	if at.Before(k.next) {
		k.next = at
	}
}

func (p Protocol) upnp() bool { return p == IGD1 || p == IGD2 }

// A grant is a mapping as a gateway made it.
type grant struct {
	protocol Protocol
	internal uint16
	external netip.AddrPort // with a zero address where the gateway does not say
	lifetime time.Duration  // zero: permanent
	at       time.Time
}

// mapping is the grant as others see it.
func (g grant) mapping(gateway Gateway, seen []netip.Addr) Mapping {
	m := Mapping{
		Protocol: g.protocol, Gateway: gateway.Addr, External: g.external, Lifetime: g.lifetime,
		Nested:  !global(g.external.Addr()) || seenElsewhere(g.external.Addr(), seen),
		Pinhole: gateway.Addr.Is6(),
	}
	if g.lifetime > 0 {
		m.Expires = g.at.Add(g.lifetime)
	}
	return m
}

// same tells whether others see no difference but in time.
func (g grant) same(other grant) bool {
	return g.protocol == other.protocol && g.internal == other.internal && g.external == other.external
}

// seenElsewhere tells that the internet sees this host, in the address's family, under other addresses only.
func seenElsewhere(a netip.Addr, seen []netip.Addr) bool {
	some := false
	for _, s := range seen {
		s = s.Unmap()
		if s == a {
			return false
		}
		some = some || s.Is4() == a.Is4()
	}
	return some
}

// notGlobal are the prefixes that netip does not know to be special, from IANA's registries (RFC 6890).
var notGlobal = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // carrier-grade NAT (RFC 6598)
	netip.MustParsePrefix("192.0.0.0/24"),  // DS-Lite among it (RFC 6333)
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("2001:db8::/32"),
}

var global6 = netip.MustParsePrefix("2000::/3")

// global tells whether the whole internet can reach an address.
func global(a netip.Addr) bool {
	if !a.IsValid() || !a.IsGlobalUnicast() || a.IsPrivate() || a.Is4In6() || a.Is6() && !global6.Contains(a) {
		return false
	}
	return !slices.ContainsFunc(notGlobal, func(p netip.Prefix) bool { return p.Contains(a) })
}

// externalAddr reads what a gateway calls its address, which may be nothing, or no address.
func externalAddr(s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}
