package natpunch

import (
	"net/netip"
	"time"

	"github.com/credant/credant/discovery/keys"
)

// PathKind is the kind of a path, as status names it. The zero kind is Direct.
type PathKind uint8

const (
	// Direct is a path over the internet without a relay.
	Direct PathKind = iota
	// LAN is a path that does not leave the site: to a private address, or to
	// an IPv6 neighbour.
	LAN
	// Relay is a path through a relay.
	Relay
)

// String returns "direct", "lan" or "relay".
func (k PathKind) String() string {
	switch k {
	case LAN:
		return "lan"
	case Relay:
		return "relay"
	default:
		return "direct"
	}
}

// Path is where a peer's datagrams go. The zero Path is none.
type Path struct {
	// Addr is the peer's transport address, or the relayed one that leads to it:
	// WireGuard's endpoint.
	Addr netip.AddrPort
	Kind PathKind
	// RTT is the last measured round trip; zero is unknown.
	RTT time.Duration
	// Base is the local address from which the path leads; zero is the one that
	// the host's routes choose.
	Base netip.Addr
}

// Action is something the owner of an Agent has to do, or to know: one of Send,
// Select, Confirm, Doubt, Lost and Reflexive, of MTU (plpmtu.go), and of those for
// punching through dependent mappings (spray.go).
type Action interface{ action() }

// Send is a datagram to put on the one port.
type Send struct {
	// From is the local address to send from, by its own uplink; zero is whatever
	// the host's routes choose.
	From netip.Addr
	To   netip.AddrPort
	Data []byte
}

// Select says that Path is the peer's path from now on: both sides checked it,
// and the peer selects the same one. It comes again, with the same address, when
// a path that was suspect has proved itself.
type Select struct {
	Node keys.NodePublic
	Path Path
	// Initiate: this side should start the WireGuard handshake now, because the
	// peer is known to have selected the path already.
	Initiate bool
}

// Confirm says that the peer has found its way back to the path that is selected
// here all the time. It may come from elsewhere now, and wait for a packet.
type Confirm struct{ Node keys.NodePublic }

// Doubt says that a check of the peer's path is not answered. A Select or a Lost
// follows, or nothing where the next check is answered. It is the time to find out
// what has changed, before the path is given up.
type Doubt struct{ Node keys.NodePublic }

// Lost says that the peer has no path. It comes once, and again when the reason is
// another; the search goes on with back-off, and a Select ends it.
type Lost struct {
	Node   keys.NodePublic
	Reason string // for a person
}

// Reflexive says at which address the peer saw this node. It comes when that
// changes, and only for addresses that are not among the local candidates.
type Reflexive struct {
	Node keys.NodePublic
	Addr netip.AddrPort
}

func (Send) action()      {}
func (Select) action()    {}
func (Confirm) action()   {}
func (Doubt) action()     {}
func (Lost) action()      {}
func (Reflexive) action() {}
