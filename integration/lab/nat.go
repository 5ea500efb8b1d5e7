package lab

import (
	_ "embed"
	"fmt"
	"net/netip"
	"strings"
	"text/template"
	"time"
)

// Behavior is how a NAT treats a mapping or filters what comes in, in the words of RFC 4787, Sections 4.1 and 5.
type Behavior string

// The behaviors that RFC 4787 tells apart.
const (
	EndpointIndependent     Behavior = "endpoint-independent"
	AddressDependent        Behavior = "address-dependent"
	AddressAndPortDependent Behavior = "address-and-port-dependent"
)

// Ports is how a NAT picks the outer port of a mapping.
type Ports string

// PortsPreserved keeps the inner port (RFC 4787, Section 4.2.1) and PortsHashed does not, so that the host cannot
// guess it; both are the same towards every destination. The others belong to address- and port-dependent mapping.
const (
	PortsPreserved  Ports = "preserved"
	PortsHashed     Ports = "hashed"
	PortsRandom     Ports = "random"
	PortsSequential Ports = "sequential"
)

// A NAT is what a router does to the UDP that crosses it. Linux cannot map by address alone, so the lab has no
// address-dependent mapping.
type NAT struct {
	Mapping   Behavior // EndpointIndependent or AddressAndPortDependent
	Filtering Behavior
	Ports     Ports
	Hairpin   bool // two hosts behind it reach each other by its outer address (RFC 4787, Section 6)

	// Lifetime is how long a mapping lives that nothing uses, in whole seconds; zero: Linux's 30 s, and 120 s once both
	// sides have used it (RFC 4787, Section 4.3, wants two minutes at least).
	Lifetime time.Duration

	// NoUDP passes only TCP to port 443. With Reject it says so by ICMP.
	NoUDP, Reject bool
}

// The NATs that are met most, under the names that vendors give them.
var (
	FullCone          = NAT{Mapping: EndpointIndependent, Filtering: EndpointIndependent, Ports: PortsPreserved}
	AddressRestricted = NAT{Mapping: EndpointIndependent, Filtering: AddressDependent, Ports: PortsPreserved}
	PortRestricted    = NAT{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent, Ports: PortsPreserved}
	Symmetric         = NAT{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Ports: PortsRandom}
	UDPBlocked        = NAT{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent, Ports: PortsPreserved, NoUDP: true}
)

// HidePort returns the same NAT with ports that the host behind it cannot know.
func (n NAT) HidePort() NAT {
	n.Ports = PortsHashed
	return n
}

func (n NAT) String() string {
	if n.NoUDP {
		return "UDP blocked"
	}
	s := fmt.Sprintf("%s mapping, %s filtering, ports %s", n.Mapping, n.Filtering, n.Ports)
	if n.Hairpin {
		s += ", hairpinning"
	}
	if n.Lifetime != 0 {
		s += fmt.Sprintf(", mappings live %v", n.Lifetime)
	}
	return s
}

//go:embed nat.nft
var natRules string

var natTemplate = template.Must(template.New("nat.nft").Parse(natRules))

// ruleset renders nat.nft for a router.
func (n NAT) ruleset(wan netip.Addr, lan netip.Prefix, gateway bool) (string, error) {
	if n.Mapping == AddressDependent {
		return "", fmt.Errorf("make NAT: no address-dependent mapping on Linux")
	}
	if n.Mapping == AddressAndPortDependent && n.Filtering != AddressAndPortDependent {
		return "", fmt.Errorf("make NAT: %s mapping here implies the same filtering", n.Mapping)
	}
	var b strings.Builder
	err := natTemplate.Execute(&b, map[string]any{
		"WAN": wan, "LAN": lan, "NAT": n, "Gateway": gateway,
		"FilterNone": n.Filtering == EndpointIndependent, "FilterAddress": n.Filtering == AddressDependent,
		"Timeout": int(n.learnedLifetime() / time.Second),
		// One socket in as many is left without a way out, where another has its port already.
		"Hashed":     portMap(4096, func(i int) int { return 20011 + 11*(i*1597%4096) }),
		"Sequential": portMap(4096, func(i int) int { return 30000 + i }),
	})
	if err != nil {
		return "", fmt.Errorf("render NAT rules: %w", err)
	}
	return b.String(), nil
}

// learnedLifetime is how long the sets of learned sockets keep an entry.
func (n NAT) learnedLifetime() time.Duration {
	if n.Lifetime != 0 {
		return n.Lifetime
	}
	return 2 * time.Minute
}

// portMap is an nft map from 0..n-1 to ports. Both jhash and numgen need one: used bare, their result is swapped
// byte by byte (nft 1.0.6), so that ports fall outside the range and sequences step by 256.
func portMap(n int, port func(int) int) string {
	elements := make([]string, n)
	for i := range elements {
		elements[i] = fmt.Sprintf("%d : %d", i, port(i))
	}
	return "map { " + strings.Join(elements, ", ") + " }"
}
