package control

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/wgsetup"
)

// peer is another node as this one sees it.
type peer struct {
	node    keys.NodePublic
	record  wire.Record
	label   string // what this host calls it; empty: it is too new to have one
	signed  wire.SignedRecord
	pair    keys.Pair
	version uint8

	adopted    bool          // with its session, and not looked at yet
	met        bool          // since this process started
	installed  bool          // the device has it, or will with the next apply
	keepalive  bool          // packets may start by themselves
	every      time.Duration // the interval at which the path is to be refreshed
	session    *session
	deaf       deafness
	expects    bool              // another session, while there is one
	state      wgsetup.PeerState // when the device was last looked at
	handshake  time.Time         // when state.LastHandshake was new, in mesh time
	alive      bool              // the device has a session that can carry data
	lost       bool              // no check of any path is answered
	activity   activity
	inflow     inflow
	routeSight routeSight
	speaks     bool      // the gossip may use it
	heardAt    time.Time // last sign of life that did not come from the device
	notedAt    time.Time // when its note was read; zero: never

	call     calling
	forwards forwardBudget

	recovery
	peerPath
	peerRelays
}

// peerPath is where a peer is reached.
type peerPath struct {
	move     *move          // to another endpoint, while that lasts
	movedAt  time.Time      // when path last changed
	payload  int            // the longest that the path is known to carry; zero: not known
	strayed  sighting       // where WireGuard is, and since when, if not on path
	path     natpunch.Path  // zero Addr: none
	lastAddr netip.AddrPort // where it answered last, in this run or an earlier one
	reason   string         // why there is no path
}

// working tells whether packets flow as far as the device knows.
func (p *peer) working() bool { return p.alive && !p.lost && p.path.Addr.IsValid() }

// name is what people here call the peer, whatever it calls itself.
func (p *peer) name() string { return cmp.Or(p.label, p.ownName()) }

// ownName is what the peer calls itself.
func (p *peer) ownName() string { return cmp.Or(p.record.Name, string(p.node.ID())) }

// announces tells whether the peer says itself that it can be reached there.
func (p *peer) announces(addr netip.AddrPort) bool {
	return slices.ContainsFunc(p.record.Candidates, func(c wire.Candidate) bool { return c.Addr == addr })
}

// claimsOf are the addresses that the peer claims, besides the one of its key.
func (m *mesh) claimsOf(p *peer) []claim {
	var all []claim
	for _, a := range p.record.Addresses {
		if a.Addr.Is4() || a.Addr != keys.Address6(m.prefix6, p.node) {
			all = append(all, claim{p.node, a.Addr, a.Settled})
		}
	}
	return all
}

func (p *peer) desired(m *mesh, held map[netip.Addr]claim) wgsetup.Peer {
	d := wgsetup.Peer{
		PublicKey:    p.record.WireGuard,
		PresharedKey: m.network.PresharedKey(m.self.wireGuard, p.record.WireGuard),
		Endpoint:     p.path.Addr,
		MTU:          p.mtu(),
		AllowedIPs:   []netip.Prefix{netip.PrefixFrom(keys.Address6(m.prefix6, p.node), 128)},
	}
	for _, addr := range m.heldBy(p, held) {
		d.AllowedIPs = append(d.AllowedIPs, netip.PrefixFrom(addr, addr.BitLen()))
	}
	d.AllowedIPs = append(d.AllowedIPs, m.routes.choice.plan.allowed[p.node]...)
	if p.keepalive {
		d.Keepalive = m.keepaliveInterval(p)
	}
	return d
}

// heldBy are the overlay addresses that the peer claims and that no other node,
// this one among them, has a better claim to, IPv4 first. The address of its key
// is not among them.
func (m *mesh) heldBy(p *peer, held map[netip.Addr]claim) []netip.Addr {
	var addrs []netip.Addr
	for _, c := range m.claimsOf(p) {
		if held[c.addr].node == p.node && m.addressing.fits(c.addr) {
			addrs = append(addrs, c.addr)
		}
	}
	slices.SortStableFunc(addrs, func(a, b netip.Addr) int { return cmp.Compare(a.BitLen(), b.BitLen()) })
	return addrs
}

// claims are those of this node and of all others.
func (m *mesh) claims() []claim {
	all := append([]claim(nil), m.addressing.own...)
	for _, p := range m.peers {
		all = append(all, m.claimsOf(p)...)
	}
	return all
}

// install puts the peer into the device, or moves it to another path.
func (m *mesh) install(now time.Time, p *peer, path natpunch.Path) {
	before := p.path
	moved := path.Addr.IsValid() && before.Addr != path.Addr
	if path.Kind != natpunch.Relay {
		p.lastAddr = path.Addr
	}
	p.path = path
	m.rebased(p, before)
	if moved {
		p.movedAt = now
		m.relays.dirty = true
	}
	switch {
	case !p.installed:
		p.installed, m.out.apply = true, true // with its endpoint
	case moved && p.alive:
		m.beginSwap(now, p, before)
	case moved:
		m.out.endpoints = append(m.out.endpoints, endpointChange{p.record.WireGuard, path.Addr})
	}
}

// start begins the peer's WireGuard session, unless there is one. Two sides that
// greet each other at once hear of it twice, and of who starts by either.
func (m *mesh) start(now time.Time, p *peer, starts bool, rtt time.Duration) {
	switch {
	case p.alive:
		p.expects = true
	case p.session == nil:
		p.session = newSession(now, starts, rtt, p.state)
	case starts:
		p.session.hurry(now)
	}
}

// startSessions drives the sessions that have begun but carry nothing yet.
func (m *mesh) startSessions(now time.Time) {
	for _, p := range m.peers {
		if p.session == nil || now.Before(p.session.next) {
			continue
		}
		if p.session.act(now) == sessionReset {
			m.out.resets = append(m.out.resets, p.record.WireGuard)
		}
		m.nudge(p)
	}
}

// nudge lets the device send a packet to the peer now.
func (m *mesh) nudge(p *peer) {
	m.out.nudges = append(m.out.nudges, p.record.WireGuard)
}
