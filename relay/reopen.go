package relay

import "time"

// Reopen opens the first n relay ports as if they had been in use until now. It
// is for the start: those who had allocations before a restart go on sending to
// them, are told by a reset that nothing is known of them, and come back at once
// instead of at their next refresh. Ports that nobody takes again are closed as
// any others.
func (s *Server) Reopen(now time.Time, n int) {
	t := s.clock.tick(now)
	for offset := range min(n, s.cfg.Ports.Len()) {
		if !s.board.state[offset].open && !s.board.failed.has(offset) {
			s.board.usePort(offset, &s.outbox)
			s.board.freePort(t, offset)
		}
	}
}
