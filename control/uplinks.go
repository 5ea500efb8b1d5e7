package control

import (
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/wgsetup"
)

// A host with several uplinks has several ways to a peer. The agent checks them
// all and says which local address the path leads from; WireGuard follows a route
// to the peer's endpoint in the network's own table. A host with one uplink a
// family has none of this.

// uplinks are the host's ways out.
type uplinks struct {
	all   []wgsetup.Uplink
	bases []netip.Addr // their addresses, by family and best first, where several is true
	// several tells of IPv4 and IPv6 whether there were several since the start.
	// Once one of them is gone, the host's routes may still lead there.
	several [2]bool
	had     [2]bool // any, since the start
	// stun asks the same servers as the mesh's own does, from the bases that the
	// host's routes do not choose.
	stun map[netip.Addr]*natpunch.STUN
}

// uplinksChanged takes the host's ways out.
func (m *mesh) uplinksChanged(now time.Time, all []wgsetup.Uplink) {
	u := &m.uplinks
	if slices.Equal(all, u.all) {
		return
	}
	if u.all != nil {
		m.waysOutChanged(now)
	}
	u.all = all
	for _, w := range all {
		if i := family(w.Addr); !u.had[i] {
			u.had[i], m.routes.changed = true, true
		}
	}
	m.out.apply = m.out.apply || len(m.underlay()) > 0
	bases := u.review()
	if slices.Equal(bases, u.bases) {
		return
	}
	u.bases = bases
	m.publisher.reflexive = nil // seen through an uplink that is gone, perhaps
	m.askByUplinks(now)
	if m.stun != nil {
		m.stun.Refresh(now)
	}
	m.tellLocal(now)
	m.publisher.dirty = true
}

// review returns what bases should be.
func (u *uplinks) review() (bases []netip.Addr) {
	for i, four := range []bool{true, false} {
		var family []netip.Addr
		for _, w := range u.all {
			if w.Addr.Is4() == four && !slices.Contains(family, w.Addr) {
				family = append(family, w.Addr)
			}
		}
		u.several[i] = u.several[i] || len(family) > 1
		if u.several[i] {
			bases = append(bases, family...)
		}
	}
	return bases
}

// other are the bases that nothing leaves from unless it is told to: all but the
// best of a family, and one that was left by the others.
func (u *uplinks) other() (other []netip.Addr) {
	for i, b := range u.bases {
		first := i == 0 || u.bases[i-1].Is4() != b.Is4()
		last := i+1 == len(u.bases) || u.bases[i+1].Is4() != b.Is4()
		if !first || last {
			other = append(other, b)
		}
	}
	return other
}

func (u *uplinks) of(base netip.Addr) (wgsetup.Uplink, bool) {
	i := slices.IndexFunc(u.all, func(w wgsetup.Uplink) bool { return w.Addr == base })
	if i < 0 {
		return wgsetup.Uplink{}, false
	}
	return u.all[i], true
}

// underlay are the routes to the peers' endpoints, as far as the host's own would
// not do: they lead elsewhere, or let through packets that are too long for the path. Two peers at one address go the same way, that of the later one.
func (m *mesh) underlay() (routes []wgsetup.UnderlayRoute) {
	moved := make(map[netip.Addr]time.Time)
	narrow := make(map[netip.Addr]int)
	for _, p := range m.peers {
		to := p.path.Addr.Addr()
		if n := p.outerMTU(); p.installed && n > 0 && (narrow[to] == 0 || n < narrow[to]) {
			narrow[to] = n
		}
	}
	add := func(path natpunch.Path, at time.Time) {
		up, ok := m.uplinks.of(path.Base)
		to := path.Addr.Addr()
		if before, there := moved[to]; !ok && narrow[to] == 0 || !to.IsValid() || there && !at.After(before) {
			return
		}
		moved[to] = at
		routes = slices.DeleteFunc(routes, func(r wgsetup.UnderlayRoute) bool { return r.To == to })
		routes = append(routes, wgsetup.UnderlayRoute{To: to, Uplink: up, MTU: narrow[to]})
	}
	for _, p := range m.peers {
		if !p.installed {
			continue
		}
		add(p.path, p.movedAt)
		if p.move != nil { // packets still leave for the old endpoint
			add(p.move.before, p.movedAt.Add(-time.Nanosecond))
		}
	}
	routes = m.pastTunnel(routes)
	routes = routes[:min(len(routes), maxUnderlay)]
	slices.SortFunc(routes, func(a, b wgsetup.UnderlayRoute) int { return a.To.Compare(b.To) })
	return routes
}

// rebased takes a path that leads from another local address than before. The
// kernel's WireGuard looks for its way anew when an endpoint is set.
func (m *mesh) rebased(p *peer, before natpunch.Path) {
	if before.Base == p.path.Base {
		return
	}
	m.out.apply = true
	if before.Addr == p.path.Addr && p.installed {
		m.out.endpoints = append(m.out.endpoints, endpointChange{p.record.WireGuard, p.path.Addr})
	}
}

// askByUplinks finds out where this host is seen by the uplinks that its routes
// do not choose.
func (m *mesh) askByUplinks(now time.Time) {
	if m.stun == nil {
		return
	}
	old := m.uplinks.stun
	m.uplinks.stun = nil
	for _, base := range m.uplinks.other() {
		s := old[base]
		if s == nil {
			s = natpunch.NewSTUN(nil)
			s.SetLocal([]netip.Addr{base}, m.self.port)
			s.SetServers(m.stunServers)
			s.Refresh(now)
		}
		if m.uplinks.stun == nil {
			m.uplinks.stun = make(map[netip.Addr]*natpunch.STUN)
		}
		m.uplinks.stun[base] = s
	}
}

// stepUplinks asks, and publishes what was answered.
func (m *mesh) stepUplinks(now time.Time) {
	for base, s := range m.uplinks.stun {
		for _, a := range s.Advance(now) {
			m.sendFrom(base, a.To, a.Data)
		}
		status := s.Result()
		for _, addr := range status.Reflexive() {
			if addr.Addr().Is4() == base.Is4() {
				m.publisher.observed(now, addr)
			}
		}
	}
}

func (m *mesh) nextUplinks(sooner func(time.Time)) {
	for _, s := range m.uplinks.stun {
		if t, ok := s.Next(); ok {
			sooner(t)
		}
	}
}

func (m *mesh) sendFrom(from netip.Addr, to netip.AddrPort, b []byte) {
	if m.tunnelled(to.Addr()) {
		m.drops.count("tunnelled")
		return
	}
	m.out.sends = append(m.out.sends, outgoing{from: from, to: to, data: b})
}
