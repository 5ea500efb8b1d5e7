package control

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/wgsetup"
	"github.com/credant/credant/wgsetup/swap"
)

// A peer with a session is moved to another endpoint by a swap, which loses no
// packet and stays (package swap). One swap may follow another before that has
// ended: what is still on its way over an earlier path is redirected as well.

const (
	// trailLife is how long packets of a path that was left may still come in.
	trailLife = 3 * time.Second
	maxTrail  = 4
	// avoidAfter is how long a path is not tried again that WireGuard could not
	// be moved to.
	avoidAfter = 5 * time.Minute
)

// redirection is how packets of paths that were left count as the new ones'.
type redirection struct {
	redirects   []wgsetup.Redirect // in force
	canRedirect func(from, to netip.AddrPort) bool
}

// move is a peer's way from one path to another.
type move struct {
	swap   *swap.Swap
	from   netip.AddrPort // where WireGuard was
	before natpunch.Path
	trail  []sighting // earlier paths, and until when packets may come from there
}

// beginSwap sets out for the peer's new path, from where WireGuard is now.
func (m *mesh) beginSwap(now time.Time, p *peer, before natpunch.Path) {
	from, to := p.state.Endpoint, p.path.Addr
	if !from.IsValid() {
		from = before.Addr
	}
	var trail []sighting
	if old := p.move; old != nil {
		if old.before.Addr == from { // WireGuard has not left that yet
			before = old.before
		}
		trail = append(old.trail, sighting{old.from, now.Add(trailLife)})
		trail = slices.DeleteFunc(trail, func(s sighting) bool { return s.addr == to || !s.at.After(now) })
		trail = trail[max(0, len(trail)-maxTrail):]
	}
	if from == to && len(trail) == 0 {
		p.move = nil
		return
	}
	p.move = &move{
		from:   from,
		before: before,
		trail:  trail,
		swap: swap.New(now, swap.Config{
			From: from, To: to,
			RTT:         max(before.RTT, p.path.RTT),
			CanRedirect: m.canRedirect(from, to),
			Loaded:      p.activity.used || p.activity.busy(),
		}),
	}
}

// looked tells the swap what the device says.
func (v *move) looked(now time.Time, s wgsetup.PeerState) {
	at := s.Endpoint
	if slices.ContainsFunc(v.trail, func(t sighting) bool { return t.addr == at }) {
		at = v.from // a packet of an earlier path, no move of the peer's own
	}
	v.swap.Looked(now, at, s.RxBytes)
}

// stepSwaps carries out what the swaps have due.
func (m *mesh) stepSwaps(now time.Time) (more bool) {
	var redirects []wgsetup.Redirect
	for _, p := range m.peers {
		if p.move == nil {
			continue
		}
		for _, a := range p.move.swap.Advance(now) {
			switch a := a.(type) {
			case swap.SetEndpoint:
				m.out.endpoints = append(m.out.endpoints, endpointChange{p.record.WireGuard, a.Addr})
			case swap.Nudge:
				m.nudge(p)
			}
		}
		redirects = append(redirects, p.move.redirects(now, p.path.Addr, m.canRedirect)...)
		if outcome, done := p.move.swap.Done(); done {
			more = true
			m.swapDone(now, p, outcome)
		}
	}
	slices.SortFunc(redirects, func(a, b wgsetup.Redirect) int { return a.From.Compare(b.From) })
	if !slices.Equal(redirects, m.redirects) {
		m.redirects, m.out.redirect = redirects, true
	}
	return more
}

// redirects are the paths whose packets count as the new path's.
func (v *move) redirects(now time.Time, to netip.AddrPort, can func(from, to netip.AddrPort) bool) []wgsetup.Redirect {
	var all []wgsetup.Redirect
	if !v.swap.Redirects() {
		return nil
	}
	for _, from := range append([]sighting{{v.from, now.Add(trailLife)}}, v.trail...) {
		if from.at.After(now) && from.addr != to && can(from.addr, to) {
			all = append(all, wgsetup.Redirect{From: from.addr, To: to})
		}
	}
	return all
}

func (m *mesh) swapDone(now time.Time, p *peer, outcome swap.Outcome) {
	before := p.move.before
	p.move = nil
	m.out.apply = m.out.apply || before.Base.IsValid() // the old endpoint needs no route any more
	if outcome != swap.WentBack {
		return
	}
	failed := p.path.Addr
	p.path, p.movedAt = before, now
	m.relays.dirty = true
	m.event("path", p.name(), fmt.Sprintf("nothing came from %s at %s: back to %s", p.name(), failed, before.Addr), true)
	m.agent.Avoid(now, p.node, failed, avoidAfter)
}
