package portmap

import (
	"net/netip"
	"time"
)

// A Protocol is what a gateway is asked in.
type Protocol string

// The protocols, best first.
const (
	PCP    Protocol = "pcp"
	NATPMP Protocol = "nat-pmp"
	IGD2   Protocol = "upnp-igd2"
	IGD1   Protocol = "upnp-igd1"
)

// A Gateway is a way out of this host.
type Gateway struct {
	Iface string     // the interface it is reached through
	Local netip.Addr // this host's address towards it; for IPv6 the one that is to be reachable
	Addr  netip.Addr // the gateway's; link-local for most of IPv6, without a zone
}

// A Mapping is a port that a gateway forwards to WireGuard's.
type Mapping struct {
	Protocol Protocol
	Gateway  netip.Addr
	External netip.AddrPort // where the world finds it
	Lifetime time.Duration  // as granted; zero: until it is deleted
	Expires  time.Time      // unless renewed; zero: never
	// Nested says that External is no global address, or not known: another NAT is above this gateway. Such a mapping
	// is of no use to anyone further away and is not to be published.
	Nested bool
	// Pinhole says that this is a hole in an IPv6 firewall: External is this host's own address.
	Pinhole bool
}

// Status is what the gateways said, for people.
type Status struct {
	Gateways []Report `json:"gateways"`
}

// A Report is what one gateway said.
type Report struct {
	Gateway   netip.Addr       `json:"gateway"`
	Iface     string           `json:"iface,omitempty"`
	Local     netip.Addr       `json:"local"`
	Protocols []ProtocolReport `json:"protocols"` // each that was tried, best first
}

// A ProtocolReport is how a gateway took one protocol.
type ProtocolReport struct {
	Protocol Protocol `json:"protocol"`
	// Spoken says that the gateway answered in this protocol, be it with a refusal.
	Spoken bool `json:"spoken"`
	// External is the address that it says it has outside; zero where it did not say.
	External netip.Addr `json:"external,omitzero"`
	Detail   string     `json:"detail,omitempty"` // what it does for us, in words
	Error    string     `json:"error,omitempty"`  // why it does not, in words
}
