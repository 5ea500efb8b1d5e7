package control

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/relay/client"
	relaywire "github.com/credant/credant/relay/wire"
)

// One relay that is told in several ways is one relay.
func TestRelayNamedTwice(t *testing.T) {
	for order := range 4 {
		w := newWorld(t, uint64(order))
		r := w.relay("5.9.9.9")
		a := w.host("a", "192.168.1.2:20001", dependentNAT("5.1.1.1"))
		b := w.host("b", "192.168.2.2:20002", dependentNAT("5.2.2.2"))
		named := []func(){
			func() { a.knows(r) },
			func() { a.knowsAs(r, ownRelay, relaywire.ServerPublic{}) },
			func() { a.knowsAs(r, memberRelay, r.key) },
			func() { a.knowsAs(r, networkRelay, relaywire.ServerPublic{}) },
		}
		for i := range named {
			named[(i+order)%len(named)]()
			w.run(time.Duration(w.rng.IntN(60))*time.Millisecond, nil)
		}
		b.knows(r)
		w.run(10*time.Second, nil)
		for _, again := range named {
			again()
			w.run(time.Second, nil)
		}
		if got := a.mesh.statusRelays(); len(got) != 1 || got[0].Class != "own" || !got[0].Home || got[0].State != "up" || got[0].Members != 1 {
			t.Errorf("order %d: relays %+v", order, got)
		}
		if !connected(a, b) {
			t.Errorf("order %d: not connected%s", order, a.story())
		}
	}
}

// A member that names other relays all the time makes others ask at few of them.
func TestRelaysOfMembersChange(t *testing.T) {
	w := newWorld(t, 1)
	a := w.host("a", "5.1.1.1:20001", nil)
	asks := 0
	a.spy = func(to netip.AddrPort, _ []byte) {
		if to.Addr().As4()[0] == 7 {
			asks++
		}
	}
	for i := range 600 {
		a.stranger(i, func(rec *wire.Record) {
			rec.Candidates = nil
			for j := range wire.MaxRelays {
				rec.Relays = append(rec.Relays, wire.Relay{
					Key: relaywire.GenerateServer().Public(), Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{7, byte(j), byte(i >> 8), byte(i)}), 3478),
				})
			}
		})
		if i >= 8 {
			for _, p := range a.mesh.peers {
				a.mesh.forget(w.now, p)
				break
			}
		}
		a.step()
		w.run(time.Second, nil)
	}
	t.Logf("%d asks in ten minutes, %d relays", asks, len(a.mesh.relays.all))
	if asks > 1500 {
		t.Errorf("%d asks in ten minutes", asks)
	}
}

// Of many relays that nobody but the DHT told two nodes of, in any order and not all
// to both, they come to use one that both are registered with.
func TestStrangersAgree(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed)
		var relays []*simRelay
		for i := range 14 {
			r := w.relay(fmt.Sprintf("5.9.%d.9", i+1))
			r.off = i%5 == 4
			relays = append(relays, r)
		}
		a := w.host("a", "192.168.1.2:20001", dependentNAT("5.1.1.1"))
		b := w.host("b", "192.168.2.2:20002", dependentNAT("5.2.2.2"))
		for _, h := range w.hosts {
			var named []*simRelay
			for _, r := range relays {
				if w.rng.Float64() < 0.85 {
					named = append(named, r)
				}
			}
			var tell func()
			tell = func() {
				w.rng.Shuffle(len(named), func(i, j int) { named[i], named[j] = named[j], named[i] })
				for _, r := range named[:len(named)*2/3] {
					h.mesh.addRelay(w.now, strangerRelay, relaywire.ServerPublic{}, r.front())
				}
				h.step()
				w.after(5*time.Second, tell)
			}
			w.after(time.Duration(w.rng.IntN(3000))*time.Millisecond, tell)
		}
		if took, ok := w.run(90*time.Second, func() bool { return connected(a, b) }); !ok {
			t.Errorf("seed %d: not connected after %v: %s | %s", seed, took, homesOf(a), homesOf(b))
		}
	}
}

// Nodes that have many relays in common and are near to different ones meet.
func TestDistantNodesShareARelay(t *testing.T) {
	w := newWorld(t, 1)
	a := w.host("a", "192.168.1.2:20001", dependentNAT("5.1.1.1"))
	b := w.host("b", "192.168.2.2:20002", dependentNAT("5.2.2.2"))
	for i := range 6 {
		r := w.relay(fmt.Sprintf("5.9.%d.9", i+1))
		for j, h := range w.hosts {
			h.knows(r)
			s := h.mesh.relays.byKey(r.key)
			w.after(100*time.Millisecond, func() { // as measured
				s.rtt = []time.Duration{10 * time.Millisecond, 200 * time.Millisecond}[(i/3+j)%2]
				h.mesh.relays.dirty = true
				h.step()
			})
		}
	}
	if took, ok := w.run(20*time.Second, func() bool { return connected(a, b) }); !ok || took > 2*time.Second {
		t.Errorf("connected %v after %v: %s | %s", ok, took, homesOf(a), homesOf(b))
	}
}

func homesOf(h *simHost) (text string) {
	for _, s := range h.mesh.relays.homes() {
		text += s.name() + " "
	}
	return text
}

// A relay that is no own one and says something else of this node's address each time
// does not make it publish a record each time.
func TestRelayLiesOfAddresses(t *testing.T) {
	w := newWorld(t, 1)
	r := w.relay("5.9.9.9")
	a := w.host("a", "192.168.1.2:20001", newNAT("5.1.1.1"))
	a.knowsAs(r, memberRelay, r.key)
	w.run(10*time.Second, nil)
	s := a.mesh.relays.all[0]
	before := a.mesh.publisher.count
	for i := range 600 {
		a.mesh.relayUp(w.now, s, client.Up{Key: r.key, Addr: r.front(), Observed: netip.AddrPortFrom(netip.AddrFrom4([4]byte{7, 7, byte(i >> 8), byte(i)}), 99)})
		a.step()
		w.run(time.Second, nil)
	}
	if n := a.mesh.publisher.count - before; n > 2*(askBurst+60) {
		t.Errorf("%d records in ten minutes", n)
	}
}
