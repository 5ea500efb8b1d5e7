package discovery

import (
	"net/netip"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// Receive takes a datagram of kind hello. It returns the reason to drop it, or
// "" if it was of use. The datagram is not kept.
func (g *Greeter) Receive(now time.Time, from netip.AddrPort, datagram []byte) (reason string) {
	reason = g.receive(now, unmap(from), datagram)
	if reason == "" {
		g.stats.Accepted++
	} else {
		g.stats.Dropped[reason]++
	}
	return reason
}

func (g *Greeter) receive(now time.Time, from netip.AddrPort, datagram []byte) string {
	if g.record.IsZero() {
		return dropNoRecord
	}
	hash := g.seen.hash(from, datagram)
	if g.seen.has(hash) {
		return dropReplay
	}
	h, r, err := wire.OpenHello(datagram, g.me.helloKey, g.me.prefix6)
	if err != nil {
		return wire.DropReason(err)
	}
	g.seen.add(hash)
	if h.Step != wire.StepHello && h.To != g.me.public {
		return dropRecipient
	}
	if g.refuses(h.From) {
		return dropRefused
	}
	switch h.Step {
	case wire.StepHello:
		return g.receiveHello(now, from, h, r)
	case wire.StepReply:
		return g.receiveReply(now, from, h, r)
	case wire.StepConfirm:
		return g.receiveConfirm(now, from, h, r)
	case wire.StepReady:
		return g.receiveReady(now, from, h)
	}
	return wire.DropReason(wire.ErrKind)
}

// receiveHello answers and remembers nothing: whoever sent this may have copied
// it and may not be where it says.
func (g *Greeter) receiveHello(now time.Time, from netip.AddrPort, h wire.Hello, r wire.Record) string {
	if r.Node == g.me.public && r.Probe == g.me.probe {
		if t := g.targets.find(h.TxA); t != nil {
			t.echo()
		}
		return dropSelf
	}
	if !g.replies.take(now, from.Addr()) {
		return dropRateLimit
	}
	g.seal(now, from, wire.Hello{
		Step: wire.StepReply, TxA: h.TxA, TxB: g.jar.issue(now, h.TxA, from, r.Node),
		To: r.Node, Observed: from,
	})
	return ""
}

// receiveReply is where the initiator meets the responder.
func (g *Greeter) receiveReply(now time.Time, from netip.AddrPort, h wire.Hello, r wire.Record) string {
	t := g.targets.find(h.TxA)
	if t == nil {
		return dropTransaction
	}
	if t.confirm != nil {
		return dropDuplicate
	}
	rtt, ok := t.rtt(now, h.TxA)
	if !ok {
		return dropTransaction
	}
	if from != t.addr {
		// A host with several addresses, perhaps, or somebody who wants me to
		// pester a third. It is worth one question of my own.
		g.Hint(now, SourceHello, from)
		return dropAddress
	}
	t.confirm = &confirmation{txA: h.TxA, txB: h.TxB, met: Met{
		Node: r.Node, Record: r, Signed: h.Signed, Age: h.Age, Addr: from, RTT: rtt,
		Observed: h.Observed, Version: wire.Negotiate(wire.MaxVersion, h.MaxVersion),
		Source: t.source, Initiator: true,
	}}
	if r.Node == g.me.public {
		return g.twin(now, t, r.Probe)
	}
	g.sendConfirm(now, t)
	g.targets.wakeAt(t.due)
	g.emit(now, t.confirm.met)
	return ""
}

// twin has met its own node key with a fresh answer. One confirm tells the
// other; there is nothing to start.
func (g *Greeter) twin(now time.Time, t *target, probe keys.ProbePublic) string {
	if probe == g.me.probe {
		t.confirm = nil
		t.echo()
		return dropSelf
	}
	g.sendConfirm(now, t)
	g.targets.remove(t)
	g.targets.refuse(now, t.addr)
	g.members.settle(now, t.addr, g.me.public)
	g.emit(now, Twin{Addr: t.addr, Probe: probe})
	return ""
}

// receiveConfirm is where the responder meets the initiator: the cookie was
// sent to from and nowhere else, to this node and for this hello, and it is new.
func (g *Greeter) receiveConfirm(now time.Time, from netip.AddrPort, h wire.Hello, r wire.Record) string {
	rtt, verdict := g.jar.check(now, h.TxB, h.TxA, from, r.Node)
	if verdict == cookieBad {
		return dropCookie
	}
	if !g.readies.take(now, from.Addr()) {
		return dropRateLimit
	}
	if verdict == cookieGood {
		g.jar.redeem(h.TxB)
		if r.Node == g.me.public {
			g.emit(now, Twin{Addr: from, Probe: r.Probe})
			return ""
		}
		g.emit(now, Met{
			Node: r.Node, Record: r, Signed: h.Signed, Age: h.Age, Addr: from, RTT: rtt,
			Observed: h.Observed, Version: wire.Negotiate(wire.MaxVersion, h.MaxVersion),
			Source: g.answered(now, from, r.Node), Ready: true,
		})
		g.members.confirmed(now, r.Node, r.Probe)
	} else if r.Node == g.me.public {
		return dropDuplicate
	}
	g.seal(now, from, wire.Hello{
		Step: wire.StepReady, TxA: h.TxA, TxB: h.TxB, To: r.Node, Observed: from,
		Starts: g.members.started(now, r.Node, r.Probe),
	})
	return ""
}

// answered ends the own questions at an address whose member came by itself,
// and says who had named the address. A question that has been answered goes on
// to its end, because the other side counts on it.
func (g *Greeter) answered(now time.Time, addr netip.AddrPort, node keys.NodePublic) Source {
	g.members.settle(now, addr, node)
	t := g.targets.byAddr[addr]
	if t == nil {
		return SourceHello
	}
	if t.confirm == nil {
		g.targets.remove(t)
	}
	return t.source
}

// receiveReady ends the exchange.
func (g *Greeter) receiveReady(now time.Time, from netip.AddrPort, h wire.Hello) string {
	t := g.targets.find(h.TxA)
	if t == nil || t.confirm == nil {
		return dropTransaction
	}
	c := t.confirm
	switch {
	case h.TxA != c.txA || h.TxB != c.txB || h.From != c.met.Node:
		return dropTransaction
	case from != t.addr:
		return dropAddress
	}
	g.targets.remove(t)
	g.members.settle(now, from, h.From)
	met := c.met
	met.Observed = h.Observed
	met.Ready = true
	met.StartHandshake = g.members.starts(now, g.me.public, h.From, met.Record.Probe, h.Starts)
	g.emit(now, met)
	return ""
}
