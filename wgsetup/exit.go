package wgsetup

import (
	"fmt"
	"net/netip"
)

// Forward says what this host carries from the network to others: packets from
// the prefixes of Desired.Routes only, and what answers them. To the others it
// looks as if they came from this host.
type Forward struct {
	Advertised []netip.Prefix // networks behind this host
	// Exit carries what is for the internet too, and nothing that is private
	// and not Advertised.
	Exit bool
}

// Exit sends what leaves this host by the device, so that the peer with
// 0.0.0.0/0 and ::/0 among its AllowedIPs carries it. Left out are connected
// networks and the host's other routes that do not stand for a default one,
// and what carries the Mark: WireGuard's datagrams, the side port's and those
// of sockets that MarkSocket made.
//
// It holds while the peer is away, after Detach and after a crash too: nothing
// leaves by the host's own default route until Apply without an Exit, Remove or
// Clean.
type Exit struct {
	// V4 and V6 are the families to send by the device. One that the exit peer
	// does not carry is to be among them: else it leaves past the peer.
	V4, V6 bool
	// Allow has further prefixes that go where they went without an Exit.
	Allow []netip.Prefix
}

// Mark is the firewall mark of what is never to go by an exit peer.
const Mark = 0x4c4ed417 // fits an int of 32 bits

const (
	// maxSubnets, maxAdvertised and maxAllow bound routes, rules and sets.
	maxSubnets    = 1024
	maxAdvertised = 64
	maxAllow      = 64
)

// checkSubnets refuses what is no network, and too many.
func checkSubnets(d Desired) error {
	lists := []struct {
		what string
		max  int
		list []netip.Prefix
	}{{"subnet", maxSubnets, d.Subnets}}
	if d.Forward != nil {
		lists = append(lists, struct {
			what string
			max  int
			list []netip.Prefix
		}{"advertised network", maxAdvertised, d.Forward.Advertised})
	}
	if d.Exit != nil {
		lists = append(lists, struct {
			what string
			max  int
			list []netip.Prefix
		}{"allowed network", maxAllow, d.Exit.Allow})
	}
	for _, l := range lists {
		if len(l.list) > l.max {
			return fmt.Errorf("apply: %d %ss: at most %d", len(l.list), l.what, l.max)
		}
		for _, x := range l.list {
			if !x.IsValid() || x.Addr().Is4In6() || x.Addr().Zone() != "" || x.Bits() == 0 {
				return fmt.Errorf("apply: bad %s %s", l.what, x)
			}
		}
	}
	return nil
}
