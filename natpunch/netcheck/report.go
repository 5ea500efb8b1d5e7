package netcheck

import (
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/natpunch/portmap"
)

// Report is what Run found. docs/netcheck.md explains the JSON; fields are only
// ever added to it.
type Report struct {
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"` // that it took
	// UDP: "open", "blocked" (the web works, no STUN server answers), "offline"
	// (nothing does) or "unknown".
	UDP  string `json:"udp"`
	IPv4 Family `json:"ipv4"`
	IPv6 Family `json:"ipv6"`
	// NAT64 is the prefix under which an IPv6-only network reaches IPv4.
	NAT64    netip.Prefix     `json:"nat64,omitzero"`
	Portal   Portal           `json:"captive_portal"`
	Gateways []portmap.Report `json:"gateways"`
	// Direct says to whom direct paths are possible: "all", "most", "some", "local"
	// (hosts of this network) or "unknown".
	Direct  string   `json:"direct"`
	Meaning []string `json:"meaning"` // in sentences
}

// Family is what was found about one address family.
type Family struct {
	// Source is the address that packets leave from; zero: there is no way out.
	Source netip.Addr `json:"source,omitzero"`
	MTU    int        `json:"mtu,omitempty"` // of the way to the first server, as far as known
	// Tunnel is the interface of CredAnt's own that packets leave by: what is found
	// is what is around an exit node.
	Tunnel string `json:"tunnel,omitempty"`
	// Internet: a STUN server answered.
	Internet bool `json:"internet"`
	// Mapping: "none" where there is no NAT, else RFC 4787's words; empty is
	// unknown.
	Mapping       string `json:"mapping,omitempty"`
	Filtering     string `json:"filtering,omitempty"`
	PortPreserved *bool  `json:"port_preserved,omitempty"`
	Hairpin       *bool  `json:"hairpin,omitempty"`
	Step          int    `json:"step,omitempty"`
	// LowPort and HighPort bound the block that ports are picked from.
	LowPort           uint16           `json:"low_port,omitempty"`
	HighPort          uint16           `json:"high_port,omitempty"`
	LifetimeSeconds   int              `json:"lifetime_seconds,omitempty"`
	LifetimeDetail    string           `json:"lifetime_detail,omitempty"` // why it was looked for in vain
	Reflexive         []netip.AddrPort `json:"reflexive,omitempty"`
	Servers           int              `json:"servers"`
	BehaviorDiscovery int              `json:"behavior_discovery"`
	Detail            string           `json:"detail,omitempty"`

	behavior natpunch.FamilyStatus
}

func (f *Family) take(s natpunch.FamilyStatus) {
	f.behavior = s
	f.Internet = s.Servers > 0
	switch {
	case s.Translated != nil && !*s.Translated:
		f.Mapping = "none"
	case s.Mapping != natpunch.UnknownBehavior:
		f.Mapping = s.Mapping.String()
	}
	if s.Filtering != natpunch.UnknownBehavior {
		f.Filtering = s.Filtering.String()
	}
	f.PortPreserved, f.Hairpin, f.Step = s.PortPreserved, s.Hairpin, s.Step
	f.LowPort, f.HighPort = s.Low, s.High
	f.LifetimeSeconds, f.LifetimeDetail = int(s.Lifetime/time.Second), s.LifetimeDetail
	f.Reflexive, f.Servers, f.BehaviorDiscovery, f.Detail = s.Reflexive, s.Servers, s.BehaviorDiscovery, s.Detail
}

// dependent: the NAT takes another port for each destination.
func (f *Family) dependent() bool { return f.behavior.Mapping > natpunch.EndpointIndependent }

// open: whatever is sent to the address arrives.
func (f *Family) open() bool {
	return f.Mapping == "none" && f.behavior.Filtering == natpunch.EndpointIndependent
}

// seenAt tells whether servers saw this host at the address.
func (f *Family) seenAt(a netip.Addr) bool {
	return slices.ContainsFunc(f.Reflexive, func(r netip.AddrPort) bool { return r.Addr() == a })
}

// global leaves out what only neighbours of a network, or of a provider, reach.
func global(a netip.Addr) bool {
	return a.IsValid() && a.IsGlobalUnicast() && !a.IsPrivate() && !sharedPrefix.Contains(a)
}

// sharedPrefix is carriers' between themselves and their customers (RFC 6598).
var sharedPrefix = netip.MustParsePrefix("100.64.0.0/10")
