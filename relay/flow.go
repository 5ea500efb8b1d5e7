package relay

import (
	"fmt"
	"net/netip"
)

// FlowKey is what a datagram is looked up by: where it arrived, an address and
// allocated port of the relay's own, and where it came from. Addresses are
// unmapped and have no zone.
type FlowKey struct {
	At     netip.AddrPort
	Source netip.AddrPort
}

// String returns "source > at".
func (k FlowKey) String() string { return fmt.Sprintf("%v > %v", k.Source, k.At) }

// Flow is one direction of an allocation that both sides have bound: a datagram
// that FlowKey finds leaves from From to To, unchanged. From has At's port, and
// may be of another address family.
type Flow struct {
	FlowKey
	From, To netip.AddrPort
	// Buckets are those of the pair, of the source's prefix and of the network,
	// in this order. They outlive the flow, are shared with others and are to be
	// taken from with TakeAll.
	Buckets []*Bucket
}

// String returns "source > at | from > to".
func (f Flow) String() string { return fmt.Sprintf("%v | %v > %v", f.FlowKey, f.From, f.To) }
