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
	seeds     []netip.Addr   // of the settings
	outside   []netip.Addr   // reached past the tunnel, though routes lead there
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

// relaySight is the same of a relay.
type relaySight struct {
	up    bool
	addr  netip.Addr
	addrs int
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
	for _, s := range m.relays.all {
		seen := relaySight{s.up, s.addr.Addr(), len(s.addrs)}
		r.changed = r.changed || seen != s.routeSight
		s.routeSight = seen
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
	if outside := view.outside(r.choice.plan.subnets); !slices.Equal(outside, r.outside) {
		r.outside, m.out.apply = outside, true
	}
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
	v := m.hostView()
	v.own, v.overlay, v.blocked = m.routes.advertise, m.overlay(), m.blocked.hasID
	for _, p := range m.peers {
		v.members = append(v.members, routeMember{
			node: p.node, name: p.name(), labels: m.labelsOf(p), routes: p.record.Routes, at: ownAddresses(p), working: p.working(),
		})
	}
	m.useUnderlay(&v)
	return v
}

// hostView is what the host reaches without the network.
func (m *mesh) hostView() routeView {
	v := routeView{host: slices.Clone(m.routes.host)}
	for _, h := range m.publisher.hosts {
		v.host = append(v.host, h.Masked())
	}
	return v
}

// overlay are the network's own prefixes, as this node uses them. What a member claims
// for the network besides changes nothing here.
func (m *mesh) overlay() []netip.Prefix {
	all := []netip.Prefix{m.prefix6}
	if p := m.addressing.prefix; p.IsValid() {
		all = append(all, p)
	}
	return all
}

// labelsOf are the words that name the peer on this host, its id aside.
func (m *mesh) labelsOf(p *peer) []string {
	l, ok := m.names.Of(string(p.node.ID()))
	if !ok { // not reviewed yet
		return []string{p.record.Name}
	}
	labels := slices.Clone(l.Aliases)
	for _, label := range []string{l.Plain, l.Distinct} {
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
	subnets := m.routes.choice.plan.subnets
	if !slices.ContainsFunc(subnets, func(p netip.Prefix) bool { return p.Contains(a) }) {
		return false
	}
	if _, ok := slices.BinarySearchFunc(m.routes.outside, a, netip.Addr.Compare); ok {
		_, out := m.uplinks.best(a)
		return !out
	}
	return m.hostView().leads(subnets, a)
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
