package relay

import "time"

// Reconfigure takes over Allow, Strangers and the quotas of cfg, and nothing else. Networks
// that are no longer allowed lose what they have; what is over a smaller quota
// stays until it ends.
func (s *Server) Reconfigure(now time.Time, cfg Config) {
	t := s.clock.tick(now)
	s.cfg.Allow, s.cfg.Strangers = cfg.Allow, cfg.Strangers
	s.cfg.Stranger, s.cfg.Member = cfg.Stranger, cfg.Member
	s.cfg = s.cfg.fillQuotas()
	for _, w := range s.networks {
		of, served := s.cfg.classify(w.id)
		switch {
		case !served:
			s.dismiss(t, w)
		case of != w.class:
			s.reclassify(t, w, of)
		}
	}
	for _, w := range s.networks {
		w.bytes.SetRate(s.cfg.quota(w.class).Network.Bytes)
	}
	for _, src := range s.sources.list {
		for c := range src.of {
			src.of[c].bytes.SetRate(s.cfg.quota(class(c)).Source.Bytes)
		}
	}
	for _, a := range s.board.list {
		a.pair.SetRate(s.cfg.quota(a.network().class).PairBytes)
	}
}

// dismiss forgets all nodes of a network.
func (s *Server) dismiss(now int64, w *network) {
	for _, n := range w.nodes {
		for len(n.held) > 0 {
			s.remove(now, n.held[0], -1)
		}
		if n.reg != nil {
			s.unregister(now, n)
		}
	}
	// Those who were only named are gone by now.
	for _, n := range w.nodes {
		s.forget(n)
	}
}

// reclassify counts what a network has with its new class.
func (s *Server) reclassify(now int64, w *network, of class) {
	for _, n := range w.registered {
		n.reg.source.of[w.class].registrations--
		n.reg.source.of[of].registrations++
	}
	var held []*allocation
	for _, n := range w.nodes {
		for _, a := range n.held {
			if a.sides[0].node == n {
				held = append(held, a)
			}
		}
	}
	for _, a := range held {
		a.settle()
		s.charge(a, -1)
	}
	w.class = of
	for _, a := range held {
		s.charge(a, 1)
		if !a.bound() {
			a.wait(now)
			continue
		}
		s.install(a) // with the other class's buckets
	}
}
