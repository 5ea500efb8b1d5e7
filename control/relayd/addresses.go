package relayd

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"
)

// perFamily is how many addresses of a family are served at most. The second
// one is what RFC 5780 needs to tell filtering behaviours apart.
const perFamily = 2

// hostAddress is an address of the host, with what speaks against serving on it.
type hostAddress struct {
	addr      netip.Addr
	tunnel    bool // on a tunnel's interface: behind it is another network
	tentative bool // duplicate address detection is still running (RFC 4862)
	passing   bool // temporary (RFC 8981) or deprecated: it will go away
}

var sharedAddressSpace = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598

// private reports whether an address means nothing on the internet.
func private(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || sharedAddressSpace.Contains(a)
}

// choose returns the addresses to serve on, IPv4 first, and those of the same
// kind for which there is no room. routed are those from which the host itself
// speaks to the internet, at most one a family.
//
// Of each family it takes the global ones, the routed one first. Where there are
// none, as in clouds that translate addresses one to one, it takes the private
// one from which the default route leaves; without a default route, any that is
// not a tunnel's.
func choose(all []hostAddress, routed []netip.Addr) (chosen, left []netip.Addr) {
	for _, is4 := range []bool{true, false} {
		var global, inside []netip.Addr
		own := func(a netip.Addr) bool { return a.IsValid() && a.Is4() == is4 }
		at := slices.IndexFunc(routed, own)
		for _, h := range all {
			switch a := h.addr; {
			case !own(a), h.tentative, h.passing, !a.IsGlobalUnicast():
			case slices.Contains(global, a), slices.Contains(inside, a): // on a second interface
			case !private(a):
				global = append(global, a)
			case at >= 0 && routed[at] == a, at < 0 && !h.tunnel:
				inside = append(inside, a)
			}
		}
		list := global
		if len(list) == 0 {
			list = inside
		}
		first := func(a netip.Addr) int {
			if slices.Contains(routed, a) {
				return 0
			}
			return 1
		}
		slices.SortStableFunc(list, func(a, b netip.Addr) int { return cmp.Compare(first(a), first(b)) })
		most := min(len(list), perFamily)
		chosen, left = append(chosen, list[:most]...), append(left, list[most:]...)
	}
	return chosen, left
}

// routedAddresses are the addresses from which the host speaks to the internet.
// Connecting a UDP socket sends nothing.
func routedAddresses() []netip.Addr {
	var out []netip.Addr
	// Two of the root name servers, which will not move into a local network.
	for _, to := range []string{"198.41.0.4:53", "[2001:503:ba3e::2:30]:53"} {
		c, err := net.Dial("udp", to)
		if err != nil {
			continue
		}
		if u, ok := c.LocalAddr().(*net.UDPAddr); ok {
			out = append(out, u.AddrPort().Addr().Unmap())
		}
		c.Close()
	}
	return out
}

var errNoAddress = errors.New("this host has no address that others could reach: bring its network up, or name an address with --listen")

const (
	// settleFor covers duplicate address detection, a second or two after the
	// link came up.
	settleFor   = 4 * time.Second
	settleEvery = 100 * time.Millisecond
)

func anyTentative(all []hostAddress) bool {
	return slices.ContainsFunc(all, func(h hostAddress) bool { return h.tentative && h.addr.IsGlobalUnicast() })
}

// resolveWithin bounds the wait for the names in --advertise.
const resolveWithin = 3 * time.Second

// outerAddresses are those that nodes are told of: what --advertise names, else
// the own ones, those alone that mean something on the internet where there are
// any.
func outerAddresses(ctx context.Context, c Config, locals []netip.Addr) []netip.Addr {
	var out []netip.Addr
	ctx, cancel := context.WithTimeout(ctx, resolveWithin)
	defer cancel()
	for _, host := range c.Advertise {
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			c.Log.Warn("resolve the advertised name", "err", err)
		}
		for _, a := range addrs {
			if a = a.Unmap(); !slices.Contains(out, a) && count(out, a.Is4()) < perFamily {
				out = append(out, a)
			}
		}
	}
	if len(out) > 0 {
		return out
	}
	return globalOr(locals)
}

// globalOr returns the addresses that mean something on the internet, or all
// where none does.
func globalOr(addrs []netip.Addr) []netip.Addr {
	if global := slices.DeleteFunc(slices.Clone(addrs), private); len(global) > 0 {
		return global
	}
	return addrs
}
