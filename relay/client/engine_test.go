package client

import (
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/relay"
	"github.com/credant/credant/relay/wire"
)

// engine is the real relay in place of the model.
type engine struct {
	*relay.Server
	w     *world
	next  time.Time // when it was last promised to be advanced
	flows map[relay.FlowKey]relay.Flow
	drops map[string]int
}

func (w *world) runEngine() *engine {
	e := &engine{
		Server: relay.New(relay.Config{Identity: w.relay.identity, Locals: []netip.Addr{main4.Addr(), main6.Addr()}, Rand: chaos{w.rng}}),
		w:      w, flows: map[relay.FlowKey]relay.Flow{}, drops: map[string]int{},
	}
	w.server = e.receive
	e.pump()
	return e
}

func (e *engine) receive(at, from netip.AddrPort, b []byte) {
	if wire.IsRelay(b) {
		if drop := e.Receive(e.w.now, at, from, b); drop != "" {
			e.drops[drop]++
		}
	} else if f, ok := e.flows[relay.FlowKey{At: at, Source: from}]; ok {
		e.Counted(e.w.now, f.FlowKey, 1, uint64(len(b)))
		e.w.carry(func() { e.w.arrive(f.From, f.To, b) })
	} else {
		e.Unknown(e.w.now, at, from, b)
	}
	e.pump()
}

func (e *engine) pump() {
	for _, o := range e.Advance(e.w.now) {
		switch o := o.(type) {
		case relay.Send:
			if !e.w.dead[o.From.Addr()] {
				e.w.carry(func() { e.w.arrive(o.From, o.To, o.Data) })
			}
		case relay.Install:
			e.flows[o.FlowKey] = o.Flow
		case relay.Remove:
			delete(e.flows, o.FlowKey)
		}
	}
	if next, ok := e.Next(); ok && (e.next.IsZero() || !e.next.After(e.w.now) || next.Before(e.next)) {
		e.next = next
		e.w.at(next.Sub(e.w.now), e.pump)
	}
}

// The engine and its client understand each other for an hour, and nothing is
// dropped on the way.
func TestEngine(t *testing.T) {
	w := newWorld(t, 1)
	e := w.runEngine()
	a, b, c := w.add(main4, main6), w.add(main4), w.add(main4)
	for i, h := range w.hosts {
		h.client.SetBlob(w.now, []byte{byte(i)})
		h.setPeers(w.hosts...)
	}
	took := w.until(time.Second, "all bound", func() bool {
		return a.ready(b) && a.ready(c) && b.ready(a) && b.ready(c) && c.ready(a) && c.ready(b)
	})
	if took > 5*rtt {
		t.Errorf("all bound after %v", took)
	}
	if a.port4(b).Port() != 20000 || a.port4(c).Port() != 20001 {
		t.Errorf("ports %v, %v, want the lowest two", a.port4(b), a.port4(c))
	}
	w.run(time.Hour)
	for _, h := range w.hosts {
		if len(told[Found](h)) != 2 || len(told[Registered](h)) != 1 || len(told[Up](h)) != 1 ||
			len(told[Lost](h)) != 0 || len(told[Gone](h)) != 0 || len(told[Bound](h)) > 4 || !h.ready(w.hosts[0]) && h != a {
			t.Errorf("%s was told %+v", h.name, h.said)
		}
		if len(h.drops) != 0 {
			t.Errorf("%s dropped %v", h.name, h.drops)
		}
	}
	if len(e.drops) != 0 {
		t.Errorf("the relay dropped %v", e.drops)
	}
	if s := e.Stats(); s.Registrations != 3 || s.Bound != 3 || s.Allocations != 3 {
		t.Errorf("%+v", s)
	}
	for _, h := range w.hosts {
		h.client.SetBlob(w.now, nil)
		h.setPeers()
	}
	w.run(time.Second)
	if s := e.Stats(); s.Registrations != 0 || s.Bound != 0 || s.Allocations != 0 {
		t.Errorf("after leaving: %+v", s)
	}
}
