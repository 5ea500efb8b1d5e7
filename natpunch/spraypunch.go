package natpunch

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"time"
)

// takeSpray takes one datagram from the budget of all peers.
func (l *checkList) takeSpray(now time.Time) bool {
	l.agent.pings.fill(now)
	return l.agent.pings.tokens > sprayReserve && l.agent.pings.take(now)
}

// punchID is the transaction id of the datagram from, or to, a port.
func (a *attempt) punchID(port int) (id transactionID) {
	binary.BigEndian.PutUint32(id[:], a.id)
	binary.BigEndian.PutUint16(id[4:], uint16(port))
	copy(id[6:], a.secret[:])
	return id
}

func (a *attempt) has(id transactionID) bool {
	return a.state != resting && binary.BigEndian.Uint32(id[:]) == a.id
}

func (l *checkList) punchFrom(port int, to netip.AddrPort) {
	l.sendFrom(port, to, check{Type: punch, ID: l.spray.attempt.punchID(port)})
}

func (l *checkList) sendFrom(port int, to netip.AddrPort, m check) {
	b, err := sealCheck(&l.pair, m)
	if err != nil {
		panic("natpunch: " + err.Error()) // a check always fits
	}
	l.agent.emit(SendFrom{Node: l.node, Port: port, To: to, Data: b})
}

func (l *checkList) openPorts(now time.Time) {
	a := &l.spray.attempt
	a.state, a.next, a.deadline, a.opened = opening, time.Time{}, now.Add(hostPatience), true
	l.agent.emit(OpenPorts{Node: l.node, N: sprayPorts})
}

func (l *checkList) portsOpened(now time.Time, n int) {
	a := &l.spray.attempt
	if n <= 0 {
		l.sprayOver(now, hostFailed)
		return
	}
	a.ports = min(n, sprayPorts)
	a.state, a.next, a.deadline = sending, now, now.Add(hitPatience)
}

// beginSpray begins to send to many ports from the own one.
func (l *checkList) beginSpray(now time.Time) {
	a := &l.spray.attempt
	a.state, a.next, a.deadline, a.sent = spraying, now, now.Add(hitPatience), 0
}

// portsToTry are those that the sender of o may have.
func (l *checkList) portsToTry(o offer) []uint16 {
	switch o.Kind {
	case predicting:
		return predictedPorts(o)
	case matching:
		stride := 1
		if l.controlling {
			stride = 2
		}
		return matchingPorts(o, stride)
	default:
		one, two := l.agent.transactionID(), l.agent.transactionID()
		seed := rand.NewPCG(binary.BigEndian.Uint64(one[:]), binary.BigEndian.Uint64(two[:]))
		n := sprayPings
		if o.Step != 0 {
			n -= predictedAhead + predictedBehind // which were tried before
		}
		return likelyPorts(o, n, rand.New(seed))
	}
}
