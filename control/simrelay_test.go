package control

import (
	"net/netip"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay"
	relaywire "github.com/credant/credant/relay/wire"
)

// simRelay is a machine of the simulated internet that runs the relay's own
// engine, and forwards by its flows.
type simRelay struct {
	w      *world
	addr   netip.Addr
	addr6  netip.Addr    // zero: none
	slow   time.Duration // what it takes longer than others to answer and to forward
	key    relaywire.ServerPublic
	server *relay.Server
	open   map[uint16]bool
	flows  map[relay.FlowKey]relay.Flow
	off    bool
	allow  []keys.NetworkID
	woken  time.Time
	// forwarded counts datagrams.
	forwarded int
	// mischief, where set, delivers a datagram as a hostile relay does.
	mischief func(deliver func())
}

const simFront = 3478

func (w *world) relay(addr string) *simRelay {
	identity := relaywire.GenerateServer()
	r := &simRelay{w: w, addr: netip.MustParseAddr(addr), key: identity.Public()}
	r.boot(identity)
	w.relays = append(w.relays, r)
	return r
}

// boot starts the relay, for the first time or without any memory of before.
func (r *simRelay) boot(identity relaywire.ServerPrivate) {
	r.off = false
	r.open, r.flows = map[uint16]bool{}, map[relay.FlowKey]relay.Flow{}
	r.server = relay.New(relay.Config{Identity: identity, Locals: r.locals(), Allow: r.allow})
	r.key = identity.Public()
	r.step()
}

func (r *simRelay) locals() []netip.Addr {
	if r.addr6.IsValid() {
		return []netip.Addr{r.addr, r.addr6}
	}
	return []netip.Addr{r.addr}
}

func (r *simRelay) front() netip.AddrPort { return netip.AddrPortFrom(r.addr, simFront) }

func (r *simRelay) take(from, at netip.AddrPort, what any) {
	now := r.w.now
	switch b, ours := what.([]byte); {
	case r.off:
		return
	case ours && relaywire.IsRelay(b):
		if at.Port() == simFront || r.open[at.Port()] {
			r.server.Receive(now, at, from, b)
		}
	default:
		f, ok := r.flows[relay.FlowKey{At: at, Source: from}]
		if !ok {
			if r.open[at.Port()] {
				if !ours {
					b = make([]byte, 32) // as long as WireGuard's shortest
					b[0] = 4
				}
				r.server.Unknown(now, at, from, b)
			}
			break
		}
		r.forwarded++
		r.server.Counted(now, f.FlowKey, 1, 100)
		deliver := func() { r.w.arrive(f.From, f.To, what) }
		if r.mischief != nil {
			r.mischief(deliver)
		} else {
			r.w.after(r.w.latency+r.slow, deliver)
		}
	}
	r.step()
}

func (r *simRelay) step() {
	for _, o := range r.server.Advance(r.w.now) {
		switch o := o.(type) {
		case relay.Send:
			r.w.after(r.w.latency+r.slow, func() { r.w.arrive(o.From, o.To, o.Data) })
		case relay.OpenPort:
			r.open[o.Port] = true
		case relay.ClosePort:
			delete(r.open, o.Port)
		case relay.Install:
			r.flows[o.FlowKey] = o.Flow
		case relay.Remove:
			delete(r.flows, o.FlowKey)
		}
	}
	next, ok := r.server.Next()
	if !ok || r.woken.After(r.w.now) && !next.Before(r.woken) {
		return
	}
	r.woken = next
	server := r.server
	r.w.after(max(0, next.Sub(r.w.now)), func() {
		if r.server == server && !r.off {
			r.step()
		}
	})
}
