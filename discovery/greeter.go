package discovery

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// GreeterConfig says who greets. All fields but Refuse and Rand are needed.
type GreeterConfig struct {
	Network keys.NetworkKey
	Node    keys.NodePrivate
	Probe   keys.ProbePublic
	// Refuse tells of a node with which nothing is to be exchanged; nil: of none.
	Refuse func(keys.NodePublic) bool
	// Rand is where secrets and transaction ids come from; nil means
	// crypto/rand. It must not fail.
	Rand io.Reader
}

// Greeter says hello at addresses where a member may answer, and answers the
// hellos of others. It is a state machine: it is handed the time, hints and
// datagrams, and returns what is to be done. Until it has a record it is silent.
//
// Call Advance after each Hint and Receive, or batch of them, and when the time
// of Next has come: what answers a datagram never waits for a timer.
//
// The exchange, A being the initiator:
//
//	A -> B  hello(TxA, A's record)
//	B -> A  reply(TxA, TxB, B's record)     B remembers nothing
//	A -> B  confirm(TxA, TxB, A's record)   A has met B
//	B -> A  ready(TxA, TxB)                 B has met A; path proven both ways
//
// B's state changes by the confirm alone, because TxB can only have been read
// at A's address; A's by what carries its own TxA alone. Nothing else is
// believed, whoever sealed it and whatever its clock says.
type Greeter struct {
	me      identity
	refuses func(keys.NodePublic) bool
	rand    io.Reader

	record   wire.SignedRecord
	recorded time.Time // when it was set

	seen     seen
	targets  *targets
	own      map[netip.AddrPort]struct{}
	members  *members
	jar      *cookieJar
	replies  limiter // to hellos, which prove nothing
	readies  limiter // to confirms
	outputs  []Output
	outputAt time.Time
	stats    Stats
}

// identity is what does not change while a Greeter lives. It holds secrets.
type identity struct {
	node     keys.NodePrivate
	public   keys.NodePublic
	probe    keys.ProbePublic
	helloKey [32]byte
	prefix6  netip.Prefix
}

// NewGreeter returns a Greeter without a record.
func NewGreeter(c GreeterConfig) *Greeter {
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Refuse == nil {
		c.Refuse = func(keys.NodePublic) bool { return false }
	}
	return &Greeter{
		me: identity{
			node:     c.Node,
			public:   c.Node.Public(),
			probe:    c.Probe,
			helloKey: c.Network.HelloKey(),
			prefix6:  c.Network.Prefix6(),
		},
		refuses: c.Refuse,
		rand:    c.Rand,
		seen:    newSeen(),
		targets: newTargets(),
		members: newMembers(),
		jar:     newCookieJar(c.Rand),
		replies: newLimiter(),
		readies: newLimiter(),
		stats:   Stats{Dropped: make(map[string]uint64), Ignored: make(map[string]uint64)},
	}
}

var errNotMine = errors.New("record is another node's")

// SetRecord sets the record that is sent from now on, just signed. Its age is
// counted from here.
func (g *Greeter) SetRecord(now time.Time, s wire.SignedRecord) error {
	r, err := s.Verify(g.me.prefix6)
	if err == nil && (r.Node != g.me.public || r.Probe != g.me.probe) {
		err = errNotMine
	}
	if err != nil {
		return fmt.Errorf("set own record: %w", err)
	}
	g.record, g.recorded = s, now
	g.targets.wakeAt(now) // for hints that came before it
	return nil
}

// maxOwn bounds the own addresses that are told apart from others'.
const maxOwn = 256

// SetOwnAddresses sets the addresses at which this node is, or is seen: hints
// that name them are ignored.
func (g *Greeter) SetOwnAddresses(addrs []netip.AddrPort) {
	g.own = make(map[netip.AddrPort]struct{}, min(len(addrs), maxOwn))
	for _, a := range addrs[:min(len(addrs), maxOwn)] {
		a = unmap(a)
		g.own[a] = struct{}{}
		if t := g.targets.byAddr[a]; t != nil {
			g.targets.remove(t)
		}
	}
}

// Hint says that src named addr as one where a member may answer. It reports
// whether a hello is on its way or will be sent as the budgets allow; why not is
// counted in Stats.
func (g *Greeter) Hint(now time.Time, src Source, addr netip.AddrPort) bool {
	addr = unmap(addr)
	reason := g.refuse(now, src, addr)
	if reason == "" {
		reason = g.targets.hint(now, src, addr)
	}
	if reason != "" {
		g.stats.Ignored[reason]++
	}
	return reason == ""
}

func (g *Greeter) refuse(now time.Time, src Source, addr netip.AddrPort) string {
	if reason := refuseHint(src, addr); reason != "" {
		return reason
	}
	if _, own := g.own[addr]; own {
		return dropSelf
	}
	if g.me.prefix6.Contains(addr.Addr()) {
		return dropOverlay
	}
	if g.members.knows(now, addr) {
		return dropKnown
	}
	return ""
}

// Lost says that the member cannot be reached any more: its addresses, which
// are otherwise left alone for a while after a meeting, are greeted again when
// hinted.
func (g *Greeter) Lost(node keys.NodePublic) { g.members.forget(node) }

// Kick takes up all addresses anew, as after a change of network. The budgets
// stay as they are.
func (g *Greeter) Kick(now time.Time) {
	g.members.forgetAddresses()
	g.targets.kick(now)
}

// Advance does what is due and returns what came of it and of earlier calls, in
// the order in which it is to be done.
func (g *Greeter) Advance(now time.Time) []Output {
	if !g.record.IsZero() && !g.targets.idle(now) {
		for _, t := range g.targets.due(now) {
			if t.confirm != nil {
				g.sendConfirm(now, t)
			} else {
				g.sendHello(now, t)
			}
		}
		g.targets.schedule(now)
	}
	out := g.outputs
	g.outputs = nil
	return out
}

// Next returns when Advance has something to do, unless Hint or Receive is
// called before; false if never.
func (g *Greeter) Next() (time.Time, bool) {
	if len(g.outputs) > 0 {
		return g.outputAt, true
	}
	if g.record.IsZero() {
		return time.Time{}, false
	}
	return g.targets.wake, !g.targets.wake.IsZero()
}

// Stats returns a copy of the counters.
func (g *Greeter) Stats() Stats { return g.stats.clone() }

func (g *Greeter) emit(now time.Time, o Output) {
	g.outputs = append(g.outputs, o)
	g.outputAt = now
}

// sendHello sends t the next hello, under a transaction id of its own.
func (g *Greeter) sendHello(now time.Time, t *target) {
	if t.sends == 0 || now.Sub(t.last) > answerLifetime {
		g.targets.renew(g.rand, t)
	} else {
		t.tx[15]++
	}
	t.sent(now)
	g.seal(now, t.addr, wire.Hello{Step: wire.StepHello, TxA: t.tx})
}

// sendConfirm sends t the confirm, or gives the exchange up.
func (g *Greeter) sendConfirm(now time.Time, t *target) {
	c := t.confirm
	if c.tries > len(confirmGaps) {
		t.restart(now)
		return
	}
	t.due = now.Add(c.met.RTT + confirmGaps[min(c.tries, len(confirmGaps)-1)])
	c.tries++
	g.seal(now, t.addr, wire.Hello{
		Step: wire.StepConfirm, TxA: c.txA, TxB: c.txB, To: c.met.Node, Observed: t.addr,
	})
}

// seal sends a step of the exchange, filled in with what all steps carry.
func (g *Greeter) seal(now time.Time, to netip.AddrPort, h wire.Hello) {
	h.MaxVersion = wire.MaxVersion
	if h.Step != wire.StepReady {
		h.Signed = g.record
		h.Age = now.Sub(g.recorded)
	}
	b, err := wire.SealHello(h, g.me.helloKey, g.me.node)
	if err != nil {
		// The record was verified and all else is bounded: a defect, which
		// must show, but not end a daemon.
		g.stats.Dropped[dropSeal]++
		return
	}
	g.stats.Sent++
	g.emit(now, Send{To: to, Data: b})
}
