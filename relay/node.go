package relay

import (
	"net/netip"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

// network is what members of one network have here. It lives as long as one of
// its nodes does.
type network struct {
	id    keys.NetworkID
	class class
	nodes map[keys.NodePublic]*node
	// registered are the nodes that are told of each other, sum their blobs.
	registered []*node
	sum        wire.Have
	// gone are those who left last: somebody may not have heard it.
	gone []keys.NodePublic
	holding
}

// node is what is known of a node of a network: somebody who proved to be it, or
// the peer of an allocation who may never come.
type node struct {
	network *network
	key     keys.NodePublic
	place   int
	due     due

	*session // nil for who was only named
	reg      *registration
	// ports are those that its allocations have, held the allocations.
	ports portSet
	held  []*allocation
	// forwarding is how many of them both sides have bound.
	forwarding int
}

func (n *node) position() *int { return &n.place }
func (n *node) when() *due     { return &n.due }

// idle says that nothing is kept for the node but its session.
func (n *node) idle() bool { return n.reg == nil && len(n.held) == 0 }

// heard is when the node last sent a request.
func (n *node) heard() int64 {
	if n.session == nil {
		return 0
	}
	return n.used
}

// session is a client process that proved to be a node.
type session struct {
	keys   *wire.Session
	window wire.Window
	// newest is when the newest cookie that the node brought was issued. A
	// session that was before has no newer one.
	newest int64
	used   int64 // last request
	// at and front are where pushes leave from and go to: where the highest
	// number came to and from that was for a front port.
	at, front   netip.AddrPort
	frontNumber uint32
	frontUsed   int64
	pushes      uint32
	// resent is what the last resend was for, vain how often it was the same.
	resent [2]wire.Have
	vain   int
	// States of requestsPerNode, stalesPerNode, blobsPerNode, resendsPerNode.
	requests, stales, blobs, resends int64
}

// registration is a blob that the others of the network are told of.
type registration struct {
	node           *node
	blob           []byte
	since, expires int64
	source         *source
	place          int
}

func (r *registration) position() *int { return &r.place }
