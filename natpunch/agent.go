package natpunch

import (
	"container/heap"
	"crypto/rand"
	"encoding/binary"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch/demux"
)

// AgentConfig is what an Agent keeps for life.
type AgentConfig struct {
	// Self is this node's key; compared with a peer's, it gives the role.
	Self keys.NodePublic
	// Overlay are the network's own prefixes: no path leads through the tunnel.
	Overlay []netip.Prefix
	// Rand is where transaction ids come from; nil is crypto/rand.
	Rand io.Reader
	// Spray allows many ports, or many pings, for one peer where a NAT's mapping
	// depends on the destination.
	Spray bool
	// MaxPayload is the longest UDP payload that WireGuard sends: how much of it a
	// selected path carries is found out. Zero: it is not.
	MaxPayload int
}

// Peer is what the agent needs to know of a peer.
type Peer struct {
	Node keys.NodePublic
	// Pair seals the checks. Another Pair for a known node means that one of
	// the two processes has started anew.
	Pair       keys.Pair
	Candidates []wire.Candidate
	// NAT4 is what the peer knows of the NAT in front of it.
	NAT4 wire.NATBehavior
	// Version is the negotiated wire version; zero is 1, and 1 is all there is.
	Version uint8
}

// Agent checks candidate pairs and selects a path for each peer. Its owner calls
// it with what happens and the time, does what Advance returns after every call,
// and calls Advance again when Next says. It is not safe for concurrent use.
type Agent struct {
	self    keys.NodePublic
	overlay []netip.Prefix
	random  io.Reader
	site    site

	peers map[keys.NodePublic]*checkList
	tags  map[[8]byte]*checkList // by Pair.RecvTag
	// relayed counts the peers to which an address is a relayed one.
	relayed map[netip.AddrPort]int
	due     dueHeap

	pings, pongs bucket
	spray        bool
	maxPayload   int
	sprays       sprayBudget
	// number is the highest that any ping had. A peer that is removed and added
	// again starts above it: the other side still refuses the old ones.
	number uint64
	queue  []Action
	now    time.Time
}

// NewAgent returns an agent without peers, which checks nothing before SetLocal.
func NewAgent(c AgentConfig) *Agent {
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	return &Agent{
		self: c.Self, overlay: c.Overlay, random: c.Rand,
		site:    newSite(Local{}, c.Overlay),
		peers:   make(map[keys.NodePublic]*checkList),
		tags:    make(map[[8]byte]*checkList),
		relayed: make(map[netip.AddrPort]int),
		pings:   newBucket(totalBurst, totalRate),
		pongs:   newBucket(totalPongBurst, totalPongRate),
		spray:   c.Spray, maxPayload: c.MaxPayload,
		sprays: sprayBudget{targets: make(map[netip.Addr]*bucket), reached: make(map[netip.AddrPort]struct{})},
	}
}

// SetLocal says what this host is now. Peers without a path are checked again at
// once where it differs from before; a path that is selected stays.
func (a *Agent) SetLocal(now time.Time, l Local) {
	a.now = now
	old := a.site.Local
	linksChanged := !slices.Equal(old.Prefixes, l.Prefixes) || old.HasIPv4 != l.HasIPv4 || old.HasIPv6 != l.HasIPv6
	natChanged, mappingChanged := a.site.NAT4 != l.NAT4, otherMapping(a.site.NAT4, l.NAT4)
	a.site.NAT4 = l.NAT4
	if natChanged {
		for _, c := range a.peers {
			if mappingChanged {
				c.sprayAnew()
				a.reschedule(c)
			}
			c.tellAnew()
		}
	}
	l.Bases = usefulBases(l.Bases)
	linksChanged = linksChanged || !slices.Equal(old.Bases, l.Bases)
	if !linksChanged && slices.Equal(old.Candidates, l.Candidates) && slices.Equal(old.Tunnelled, l.Tunnelled) {
		return
	}
	l.Candidates, l.Prefixes = slices.Clone(l.Candidates), slices.Clone(l.Prefixes)
	if !slices.Equal(old.Candidates, l.Candidates) {
		a.sprays.fresh = 0
	}
	moved := a.site.lost4(l)
	a.site = newSite(l, a.overlay)
	if linksChanged {
		clear(a.sprays.reached)
	}
	for _, c := range a.peers {
		if linksChanged {
			c.sprayAnew()
		}
		if moved {
			c.release()
		}
		c.localChanged(now, linksChanged)
		a.reschedule(c)
	}
}

// SetPeer adds a peer or updates one, and starts to check what is new. It is
// false, and does nothing, when the table is full or the peer is this node.
func (a *Agent) SetPeer(now time.Time, p Peer) bool {
	a.now = now
	c, known := a.peers[p.Node]
	if !known && len(a.peers) >= MaxPeers || p.Node == a.self {
		return false
	}
	if other := a.tags[p.Pair.RecvTag]; other != nil && other.node != p.Node {
		return false // two nodes with one probe key: the second is an impostor
	}
	if !known {
		c = newCheckList(a, p)
		a.peers[p.Node] = c
	} else if c.pair.RecvTag != p.Pair.RecvTag {
		delete(a.tags, c.pair.RecvTag)
		c.renew(now, p.Pair)
	}
	a.tags[p.Pair.RecvTag] = c
	if otherMapping(c.nat4, p.NAT4) {
		c.sprayAnew()
	}
	c.nat4 = p.NAT4
	c.setCandidates(now, p.Candidates)
	c.tellAnew()
	a.reschedule(c)
	return true
}

// RemovePeer forgets a peer. No action follows but a ClosePorts and a Release, where
// it had ports.
func (a *Agent) RemovePeer(node keys.NodePublic) {
	c, ok := a.peers[node]
	if !ok {
		return
	}
	c.sprayOver(a.now, abandoned)
	c.release()
	delete(a.peers, node)
	delete(a.tags, c.pair.RecvTag)
	c.setKnown(nil)
	if c.index >= 0 {
		heap.Remove(&a.due, c.index)
	}
	a.queue = slices.DeleteFunc(a.queue, func(x Action) bool {
		switch x := x.(type) {
		case Select:
			return x.Node == node
		case Lost:
			return x.Node == node
		default:
			return false
		}
	})
}

// Validated says that a hello exchange proved a path both ways. Without a
// trusted path it is selected at once. rtt may be zero.
func (a *Agent) Validated(now time.Time, node keys.NodePublic, addr netip.AddrPort, rtt time.Duration) {
	a.now = now
	addr = plain(addr)
	if c, ok := a.peers[node]; ok && c.mayComeFrom(addr) {
		c.validated(now, addr, rtt)
		a.reschedule(c)
	}
}

// Restart says that the peer's path is suspect, and why: all candidates are
// checked at once. A Select or a Lost follows.
func (a *Agent) Restart(now time.Time, node keys.NodePublic, why string) {
	a.now = now
	if c, ok := a.peers[node]; ok {
		c.restart(now, why)
		a.reschedule(c)
	}
}

// RestartAll restarts every peer, as after a change of network; those that have
// a path to lose come first.
func (a *Agent) RestartAll(now time.Time) {
	a.now = now
	for _, c := range a.peers {
		had := c.selected != nil
		c.sprayAnew()
		c.restart(now, "the network changed")
		a.reschedule(c)
		if !had && c.index >= 0 {
			c.due = c.due.Add(time.Nanosecond)
			heap.Fix(&a.due, c.index)
		}
	}
}

// CheckConsent checks the selected path alone, for a peer that is sent to and
// does not answer: three pings, and a Restart when all are lost. It does nothing
// while a path is searched anyway.
func (a *Agent) CheckConsent(now time.Time, node keys.NodePublic) {
	a.now = now
	if c, ok := a.peers[node]; ok {
		c.checkConsent(now)
		a.reschedule(c)
	}
}

// Path returns the peer's selected path. One that is suspect is still returned
// until it is Lost or another is selected.
func (a *Agent) Path(node keys.NodePublic) (Path, bool) {
	c, ok := a.peers[node]
	if !ok || c.selected == nil {
		return Path{}, false
	}
	return c.path(), true
}

// Answered is when the peer last answered a check of its selected path. It is zero
// where there is none.
func (a *Agent) Answered(node keys.NodePublic) time.Time {
	c, ok := a.peers[node]
	if !ok || c.selected == nil {
		return time.Time{}
	}
	return c.selected.validAt
}

// DropSource is the reason for a check from an address where no peer can be.
const DropSource = "source-address"

// Receive is ReceiveOn for a datagram of which nobody knows to which address of
// this host it came.
func (a *Agent) Receive(now time.Time, from netip.AddrPort, datagram []byte) string {
	return a.ReceiveOn(now, from, netip.Addr{}, datagram)
}

// ReceiveOn takes a datagram of wire.KindCheck that came to the address local of
// this host; zero is unknown. It returns why the datagram was dropped, or nothing.
func (a *Agent) ReceiveOn(now time.Time, from netip.AddrPort, local netip.Addr, datagram []byte) string {
	a.now = now
	from = plain(from)
	tag, ok := wire.PairTag(datagram)
	if !ok || len(datagram) < wire.CheckSize {
		// A pong is as short as the shortest ping: nothing is amplified.
		return wire.DropReason(wire.ErrSize)
	}
	c, ok := a.tags[tag]
	if !ok {
		return demux.DropUnknownPeer
	}
	body, err := wire.OpenPair(wire.KindCheck, &c.pair, datagram)
	if err != nil {
		return wire.DropReason(err)
	}
	m, err := parseCheck(body)
	if err != nil {
		return wire.DropReason(wire.ErrEncoding)
	}
	if len(datagram) != wire.CheckSize && !m.Sized {
		return wire.DropReason(wire.ErrSize)
	}
	defer a.reschedule(c)
	base := c.baseOf(local, from)
	if m.Type == pong {
		return c.receivePong(now, base, from, m)
	}
	if !c.mayComeFrom(from) {
		return DropSource
	}
	if m.Type == punch {
		return c.receivePunch(now, -1, from, m)
	}
	return c.receivePing(now, base, from, m)
}

// Advance does what is due and returns everything that is to be done, in order.
func (a *Agent) Advance(now time.Time) []Action {
	a.now = now
	a.pings.fill(now)
	for len(a.due) > 0 && !a.due[0].due.After(now) && a.pings.tokens >= 1 {
		c := a.due[0]
		c.advance(now)
		a.reschedule(c)
		if c.index >= 0 && !c.due.After(now) {
			// Nothing may be due twice at one time; a list that says so is
			// kept from spinning.
			c.due = now.Add(time.Millisecond)
			heap.Fix(&a.due, c.index)
		}
	}
	out := a.queue
	a.queue = nil
	return out
}

// Next returns when Advance has something to do; false is never.
func (a *Agent) Next() (time.Time, bool) {
	if len(a.queue) > 0 {
		return a.now, true
	}
	if len(a.due) == 0 {
		return time.Time{}, false
	}
	next := a.due[0].due
	if ready := a.pings.ready(); a.pings.tokens < 1 && ready.After(next) {
		next = ready
	}
	return next, true
}

// emit queues an action. Datagrams beyond the bound are dropped, as a network
// would; what the owner must know is not.
func (a *Agent) emit(x Action) {
	switch x.(type) {
	case Send, SendFrom:
		if len(a.queue) >= maxQueue {
			return
		}
	}
	if s, ok := x.(Send); ok {
		a.destination(s.To)
	}
	a.queue = append(a.queue, x)
}

func (a *Agent) transactionID() (id transactionID) {
	if _, err := io.ReadFull(a.random, id[:]); err != nil {
		panic("natpunch: read random bytes: " + err.Error()) // crypto/rand never fails
	}
	return id
}

// jitter returns a random duration of less than d.
func (a *Agent) jitter(d time.Duration) time.Duration {
	id := a.transactionID()
	return time.Duration(binary.BigEndian.Uint64(id[:]) % uint64(max(d, 1)))
}
