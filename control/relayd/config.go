package relayd

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay"
	"github.com/credant/credant/relay/wire"
)

// What a relay uses unless told otherwise.
const (
	DefaultStateDir = "/var/lib/credant-relay"
	DefaultPort     = wire.DefaultPort
	DefaultSTUNPort = wire.DefaultSTUNPort
	DefaultGrace    = 5 * time.Second
)

// What the commands need of package relay.
type (
	PortRange = relay.PortRange
	Quota     = relay.Quota
	Share     = relay.Share
)

// What holds unless told otherwise.
var (
	DefaultPorts    = relay.DefaultPorts
	DefaultStranger = relay.DefaultStranger
	DefaultMember   = relay.DefaultMember
)

// ParsePortRange reads FIRST-LAST.
func ParsePortRange(s string) (PortRange, error) { return relay.ParsePortRange(s) }

// Config is what a relay was told.
type Config struct {
	Version string // of the program, for the metrics

	Listen    []netip.Addr // own addresses to serve on; nil: those that the host has
	Port      uint16       // front port; 0: DefaultPort
	STUNPort  uint16       // second port of the STUN server; 0: none
	Ports     PortRange    // relay ports; zero: DefaultPorts
	Advertise []string     // hosts by which nodes reach the relay; nil: its addresses

	Allow            []keys.NetworkID // networks to serve; nil: everyone
	Stranger, Member Quota            // zero fields: the defaults

	DHTBootstrap []string // HOST:PORT of DHT nodes; nil: the public ones
	NoDHT        bool
	NoAnnounce   bool

	StateDir string        // empty: DefaultStateDir
	Metrics  string        // HOST:PORT of the metrics' web server; empty: none
	Grace    time.Duration // for nodes to move away at the end

	LogLevel slog.Level
	Level    *slog.LevelVar // of Log, set to LogLevel when settings are reread; nil: left alone
	Log      *slog.Logger   // nil: slog.Default

	// Reloads brings settings that were read again. Nil: never.
	Reloads <-chan Config
}

// withDefaults fills in what was left empty and refuses what cannot work.
func (c Config) withDefaults() (Config, error) {
	c.Port = cmp.Or(c.Port, DefaultPort)
	c.StateDir = cmp.Or(c.StateDir, DefaultStateDir)
	if c.Ports == (PortRange{}) {
		c.Ports = DefaultPorts
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	switch {
	case c.Ports.Len() == 0:
		return c, fmt.Errorf("relay ports %v: the last one is lower than the first", c.Ports)
	case c.STUNPort == c.Port:
		return c, fmt.Errorf("port %d: STUN needs a second port: choose another with --stun-port, or 0 for none", c.Port)
	}
	for _, p := range []uint16{c.Port, c.STUNPort} {
		if p != 0 && c.Ports.Contains(p) {
			return c, fmt.Errorf("port %d lies among the relay ports %v: choose others with --ports", p, c.Ports)
		}
	}
	for i, a := range c.Listen {
		c.Listen[i] = a.Unmap()
		if a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" || a.IsLinkLocalUnicast() {
			return c, fmt.Errorf("listen on %s: name an address of this host that nodes can reach", a)
		}
		if n := count(c.Listen[:i+1], a.Is4()); n > perFamily {
			return c, fmt.Errorf("listen on %s: at most %d addresses of a family can be used", a, perFamily)
		}
		if slices.Contains(c.Listen[:i], a) {
			return c, fmt.Errorf("listen on %s: it is named twice", a)
		}
	}
	return c, nil
}

func count(addrs []netip.Addr, is4 bool) (n int) {
	for _, a := range addrs {
		if a.Is4() == is4 {
			n++
		}
	}
	return n
}

// engine is what the relay's engine is configured with.
func (c Config) engine(identity wire.ServerPrivate, outer []netip.Addr) relay.Config {
	return relay.Config{
		Identity: identity,
		Ports:    c.Ports,
		Fronts:   c.fronts(),
		Locals:   outer,
		Allow:    c.Allow,
		Stranger: c.Stranger,
		Member:   c.Member,
	}
}

// fronts are the ports besides the relay ports.
func (c Config) fronts() []uint16 {
	if c.STUNPort == 0 {
		return []uint16{c.Port}
	}
	return []uint16{c.Port, c.STUNPort}
}
