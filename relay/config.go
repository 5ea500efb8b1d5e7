package relay

import (
	"crypto/rand"
	"io"
	"net/netip"
	"slices"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

// Config is what a Server is and whom it serves.
type Config struct {
	// Identity is the relay's key. It must not be zero.
	Identity wire.ServerPrivate
	// Ports are the relay ports, none of which is a front port. The zero value
	// is DefaultPorts.
	Ports PortRange
	// Fronts are the ports at which the relay listens besides Ports; the first is
	// the one that nodes are told of. Nothing that claims to come from one of them
	// at an own address is answered. The zero value is 3478 and 3479.
	Fronts []uint16
	// Locals are the addresses by which clients reach the relay: one or two a
	// family, wire.MaxAddrs at most. Behind a NAT they are the outer ones. Move
	// changes them.
	Locals []netip.Addr
	// Allow names the networks that are served, within Member. Where it is empty
	// everybody is, within Stranger.
	Allow []keys.NetworkID
	// Strangers serves those whom Allow does not name too, within Stranger; where
	// there is no room for both, they give way.
	Strangers bool
	// Stranger and Member are the quotas of the two classes. Fields that are zero
	// mean DefaultStranger and DefaultMember.
	Stranger, Member Quota
	// Rand is where secrets come from; nil is crypto/rand.
	Rand io.Reader
}

// fill replaces what is zero by its default.
func (c Config) fill() Config {
	if c.Ports.Len() == 0 {
		c.Ports = DefaultPorts
	}
	c.Fronts = slices.DeleteFunc(slices.Clone(c.Fronts), func(p uint16) bool { return p == 0 })
	if len(c.Fronts) == 0 {
		c.Fronts = []uint16{wire.DefaultPort, wire.DefaultPort + 1}
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	c.Locals = usable(c.Locals)
	return c.fillQuotas()
}

func usable(addrs []netip.Addr) (locals []netip.Addr) {
	for _, a := range addrs {
		if a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && len(locals) < wire.MaxAddrs {
			locals = append(locals, a.Unmap().WithZone(""))
		}
	}
	return locals
}

func (c Config) fillQuotas() Config {
	c.Stranger, c.Member = c.Stranger.or(DefaultStranger), c.Member.or(DefaultMember)
	c.Allow = slices.Clone(c.Allow)
	return c
}

// classify says whose quota a network has, and whether it is served at all.
func (c *Config) classify(id keys.NetworkID) (class, bool) {
	if slices.Contains(c.Allow, id) {
		return member, true
	}
	return stranger, c.Strangers || len(c.Allow) == 0
}

func (c *Config) quota(of class) *Quota {
	if of == member {
		return &c.Member
	}
	return &c.Stranger
}

// endpoints are where nodes reach the relay.
func (c *Config) endpoints() []netip.AddrPort {
	list := make([]netip.AddrPort, 0, len(c.Locals))
	for _, a := range c.Locals {
		list = append(list, netip.AddrPortFrom(a, c.Fronts[0]))
	}
	return list
}
