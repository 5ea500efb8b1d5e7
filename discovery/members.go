package discovery

import (
	"net/netip"
	"time"

	"github.com/credant/credant/discovery/keys"
)

const (
	// knownLifetime is how long an address where a member was met is left
	// alone. Polls go on naming it each second.
	knownLifetime = 30 * time.Second
	maxKnown      = 4096
	// meetingLifetime is how far apart the halves of two greetings that
	// crossed can end; longer than either side goes on with its own.
	meetingLifetime = 10 * time.Second
	maxMeetings     = 4096
)

// members remembers, for a short while, whom the Greeter met and where.
type members struct {
	known    map[netip.AddrPort]knownAddress
	meetings map[keys.NodePublic]meeting
}

type knownAddress struct {
	node  keys.NodePublic
	until time.Time
}

// meeting decides who starts WireGuard's handshake with one member.
type meeting struct {
	probe keys.ProbePublic // another one is another start of that member
	at    time.Time
	// confirmed: the member's own exchange has reached its confirm, so it will
	// get a ready, now or soon.
	confirmed bool
	// started: this side was told to start.
	started bool
}

func newMembers() *members {
	return &members{
		known:    make(map[netip.AddrPort]knownAddress),
		meetings: make(map[keys.NodePublic]meeting),
	}
}

func (m *members) knows(now time.Time, addr netip.AddrPort) bool {
	k, ok := m.known[addr]
	return ok && k.until.After(now)
}

// settle notes that node was met at addr.
func (m *members) settle(now time.Time, addr netip.AddrPort, node keys.NodePublic) {
	if len(m.known) >= maxKnown {
		for a, k := range m.known {
			if !k.until.After(now) || len(m.known) >= maxKnown {
				delete(m.known, a)
			}
		}
	}
	m.known[addr] = knownAddress{node, now.Add(knownLifetime)}
}

func (m *members) forget(node keys.NodePublic) {
	delete(m.meetings, node)
	for a, k := range m.known {
		if k.node == node {
			delete(m.known, a)
		}
	}
}

func (m *members) forgetAddresses() { clear(m.known) }

// meeting returns the running meeting with node, or a new one.
func (m *members) meeting(now time.Time, node keys.NodePublic, probe keys.ProbePublic) meeting {
	if t, ok := m.meetings[node]; ok && t.probe == probe && now.Sub(t.at) < meetingLifetime {
		return t
	}
	return meeting{probe: probe}
}

func (m *members) keep(now time.Time, node keys.NodePublic, t meeting) {
	if _, ok := m.meetings[node]; !ok && len(m.meetings) >= maxMeetings {
		for n, old := range m.meetings {
			if now.Sub(old.at) >= meetingLifetime || len(m.meetings) >= maxMeetings {
				delete(m.meetings, n)
			}
		}
	}
	t.at = now
	m.meetings[node] = t
}

// confirmed notes that node's own exchange reached its confirm.
func (m *members) confirmed(now time.Time, node keys.NodePublic, probe keys.ProbePublic) {
	t := m.meeting(now, node, probe)
	t.confirmed = true
	m.keep(now, node, t)
}

// started says whether this side has been told to start the handshake with
// node: a ready passes it on.
func (m *members) started(now time.Time, node keys.NodePublic, probe keys.ProbePublic) bool {
	return m.meeting(now, node, probe).started
}

// starts decides, as the own exchange with node ends, whether this side starts
// the handshake. Where both said hello at once, both exchanges end in any order:
//
//   - this one first, before the other's confirm came: this side starts, and
//     says so in the ready that answers the confirm (otherStarts, over there);
//   - each after the other's confirm came: neither ready can have said so, both
//     sides know of both exchanges, and the lower node key starts.
func (m *members) starts(now time.Time, self, node keys.NodePublic, probe keys.ProbePublic, otherStarts bool) bool {
	t := m.meeting(now, node, probe)
	start := !t.started && !otherStarts && (!t.confirmed || self.Compare(node) < 0)
	t.started = t.started || start
	m.keep(now, node, t)
	return start
}
