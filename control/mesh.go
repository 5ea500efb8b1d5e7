package control

import (
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/control/names"
	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/gossip"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch"
	"github.com/credant/credant/natpunch/demux"
	"github.com/credant/credant/relay/client"
	relaywire "github.com/credant/credant/relay/wire"
	"github.com/credant/credant/wgsetup"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// maxMembers bounds the book, and with it all tables that hold something of a
// member.
const maxMembers = 4096

// mesh turns what comes in (datagrams, hints, the device's counters, the time)
// into what is to be done about it. It joins the state machines of discovery
// and natpunch, and is one itself: no socket, no timer, no goroutine, no clock
// but the times it is given. The daemon owns it and carries out its effects.
type mesh struct {
	network keys.NetworkKey
	self    self
	prefix6 netip.Prefix

	greeter *discovery.Greeter
	book    *discovery.Book
	gossip  *gossip.Gossip
	agent   *natpunch.Agent

	peers map[keys.NodePublic]*peer
	byTag map[[8]byte]*peer // by the pair's RecvTag, for signals

	overlayAddresses
	memberNames
	learning
	natView
	redirection

	uplinks   uplinks
	relays    relays
	blob      []byte // this node's record, sealed for rendezvous
	publisher publisher
	lookedAt  time.Time // at the device's counters
	notes     notes
	where     whereabouts
	lifetimes lifetimes
	routes    meshRoutes
	blocked   *blockList

	notices map[string]string // what the user should act on, by subject
	drops   *drops
	out     effects
}

// self is what this node is.
type self struct {
	node      keys.NodePrivate
	public    keys.NodePublic
	wireGuard wgtypes.Key // public
	probe     keys.ProbePrivate
	name      string   // may change, see rename
	aliases   []string // further names, none of them name
	port      uint16
}

type meshConfig struct {
	network keys.NetworkKey
	self    self
	subnet  netip.Prefix // that the user asked for; invalid: none
	fixed   []netip.Addr // that the user asked for
	// clash says what on this host uses the prefix otherwise; nil: nothing does.
	clash     func(netip.Prefix) (what string, clashes bool)
	memory    memory
	heldNames map[string]string // by names.json
	forgotten []forgotten
	ephemeral bool
	stun      bool
	noSpray   bool
	drops     *drops
	routes    RouteConfig
	pins      map[string]string // by routes.json
	blocked   *blockList        // nil: nobody
	// canRedirect is the device's; nil: it can not.
	canRedirect func(from, to netip.AddrPort) bool
}

func newMesh(now time.Time, c meshConfig) *mesh {
	m := &mesh{
		network: c.network,
		self:    c.self,
		prefix6: c.network.Prefix6(),
		greeter: discovery.NewGreeter(discovery.GreeterConfig{Network: c.network, Node: c.self.node, Probe: c.self.probe.Public(), Refuse: c.blocked.has}),
		agent: natpunch.NewAgent(natpunch.AgentConfig{
			Self:    c.self.public,
			Overlay: []netip.Prefix{c.network.Prefix6()},
			Spray:   !c.noSpray, MaxPayload: longestPayload,
		}),
		peers: make(map[keys.NodePublic]*peer),
		byTag: make(map[[8]byte]*peer),
		overlayAddresses: overlayAddresses{
			subnet: newSubnet(c.network, c.self.public, c.subnet, c.memory.Subnet),
			fixed:  c.fixed, remembered: c.memory, clash: c.clash,
		},
		memberNames: memberNames{names: names.New(c.heldNames)},
		learning:    learning{renewals: make(renewals), forgotten: make(map[keys.NodePublic]uint64, len(c.forgotten))},
		redirection: redirection{canRedirect: c.canRedirect},
		notices:     make(map[string]string),
		drops:       c.drops,
		blocked:     c.blocked,
		routes: meshRoutes{
			choice:    newRouting(c.routes.AcceptRoutes, c.routes.ExitNode, c.pins),
			advertise: slices.SortedFunc(slices.Values(c.routes.AdvertiseRoutes), comparePrefix), exit: c.routes.AdvertiseExit,
		},
	}
	if m.blocked == nil {
		m.blocked = newBlockList(nil)
	}
	m.book = discovery.NewBook(m.prefix6, maxMembers)
	m.gossip = gossip.New(gossip.Config{Self: c.self.public, Book: m.book})
	m.relays = relays{
		dirty:  true,
		config: client.Config{Network: c.network.ID(), Sign: c.network.SignID, Node: c.self.node},
	}
	if m.canRedirect == nil {
		m.canRedirect = func(_, _ netip.AddrPort) bool { return false }
	}
	if c.stun {
		m.stun = natpunch.NewSTUN(nil)
	}
	m.publisher = publisher{sequence: c.memory.Sequence, dirty: true, ephemeral: c.ephemeral}
	for _, f := range c.forgotten {
		m.forgotten[f.Node] = f.Seq
	}
	if m.clash == nil {
		m.clash = func(netip.Prefix) (string, bool) { return "", false }
	}
	m.addressing = newAddressing(now, c.self.public, netip.Prefix{}, c.fixed, c.memory)
	m.takePrefix(now)
	return m
}

// receive takes one datagram of the side port.
func (m *mesh) receive(now, wall time.Time, d datagram) {
	m.drops.count(m.dispatch(now, wall, d))
}

// dispatch returns the reason for which the datagram was dropped, or nothing.
func (m *mesh) dispatch(now, wall time.Time, d datagram) string {
	if d.from.Addr().IsLinkLocalUnicast() {
		return "link-local"
	}
	if d.extra != nil {
		if d.kind != demux.CredAnt {
			return "extra-port"
		}
		return m.agent.ReceiveAt(now, d.extra.node, d.extra.index, d.from, d.data)
	}
	if d.kind == demux.STUN {
		if m.stun == nil {
			return "stun-unasked"
		}
		if s := m.uplinks.stun[d.on]; s != nil {
			return s.Receive(now, d.from, d.data)
		}
		return m.stun.Receive(now, d.from, d.data)
	}
	if relaywire.IsRelay(d.data) {
		return m.receiveRelay(now, d.from, d.data)
	}
	_, kind, ok := wire.ParseHeader(d.data)
	if !ok {
		return wire.DropReason(wire.ErrVersion)
	}
	switch kind {
	case wire.KindHello:
		return m.greeter.Receive(now, d.from, d.data)
	case wire.KindCheck:
		return m.agent.ReceiveOn(now, d.from, d.on, d.data)
	case wire.KindSignal:
		return m.receiveSignal(now, wall, d.data)
	default:
		return wire.DropReason(wire.ErrKind)
	}
}

// hint takes an address at which a member may answer.
func (m *mesh) hint(now time.Time, source discovery.Source, addr netip.AddrPort) {
	m.seed(source, addr.Addr())
	switch {
	case m.reached(addr):
		return
	case addr.Addr().IsLinkLocalUnicast():
		// wgctrl writes no zone: such an endpoint means nothing to the kernel.
		m.drops.count("link-local")
		return
	case m.tunnelled(addr.Addr()):
		m.drops.count("tunnelled")
		return
	}
	if source == discovery.SourceDHT {
		m.named(now, addr)
	}
	m.greeter.Hint(now, source, addr)
}

// reached tells whether a peer that works already is at the address.
func (m *mesh) reached(addr netip.AddrPort) bool {
	for _, p := range m.peers {
		if !p.working() || !p.met { // one that was adopted does not know this process yet
			continue
		}
		if p.path.Addr == addr || p.state.Endpoint == addr || p.announces(addr) {
			return true
		}
	}
	return false
}

// advance does what is due and returns everything that is to be done.
// wall is the wall clock, used for nothing but what people and the DHT read.
func (m *mesh) advance(now, wall time.Time) effects {
	// What one machine reports feeds the next. Two rounds carry a hello's answer
	// through to the device; what is left after four waits for the next call.
	for range 4 {
		if !m.step(now, wall) {
			break
		}
	}
	m.out.redirects = m.redirects
	m.out.look = !now.Before(m.lookedAt.Add(m.lookEvery(now)))
	out := m.out
	m.out = effects{}
	return out
}

func (m *mesh) step(now, wall time.Time) (more bool) {
	more = m.publish(now, wall)
	more = m.stepRelays(now, wall) || more
	for _, o := range m.greeter.Advance(now) {
		more = m.greeted(now, wall, o) || more
	}
	for _, a := range m.agent.Advance(now) {
		more = m.checked(now, wall, a) || more
	}
	if m.stun != nil {
		for _, s := range m.stun.Advance(now) {
			m.send(s.To, s.Data)
		}
		m.stunChanged(now)
		m.stepUplinks(now)
	}
	m.startSessions(now)
	m.stepHeard(now)
	more = m.stepSwaps(now) || more
	m.reviewNames(now)
	m.routes.changed = m.routes.changed || m.claimsChanged
	m.reviewAddresses(now)
	m.reviewRoutes(now)
	m.stepGossip(now)
	m.stepNotes(now, wall)
	more = m.sendCalls(now) || more
	m.expire(now)
	return more
}

// next is when advance has something to do without a new event.
func (m *mesh) next(now time.Time) time.Time {
	next := now.Add(time.Minute)
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	if m.relays.dirty {
		return now
	}
	if t, ok := m.greeter.Next(); ok {
		sooner(t)
	}
	if t, ok := m.agent.Next(); ok {
		sooner(t)
	}
	if m.stun != nil {
		if t, ok := m.stun.Next(); ok {
			sooner(t)
		}
	}
	for _, p := range m.peers {
		if p.session != nil {
			sooner(p.session.next)
		}
		if p.move != nil {
			sooner(p.move.swap.Next())
		}
		sooner(p.call.next)
		if !p.heardUntil.IsZero() {
			sooner(p.heardNext)
		}
	}
	if t, ok := m.gossip.Next(); ok {
		sooner(t)
	}
	m.nextRelays(sooner)
	m.nextUplinks(sooner)
	m.nextNotes(sooner)
	m.nextRoutes(sooner)
	sooner(m.lookedAt.Add(m.lookEvery(now)))
	m.nextReviews(sooner)
	sooner(m.publisher.due())
	return next
}

const (
	lookSoon = 20 * time.Millisecond  // while a handshake or a move is awaited
	lookBusy = 500 * time.Millisecond // while something sent is not answered
	// A relay is one more machine that may fail.
	lookRelayed = 250 * time.Millisecond // while something is sent through one
	lookFlow    = 250 * time.Millisecond // while much comes in
	lookUsed    = 2 * time.Second        // while something is sent, and to find out that it is
	lookIdle    = 5 * time.Second
	// What has just come about is likely to be used.
	lookAfterMove = 20 * time.Second
)

// lookEvery is how often the device's counters should be looked at now.
func (m *mesh) lookEvery(now time.Time) time.Duration {
	every := lookIdle
	for _, p := range m.peers {
		switch {
		case p.session != nil && p.session.pause <= resetFirst, p.move != nil:
			return lookSoon
		case p.viaRelay() && p.activity.lately(now):
			every = min(every, lookRelayed)
		case p.inflow.flows():
			every = min(every, lookFlow)
		case p.session != nil, p.activity.busy(), p.strayed.addr.IsValid(), p.deaf.waits(), p.insists(now), now.Sub(p.movedAt) < lookAfterMove:
			every = min(every, lookBusy)
		case p.viaRelay(), p.activity.lately(now):
			every = min(every, lookUsed)
		}
	}
	return every
}

func (m *mesh) send(to netip.AddrPort, b []byte) {
	if m.tunnelled(to.Addr()) { // a path may not lead through another
		m.drops.count("tunnelled")
		return
	}
	m.out.sends = append(m.out.sends, outgoing{to: to, data: b})
}

func (m *mesh) event(kind, peer, text string, ready bool) {
	m.out.events = append(m.out.events, localapi.Event{Kind: kind, Peer: peer, Text: text, Ready: ready})
}

// notice keeps a sentence that the user should act on, one a subject, and tells
// it when it is new. An empty one withdraws it.
func (m *mesh) notice(subject, text string) {
	if m.notices[subject] == text {
		return
	}
	if text == "" {
		delete(m.notices, subject)
		return
	}
	m.notices[subject] = text
	m.event("notice", "", text, false)
}

// desired is what the device should be now.
func (m *mesh) desired() wgsetup.Desired {
	d := wgsetup.Desired{
		Addresses: []netip.Prefix{netip.PrefixFrom(keys.Address6(m.prefix6, m.self.public), 128)},
		Routes:    []netip.Prefix{m.prefix6},
	}
	for _, c := range m.addressing.own {
		d.Addresses = append(d.Addresses, netip.PrefixFrom(c.addr, c.addr.BitLen()))
	}
	if len(m.addressing.own4()) > 0 {
		d.Routes = append(d.Routes, m.addressing.prefix)
	}
	d.Underlay = m.underlay()
	m.desiredRoutes(&d)
	held := holders(m.claims())
	for _, p := range m.peers {
		if !p.installed {
			continue
		}
		d.Peers = append(d.Peers, p.desired(m, held))
	}
	return d
}
