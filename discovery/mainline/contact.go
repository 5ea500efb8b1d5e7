package mainline

import (
	"bytes"
	"net/netip"
	"slices"
	"time"
)

type (
	infoHash [20]byte
	nodeID   [20]byte
)

// A node is a DHT node: the zero id means that it is not known yet.
type node struct {
	id   nodeID
	addr netip.AddrPort
}

// distanceCompare orders a and b by BEP 5's XOR distance to target; nodes of
// unknown id come last.
func distanceCompare(target infoHash, a, b nodeID) int {
	var zero nodeID
	if a == zero || b == zero {
		return bytes.Compare(b[:], a[:])
	}
	for i := range target {
		if x, y := a[i]^target[i], b[i]^target[i]; x != y {
			return int(x) - int(y)
		}
	}
	return 0
}

// A contact is a node as one lookup knows it.
type contact struct {
	node
	asked    bool      // since the search began
	sent     time.Time // of the get_peers in flight; zero: none
	answered time.Time // of the last answer; zero: never
	failures int       // queries in a row without an answer

	token      string // write token of the last answer
	tokenAt    time.Time
	announced  time.Time // of the last accepted announce
	announcing bool      // an announce is in flight
	retryAfter time.Time // no announce before this
	refusals   int       // announces in a row that were not accepted
}

// late reports whether a query takes so long that the lookup goes on without it;
// an answer that still comes is taken.
func (c *contact) late(now time.Time) bool {
	return !c.sent.IsZero() && now.Sub(c.sent) >= lateAfter
}

// usable reports whether it is worth a query. A node that has answered may miss
// one, since datagrams get lost.
func (c *contact) usable(now time.Time) bool {
	if c.late(now) {
		return false
	}
	return c.failures == 0 || c.failures == 1 && !c.answered.IsZero()
}

// live reports whether it answered the last query that is decided.
func (c *contact) live() bool { return !c.answered.IsZero() && c.failures == 0 }

// contacts is sorted by distance to the lookup's hash.
type contacts []*contact

func (cs contacts) byAddr(addr netip.AddrPort) *contact {
	for _, c := range cs {
		if c.addr == addr {
			return c
		}
	}
	return nil
}

// sort restores the order after an addition or a new id.
func (cs contacts) sort(target infoHash) {
	slices.SortStableFunc(cs, func(a, b *contact) int { return distanceCompare(target, a.id, b.id) })
}

// worst returns the index of the contact that is missed least: one that fails, else
// one that was never heard, else any; of those the farthest.
func (cs contacts) worst(now time.Time) int {
	class := func(c *contact) int {
		switch {
		case !c.sent.IsZero() || c.announcing:
			return 0
		case c.live():
			return 1
		case c.usable(now):
			return 2
		}
		return 3
	}
	worst := 0
	for i, c := range cs {
		if class(c) >= class(cs[worst]) {
			worst = i
		}
	}
	return worst
}

// learnable reports whether a node at from may point us to a node at addr: not at a
// place that only a node which is there itself can know. So the public DHT cannot
// make this host query its own networks, while a private DHT works.
func learnable(from, addr netip.AddrPort) bool {
	a := addr.Addr()
	switch {
	case addr.Port() == 0, !a.IsValid(), a.Is4In6(), a.IsUnspecified(), a.IsMulticast():
		return false
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return false
	}
	return public(a) || !public(from.Addr())
}

var sharedAddressSpace = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598

func public(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !sharedAddressSpace.Contains(a)
}
