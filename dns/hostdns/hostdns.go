package hostdns

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
)

// Modes of Config and Status.
const (
	ModeAuto       = "auto"       // the first below that the host can do
	ModeResolved   = "resolved"   // systemd-resolved, over D-Bus
	ModeResolvconf = "resolvconf" // openresolv or Debian's resolvconf
	ModeHosts      = "hosts"      // a marked block in /etc/hosts
	ModeOff        = "off"        // the host is left alone
)

// ErrKeep as the cause of Run's context leaves the host as it is: the names go
// on to be found while the next process takes over.
var ErrKeep = errors.New("keep the host's resolver pointed at the network")

// Config is what a Host is made of.
type Config struct {
	Network   string // its name, as in the marks of /etc/hosts
	Interface string // of the network
	Index     int    // of Interface; 0: looked up by name
	Domain    string // NETWORK.internal
	// Reverse are the zones of addresses, like "168.192.in-addr.arpa", until SetReverse.
	Reverse []string
	// Servers are where the network's names are served, as Set takes them.
	Servers []netip.AddrPort
	Mode    string // empty: ModeAuto
	// Root goes before every path of the host; empty but in tests.
	Root string
	// Record is the file, in a folder of the network's own, that remembers what
	// to undo. In the folder above it the networks of a host share the journal
	// of /etc/hosts.
	Record string
	Log    *slog.Logger // nil: slog.Default
}

// Entry is an address and its names, all below Domain, for ModeHosts. Names
// elsewhere, or that no host can have, are left out.
type Entry struct {
	Addr  netip.Addr
	Names []string
}

// Status is how the host finds the network's names.
type Status struct {
	Mode    string   // what is in use; empty before the first attempt; never ModeAuto
	Why     string   // this one, in words
	Lacks   string   // what it cannot do; empty: nothing
	Servers []string // that the host asks; empty for ModeHosts
	Error   string   // why it does not work now, and what to do; empty: it works
}

// Host points the host's resolver at a network's servers while Run runs.
type Host struct {
	c       Config
	changed chan struct{} // there is something new to apply

	mu      sync.Mutex
	servers []netip.AddrPort
	entries []Entry // nil: not known yet
	reverse []string
	status  Status
}

// New changes nothing before Run.
func New(c Config) *Host {
	if c.Mode == "" {
		c.Mode = ModeAuto
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Host{c: c, servers: slices.Clone(c.Servers), reverse: slices.Clone(c.Reverse), changed: make(chan struct{}, 1)}
}

// Set says where the names are served and, for ModeHosts, what they are; nil
// entries are not known yet, and what a crash left in /etc/hosts stays. It returns
// at once; what is the same as before costs nothing.
func (h *Host) Set(servers []netip.AddrPort, entries []Entry) {
	h.mu.Lock()
	same := slices.Equal(servers, h.servers) && (entries == nil) == (h.entries == nil) && slices.EqualFunc(entries, h.entries, func(a, b Entry) bool {
		return a.Addr == b.Addr && slices.Equal(a.Names, b.Names)
	})
	if !same {
		h.servers = slices.Clone(servers)
		h.entries = nil
		if entries != nil {
			h.entries = make([]Entry, 0, len(entries))
		}
		for _, e := range entries {
			h.entries = append(h.entries, Entry{Addr: e.Addr, Names: slices.Clone(e.Names)})
		}
	}
	h.mu.Unlock()
	if !same {
		signal(h.changed)
	}
}

// SetReverse says which zones of addresses are served, when the network's prefixes
// change.
func (h *Host) SetReverse(zones []string) {
	h.mu.Lock()
	same := slices.Equal(zones, h.reverse)
	if !same {
		h.reverse = slices.Clone(zones)
	}
	h.mu.Unlock()
	if !same {
		signal(h.changed)
	}
}

// Status may be asked at any time.
func (h *Host) Status() Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.status
	s.Servers = slices.Clone(s.Servers)
	return s
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
