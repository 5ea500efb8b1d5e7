package control

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/wgsetup"
)

// A network behind a node may hold addresses that this node itself sends to: those of
// a member, a relay, a seed. WireGuard's datagrams there and the checks of paths get
// ways past the tunnel (wgsetup.UnderlayRoute), and all else goes where the route
// leads. To refuse the route would let any member take it away, by being in there or
// by saying so. Refused is what holds the address of the very node that it leads to,
// or of a relay that the user named, and all that holds such addresses on a host whose
// ways out are none that could be told from the routes.

const (
	// maxOutside bounds these ways, which members can cause.
	maxOutside = 256
	// maxUnderlay bounds all ways of the underlay, as wgsetup does.
	maxUnderlay = 1024
	maxSeeds    = 64 // of --bootstrap that are remembered
)

// underlayUse is an address that this node sends to, outside of the network.
type underlayUse struct {
	addr netip.Addr
	rank underlayRank
}

// underlayRank says what comes first where not all fit: what is in use, before what is
// only said.
type underlayRank uint8

const (
	underInUse  underlayRank = iota
	underLikely              // where a member that works says that it is, too
	underSaid
)

// outside are the addresses that accepted routes lead to and that this node reaches
// past the tunnel, sorted.
func (v routeView) outside(subnets []netip.Prefix) (out []netip.Addr) {
	if len(subnets) == 0 || len(v.underlay) == 0 {
		return nil
	}
	uses := slices.Clone(v.underlay)
	slices.SortFunc(uses, func(a, b underlayUse) int { return cmp.Or(cmp.Compare(a.rank, b.rank), a.addr.Compare(b.addr)) })
	taken := make(map[netip.Addr]bool)
	for rank := underInUse; rank <= underSaid; rank++ {
		from, _ := slices.BinarySearchFunc(uses, rank, func(u underlayUse, r underlayRank) int { return cmp.Compare(u.rank, r) })
		to, _ := slices.BinarySearchFunc(uses, rank+1, func(u underlayUse, r underlayRank) int { return cmp.Compare(u.rank, r) })
		for _, p := range subnets {
			all := uses[from:to]
			i, _ := slices.BinarySearchFunc(all, p.Addr(), func(u underlayUse, a netip.Addr) int { return u.addr.Compare(a) })
			for ; i < len(all) && p.Contains(all[i].addr) && len(taken) < maxOutside; i++ {
				taken[all[i].addr] = true
			}
		}
	}
	for a := range taken {
		if v.leads(subnets, a) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// leads tells whether an address is reached by one of the subnets, and not by a route
// of the host's own that says more of it.
func (v routeView) leads(subnets []netip.Prefix, a netip.Addr) bool {
	longest := -1
	for _, p := range subnets {
		if p.Contains(a) {
			longest = max(longest, p.Bits())
		}
	}
	return longest >= 0 && !slices.ContainsFunc(v.host, func(h netip.Prefix) bool { return h.Bits() > longest && h.Contains(a) })
}

// useUnderlay fills in where this node sends to, outside of the network.
func (m *mesh) useUnderlay(v *routeView) {
	add := func(a netip.Addr, rank underlayRank, what string) {
		switch {
		case !a.IsValid():
		case m.uplinks.had[family(a)]:
			v.underlay = append(v.underlay, underlayUse{a, rank})
		default:
			v.kept = append(v.kept, underlayName{a, what})
		}
	}
	for _, p := range m.peers {
		said := underSaid
		if p.working() {
			said = underLikely
		}
		if p.installed {
			add(p.path.Addr.Addr(), underInUse, p.name())
			add(p.state.Endpoint.Addr(), said, p.name())
			if p.move != nil {
				add(p.move.before.Addr.Addr(), underInUse, p.name())
			}
		}
		for _, c := range p.record.Candidates { // where it may be reached next
			if isGlobal(c.Addr.Addr()) {
				add(c.Addr.Addr(), said, p.name())
			}
		}
	}
	for _, s := range m.relays.all {
		what := "the relay " + s.name()
		if s.up {
			add(s.addr.Addr(), underInUse, what)
		}
		for i, a := range s.addrs {
			switch own := s.class == ownRelay && i < len(s.addrs)-s.hearsay; {
			case own:
				v.kept = append(v.kept, underlayName{a.Addr(), what})
			case isGlobal(a.Addr()):
				add(a.Addr(), underSaid, what)
			}
		}
	}
	for _, a := range m.routes.seeds {
		add(a, underInUse, "a node of --bootstrap")
	}
}

// ownAddresses are where a node is by its own doing: others can have it announce what
// they say that they see.
func ownAddresses(p *peer) (all []netip.Addr) {
	if a := p.lastAddr.Addr(); a.IsValid() {
		all = append(all, a)
	}
	for _, c := range p.record.Candidates {
		if c.Type == wire.Host && isGlobal(c.Addr.Addr()) {
			all = append(all, c.Addr.Addr())
		}
	}
	return all
}

// seed remembers where the settings say that members answer.
func (m *mesh) seed(source discovery.Source, a netip.Addr) {
	if source == discovery.SourceStatic && len(m.routes.seeds) < maxSeeds && !slices.Contains(m.routes.seeds, a) {
		m.routes.seeds = append(m.routes.seeds, a)
		m.routes.changed = true
	}
}

// pastTunnel adds ways to what the routes would lead into the tunnel.
func (m *mesh) pastTunnel(routes []wgsetup.UnderlayRoute) []wgsetup.UnderlayRoute {
	for _, a := range m.routes.outside {
		way, ok := m.uplinks.best(a)
		i := slices.IndexFunc(routes, func(r wgsetup.UnderlayRoute) bool { return r.To == a })
		switch {
		case !ok:
		case i < 0:
			routes = append(routes, wgsetup.UnderlayRoute{To: a, Uplink: way})
		case routes[i].Uplink == wgsetup.Uplink{}:
			routes[i].Uplink = way // and not wherever the host routes
		}
	}
	return routes
}

// best is the way out that the host prefers to an address.
func (u *uplinks) best(a netip.Addr) (wgsetup.Uplink, bool) {
	i := slices.IndexFunc(u.all, func(w wgsetup.Uplink) bool { return family(w.Addr) == family(a) })
	if i < 0 {
		return wgsetup.Uplink{}, false
	}
	return u.all[i], true
}

// family is the index of IPv4 or IPv6.
func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}
