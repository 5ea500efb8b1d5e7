package control

import (
	"fmt"
	"time"

	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch"
)

// greeted carries out what the exchange of hellos came to.
func (m *mesh) greeted(now, wall time.Time, o discovery.Output) (more bool) {
	switch o := o.(type) {
	case discovery.Send:
		m.send(o.To, o.Data)
		return false
	case discovery.Twin:
		m.notice("twin", fmt.Sprintf("another machine with this node's keys is at %s: was this system copied? Take the network down there, remove its state folder and join again", o.Addr))
		return false
	case discovery.Met:
		m.met(now, wall, o)
		return true
	default:
		return false
	}
}

// met installs a member that answered. The side that said hello installs it on
// the reply, before it confirms; the other side on the confirm, before it says
// that it is ready. So both have the peer when the first handshake starts.
func (m *mesh) met(now, wall time.Time, o discovery.Met) {
	if o.Observed.IsValid() {
		m.publisher.observed(now, o.Observed)
	}
	p := m.learn(now, wall, o.Record, o.Signed, o.Age, o.Record.Node)
	if p == nil {
		return
	}
	p.version, p.met = o.Version, true
	if !o.Ready {
		m.event("met", p.name(), fmt.Sprintf("found %s at %s (by %s)", p.name(), o.Addr, sourceWord(o.Source)), false)
		m.installMet(now, p, o)
		return
	}
	if !p.installed {
		m.event("met", p.name(), fmt.Sprintf("%s came from %s", p.name(), o.Addr), false)
		m.installMet(now, p, o)
	}
	m.agent.Validated(now, p.node, o.Addr, o.RTT)
	m.start(now, p, o.StartHandshake, o.RTT)
}

// installMet installs a peer where it answered. One that works already is left
// to the checks to move.
func (m *mesh) installMet(now time.Time, p *peer, o discovery.Met) {
	if !p.installed || !p.working() && p.path.Addr != o.Addr {
		m.install(now, p, natpunch.Path{Addr: o.Addr, RTT: o.RTT})
	}
}

func sourceWord(s discovery.Source) string {
	switch s {
	case discovery.SourceDHT:
		return "the DHT"
	case discovery.SourceLAN:
		return "the LAN"
	case discovery.SourceStatic:
		return "its given address"
	case discovery.SourceCache:
		return "the last known address"
	case discovery.SourceGossip:
		return "another member"
	default:
		return string(s)
	}
}

// checked carries out what the connectivity checks came to.
func (m *mesh) checked(now, wall time.Time, a natpunch.Action) (more bool) {
	switch a := a.(type) {
	case natpunch.Send:
		m.sendFrom(a.From, a.To, a.Data)
		return false
	case natpunch.Reflexive:
		m.seenAt(now, a.Addr)
		return true
	case natpunch.Doubt:
		if p := m.peers[a.Node]; p != nil {
			m.doubted(now, p)
		}
		return true
	case natpunch.Confirm:
		if p := m.peers[a.Node]; p != nil {
			m.proved(now, p)
		}
		return false
	case natpunch.Select:
		m.selected(now, a)
		return true
	case natpunch.Lost:
		m.pathLost(now, a)
		return true
	case natpunch.MTU:
		m.carries(a)
		return false
	default:
		m.punching(a)
		return false
	}
}

func (m *mesh) selected(now time.Time, a natpunch.Select) {
	p := m.peers[a.Node]
	if p == nil {
		return
	}
	changed := p.path.Addr != a.Path.Addr
	wasKnown := p.installed
	m.install(now, p, a.Path)
	p.met = true // its checks are under this process's key
	p.reason, p.lost, p.call = "", false, calling{}
	m.proved(now, p)
	if changed && wasKnown && p.alive {
		m.event("path", p.name(), fmt.Sprintf("%s is reached %s now, at %s", p.name(), pathPhrase(p), a.Path.Addr), true)
	}
	m.start(now, p, a.Initiate, a.Path.RTT)
}

func (m *mesh) pathLost(now time.Time, a natpunch.Lost) {
	p := m.peers[a.Node]
	if p == nil {
		return
	}
	if p.working() {
		m.event("lost", p.name(), p.name()+" does not answer any more: "+a.Reason, false)
		m.out.kick = true
	}
	if !p.lost {
		p.heardAt = now // it may still be there, and a relay lead to it
		m.relays.dirty = true
	}
	p.reason, p.lost = a.Reason, true
	if p.lostAt.IsZero() {
		p.lostAt = now
	}
	p.call.begin(now)
	if !p.alive {
		// The other side may not know of this one: only a hello says both that
		// we are here and who we are.
		m.hintCandidates(now, p)
	}
}

// hintCandidates says hello wherever the member may be.
func (m *mesh) hintCandidates(now time.Time, p *peer) {
	for _, c := range p.record.Candidates {
		if c.Type != wire.Host || m.onLink(c.Addr.Addr()) || isGlobal(c.Addr.Addr()) {
			m.greeter.Hint(now, discovery.SourceGossip, c.Addr)
		}
	}
}

// pathWord is what status calls the path of a peer that works.
func (m *mesh) pathWord(p *peer) string { return p.path.Kind.String() }

// pathPhrase says it in a sentence.
func pathPhrase(p *peer) string {
	switch p.path.Kind {
	case natpunch.LAN:
		return "on the LAN"
	case natpunch.Relay:
		return "through a relay"
	default:
		return "directly"
	}
}
