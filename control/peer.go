package control

import (
	"net/netip"
	"time"

	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/wgsetup"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// A packet either way restarts both sides' keepalive timers, so of two equal
// intervals both fire at once or the same side always fires first. One side
// keeps the path open, at the interval that wg(8) recommends for NATs; the
// other sends only when it has heard nothing for longer than that.
const (
	keepalive      = 25 * time.Second
	keepaliveOther = 30 * time.Second
)

// peer is another node as this one sees it.
type peer struct {
	node    keys.NodePublic
	record  wire.Record
	signed  wire.SignedRecord
	pair    keys.Pair
	version uint8

	met       bool // since this process started
	installed bool // the device has it, or will with the next apply
	keepalive bool // packets may start by themselves
	session   *session
	state     wgsetup.PeerState // when the device was last looked at
	alive     bool              // the device has a session that can carry data
	activity  activity

	movedAt  time.Time      // when path last changed
	path     natpunch.Path  // zero Addr: none
	lastAddr netip.AddrPort // where it answered last, in this run or an earlier one
	reason   string         // why there is no path
}

// working tells whether packets flow as far as the device knows.
func (p *peer) working() bool { return p.alive && p.path.Addr.IsValid() }

// name is what people call the peer.
func (p *peer) name() string {
	if p.record.Name != "" {
		return p.record.Name
	}
	return string(p.node.ID())
}

func (p *peer) claims() []claim {
	var all []claim
	for _, a := range p.record.Addresses {
		if a.Addr.Is4() {
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
		AllowedIPs:   []netip.Prefix{netip.PrefixFrom(keys.Address6(m.prefix6, p.node), 128)},
	}
	for _, addr := range m.heldBy(p, held) {
		d.AllowedIPs = append(d.AllowedIPs, netip.PrefixFrom(addr, 32))
	}
	if p.keepalive {
		d.Keepalive = keepaliveOther
		if m.self.public.Compare(p.node) < 0 {
			d.Keepalive = keepalive
		}
	}
	return d
}

// heldBy are the overlay IPv4 addresses that the peer claims and that no other
// node, this one among them, has a better claim to.
func (m *mesh) heldBy(p *peer, held map[netip.Addr]claim) []netip.Addr {
	var addrs []netip.Addr
	for _, c := range p.claims() {
		if held[c.addr].node == p.node && m.addressing.prefix.IsValid() && m.addressing.prefix.Contains(c.addr) {
			addrs = append(addrs, c.addr)
		}
	}
	return addrs
}

// claims are those of this node and of all others.
func (m *mesh) claims() []claim {
	all := append([]claim(nil), m.addressing.own...)
	for _, p := range m.peers {
		all = append(all, p.claims()...)
	}
	return all
}

// learn takes a verified record into the book and into the peers. It returns
// nil where the record is this node's own, too old, or one too many.
func (m *mesh) learn(now, wall time.Time, r wire.Record, signed wire.SignedRecord, age time.Duration, put filing) *peer {
	p := m.file(now, wall, r, signed, age, put)
	if p != nil && !m.agent.SetPeer(now, natpunch.Peer{Node: p.node, Pair: p.pair, Candidates: p.record.Candidates, NAT4: p.record.NAT4, Version: p.version}) {
		m.drops.count("agent-full")
	}
	return p
}

// recall takes a record of an earlier run: the member is known by name, but has
// another probe key by now, or takes this process for the one before.
func (m *mesh) recall(now, wall time.Time, signed wire.SignedRecord, age time.Duration, addr netip.AddrPort, device map[wgtypes.Key]wgsetup.PeerState) {
	r, err := signed.Verify(m.prefix6)
	if err != nil {
		m.drops.count(wire.DropReason(err))
		return
	}
	p := m.file(now, wall, r, signed, age, m.book.Put)
	if p == nil {
		return
	}
	p.reason, p.lastAddr = "not met since this daemon started", addr
	if state, ok := device[r.WireGuard]; ok { // adopted with its session
		p.installed, p.keepalive, p.state = true, true, state
		p.path.Addr = addr
		if state.Endpoint.IsValid() {
			p.path.Addr = state.Endpoint
		}
	}
}

// filing is how a record gets into the book: its Put, or PutFirsthand for one
// that its own node has sent.
type filing func(time.Time, wire.SignedRecord, time.Duration) (wire.Record, discovery.Change, error)

// file is learn without a word to the agent.
func (m *mesh) file(now, wall time.Time, r wire.Record, signed wire.SignedRecord, age time.Duration, put filing) *peer {
	if r.Node == m.self.public {
		return nil
	}
	_, change, err := put(now, signed, age)
	if err != nil {
		m.drops.count("book-full")
		return nil
	}
	current, ok := m.book.Get(r.Node)
	if !ok {
		m.drops.count("record-expired")
		return nil
	}
	r, signed = current.Record, current.Signed
	m.clock.heard(wall, r, current.AgeAt(now))
	if change == discovery.New && len(m.peers) >= maxMembers {
		m.dropEvicted()
	}
	p := m.peers[r.Node]
	if p == nil {
		p = &peer{node: r.Node}
		m.peers[r.Node] = p
	}
	if p.record.Seq == r.Seq && p.record.Probe == r.Probe {
		return p
	}
	if p.record.Probe != r.Probe {
		pair, err := keys.NewPair(m.network, m.self.probe, r.Probe)
		if err != nil {
			m.drops.count("probe-key")
			return nil
		}
		if other := m.byTag[pair.RecvTag]; other != nil && other != p {
			m.drops.count("probe-key") // somebody shows another node's key as its own
			return nil
		}
		delete(m.byTag, p.pair.RecvTag)
		p.pair = pair
		m.byTag[pair.RecvTag] = p
	}
	if p.installed && p.record.WireGuard != r.WireGuard {
		p.installed, p.session = false, nil // the device's peer is another one now
		p.state, p.alive = wgsetup.PeerState{}, false
	}
	p.record, p.signed = r, signed
	m.claimsChanged = true
	m.out.apply = m.out.apply || p.installed
	m.subnetChanged(now)
	return p
}

// install puts the peer into the device, or moves it to another endpoint.
func (m *mesh) install(now time.Time, p *peer, endpoint netip.AddrPort) {
	moved := endpoint.IsValid() && p.path.Addr != endpoint
	p.lastAddr = endpoint
	if moved {
		p.path = natpunch.Path{Addr: endpoint}
		p.movedAt = now
	}
	switch {
	case !p.installed:
		p.installed, m.out.apply = true, true // with its endpoint
	case moved:
		m.out.endpoints = append(m.out.endpoints, endpointChange{p.record.WireGuard, endpoint})
	}
}

// forget takes the peer out of everything.
func (m *mesh) forget(p *peer) {
	delete(m.peers, p.node)
	delete(m.byTag, p.pair.RecvTag)
	m.agent.RemovePeer(p.node)
	m.claimsChanged = true
	m.out.apply = m.out.apply || p.installed
}

// dropEvicted forgets the peers that the book gave up for want of room.
func (m *mesh) dropEvicted() {
	for _, p := range m.peers {
		if _, ok := m.book.Get(p.node); !ok {
			m.forget(p)
		}
	}
}

// start begins the peer's WireGuard session, unless there is one.
func (m *mesh) start(now time.Time, p *peer, starts bool, rtt time.Duration) {
	if p.session == nil && !p.alive {
		p.session = newSession(now, starts, rtt, p.state)
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

// looked takes what the device says of its peers.
func (m *mesh) looked(now, wall time.Time, states map[wgtypes.Key]wgsetup.PeerState) {
	m.lookedAt = now
	for _, p := range m.peers {
		state, ok := states[p.record.WireGuard]
		if !ok || !p.installed {
			continue
		}
		was := p.alive
		p.state, p.alive = state, alive(wall, state)
		if p.session != nil && p.session.carries(state) {
			p.session = nil
			p.alive = true
			m.book.Pin(p.node, true)
			if !p.keepalive {
				p.keepalive, m.out.apply = true, true
			}
		}
		switch {
		case p.alive && !was:
			p.reason = ""
			m.event("handshake", p.name(), "connected to "+p.name()+" ("+m.pathWord(p)+", "+p.path.Addr.String()+")", true)
			m.out.remember = true // an adopter needs to know it
			m.introduce(now, p)
		case was && !p.alive:
			p.reason = "no answer for 3 minutes"
			m.event("lost", p.name(), p.name()+" does not answer any more", false)
			m.lost(now, p)
		case p.activity.unanswered(now, state, p.path.RTT):
			m.agent.CheckConsent(now, p.node)
		}
		m.followEndpoint(now, p)
	}
}

// lost looks for the peer with all means.
func (m *mesh) lost(now time.Time, p *peer) {
	m.agent.Restart(now, p.node, p.reason)
	m.greeter.Lost(p.node)
	m.hintCandidates(now, p)
	m.out.kick = true
}

// activity tells sent-and-unanswered from silence.
type activity struct {
	rx, tx    int64
	asked     time.Time // when tx first grew after rx did; zero: not since
	suspected time.Time
}

const (
	// Nothing back for this long, or for four round trips, is worth three
	// checks of the path. Silence alone never gives a path up.
	unansweredAfter = 500 * time.Millisecond
	suspectAgain    = 5 * time.Second
	keepaliveSize   = 32 // of a packet that nobody answers
)

// busy tells whether something was sent that is not answered yet.
func (a *activity) busy() bool { return !a.asked.IsZero() }

func (a *activity) unanswered(now time.Time, s wgsetup.PeerState, rtt time.Duration) bool {
	if s.RxBytes != a.rx || s.TxBytes < a.tx {
		a.asked = time.Time{}
	} else if s.TxBytes > a.tx+keepaliveSize && a.asked.IsZero() {
		a.asked = now
	}
	a.rx, a.tx = s.RxBytes, s.TxBytes
	if a.asked.IsZero() || now.Sub(a.asked) < max(unansweredAfter, 4*rtt) || now.Sub(a.suspected) < suspectAgain {
		return false
	}
	a.suspected = now
	return true
}

// followEndpoint settles a difference between the endpoint that was chosen and
// the one that WireGuard has. Authenticated packets that were still on the old
// path move WireGuard back: for a moment after a change, the choice is repeated.
// Later it is the peer that has moved, and the checks find out where it is best
// reached.
func (m *mesh) followEndpoint(now time.Time, p *peer) {
	have := p.state.Endpoint
	switch {
	case !p.working() || !have.IsValid() || have == p.path.Addr:
	case now.Sub(p.movedAt) < moveTime:
		m.out.endpoints = append(m.out.endpoints, endpointChange{p.record.WireGuard, p.path.Addr})
	default:
		m.event("path", p.name(), p.name()+" has moved to "+have.String(), true)
		p.path, p.lastAddr, p.movedAt = natpunch.Path{Addr: have}, have, now
		m.agent.Restart(now, p.node, "the peer has moved")
	}
}

// moveTime is how long an endpoint may take to stay where it was put.
const moveTime = 2 * time.Second

// expire forgets members whose record has run out.
func (m *mesh) expire(now time.Time) {
	for _, node := range m.book.Expire(now) {
		if p := m.peers[node]; p != nil && !p.alive {
			m.event("lost", p.name(), p.name()+" has not been heard of for a day and is forgotten", false)
			m.forget(p)
		}
	}
}
