package localapi

import "time"

// Status is everything that `credant status` shows.
type Status struct {
	Version    string    `json:"version"`
	Backend    string    `json:"backend"` // "kernel" or "embedded"
	Network    string    `json:"network"`
	NetworkID  string    `json:"network_id"`
	CheckWords []string  `json:"check_words"`
	Interface  string    `json:"interface"`
	Port       uint16    `json:"port"`
	MTU        int       `json:"mtu"`
	Prefixes   []string  `json:"prefixes"` // the overlay's: IPv6, then IPv4
	Started    time.Time `json:"started"`
	PID        int       `json:"pid"`

	Self    Self              `json:"self"`
	Peers   []Peer            `json:"peers"`
	Sources map[string]Source `json:"sources"` // "dht", "lan", "static", "cache"
	Relays  []Relay           `json:"relays"`
	Drops   map[string]uint64 `json:"drops"` // received datagrams dropped, by reason

	// Blocked are the nodes that this one has nothing to do with.
	Blocked []BlockedNode `json:"blocked"`

	// Names is how this host finds nodes by name; null where it is switched off.
	Names *Names `json:"names"`

	// Notices are sentences that an operator should act on: the clock looks
	// wrong, the port was taken, a prefix clashes. Empty when all is well.
	Notices []string `json:"notices"`
}

// Self is this node as the others see it.
type Self struct {
	Name       string      `json:"name"`
	Aliases    []string    `json:"aliases,omitempty"` // further names that it asks for
	Ephemeral  bool        `json:"ephemeral,omitempty"`
	Names      []string    `json:"names"`      // under which it is found here, without the domain, best first
	ID         string      `json:"id"`         // 16 base32 characters
	PublicKey  string      `json:"public_key"` // WireGuard's, base64
	Addresses  []string    `json:"addresses"`  // overlay, IPv4 first
	Candidates []Candidate `json:"candidates"`
	NAT        NAT         `json:"nat"`
	Routes     []string    `json:"routes"`    // that this node offers to others
	ExitNode   *ExitNode   `json:"exit_node"` // null: none is asked for
	// PortMapping is what routers do for this node; null where it is switched off.
	PortMapping *PortMapping `json:"port_mapping"`
}

// Names is how this host finds nodes by name.
type Names struct {
	Domain string `json:"domain"` // "NETWORK.internal"
	// Mode is how the host was pointed at the names: "resolved", "resolvconf",
	// "hosts", or "none" while it is not.
	Mode    string   `json:"mode"`
	Why     string   `json:"why"`             // a sentence: why that mode
	Lacks   string   `json:"lacks,omitempty"` // a sentence: what it cannot do
	Error   string   `json:"error,omitempty"`
	Servers []string `json:"servers"` // addresses and ports at which the resolver answers
}

// PortMapping is what routers were asked to forward to this node.
type PortMapping struct {
	Detail   string    `json:"detail"` // a sentence for a person
	Mappings []Mapping `json:"mappings"`
}

// Mapping is a port that a router forwards.
type Mapping struct {
	Protocol string `json:"protocol"` // "pcp", "nat-pmp", "upnp-igd2", "upnp-igd1"
	Gateway  string `json:"gateway"`
	External string `json:"external,omitempty"` // where the world finds it
	Usable   bool   `json:"usable"`             // External is a public address
	Pinhole  bool   `json:"pinhole,omitempty"`  // a hole in an IPv6 firewall
}

// Candidate is a transport address at which a node may be reached, with
// RFC 8445's type.
type Candidate struct {
	Type    string `json:"type"` // "host", "srflx", "prflx", "relay"
	Address string `json:"address"`
}

// NAT is what is known of the NAT in front of this node, in RFC 4787's words.
type NAT struct {
	IPv4 NATFamily `json:"ipv4"`
	IPv6 NATFamily `json:"ipv6"`
}

// NATFamily is NAT for one address family. Empty strings are "unknown".
type NATFamily struct {
	Mapping       string   `json:"mapping,omitempty"`   // "endpoint-independent", "address-dependent", "address-and-port-dependent", "none"
	Filtering     string   `json:"filtering,omitempty"` // the same words
	PortPreserved *bool    `json:"port_preserved,omitempty"`
	Reflexive     []string `json:"reflexive,omitempty"` // addresses that others saw
	Hairpin       *bool    `json:"hairpin,omitempty"`
	Step          int      `json:"step,omitempty"` // between the ports of mappings that follow each other
	LowPort       uint16   `json:"low_port,omitempty"`
	HighPort      uint16   `json:"high_port,omitempty"`        // the block that ports are taken from
	Lifetime      int      `json:"lifetime_seconds,omitempty"` // of a mapping that is left alone
	Detail        string   `json:"detail,omitempty"`           // what it means, for a person
}

// Peer is another node of the network.
type Peer struct {
	Name          string     `json:"name"`
	Aliases       []string   `json:"aliases,omitempty"` // further names that it asks for
	Names         []string   `json:"names"`             // under which it is found here, without the domain, best first
	ID            string     `json:"id"`
	PublicKey     string     `json:"public_key"`
	Addresses     []string   `json:"addresses"`
	Path          string     `json:"path"`               // "direct", "lan", "relay", "connecting", "offline"
	Endpoint      string     `json:"endpoint,omitempty"` // the live one, as WireGuard has it
	RTTMillis     *float64   `json:"rtt_ms"`             // null while not measured
	LastHandshake *time.Time `json:"last_handshake"`     // null before the first
	RxBytes       int64      `json:"rx_bytes"`
	TxBytes       int64      `json:"tx_bytes"`
	Reason        string     `json:"reason"`                // why the path is not direct; empty when it is
	ReasonCode    string     `json:"reason_code,omitempty"` // the same for programs, see docs/status.md
	Mend          string     `json:"mend,omitempty"`        // what would make it direct
	MTU           int        `json:"mtu,omitempty"`         // of the path inside the tunnel, where it is less than the device's
	Relay         string     `json:"relay,omitempty"`       // the relay that the path leads through
	Routes        []Route    `json:"routes"`                // that it offers
}

// Source is one way of finding members.
type Source struct {
	State     string `json:"state"`            // one word: "off", "searching", "ready", "failing", …
	Detail    string `json:"detail,omitempty"` // a sentence for a person
	Found     int    `json:"found"`            // addresses or records that it yielded
	Nodes     int    `json:"nodes,omitempty"`  // nodes of the DHT that answer
	LastError string `json:"last_error,omitempty"`
}

// Relay is a relay that this node knows of.
type Relay struct {
	Address   string   `json:"address"`
	Key       string   `json:"key,omitempty"` // empty while nobody has answered
	Class     string   `json:"class"`         // "own", "network" (serves this one on purpose), "member" (a member's), "public"
	State     string   `json:"state"`         // "asking", "up", "down", "leaving", "unused"
	Home      bool     `json:"home"`          // this node is registered there
	RTTMillis *float64 `json:"rtt_ms"`        // null while not measured
	Members   int      `json:"members"`       // others that are registered there
	Pairs     int      `json:"pairs"`         // allocations of this node
	LastError string   `json:"last_error,omitempty"`
}

// PingReply is the answer to one echo request through the tunnel.
type PingReply struct {
	Node      string  `json:"node"`
	ID        string  `json:"id"`
	Address   string  `json:"address"` // overlay address that was asked
	OK        bool    `json:"ok"`
	RTTMillis float64 `json:"rtt_ms,omitempty"`
	Path      string  `json:"path"`
	Endpoint  string  `json:"endpoint,omitempty"`
	Error     string  `json:"error,omitempty"` // why there was no answer
}

// Event is one change that a person watching would like to see, in the order
// in which it happened.
type Event struct {
	Time  time.Time `json:"time"`
	Kind  string    `json:"kind"` // "source", "nat", "found", "met", "path", "handshake", "lost", "left", "notice"
	Text  string    `json:"text"` // one line, plain words
	Peer  string    `json:"peer,omitempty"`
	Ready bool      `json:"ready,omitempty"` // the peer can be used now
}
