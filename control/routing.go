package control

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/credant/credant/wgsetup"
)

// meshRoutes joins the choice of routes to the mesh: what it is decided by, and
// what follows from it.
type meshRoutes struct {
	choice    *routing
	advertise []netip.Prefix
	exit      bool           // this node offers to be an exit node
	host      []netip.Prefix // that the host reaches without the network
	changed   bool           // something differs from the last review
	again     time.Time      // when the next may be
}

// routePause gathers what changes together: a review looks at what all members say,
// for a quarter of a second where 4,096 of them advertise all that they may.
const (
	routePause    = 100 * time.Millisecond
	routePauseFor = 100 * time.Microsecond // more for each route
)

// routeSight is what of a peer matters for routes, when they were reviewed last.
type routeSight struct {
	working        bool
	path, endpoint netip.Addr
}

// reviewRoutes decides anew whose routes are used, where something has changed.
func (m *mesh) reviewRoutes(now time.Time) {
	r := &m.routes
	if !r.choice.asks() {
		return
	}
	for _, p := range m.peers {
		seen := routeSight{p.working(), p.path.Addr.Addr(), p.state.Endpoint.Addr()}
		r.changed = r.changed || seen != p.routeSight
		p.routeSight = seen
	}
	if due := r.choice.next; !r.changed && (due.IsZero() || now.Before(due)) {
		return
	}
	if now.Before(r.again) {
		return
	}
	r.changed = false
	before := r.choice.holders
	view := m.routeView()
	r.again = now.Add(routePause)
	for _, member := range view.members {
		r.again = r.again.Add(time.Duration(len(member.routes)) * routePauseFor)
	}
	changed, pinned := r.choice.review(now, view)
	m.out.pins = m.out.pins || pinned
	m.notice("routes", someOf(r.choice.plan.notices, "; "))
	if !changed {
		return
	}
	m.out.apply = true
	m.tellLocal(now)
	for prefix, node := range r.choice.holders {
		if before[prefix] != node {
			m.event("route", m.nameOf(node), fmt.Sprintf("%s is reached through %s now", prefix, m.nameOf(node)), false)
		}
	}
}

// someOf joins the first few of the texts.
func someOf(texts []string, by string) string {
	const most = 6
	if len(texts) > most {
		texts = append(slices.Clone(texts[:most]), fmt.Sprintf("and %d more like these: \"credant status\" shows them", len(texts)-most))
	}
	return strings.Join(texts, by)
}

// nextRoutes is when reviewRoutes has something to do by itself.
func (m *mesh) nextRoutes(sooner func(time.Time)) {
	if m.routes.changed && m.routes.choice.asks() {
		sooner(m.routes.again)
	}
	sooner(m.routes.choice.next)
}

func (m *mesh) routeView() routeView {
	v := routeView{own: m.routes.advertise, overlay: m.overlay(), host: slices.Clone(m.routes.host), blocked: m.blocked.hasID}
	for _, h := range m.publisher.hosts {
		v.host = append(v.host, h.Masked())
	}
	add := func(a netip.Addr, what string) {
		if a.IsValid() {
			v.underlay = append(v.underlay, underlayUse{a, what})
		}
	}
	for _, p := range m.peers {
		v.members = append(v.members, routeMember{
			node: p.node, name: p.name(), labels: m.labelsOf(p), routes: p.record.Routes, working: p.working(),
		})
		if p.installed {
			add(p.path.Addr.Addr(), p.name())
			add(p.state.Endpoint.Addr(), p.name())
		}
		for _, c := range p.record.Candidates { // where it may be reached next
			if isGlobal(c.Addr.Addr()) {
				add(c.Addr.Addr(), p.name())
			}
		}
	}
	for _, s := range m.relays.all {
		switch {
		case s.class == ownRelay:
			for _, a := range s.addrs {
				add(a.Addr(), "the relay "+s.name())
			}
		case s.up:
			add(s.addr.Addr(), "the relay "+s.name())
		}
	}
	return v
}

// overlay are the network's own prefixes, on this node and as far as it knows.
func (m *mesh) overlay() []netip.Prefix {
	all := []netip.Prefix{m.prefix6}
	for _, p := range []netip.Prefix{m.subnet.prefix(), m.addressing.prefix} {
		if p.IsValid() && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}

// labelsOf are the words that name the peer on this host, its id aside.
func (m *mesh) labelsOf(p *peer) []string {
	l, ok := m.names.of[string(p.node.ID())]
	if !ok { // not reviewed yet
		return []string{p.record.Name}
	}
	labels := slices.Clone(l.aliases)
	for _, label := range []string{l.plain, l.distinct} {
		if label != "" {
			labels = append(labels, label)
		}
	}
	return labels
}

// hostRoutesChanged takes what the host reaches without the network.
func (m *mesh) hostRoutesChanged(routes []netip.Prefix) {
	slices.SortFunc(routes, comparePrefix)
	if !slices.Equal(routes, m.routes.host) {
		m.routes.host, m.routes.changed = routes, true
	}
}

// tunnelled tells whether an address is reached through a peer, so that no path may
// lead there.
func (m *mesh) tunnelled(a netip.Addr) bool {
	return slices.ContainsFunc(m.routes.choice.plan.subnets, func(p netip.Prefix) bool { return p.Contains(a) })
}

// ownRoutes are the routes of this node's record.
func (m *mesh) ownRoutes() []netip.Prefix {
	all := slices.Clone(m.routes.advertise)
	if m.routes.exit {
		has4, has6 := false, false
		for _, h := range m.publisher.hosts {
			a := h.Addr()
			has4 = has4 || a.Is4()
			has6 = has6 || a.Is6() && a.IsGlobalUnicast() && !a.IsPrivate()
		}
		if has4 {
			all = append(all, everything4)
		}
		if has6 {
			all = append(all, everything6)
		}
	}
	slices.SortFunc(all, comparePrefix)
	return all
}

// desiredRoutes adds to what the host should be what it routes.
func (m *mesh) desiredRoutes(d *wgsetup.Desired) {
	r := &m.routes
	d.Subnets = r.choice.plan.subnets
	if len(r.advertise) > 0 || r.exit {
		d.Forward = &wgsetup.Forward{Advertised: r.advertise, Exit: r.exit}
	}
	if r.choice.exit != "" {
		d.Exit = &wgsetup.Exit{V4: true, V6: true}
	}
}
