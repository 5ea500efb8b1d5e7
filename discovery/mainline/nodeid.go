package mainline

import (
	"crypto/rand"
	"net/netip"

	"github.com/anacrolix/dht/v2"
	"github.com/anacrolix/dht/v2/krpc"
)

// newNodeID makes a node's id: one that belongs to its address (BEP 42) where that
// is known and public.
func newNodeID(addr netip.Addr) nodeID {
	var id krpc.ID
	_, _ = rand.Read(id[:])
	if addr.IsValid() && public(addr) {
		dht.SecureNodeId(&id, addr.AsSlice())
	}
	return nodeID(id)
}
