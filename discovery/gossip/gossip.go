// Package gossip spreads records among the members (see doc.go).
package gossip

import (
	"io"
	"time"

	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// Config is what a Gossip needs.
type Config struct {
	Self keys.NodePublic
	// Book holds the records of the others. Gossip only reads it.
	Book *discovery.Book
	// Limit is how many members are told of; 0 means discovery.DefaultMembers.
	Limit int
	// Rand chooses neighbours and moments; nil means crypto/rand.
	Rand io.Reader
}

// Output is a signal to be sealed for a node and sent over its path.
type Output struct {
	To     keys.NodePublic
	Signal wire.Signal
}

// Gossip keeps the records of all members the same. It is not safe for
// concurrent use.
type Gossip struct{ c Config }

// New returns a Gossip that knows what the Book holds.
func New(c Config) *Gossip { return &Gossip{c} }

// SetOwn takes this node's own record, signed now. An older one than before is
// passed over.
func (g *Gossip) SetOwn(now time.Time, signed wire.SignedRecord) {}

// SetPeer says whether a node can be spoken to.
func (g *Gossip) SetPeer(now time.Time, node keys.NodePublic, working bool) {}

// Learned says that the Book has taken a record of node, new or known already,
// that from has sent: node itself, another member, or zero for elsewhere.
func (g *Gossip) Learned(now time.Time, node, from keys.NodePublic) {}

// ReceiveDigest takes a digest of a peer. It returns the reason for which it
// was dropped, or nothing.
func (g *Gossip) ReceiveDigest(now time.Time, from keys.NodePublic, d wire.Digest) string { return "" }

// ReceiveWant takes a want of a peer. It returns the reason for which it was
// dropped, or nothing.
func (g *Gossip) ReceiveWant(now time.Time, from keys.NodePublic, w wire.Want) string { return "" }

// Advance returns what is to be sent now.
func (g *Gossip) Advance(now time.Time) []Output { return nil }

// Next is when Advance has something to do; false if never.
func (g *Gossip) Next() (time.Time, bool) { return time.Time{}, false }
