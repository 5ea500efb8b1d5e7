package relay

import "maps"

// Stats is what a Server holds, and what it has done since it was made.
type Stats struct {
	Networks      int
	Nodes         int // with a session or an allocation
	Registrations int
	Allocations   int
	Bound         int // allocations that both sides have bound
	Ports         int // open relay ports
	Sources       int // source prefixes that are remembered

	Packets, Bytes uint64            // forwarded, as Counted said
	Challenges     uint64            // asks answered
	Requests       uint64            // requests served
	Resets         uint64            // sent
	Evicted        uint64            // allocations and registrations that gave way
	Expired        uint64            // allocations and registrations
	Refused        map[string]uint64 // requests answered with an error, by its code's name
}

// Stats returns what the server holds and has done.
func (s *Server) Stats() Stats {
	st := s.stats
	st.Networks, st.Nodes = len(s.networks), len(s.nodes)
	st.Registrations, st.Sources = len(s.registered), len(s.sources.list)
	st.Allocations, st.Bound, st.Ports = len(s.board.list), s.board.bound, s.board.open
	st.Refused = maps.Clone(s.stats.Refused)
	return st
}
