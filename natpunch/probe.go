package natpunch

import (
	"crypto/rand"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/natpunch/demux"
)

// maxProbeSessions is how many (port, destination) pairs a Probe uses, each of
// which may be a mapping at the router.
const maxProbeSessions = 40

// ProbeConfig says what a Probe measures.
type ProbeConfig struct {
	// Servers of one family, in the order in which they are asked. Those that
	// offer RFC 5780 tell more.
	Servers []netip.AddrPort
	// Own are the host's addresses: who is seen at one of them is behind no NAT.
	Own []netip.Addr
	// Lifetime is the longest idle time that a mapping is tested for; zero: its
	// lifetime is not measured. The measurement takes a little longer than that.
	Lifetime time.Duration
}

// A Probe finds out, once and for one address family, how the NAT in front of
// this host treats ports that were not used before (RFC 4787, by the tests of RFC
// 5780): mapping, filtering, hairpinning, how it picks ports, how long a mapping
// lives. STUN measures the node's own port beside it.
//
// Its owner opens the ports that it asks for, and calls it as it does an Agent,
// until Done.
type Probe struct {
	random io.Reader
	config ProbeConfig

	ports    []probePort
	asks     []*ask // not settled yet
	sessions map[probeSession]struct{}
	actions  ProbeActions
	changed  bool      // the test under way has something to look at
	wake     time.Time // or has from then on; zero: no such time
	stall    stall
	test     int // index in tests
	main     int // index of the port that the servers are searched from
	find     finding
	offer    *ask // the answer of the server whose other addresses are used; nil: none
	filter   filterTest
	hairpin  hairpinTest
	picks    pickTest
	life     lifetimeTest
	result   FamilyStatus
}

// ProbeActions is what a Probe wants done, in this order.
type ProbeActions struct {
	Open  []int // open a new UDP port for each of these indices and call Opened
	Send  []ProbeSend
	Close []int
}

// ProbeSend is a datagram from one of the opened ports.
type ProbeSend struct {
	Port int // index
	To   netip.AddrPort
	Data []byte
}

type probePort struct {
	asked, open, closed bool
	local               uint16
	touched             bool // by an answer that nobody waited for any more
}

type probeSession struct {
	port int
	to   netip.AddrPort
}

// tests are made one after the other; each says when it is over.
var tests = []func(*Probe, time.Time) bool{
	(*Probe).findServers,
	(*Probe).testOffers,
	(*Probe).testHairpinning,
	(*Probe).testPicks,
	(*Probe).testLifetime,
}

// NewProbe returns a Probe that begins at the first Advance. All servers have to
// be of one family; what is no address to ask is left out.
func NewProbe(c ProbeConfig) *Probe {
	p := &Probe{random: rand.Reader, config: c, sessions: make(map[probeSession]struct{}), changed: true}
	for _, a := range c.Servers {
		a = plain(a)
		if a.Port() != 0 && a.Addr().IsGlobalUnicast() && !slices.Contains(p.find.queue, a) && len(p.find.queue) < maxServers {
			p.find.queue = append(p.find.queue, a)
		}
	}
	return p
}

// Done says that nothing more will come. What was opened is closed by the
// actions of the last Advance.
func (p *Probe) Done() bool { return p.test == len(tests) }

// Settled says that all is known but the lifetime.
func (p *Probe) Settled() bool { return p.test >= len(tests)-1 }

// Result returns what is known so far.
func (p *Probe) Result() FamilyStatus { return p.result.clone() }

// Sessions counts the mappings that a router can have made for this.
func (p *Probe) Sessions() int { return len(p.sessions) }

// Opened says which local port was opened; zero: it could not be.
func (p *Probe) Opened(port int, local uint16) {
	if port < 0 || port >= len(p.ports) || p.ports[port].open || p.ports[port].closed {
		return
	}
	p.ports[port].open, p.ports[port].local = true, local
	p.changed = true
}

// Receive takes a datagram that came to an opened port. It returns why the
// datagram was dropped, or nothing.
func (p *Probe) Receive(port int, from netip.AddrPort, datagram []byte) string {
	if len(datagram) > maxSTUN {
		return demux.DropOversized
	}
	b, ok := parseBinding(datagram)
	if !ok {
		return demux.DropMalformed
	}
	from = plain(from)
	i := slices.IndexFunc(p.asks, func(a *ask) bool { return a.id == b.id && a.accepts(port, from, b) })
	if i < 0 {
		p.touch(port, from)
		return demux.DropUnsolicited
	}
	a := p.asks[i]
	a.settled, a.misplaced, a.refused = true, !b.request && from != a.from, b.failed
	a.heard = !b.failed && !a.misplaced
	a.mapped = b.mapped
	if askable(a.to, b.other) {
		a.other = b.other
	}
	a.discover = b.discover
	p.changed = true
	return ""
}

// Advance returns what is to be done now.
func (p *Probe) Advance(now time.Time) ProbeActions {
	p.stall.notice(now)
	for !p.Done() {
		p.transmit(now)
		if !p.changed && (p.wake.IsZero() || p.wake.After(now)) {
			break
		}
		p.changed, p.wake = false, time.Time{}
		if tests[p.test](p, now) {
			p.test++
			p.asks, p.changed = nil, true
		}
	}
	if p.Done() {
		for i := range p.ports {
			p.closePort(i)
		}
		p.asks = nil
	}
	actions := p.actions
	p.actions = ProbeActions{}
	p.stall.expected, _ = p.Next()
	return actions
}

// Next returns when Advance has something to do; false is never.
func (p *Probe) Next() (time.Time, bool) {
	if p.Done() {
		return time.Time{}, false
	}
	if p.changed {
		return time.Unix(0, 0), true // at once
	}
	next := p.wake
	for _, a := range p.asks {
		if p.ports[a.port].open && (!a.tried || a.due) && (next.IsZero() || a.next.Before(next)) {
			next = a.next
		}
	}
	return next, !next.IsZero()
}

// due tells whether a time has come, and has the test under way called then.
func (p *Probe) due(now, at time.Time) bool {
	if !at.After(now) {
		return true
	}
	if p.wake.IsZero() || at.Before(p.wake) {
		p.wake = at
	}
	return false
}

// openPort asks for one more port.
func (p *Probe) openPort() int {
	p.ports = append(p.ports, probePort{})
	return len(p.ports) - 1
}

func (p *Probe) closePort(i int) {
	port := &p.ports[i]
	if port.asked && !port.closed {
		p.actions.Close = append(p.actions.Close, i)
	}
	port.open, port.closed = false, true
}
