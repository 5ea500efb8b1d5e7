package portmap

import (
	"bytes"
	"crypto/rand"
	"net/netip"

	"github.com/credant/credant/natpunch/portmap/pcp"
)

// State is what a Mapper wants to find again after a restart, so that it asks a gateway for the same port under the
// same nonce and a router's table does not fill with ours. It goes to disk as JSON.
type State struct {
	Leases []Lease `json:"leases,omitempty"`
}

// A Lease is what was agreed with one gateway.
type Lease struct {
	Gateway  netip.Addr `json:"gateway"`
	Local    netip.Addr `json:"local"`
	Internal uint16     `json:"internal"`           // WireGuard's port
	External uint16     `json:"external,omitempty"` // the port outside; zero: none yet
	Nonce    []byte     `json:"nonce,omitempty"`    // PCP's, 12 bytes
	// Protocol is what holds the port; empty: it was given back.
	Protocol Protocol `json:"protocol,omitempty"`
}

func (l Lease) equal(other Lease) bool {
	return l.Gateway == other.Gateway && l.Local == other.Local && l.Internal == other.Internal &&
		l.External == other.External && l.Protocol == other.Protocol && bytes.Equal(l.Nonce, other.Nonce)
}

// nonce returns the lease's, or a fresh one.
func (l Lease) nonce() (n pcp.Nonce) {
	if copy(n[:], l.Nonce) != len(n) || n == (pcp.Nonce{}) {
		_, _ = rand.Read(n[:])
	}
	return n
}
