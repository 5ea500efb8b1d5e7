package control

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/credant/credant/discovery/keys"
	relaywire "github.com/credant/credant/relay/wire"
	"github.com/credant/credant/wgsetup"
)

// DefaultStateDir is where keys and the cache are kept, a folder a network.
const DefaultStateDir = "/var/lib/credant"

// DefaultSocket is the local API's socket of a network.
func DefaultSocket(network string) string {
	return filepath.Join("/run/credant", network+".sock")
}

// Config is what `credant up` was told for one network.
type Config struct {
	Version string // of the program, for status

	Network string // a name that keys.ValidNetworkName accepts
	Name    string // of this node; empty: what it was renamed to, else the host's
	// NameOrigin is where Name was set, for errors; empty: in this Config.
	NameOrigin string
	Interface  string       // empty: the first free credantN, then remembered
	Port       uint16       // UDP; 0: random at first start, then remembered
	IPs        []netip.Addr // overlay addresses to use; empty: from the node key
	Subnet     netip.Prefix // overlay IPv4 prefix; invalid: from the network key

	// Ephemeral: this node is forgotten by all an hour after it was last heard
	// of, and at once when it is taken down.
	Ephemeral bool

	Bootstrap    []string // HOST:PORT of members
	Relays       []string // HOST:PORT or HOST:PORT#KEY of relays
	DHTBootstrap []string // HOST:PORT of DHT nodes; nil: the public ones
	STUN         []string // HOST:PORT of STUN servers; nil: public ones
	NoSTUN       bool
	// NoPublicRelay leaves relays alone that serve everyone.
	NoPublicRelay bool
	NoDHT         bool
	NoPortMapping bool // ask no router for a port
	// NoSpray does without many ports at once towards NATs that take another port for
	// each destination.
	NoSpray bool
	NoLAN   bool

	// DNS is how this host is to find nodes by name, one of hostdns.Modes; empty:
	// "auto".
	DNS string

	RouteConfig

	Backend  string // "auto", "kernel" or "embedded"; empty: "auto"
	StateDir string // empty: DefaultStateDir
	Socket   string // empty: DefaultSocket

	Supervisor Supervisor // zero: nobody watches from outside

	Log *slog.Logger // nil: slog.Default
}

// withDefaults fills in what was left empty and refuses what cannot work.
func (c Config) withDefaults() (Config, error) {
	if c.Network == "" {
		c.Network = "default"
	}
	if err := keys.ValidNetworkName(c.Network); err != nil {
		return c, err
	}
	if c.StateDir == "" {
		c.StateDir = DefaultStateDir
	}
	if c.Socket == "" {
		c.Socket = DefaultSocket(c.Network)
	}
	if c.Backend == "" {
		c.Backend = string(wgsetup.Auto)
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Name != "" && c.NameOrigin == "" {
		c.NameOrigin = "its settings"
	}
	if c.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return c, fmt.Errorf("read the host's name: %w: give one with --name", err)
		}
		c.Name = nodeNameFrom(host)
	}
	if err := ValidNodeName(c.Name); err != nil {
		return c, err
	}
	if c.Subnet.IsValid() {
		if !c.Subnet.Addr().Is4() || c.Subnet.Bits() > 29 || c.Subnet.Bits() < 8 {
			return c, fmt.Errorf("subnet %s: an IPv4 prefix from /8 to /29 is needed, like 10.20.0.0/16", c.Subnet)
		}
		if a := c.Subnet.Addr(); !a.IsGlobalUnicast() || a.As4()[0] == 0 || a.As4()[0] >= 240 {
			return c, fmt.Errorf("subnet %s: no host can have such addresses: choose a private one, like 10.20.0.0/16", c.Subnet)
		}
		if !claimable(c.Subnet) {
			return c, fmt.Errorf("subnet %s is not private, so the other nodes would not use it: choose one in 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10, like 10.20.0.0/16", c.Subnet)
		}
		c.Subnet = c.Subnet.Masked()
	}
	if err := c.checkRoutes(c.Subnet); err != nil {
		return c, err
	}
	for _, list := range [][]string{c.Bootstrap, c.DHTBootstrap, c.STUN} {
		for _, hp := range list {
			if err := validHostPort(hp); err != nil {
				return c, err
			}
		}
	}
	for _, relay := range c.Relays {
		if _, err := relaywire.ParseServerAddress(relay); err != nil {
			return c, err
		}
	}
	return c, nil
}

func validHostPort(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err == nil && (host == "" || port == "" || port == "0") {
		err = errors.New("host and port are both needed")
	}
	if err != nil {
		return fmt.Errorf("address %q: %w: write HOST:PORT, or [ADDRESS]:PORT for IPv6", s, err)
	}
	return nil
}

// ValidNodeName accepts one label of a host name (RFC 1123), in lower case.
func ValidNodeName(s string) error {
	ok := len(s) >= 1 && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-'
	for _, r := range s {
		ok = ok && (r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z')
	}
	if !ok {
		return fmt.Errorf("node name %q: 1 to 63 of a-z, 0-9 and - are needed, with no - at the ends: give another with --name", s)
	}
	return nil
}

// nodeNameFrom makes a node name of a host name: the first label, in lower
// case, with - for what is not allowed.
func nodeNameFrom(host string) string {
	label, _, _ := strings.Cut(strings.ToLower(host), ".")
	label = strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' {
			return r
		}
		return '-'
	}, label)
	label = strings.Trim(label[:min(len(label), 63)], "-")
	if label == "" {
		return "node"
	}
	return label
}

// Preflight tells whether this process may do what the configuration asks for,
// before anything is derived, stored or started. The error is one line that
// says what would help.
func Preflight(c Config) error {
	c, err := c.withDefaults()
	if err != nil {
		return err
	}
	return wgsetup.Check(wgsetup.Backend(c.Backend))
}
