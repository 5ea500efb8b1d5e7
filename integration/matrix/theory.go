package main

import (
	"time"

	"github.com/credant/credant/integration/lab"
)

// A pair is two places and how they lie to each other.
type pair struct {
	a, b lab.Kind
	near near
	// deaf: nothing of a LAN's multicast arrives, as on a guest Wi-Fi.
	deaf bool
}

// near is what two hosts share besides the internet.
type near int

const (
	apart      near = iota
	oneLAN          // behind one router
	oneCarrier      // each behind a router of its own, and both of these behind one carrier's
)

// A verdict is what theory says of a pair.
type verdict struct {
	// direct: there is a direct path and a way to find it, with what is allowed to be spent.
	direct bool
	// guessed: a port has to be guessed, because one side's mapping depends on the destination and the other's filter
	// lets in only what it was told of.
	guessed bool
	// chance: it may come off, and nothing is promised.
	chance bool
	// hopeless: not even the relay can be reached.
	hopeless bool
	why      string
}

func no(why string) verdict  { return verdict{why: why} }
func yes(why string) verdict { return verdict{direct: true, why: why} }

// limits are what a pair is allowed to take to a direct path, where there is somebody to signal through.
func (v verdict) limits() (median, p95 time.Duration) {
	if v.guessed {
		return 10 * time.Second, 25 * time.Second
	}
	return time.Second, 3 * time.Second
}

// theory tells whether a pair can be direct, from nothing but what RFC 4787 calls mapping and filtering.
func theory(p pair) verdict {
	switch {
	case p.near == oneLAN:
		return yes("they are on one LAN")
	case p.a.UDPBlocked() || p.b.UDPBlocked():
		return verdict{hopeless: true, why: "no UDP passes"}
	case p.a.IPv6 && p.b.IPv6:
		return yes("IPv6 without translation")
	case !(p.a.IPv4 && p.b.IPv4):
		return no("no address family in common")
	case p.near == oneCarrier:
		if !p.a.Carrier.Hairpin {
			return no("the carrier's NAT does not hairpin")
		}
		return yes("the carrier's NAT hairpins")
	}
	a, b := endOf(p.a), endOf(p.b)
	if a.dependent || !b.dependent {
		a, b = b, a // now b is the dependent one, if there is one
	}
	switch {
	case a.open || b.open:
		return yes("one side can be reached by anyone")
	case a.dependent && a.sequential && b.sequential:
		return verdict{chance: true, why: "both mappings depend on the destination, but both can be predicted"}
	case a.dependent:
		return no("both mappings depend on the destination")
	case !b.dependent:
		return yes("both mappings are endpoint-independent")
	case a.filtering != lab.AddressAndPortDependent:
		return yes("the side with one mapping lets in any port of the other")
	case b.sequential:
		return verdict{direct: true, guessed: true, why: "one mapping depends on the destination and can be predicted"}
	default:
		return verdict{direct: true, guessed: true, why: "one mapping depends on the destination: many ports"}
	}
}

// An end is a place as the IPv4 internet sees it.
type end struct {
	open       bool // takes in what nobody asked for
	dependent  bool // its mapping depends on the destination
	sequential bool // and takes the next port each time
	filtering  lab.Behavior
}

func endOf(k lab.Kind) end {
	if k.NAT == nil {
		if k.Firewall {
			return end{filtering: lab.AddressAndPortDependent}
		}
		return end{open: true, filtering: lab.EndpointIndependent}
	}
	// Two NATs in a row are the stricter of both; of those here the outer one.
	outer := k.NAT
	if k.Carrier != nil {
		outer = k.Carrier
	}
	return end{
		open:       k.Gateway && k.Carrier == nil,
		dependent:  outer.Mapping != lab.EndpointIndependent,
		sequential: outer.Ports == lab.PortsSequential,
		filtering:  outer.Filtering,
	}
}

// String is theory's cell in the table.
func (v verdict) String() string {
	switch {
	case v.direct:
		return "direct: " + v.why
	case v.chance:
		return "perhaps: " + v.why
	default:
		return "no: " + v.why
	}
}
