package wire

import (
	"math"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire/codec"
)

// Bounds of a record. A record that passes them fits no other table of ours
// badly, however hostile its author.
const (
	MaxLifetime     = 24 * time.Hour
	MaxAddresses    = 8
	MaxRoutes       = 16
	MaxCandidates   = 16
	MaxRelays       = 4
	MaxCapabilities = 16
	MaxAliases      = 8
	maxNameLength   = 63 // a DNS label
	maxCapability   = 32
)

// Record says what one node wants the others to know of it. It is signed by
// the node, so it can be passed on by anyone.
type Record struct {
	Node      keys.NodePublic
	WireGuard wgtypes.Key // public
	Probe     keys.ProbePublic
	Name      string // a DNS label, or empty
	Seq       uint64 // max(previous+1, Unix milliseconds): higher is newer
	Lifetime  time.Duration

	Addresses []AddressClaim // overlay; the IPv6 one of the node key always
	Subnet    netip.Prefix   // the claim of --subnet, zero without
	Routes    []netip.Prefix // behind this node

	Candidates []Candidate
	NAT4, NAT6 NATBehavior
	Relays     []Relay // home relays, best first

	Capabilities []string
	MaxVersion   uint8

	Aliases []string // further names, DNS labels, none of them Name
	// Departed: the node has left the network for good. What else the record
	// says no longer holds; it stays in circulation so that older ones do not
	// come back.
	Departed bool
}

// AddressClaim is an overlay address that a node uses, tentative until nobody
// objected.
type AddressClaim struct {
	Addr    netip.Addr
	Settled bool
}

// Candidate is an address at which a node may be reached (RFC 8445,
// Section 5.1.1).
type Candidate struct {
	Type CandidateType
	Addr netip.AddrPort
}

// CandidateType says how a candidate was learnt; zero is unknown.
type CandidateType uint8

// The candidate types of RFC 8445, Section 5.1.1.
const (
	Host CandidateType = iota + 1
	ServerReflexive
	PeerReflexive
	Relayed
)

// String returns the token of RFC 8839, Section 5.1.
func (t CandidateType) String() string {
	switch t {
	case Host:
		return "host"
	case ServerReflexive:
		return "srflx"
	case PeerReflexive:
		return "prflx"
	case Relayed:
		return "relay"
	}
	return "unknown"
}

func (t CandidateType) known() bool { return t >= Host && t <= Relayed }

// Behavior is how a NAT maps or filters (RFC 4787, Sections 4.1 and 5); zero is
// unknown.
type Behavior uint8

// The behaviours of RFC 4787.
const (
	EndpointIndependent Behavior = iota + 1
	AddressDependent
	AddressAndPortDependent
)

// String returns the RFC's words.
func (b Behavior) String() string {
	switch b {
	case EndpointIndependent:
		return "endpoint-independent"
	case AddressDependent:
		return "address-dependent"
	case AddressAndPortDependent:
		return "address-and-port-dependent"
	}
	return "unknown"
}

// MarshalText returns String.
func (b Behavior) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// NATBehavior is what a node found out about the NAT before it, of one address
// family. The zero value is: nothing.
type NATBehavior struct {
	Mapping       Behavior
	Filtering     Behavior
	PortPreserved bool
	// Hairpin: two hosts behind this NAT reach each other at their mapped
	// addresses. False is no or unknown.
	Hairpin bool
	// Step is the distance from one mapping's port to the next one's, where
	// Mapping depends on the destination and ports are sequential; it may be
	// negative. Zero: ports are not sequential, or that is unknown.
	Step int16
	// Low and High bound the ports of mappings where those come from a block;
	// both zero: unknown.
	Low, High uint16
	// Lifetime of a mapping that nothing refreshes, in whole seconds up to
	// MaxMappingLifetime; zero is unknown.
	Lifetime time.Duration
}

// MaxMappingLifetime is the longest lifetime of a mapping that a record tells:
// nobody sends keepalives as seldom.
const MaxMappingLifetime = (1<<16 - 1) * time.Second

// Relay names a relay by its Ed25519 key and the address where it answers.
type Relay struct {
	Key  [32]byte
	Addr netip.AddrPort
}

// The encoding. Keys are never used again once given up; docs/wire.md lists
// them.
type recordCBOR struct {
	Node         codec.Bytes32   `cbor:"1,keyasint,omitzero"`
	WireGuard    codec.Bytes32   `cbor:"2,keyasint,omitzero"`
	Probe        codec.Bytes32   `cbor:"3,keyasint,omitzero"`
	Seq          uint64          `cbor:"4,keyasint,omitempty"`
	Lifetime     codec.Seconds   `cbor:"5,keyasint,omitempty"`
	Name         string          `cbor:"6,keyasint,omitempty"`
	Addresses    []claimCBOR     `cbor:"7,keyasint,omitempty"`
	Subnet       codec.Prefix    `cbor:"8,keyasint,omitzero"`
	Routes       []codec.Prefix  `cbor:"9,keyasint,omitempty"`
	Candidates   []candidateCBOR `cbor:"10,keyasint,omitempty"`
	NAT4         natCBOR         `cbor:"11,keyasint,omitzero"`
	NAT6         natCBOR         `cbor:"12,keyasint,omitzero"`
	Relays       []relayCBOR     `cbor:"13,keyasint,omitempty"`
	Capabilities []string        `cbor:"14,keyasint,omitempty"`
	MaxVersion   uint8           `cbor:"15,keyasint,omitempty"`
	Aliases      []string        `cbor:"16,keyasint,omitempty"`
	Departed     bool            `cbor:"17,keyasint,omitempty"`
}

type claimCBOR struct {
	Addr    codec.Addr `cbor:"1,keyasint,omitzero"`
	Settled bool       `cbor:"2,keyasint,omitempty"`
}

type candidateCBOR struct {
	Type uint8          `cbor:"1,keyasint,omitempty"`
	Addr codec.AddrPort `cbor:"2,keyasint,omitzero"`
}

type natCBOR struct {
	Mapping       uint8 `cbor:"1,keyasint,omitempty"`
	Filtering     uint8 `cbor:"2,keyasint,omitempty"`
	PortPreserved bool  `cbor:"3,keyasint,omitempty"`
	Hairpin       bool  `cbor:"4,keyasint,omitempty"`
	// Wider than what is understood, so that a later version's numbers are
	// unknown to this one instead of making the record unreadable.
	Step     int64  `cbor:"5,keyasint,omitempty"`
	Low      uint64 `cbor:"6,keyasint,omitempty"`
	High     uint64 `cbor:"7,keyasint,omitempty"`
	Lifetime uint64 `cbor:"8,keyasint,omitempty"`
}

func (n natCBOR) IsZero() bool { return n == natCBOR{} }

type relayCBOR struct {
	Key  codec.Bytes32  `cbor:"1,keyasint,omitzero"`
	Addr codec.AddrPort `cbor:"2,keyasint,omitzero"`
}

func (r Record) encode() []byte {
	c := recordCBOR{
		Node: codec.Bytes32(r.Node), WireGuard: codec.Bytes32(r.WireGuard), Probe: codec.Bytes32(r.Probe),
		Seq: r.Seq, Lifetime: codec.NewSeconds(r.Lifetime), Name: r.Name,
		Subnet: codec.Prefix{Prefix: r.Subnet}, NAT4: r.NAT4.encode(), NAT6: r.NAT6.encode(),
		Capabilities: r.Capabilities, MaxVersion: r.MaxVersion, Aliases: r.Aliases, Departed: r.Departed,
	}
	for _, a := range r.Addresses {
		c.Addresses = append(c.Addresses, claimCBOR{codec.NewAddr(a.Addr), a.Settled})
	}
	for _, p := range r.Routes {
		c.Routes = append(c.Routes, codec.Prefix{Prefix: p})
	}
	for _, x := range r.Candidates {
		c.Candidates = append(c.Candidates, candidateCBOR{uint8(x.Type), codec.NewAddrPort(x.Addr)})
	}
	for _, x := range r.Relays {
		c.Relays = append(c.Relays, relayCBOR{x.Key, codec.NewAddrPort(x.Addr)})
	}
	return codec.Encode(c)
}

func (n NATBehavior) encode() natCBOR {
	return natCBOR{
		uint8(n.Mapping), uint8(n.Filtering), n.PortPreserved, n.Hairpin,
		int64(n.Step), uint64(n.Low), uint64(n.High), uint64(min(max(n.Lifetime, 0), MaxMappingLifetime) / time.Second),
	}
}

func decodeRecord(payload []byte) (Record, error) {
	var c recordCBOR
	if err := decoder.Decode(payload, &c); err != nil {
		return Record{}, err
	}
	r := Record{
		Node: keys.NodePublic(c.Node), WireGuard: wgtypes.Key(c.WireGuard), Probe: keys.ProbePublic(c.Probe),
		Seq: c.Seq, Lifetime: c.Lifetime.Duration(), Name: c.Name,
		Subnet: c.Subnet.Prefix, NAT4: c.NAT4.decode(), NAT6: c.NAT6.decode(),
		Capabilities: c.Capabilities, MaxVersion: max(c.MaxVersion, 1), Aliases: c.Aliases, Departed: c.Departed,
	}
	for _, a := range c.Addresses {
		r.Addresses = append(r.Addresses, AddressClaim{a.Addr.Addr, a.Settled})
	}
	for _, p := range c.Routes {
		r.Routes = append(r.Routes, p.Prefix)
	}
	for _, x := range c.Candidates {
		r.Candidates = append(r.Candidates, Candidate{CandidateType(x.Type), x.Addr.AddrPort})
	}
	for _, x := range c.Relays {
		r.Relays = append(r.Relays, Relay{x.Key, x.Addr.AddrPort})
	}
	return r, nil
}

// A behaviour that a later version names is unknown to this one.
func (n natCBOR) decode() NATBehavior {
	known := func(v uint8) Behavior {
		if Behavior(v) > AddressAndPortDependent {
			return 0
		}
		return Behavior(v)
	}
	b := NATBehavior{Mapping: known(n.Mapping), Filtering: known(n.Filtering), PortPreserved: n.PortPreserved, Hairpin: n.Hairpin}
	if n.Step == int64(int16(n.Step)) {
		b.Step = int16(n.Step)
	}
	if n.Low > 0 && n.Low <= n.High && n.High <= math.MaxUint16 {
		b.Low, b.High = uint16(n.Low), uint16(n.High)
	}
	b.Lifetime = time.Duration(min(n.Lifetime, uint64(MaxMappingLifetime/time.Second))) * time.Second
	return b
}
