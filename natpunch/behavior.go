package natpunch

import (
	"net/netip"
	"time"

	"github.com/credant/credant/discovery/wire"
)

// MappingBehavior and FilteringBehavior are RFC 4787's words, as records carry
// them; the names say of what.
type (
	MappingBehavior   = wire.Behavior
	FilteringBehavior = wire.Behavior
)

// The behaviors of RFC 4787, Sections 4.1 and 5. The zero one is unknown.
const (
	UnknownBehavior         = wire.Behavior(0)
	EndpointIndependent     = wire.EndpointIndependent
	AddressDependent        = wire.AddressDependent
	AddressAndPortDependent = wire.AddressAndPortDependent
)

// NATStatus is what is known of the NAT in front of this node.
type NATStatus struct {
	IPv4 FamilyStatus `json:"ipv4"`
	IPv6 FamilyStatus `json:"ipv6"`
}

// Reflexive returns the addresses at which others see this node, IPv4 first.
func (s NATStatus) Reflexive() []netip.AddrPort {
	return append(append([]netip.AddrPort(nil), s.IPv4.Reflexive...), s.IPv6.Reflexive...)
}

// FamilyStatus is NATStatus for one address family. The zero status is unknown.
type FamilyStatus struct {
	// Mapping is unknown until two servers have answered; without a NAT it is
	// EndpointIndependent. A NAT whose mapping depends on the address counts as
	// AddressDependent until it is seen to depend on the port.
	Mapping MappingBehavior `json:"mapping"`
	// Filtering is what comes in to a port that sent elsewhere, be it the NAT or a
	// firewall on the way that decides. A Probe measures it, where a server
	// offers RFC 5780.
	Filtering FilteringBehavior `json:"filtering"`
	// Translated: there is a NAT. Nil is unknown.
	Translated *bool `json:"translated,omitempty"`
	// PortPreserved: the mapping has the port of the node. Nil is unknown.
	PortPreserved *bool `json:"port_preserved,omitempty"`
	// Hairpin: two hosts behind the NAT reach each other at their mapped
	// addresses. Nil is unknown, or there is no NAT.
	Hairpin *bool `json:"hairpin,omitempty"`
	// Step is the signed distance from one mapping's port to the next one's, where
	// Mapping depends on the destination and ports are sequential; zero: they are
	// not, or that is unknown.
	Step int `json:"step,omitempty"`
	// Low and High bound the ports of mappings, where those come from a block.
	Low  uint16 `json:"low,omitempty"`
	High uint16 `json:"high,omitempty"`
	// Lifetime is how long a mapping lived that nothing refreshed, at least; zero
	// is unknown.
	Lifetime time.Duration `json:"lifetime,omitempty"`
	// LifetimeDetail says why Lifetime is unknown although it was to be measured.
	LifetimeDetail string `json:"lifetime_detail,omitempty"`
	// Reflexive are this node's addresses as servers see them.
	Reflexive []netip.AddrPort `json:"reflexive,omitempty"`
	// Servers have answered; BehaviorDiscovery of them offer RFC 5780.
	Servers           int `json:"servers"`
	BehaviorDiscovery int `json:"behavior_discovery"`
	// Detail says it all for a person.
	Detail string `json:"detail,omitempty"`
}

// Record is the status as a node's record tells it.
func (f FamilyStatus) Record() wire.NATBehavior {
	return wire.NATBehavior{
		Mapping:       f.Mapping,
		Filtering:     f.Filtering,
		PortPreserved: f.PortPreserved != nil && *f.PortPreserved,
		Hairpin:       f.Hairpin != nil && *f.Hairpin,
		Step:          int16(f.Step),
		Low:           f.Low,
		High:          f.High,
		Lifetime:      f.Lifetime,
	}
}

// detail puts the status into words; asked is whether any server was.
func (f *FamilyStatus) detail(asked bool) string {
	switch {
	case !asked:
		return ""
	case f.Servers == 0:
		return "no STUN server answers: UDP to the internet may be blocked"
	case f.Translated != nil && !*f.Translated:
		return "no NAT: this host has a public address"
	case f.Mapping == EndpointIndependent:
		return "a NAT that keeps one port for all destinations: direct paths work"
	case f.Mapping == UnknownBehavior:
		return "only one STUN server answers, which is too few to judge the NAT"
	default:
		return "a NAT that takes another port for each destination: direct paths only to peers that are not behind such a NAT themselves"
	}
}
