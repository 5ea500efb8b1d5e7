package natpunch

import (
	"net/netip"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch/demux"
)

// Where one NAT's mapping depends on the destination, the peer cannot know at
// which port this node arrives there. Then the dependent side sends from many
// ports to the other side's one, and the other side to many ports of the dependent
// side's address, until one of these meets one of those. The port it met is kept for
// the node's own traffic with that peer, and from then on the pair is like any other.

// OpenPorts asks for N short-lived UDP ports for a peer, IPv4 is enough;
// Agent.PortsOpened says how many there are. What comes to one of them goes to
// Agent.ReceiveAt.
type OpenPorts struct {
	Node keys.NodePublic
	N    int
}

// SendFrom is a datagram to send from one of the peer's short-lived ports, counted
// from zero.
type SendFrom struct {
	Node keys.NodePublic
	Port int
	To   netip.AddrPort
	Data []byte
}

// Keep asks to keep one of the short-lived ports: what this node sends to Remote,
// WireGuard or not, leaves from that port from now on, and what Remote sends to it
// is the node's. It takes the place of any other port that is kept towards Remote.
// Agent.Kept says whether it is done.
type Keep struct {
	Node   keys.NodePublic
	Remote netip.AddrPort
	Port   int
}

// ClosePorts ends the peer's short-lived ports but for those that are kept.
type ClosePorts struct{ Node keys.NodePublic }

// Release ends a Keep: the node's own port is used towards Remote again.
type Release struct {
	Node   keys.NodePublic
	Remote netip.AddrPort
}

// Tell is something for the peer's Agent.Told, where there is no path to it: at
// most 64 bytes, to be carried by another member, sealed for the peer alone. It may
// be lost.
type Tell struct {
	Node keys.NodePublic
	Data []byte
}

func (OpenPorts) action()  {}
func (SendFrom) action()   {}
func (Keep) action()       {}
func (ClosePorts) action() {}
func (Release) action()    {}
func (Tell) action()       {}

// PortsOpened answers OpenPorts: n ports are there, none if that went wrong.
func (a *Agent) PortsOpened(now time.Time, node keys.NodePublic, n int) {
	a.now = now
	c, ok := a.peers[node]
	if !ok || c.spray.attempt.state != opening {
		a.emit(ClosePorts{Node: node}) // they come too late
		return
	}
	c.portsOpened(now, n)
	a.reschedule(c)
}

// ReceiveAt is Receive for what came to a short-lived port.
func (a *Agent) ReceiveAt(now time.Time, node keys.NodePublic, port int, from netip.AddrPort, datagram []byte) string {
	a.now = now
	from = plain(from)
	c, ok := a.peers[node]
	if tag, is := wire.PairTag(datagram); !ok || !is || tag != c.pair.RecvTag {
		return demux.DropUnknownPeer
	}
	if len(datagram) != wire.CheckSize {
		return wire.DropReason(wire.ErrSize)
	}
	body, err := wire.OpenPair(wire.KindCheck, &c.pair, datagram)
	if err != nil {
		return wire.DropReason(err)
	}
	m, err := parseCheck(body)
	if err != nil {
		return wire.DropReason(wire.ErrEncoding)
	}
	defer a.reschedule(c)
	switch m.Type {
	case punch:
		return c.receivePunch(now, port, from, m)
	case pong:
		return c.punchAnswered(now, port, from, m)
	default:
		// A ping is for the node's own port. If this one is kept, it comes again.
		return demux.DropUnsolicited
	}
}

// Kept answers Keep. It also tells of a port that an earlier process kept towards
// remote, and that is still in use: a Release follows when it is not any more.
func (a *Agent) Kept(now time.Time, node keys.NodePublic, remote netip.AddrPort, ok bool) {
	a.now = now
	remote = plain(remote)
	c, known := a.peers[node]
	switch {
	case known:
		c.kept(now, remote, ok)
		a.reschedule(c)
	case ok:
		a.emit(Release{Node: node, Remote: remote})
	}
}

// Told takes what the peer's agent gave its owner as a Tell. It must be known to
// come from that peer. It returns why the data was dropped, or nothing.
func (a *Agent) Told(now time.Time, node keys.NodePublic, data []byte) string {
	a.now = now
	c, ok := a.peers[node]
	if !ok {
		return demux.DropUnknownPeer
	}
	o, err := parseOffer(data)
	if err != nil {
		return wire.DropReason(wire.ErrEncoding)
	}
	c.offered(now, o)
	a.reschedule(c)
	return ""
}

// PunchAt says that the owners of both sides have agreed, each knowing that of the
// other, to punch at one time, give or take ten seconds: for pairs that have nobody
// to carry a Tell. It may say so again and again: the agent makes pauses.
func (a *Agent) PunchAt(now time.Time, node keys.NodePublic, at time.Time) {
	a.now = now
	if c, ok := a.peers[node]; ok {
		c.spray.aligned.at = at
		a.reschedule(c)
	}
}
