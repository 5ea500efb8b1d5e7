package relay

import (
	"net/netip"
	"slices"
	"time"
)

// Move takes over the addresses by which clients reach the relay: nodes learn them
// as they register. Nothing arrives any more at those of gone, which are the relay's
// own: who was bound there no longer is, and may bind at another one. Allocations
// that need none of them are not touched.
func (s *Server) Move(now time.Time, locals, gone []netip.Addr) {
	t := s.clock.tick(now)
	s.cfg.Locals = usable(locals)
	for _, a := range s.board.list {
		for i := range a.sides {
			if side := &a.sides[i]; side.source != nil && slices.Contains(gone, side.at.Addr()) {
				s.displace(t, a, i)
			}
		}
	}
}
