package relayd

import (
	"cmp"
	"context"
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

// choice is what addresses are for, IPv4 first.
type choice struct {
	serve []netip.Addr // to have sockets on
	tell  []netip.Addr // of those, what nodes are told of; empty where serve is
	left  []netip.Addr // of the same kind, for which there is no room
}

// choose says which addresses to serve on. routed are those from which the host
// itself speaks to the internet, at most one a family; served are those of before.
//
// Of each family it takes the global ones, the routed one first. Where there are
// none, as in clouds that translate addresses one to one, it takes the private
// one from which the default route leaves; without a default route, any that is
// not a tunnel's.
//
// What is served and still fit comes before all others, so that pairs keep their
// ports. What no longer is, such as the address of a deprecated prefix, is served
// on where there is room, until it goes, and not told; and what has gone, until
// another comes: it may be back in a moment.
func choose(all []hostAddress, routed, served []netip.Addr) (c choice) {
	for _, is4 := range []bool{true, false} {
		var global, inside []netip.Addr
		own := func(a netip.Addr) bool { return a.IsValid() && a.Is4() == is4 }
		at := slices.IndexFunc(routed, own)
		fresh := !slices.ContainsFunc(served, own) // a default route can be away for a moment
		for _, h := range all {
			switch a := h.addr; {
			case !own(a), h.tentative, h.passing, !a.IsGlobalUnicast():
			case slices.Contains(global, a), slices.Contains(inside, a): // on a second interface
			case !private(a):
				global = append(global, a)
			case at >= 0 && routed[at] == a, at < 0 && !h.tunnel && (fresh || slices.Contains(served, a)):
				inside = append(inside, a)
			}
		}
		list := global
		if len(list) == 0 {
			list = inside
		}
		most := min(len(list), perFamily)
		preferred(list, routed)
		preferred(list, served)
		preferred(list[:most], routed)
		serve := slices.Clone(list[:most])
		for _, a := range served {
			here := slices.ContainsFunc(all, func(h hostAddress) bool { return h.addr == a })
			if own(a) && !slices.Contains(serve, a) && (here && len(serve) < perFamily || most == 0) {
				serve = append(serve, a)
			}
		}
		c.serve, c.tell, c.left = append(c.serve, serve...), append(c.tell, list[:most]...), append(c.left, list[most:]...)
	}
	if len(c.tell) == 0 {
		c.tell = c.serve
	}
	return c
}

// preferred puts first what is in wanted.
func preferred(list, wanted []netip.Addr) {
	rank := func(a netip.Addr) int {
		if slices.Contains(wanted, a) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(list, func(a, b netip.Addr) int { return cmp.Compare(rank(a), rank(b)) })
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

const (
	// settleFor covers duplicate address detection, a second or two after the
	// link came up.
	settleFor   = 4 * time.Second
	settleEvery = 100 * time.Millisecond
	// waitEvery is how often a host is looked at that has no address yet.
	waitEvery = time.Second
)

func anyTentative(all []hostAddress) bool {
	return slices.ContainsFunc(all, func(h hostAddress) bool { return h.tentative && h.addr.IsGlobalUnicast() })
}

// resolveWithin bounds the wait for the names in --advertise.
const resolveWithin = 3 * time.Second

// outerAddresses are those that nodes are told of: what --advertise names, else
// the own ones, those alone that mean something on the internet where there are
// any.
func outerAddresses(advertised, told []netip.Addr) []netip.Addr {
	if len(advertised) > 0 {
		return advertised
	}
	return globalOr(told)
}

// advertised resolves what --advertise names.
func advertised(ctx context.Context, c Config) (out []netip.Addr) {
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
	return out
}

// globalOr returns the addresses that mean something on the internet, or all
// where none does.
func globalOr(addrs []netip.Addr) []netip.Addr {
	if global := slices.DeleteFunc(slices.Clone(addrs), private); len(global) > 0 {
		return global
	}
	return addrs
}
