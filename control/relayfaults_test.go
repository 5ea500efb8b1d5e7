package control

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
	relaywire "github.com/credant/credant/relay/wire"
)

func relayAt(addr string) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), simFront)
}

// A relay that was set up anew has another key. Who names its address alone goes on
// with that; an old key that a member still tells does not stand in the way.
func TestRelayHasAnotherKey(t *testing.T) {
	for name, key := range map[string]bool{"told without key": false, "told with the new key": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			r := w.relay("5.9.9.9")
			old := relaywire.GenerateServer().Public()
			a := w.host("a", "192.168.1.2:20001", dependentNAT("5.1.1.1"))
			p := a.stranger(1, func(r *wire.Record) { r.Relays = []wire.Relay{{Key: old, Addr: relayAt("5.9.9.9")}} })
			a.step()
			w.run(time.Second, nil)
			if key {
				a.knows(r)
			} else {
				a.knowsAs(r, ownRelay, relaywire.ServerPublic{})
			}
			w.run(5*time.Second, nil)
			homes := a.mesh.relays.homes()
			if len(homes) != 1 || homes[0].key != r.key || homes[0].class != ownRelay {
				t.Fatalf("home relays %v, of %d%s", homes, len(a.mesh.relays.all), a.story())
			}
			_ = p
			r.boot(relaywire.GenerateServer()) // while the node runs
			w.run(3*time.Minute, nil)
			homes = a.mesh.relays.homes()
			if key {
				if len(homes) > 0 {
					t.Errorf("home relays %v: they have another key", homes)
				}
				return
			}
			if len(homes) != 1 || homes[0].key != r.key {
				t.Errorf("home relays %v after the relay's key has changed%s", homes, a.story())
			}
			for _, named := range a.mesh.relayRecords() {
				if named.Key != r.key {
					t.Errorf("the record names key %v, want %v", named.Key, r.key)
				}
			}
		})
	}
}

// A member that names other addresses of the user's relay does not keep this node
// from the right one.
func TestMembersDoNotMoveOwnRelay(t *testing.T) {
	w := newWorld(t, 1)
	r := w.relay("5.9.9.9")
	r.off = true
	a := w.host("a", "192.168.1.2:20001", dependentNAT("5.1.1.1"))
	a.knows(r)
	w.run(10*time.Second, nil)
	for i := range 3 {
		a.stranger(i, func(rec *wire.Record) {
			for j := range wire.MaxRelays {
				rec.Relays = append(rec.Relays, wire.Relay{Key: r.key, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{7, 7, byte(i), byte(j)}), 53)})
			}
			rec.Relays[0].Addr = netip.MustParseAddrPort("10.9.8.7:3478")
		})
	}
	a.step()
	w.run(time.Minute, nil)
	r.off = false
	if took, ok := w.run(2*time.Minute, func() bool { return len(a.mesh.relays.homes()) == 1 }); !ok {
		t.Errorf("not used after %v: asked at %v", took, a.mesh.relays.all[0].addrs)
	}
	for _, s := range a.mesh.relays.all {
		for _, addr := range s.addrs {
			if addr.Addr().IsPrivate() {
				t.Errorf("a member made this node ask at %v", addr)
			}
		}
	}
}

// However many relays members name that are not there, few datagrams go out for
// them, and the machines come to rest.
func TestBogusRelaysOfMembers(t *testing.T) {
	w := newWorld(t, 1)
	r := w.relay("5.9.9.9")
	a := w.host("a", "5.1.1.1:20001", nil)
	a.knows(r)
	w.run(5*time.Second, nil)
	for i := range 100 {
		a.stranger(i, func(rec *wire.Record) {
			rec.Candidates = nil
			for j := range wire.MaxRelays {
				rec.Relays = append(rec.Relays, wire.Relay{
					Key: relaywire.GenerateServer().Public(), Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{7, byte(j), byte(i >> 8), byte(i)}), 3478),
				})
			}
		})
	}
	asks := 0
	a.spy = func(to netip.AddrPort, b []byte) {
		if to.Addr().As4()[0] == 7 {
			asks++
		}
	}
	a.steps = 0
	a.step()
	w.run(time.Minute, nil)
	if asks > 400 {
		t.Errorf("%d datagrams to relays that are not there in a minute", asks)
	}
	if a.steps > 5000 {
		t.Errorf("%d steps in a minute", a.steps)
	}
	began := asks
	w.run(10*time.Minute, nil)
	t.Logf("%d asks in the first minute, %d in ten more; %d steps; %d relays", began, asks-began, a.steps, len(a.mesh.relays.all))
	if asks-began > 4000 {
		t.Errorf("%d datagrams to relays that are not there in ten minutes", asks-began)
	}
	for _, p := range a.mesh.peers {
		for s := range p.relayed {
			if !a.mesh.relays.has(s) {
				t.Error("an allocation of a forgotten relay is kept")
			}
		}
	}
}

func (r *relays) has(s *relayServer) bool {
	for _, o := range r.all {
		if o == s {
			return true
		}
	}
	return false
}

// A relay with another key than the one that was given is not used, and the user is
// told.
func TestAnotherKeyIsTold(t *testing.T) {
	w := newWorld(t, 1)
	r := w.relay("5.9.9.9")
	a := w.host("a", "192.168.1.2:20001", dependentNAT("5.1.1.1"))
	a.knowsAs(r, ownRelay, relaywire.GenerateServer().Public())
	w.run(10*time.Second, nil)
	relays := a.mesh.statusRelays()
	if len(relays) != 1 || relays[0].State != "down" || !strings.Contains(relays[0].LastError, "another key") {
		t.Errorf("status %+v", relays)
	}
}

// A relay that serves other networks only says so, and one that serves this network
// is used instead, though it is not the user's.
func TestRelayForOthers(t *testing.T) {
	w := newWorld(t, 1)
	r1, r2 := w.relay("5.9.9.9"), w.relay("5.8.8.8")
	identity := relaywire.GenerateServer()
	r1.allow = []keys.NetworkID{testNetworkKey(t, "two").ID()}
	r1.boot(identity)
	a := w.host("a", "192.168.1.2:20001", dependentNAT("5.1.1.1"))
	b := w.host("b", "192.168.2.2:20002", dependentNAT("5.2.2.2"))
	for _, h := range w.hosts {
		h.knows(r1)
		h.knowsAs(r2, strangerRelay, relaywire.ServerPublic{})
	}
	if took, ok := w.run(time.Minute, func() bool { return connected(a, b) }); !ok || took > 12*time.Second {
		t.Errorf("connected %v after %v%s", ok, took, a.story())
	}
	for _, s := range a.mesh.statusRelays() {
		if s.Class == "own" && !strings.Contains(s.LastError, "--allow") {
			t.Errorf("status %+v", s)
		}
	}
	for _, named := range a.mesh.relayRecords() {
		if named.Key == r1.key {
			t.Error("the record names a relay that does not serve this network")
		}
	}
	a.steps, b.steps = 0, 0
	w.run(20*time.Minute, nil)
	if n := a.steps + b.steps; n > 20*60*20 {
		t.Errorf("%d steps in 20 minutes", n)
	}
	if !connected(a, b) {
		t.Errorf("connected %v%s", connected(a, b), a.story())
	}
}
