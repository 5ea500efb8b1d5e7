package client

import (
	"net/netip"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

// Output is something that a Client wants done, or tells: a Send, Up, Down,
// Leaving, Registered, Found, Gone, Allocated, Bound or Lost. They are in the
// order in which they came about.
type Output interface{ output() }

// Send asks for one datagram to be sent to the relay.
type Send struct {
	To   netip.AddrPort
	Data []byte
}

// Up says that the relay answers. It comes again when the address at which the
// relay sees this node changes, or the one at which the relay answers.
type Up struct {
	Key      wire.ServerPublic
	Addr     netip.AddrPort // where the relay answers
	RTT      time.Duration
	Observed netip.AddrPort // where the relay sees this node
}

// Down says that the relay does not answer. It is asked further on, and what it
// has allocated is not lost before a Lost says so.
type Down struct{ Reason string }

// Leaving says that the relay will be gone after Grace.
type Leaving struct{ Grace time.Duration }

// Registered says that the relay has the blob. Addrs are all its addresses, as
// it says itself.
type Registered struct{ Addrs []netip.AddrPort }

// Found is what another node of the network has registered at the relay: a
// claim, until the blob itself proves something. The blob is the receiver's.
type Found struct {
	Node keys.NodePublic
	Blob []byte
	Age  time.Duration // since it was registered, as the relay says
}

// Gone says that a node that was Found is no longer registered.
type Gone struct{ Node keys.NodePublic }

// Allocated says where the relay relays for a pair: what is sent there is meant
// for the peer, and what comes from there is the peer's. It comes before
// anything is sent there.
type Allocated struct {
	Peer keys.NodePublic
	Addr netip.AddrPort
}

// Bound says that the relay knows where this half of the pair is. What is sent
// arrives while Ready: both halves are bound. It comes again when that changes.
type Bound struct {
	Peer  keys.NodePublic
	Addr  netip.AddrPort
	Ready bool
}

// Lost says that the relay relays no longer for the pair at that address.
type Lost struct {
	Peer   keys.NodePublic
	Addr   netip.AddrPort
	Reason string
}

func (Send) output()       {}
func (Up) output()         {}
func (Down) output()       {}
func (Leaving) output()    {}
func (Registered) output() {}
func (Found) output()      {}
func (Gone) output()       {}
func (Allocated) output()  {}
func (Bound) output()      {}
func (Lost) output()       {}

// State is whether the relay answers.
type State string

// The states of a Client.
const (
	StateAsking State = "asking" // too short to say that it does not answer
	StateUp     State = "up"
	StateDown   State = "down"
)

// Status is a relay as its client sees it.
type Status struct {
	State       State
	Addr        netip.AddrPort    // where it answers, or did last
	Key         wire.ServerPublic // of who answers, or is expected to
	RTT         time.Duration
	Observed    netip.AddrPort
	Registered  bool
	Others      int // nodes of the network that are registered besides
	Allocations []Allocation
	LastError   string // why it is down, or what it refuses or does not answer; empty: all is well
}

// Allocation is one pair at the relay.
type Allocation struct {
	Peer         keys.NodePublic
	Addr         netip.AddrPort // zero: none yet
	Bound, Ready bool
}
