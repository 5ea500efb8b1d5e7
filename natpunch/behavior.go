package natpunch

import (
	"net/netip"

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
	// Filtering is unknown: to measure it takes RFC 5780's second address and a
	// port that nothing was sent from.
	Filtering FilteringBehavior `json:"filtering"`
	// Translated: there is a NAT. Nil is unknown.
	Translated *bool `json:"translated,omitempty"`
	// PortPreserved: the mapping has the port of the node. Nil is unknown.
	PortPreserved *bool `json:"port_preserved,omitempty"`
	// Reflexive are this node's addresses as servers see them.
	Reflexive []netip.AddrPort `json:"reflexive,omitempty"`
	// Servers have answered; BehaviorDiscovery of them offer RFC 5780.
	Servers           int `json:"servers"`
	BehaviorDiscovery int `json:"behavior_discovery"`
	// Detail says it all for a person.
	Detail string `json:"detail,omitempty"`
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
		return "a NAT that takes another port for each destination: direct paths only to peers that can be reached without a NAT of that kind"
	}
}
