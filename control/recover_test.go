package control

import (
	"net/netip"
	"testing"
	"time"
)

// forget loses every mapping, and begins again at another port.
func (n *simNAT) forget() {
	used := len(n.ports)
	clear(n.ports)
	clear(n.hosts)
	clear(n.open)
	for i := range used { // taken by others
		n.ports[[2]netip.AddrPort{netip.AddrPortFrom(n.public, uint16(i+1))}] = netip.AddrPort{}
	}
}

// change gives the NAT another address: no mapping is left.
func (n *simNAT) change(public string) {
	n.forget()
	n.public = netip.MustParseAddr(public)
}

// flow has one host send another a hundred packets a second, numbered from first.
func (w *world) flow(from, to *simHost, first *int, until time.Time) {
	if w.now.After(until) {
		return
	}
	*first++
	from.device.data(to.device.public, *first)
	w.after(10*time.Millisecond, func() { w.flow(from, to, first, until) })
}

// data sends a packet of the user's in the session there is.
func (d *simDevice) data(peer [32]byte, number int) {
	p := d.peers[peer]
	if p == nil || !p.session {
		return
	}
	p.state.TxBytes += 100
	d.host.w.send(d.host, p.state.Endpoint, wgMessage{kind: "data", from: d.public, number: number})
}

// The receiver's NAT changes its address, forgets a mapping, or both; nothing but
// the other side sends.
func TestReceiverIsFoundAgain(t *testing.T) {
	for name, disturb := range map[string]func(n *simNAT){
		"another address":  func(n *simNAT) { n.change("1.0.0.9") },
		"mapping is lost":  func(n *simNAT) { n.forget() },
		"mapping is stale": func(n *simNAT) { clear(n.open) },
	} {
		for kind, filtered := range map[string]bool{"public": false, "filtered with a relay": true} {
			t.Run(name+", "+kind, func(t *testing.T) {
				w := newWorld(t, 11)
				a := w.host("a", "192.168.1.10:41000", newNAT("1.0.0.1"))
				var nat *simNAT
				addr := "2.0.0.2:42000"
				if filtered {
					nat, addr = newNAT("2.0.0.2"), "192.168.9.10:42000"
				}
				b := w.host("b", addr, nat)
				if filtered {
					r := w.relay("3.0.0.3")
					a.knows(r)
					b.knows(r)
				}
				a.hint(b.public())
				b.hint(a.public())
				direct := func() bool {
					return connected(a, b) && !a.mesh.peers[b.mesh.self.public].viaRelay() && !b.mesh.peers[a.mesh.self.public].viaRelay()
				}
				if _, ok := w.run(30*time.Second, direct); !ok {
					t.Fatal("no direct path")
				}
				w.run(45*time.Second, nil)
				number := 0
				w.flow(b, a, &number, w.now.Add(20*time.Second))
				w.run(8*time.Second, nil)
				disturb(a.nat)
				at, first := w.now, number
				took, ok := w.run(5*time.Second, func() bool {
					for n := range a.device.heard {
						if n > first+5 {
							return true
						}
					}
					return false
				})
				if !ok || took > 1500*time.Millisecond {
					t.Errorf("nothing comes in for %v, want 1.5 s", took)
				}
				// And it stays so.
				mark := number
				w.run(10*time.Second, nil)
				lost := 0
				for n := mark + 1; n < number-50; n++ {
					if !a.device.heard[n] {
						lost++
					}
				}
				if lost > 0 {
					t.Errorf("%d lost after the flow was back, %v after the change", lost, w.now.Sub(at))
				}
			})
		}
	}
}

// A flow that ends costs a check and a packet, not a path and not a restart.
func TestEndOfAFlowIsNoFailure(t *testing.T) {
	w := newWorld(t, 5)
	a := w.host("a", "192.168.1.10:41000", newNAT("1.0.0.1"))
	b := w.host("b", "2.0.0.2:42000", nil)
	a.hint(b.public())
	w.run(time.Minute, nil)
	number := 0
	w.flow(b, a, &number, w.now.Add(10*time.Second))
	w.run(10*time.Second, nil)
	events, sent := len(a.events)+len(b.events), w.sent
	w.run(10*time.Second, nil)
	if got := len(a.events) + len(b.events); got != events {
		t.Errorf("events %v, %v", a.events[len(a.events)-1], b.events)
	}
	if n := w.sent - sent; n > 12 {
		t.Errorf("%d datagrams after the end of a flow", n)
	}
}

// A pair that was in use is looked for as long as an outage may last, and then
// at leisure.
func TestOutageInUse(t *testing.T) {
	w := newWorld(t, 13)
	a := w.host("a", "192.168.1.10:41000", newNAT("1.0.0.1"))
	b := w.host("b", "2.0.0.2:42000", nil)
	a.hint(b.public())
	w.run(time.Minute, nil)
	number := 0
	w.flow(b, a, &number, w.now.Add(time.Hour))
	w.run(8*time.Second, nil)
	w.loss = 1
	w.run(20*time.Second, nil)
	w.loss = 0
	a.nat.change("1.0.0.9") // all that was known is wrong
	first := number
	took, ok := w.run(5*time.Second, func() bool {
		for n := range a.device.heard {
			if n > first+5 {
				return true
			}
		}
		return false
	})
	if !ok || took > 1500*time.Millisecond {
		t.Errorf("nothing comes in for %v after the outage, want 1.5 s", took)
	}
	w.loss = 1
	w.run(insistFor+time.Minute, nil)
	sent := w.sent
	w.run(time.Minute, nil)
	if n := w.sent - sent; n > 120 {
		t.Errorf("%d datagrams in a minute long after the path was lost", n)
	}
}
