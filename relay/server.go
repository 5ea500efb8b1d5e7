package relay

import (
	"net/netip"
	"time"
)

// Server is the relay's engine. It is not safe for concurrent use; the Buckets
// that it hands out in flows are.
type Server struct {
	cfg Config
}

// New returns a server that holds nothing yet.
func New(cfg Config) *Server { return &Server{cfg: cfg} }

// Receive takes in a relay frame that came to at, an address and port of the
// relay's own. The reason is empty where it was served, else a short constant to
// count it under. It keeps nothing of b.
func (s *Server) Receive(now time.Time, at, from netip.AddrPort, b []byte) (reason string) { return "" }

// Unknown takes in a datagram that came to a relay port and that no flow claims.
// Its sender may be told so, that it binds again.
func (s *Server) Unknown(now time.Time, at, from netip.AddrPort, b []byte) {}

// Advance returns what is to be done now, and is to be called after every other
// method and at the time that Next names.
func (s *Server) Advance(now time.Time) []Output { return nil }

// Next is when Advance has something to do; false where nothing is waited for.
func (s *Server) Next() (time.Time, bool) { return time.Time{}, false }

// Counted says how much a flow has forwarded since the last time: a flow that
// carries packets does not expire.
func (s *Server) Counted(now time.Time, key FlowKey, packets, bytes uint64) {}

// PortFailed says that a relay port could not be opened. It is not used again
// and its allocations are lost.
func (s *Server) PortFailed(now time.Time, port uint16) {}

// Reconfigure takes over Allow and the quotas of cfg, and nothing else. Networks
// that are no longer allowed lose what they have.
func (s *Server) Reconfigure(now time.Time, cfg Config) {}

// Leave tells every node that the relay will be gone after grace. From now on
// nothing new is given out; what is bound stays.
func (s *Server) Leave(now time.Time, grace time.Duration) {}

// Stats returns what the server holds and has done.
func (s *Server) Stats() Stats { return Stats{} }

// Stats is what a Server holds, and what it has done since it was made.
type Stats struct {
	Networks      int
	Nodes         int // with a session or an allocation
	Registrations int
	Allocations   int
	Bound         int // allocations that both sides have bound
	Ports         int // open relay ports

	Packets, Bytes uint64            // forwarded, as Counted said
	Challenges     uint64            // asks answered
	Requests       uint64            // requests served
	Resets         uint64            // sent
	Evicted        uint64            // allocations and registrations that gave way
	Expired        uint64            // allocations and registrations
	Refused        map[string]uint64 // requests answered with an error, by its name
}
