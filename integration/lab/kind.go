package lab

import (
	"fmt"
	"net/netip"
	"time"
)

// A Kind is what stands between a host and the internet.
type Kind struct {
	Name  string // in words, for a table
	Short string // of at most ten letters

	IPv4, IPv6 bool // the families by which it gets there
	NAT        *NAT // the router before it, of IPv4; nil: the host is public
	Carrier    *NAT // a second one above that
	Firewall   bool // of the host: see Host
	Gateway    bool // the router maps ports when asked, once StartGateway was called
}

// Kinds are the places that a host can be at, as different as they come. An IPv4 NAT is met alone, without IPv6 beside
// it, which would make everything direct.
func Kinds() []Kind {
	home, dependent, carrier := PortRestricted, Symmetric, PortRestricted.HidePort()
	shortLived := PortRestricted.HidePort()
	shortLived.Lifetime = 15 * time.Second
	sequential := Symmetric
	sequential.Ports = PortsSequential
	behind := func(name, short string, nat NAT) Kind { return Kind{Name: name, Short: short, IPv4: true, NAT: &nat} }
	return []Kind{
		{Name: "public", Short: "public", IPv4: true, IPv6: true},
		{Name: "public, IPv6 only", Short: "ipv6", IPv6: true},
		{Name: "host firewall", Short: "firewall", IPv4: true, IPv6: true, Firewall: true},
		behind("EIF", "eif", FullCone.HidePort()),
		behind("ADF", "adf", AddressRestricted.HidePort()),
		behind("APDF", "apdf", PortRestricted.HidePort()),
		behind("15 s mappings", "short", shortLived),
		{Name: "CGNAT", Short: "cgnat", IPv4: true, NAT: &home, Carrier: &carrier},
		behind("dependent, sequential", "seq", sequential),
		behind("dependent, random", "random", Symmetric),
		{Name: "gateway", Short: "gateway", IPv4: true, NAT: &dependent, Gateway: true},
		behind("UDP blocked", "blocked", UDPBlocked),
	}
}

// A Site is one place of a kind.
type Site struct {
	Kind    Kind
	Name    string
	Routers []*Router // from the outermost in; none before a public host
	Hosts   []*Host

	lab *Lab
}

// Site adds a place of that kind, without hosts. Its name, at most four letters, keeps it apart from others of its kind.
func (l *Lab) Site(name string, kind Kind) *Site {
	s := &Site{Kind: kind, Name: name, lab: l}
	outer := kind.NAT
	if kind.Carrier != nil {
		outer = kind.Carrier
	}
	if outer == nil {
		return s
	}
	r := l.NAT(name+kind.Short, *outer)
	r.Gateway = kind.Gateway
	s.Routers = append(s.Routers, r)
	if kind.Carrier != nil {
		r.LAN = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, byte(len(l.routers)), 0}), 24)
		s.Routers = append(s.Routers, r.Router(name+kind.Short+"h", *kind.NAT))
	}
	return s
}

// Host adds a host at the site.
func (s *Site) Host() *Host {
	name := fmt.Sprintf("%s%s%d", s.Name, s.Kind.Short, len(s.Hosts)+1)
	var h *Host
	if n := len(s.Routers); n > 0 {
		h = s.Routers[n-1].Host(name)
	} else {
		h = s.lab.Host(name)
	}
	h.NoIPv4 = !s.Kind.IPv4
	h.Firewall = s.Kind.Firewall
	s.Hosts = append(s.Hosts, h)
	return h
}

// Neighbour adds a host that shares no more than the outermost router with the others: behind a router of its own where
// there is a carrier above it, else on the same LAN.
func (s *Site) Neighbour() *Host {
	if s.Kind.Carrier != nil {
		s.Routers = append(s.Routers, s.Routers[0].Router(fmt.Sprintf("%s%sn%d", s.Name, s.Kind.Short, len(s.Routers)), *s.Kind.NAT))
	}
	return s.Host()
}

// Reset makes its routers forget everything.
func (s *Site) Reset() error {
	for _, r := range s.Routers {
		if err := r.Reset(); err != nil {
			return err
		}
	}
	return nil
}

// UDPBlocked tells whether no UDP leaves the place.
func (k Kind) UDPBlocked() bool { return k.NAT != nil && k.NAT.NoUDP }
