package control

import (
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch"
)

func TestKeepaliveForLifetime(t *testing.T) {
	for lifetime, want := range map[time.Duration]time.Duration{
		0:                 keepalive,
		5 * time.Second:   keepaliveLeast,
		15 * time.Second:  12 * time.Second,
		30 * time.Second:  24 * time.Second,
		60 * time.Second:  keepalive,
		600 * time.Second: keepalive,
	} {
		if got := keepaliveFor(lifetime); got != want {
			t.Errorf("%v: every %v, want %v", lifetime, got, want)
		}
	}
	for i, want := range []time.Duration{20 * time.Second, 15 * time.Second, 10 * time.Second} {
		if got := keepaliveFor(experience[i]); got != want {
			t.Errorf("experience %d: every %v, want %v", i, got, want)
		}
	}
}

func TestExperienceIsOfANetwork(t *testing.T) {
	var l lifetimes
	if l.lost(start, "home") {
		t.Error("one loss is enough")
	}
	if l.lost(start.Add(idleWithin+time.Minute), "home") {
		t.Error("losses of long ago count")
	}
	now := start.Add(idleWithin + 2*time.Minute)
	if !l.lost(now, "home") || l.of("home") != experience[0] || l.of("office") != 0 {
		t.Errorf("known: %v", l.known)
	}
	for range 20 {
		now = now.Add(time.Minute)
		l.lost(now, "home")
	}
	if l.of("home") != experience[2] {
		t.Errorf("after many losses: %v", l.of("home"))
	}
	for i := range 3 * maxNetworks {
		l.lost(now, string(rune('a'+i)))
		l.lost(now, string(rune('a'+i)))
	}
	if len(l.known) > maxNetworks {
		t.Errorf("%d networks", len(l.known))
	}
}

// Two nodes that were found open to the internet need no keepalives for NATs; one
// that was not tested does.
func TestKeepaliveOfOpenNodes(t *testing.T) {
	open := wire.NATBehavior{Mapping: natpunch.EndpointIndependent, Filtering: natpunch.EndpointIndependent, PortPreserved: true}
	there := netip.MustParseAddrPort("2.0.0.2:42000")
	host := func(addr string) []wire.Candidate {
		return []wire.Candidate{{Type: wire.Host, Addr: netip.MustParseAddrPort(addr)}}
	}
	for name, tt := range map[string]struct {
		own, theirs           wire.NATBehavior
		candidates, candidate []wire.Candidate
		want                  time.Duration
	}{
		"both open":    {open, open, host("1.0.0.1:41000"), host("2.0.0.2:42000"), keepaliveOpen},
		"own unknown":  {wire.NATBehavior{}, open, host("1.0.0.1:41000"), host("2.0.0.2:42000"), keepalive},
		"its filtered": {open, wire.NATBehavior{Mapping: open.Mapping, Filtering: natpunch.AddressDependent, PortPreserved: true}, host("1.0.0.1:41000"), host("2.0.0.2:42000"), keepalive},
		"private":      {open, open, host("192.168.1.1:41000"), host("2.0.0.2:42000"), keepalive},
		"elsewhere":    {open, open, host("1.0.0.1:41000"), host("2.0.0.3:42000"), keepalive},
		"short": {
			wire.NATBehavior{Lifetime: 30 * time.Second},
			wire.NATBehavior{Lifetime: 15 * time.Second},
			host("1.0.0.1:41000"), host("2.0.0.2:42000"), 12 * time.Second,
		},
	} {
		m := &mesh{}
		m.publisher.record = wire.Record{NAT4: tt.own, Candidates: tt.candidates}
		p := &peer{record: wire.Record{NAT4: tt.theirs, Candidates: tt.candidate}}
		p.path.Addr = there
		if got := m.keepaliveOf(p); got != tt.want {
			t.Errorf("%s: every %v, want %v", name, got, tt.want)
		}
	}
}

// A NAT that forgets sooner than keepalives come is learnt of by what it costs, and
// then both sides keep the path open.
func TestShortLivedMappingIsLearnt(t *testing.T) {
	const worlds = 6 // either may keep the path
	lostOfAll := 0
	for seed := range uint64(worlds) {
		w := newWorld(t, seed)
		nat := newNAT("1.0.0.1")
		nat.lifetime = 20 * time.Second
		a := w.host("a", "192.168.1.10:41000", nat)
		b := w.host("b", "2.0.0.2:42000", nil)
		a.hint(b.public())
		w.run(time.Minute, nil)
		number := 0
		// It is learnt by what is lost, which is a matter of luck: most often ten
		// are enough.
		learnt := func() bool {
			pa, pb := a.mesh.peers[b.mesh.self.public], b.mesh.peers[a.mesh.self.public]
			return pa.every < nat.lifetime && pb.every < nat.lifetime
		}
		for number < 300 && (number < 60 || !learnt()) {
			// The user sends something when nothing has gone for a while.
			w.run(time.Duration(60+w.rng.IntN(30))*time.Second, nil)
			number++
			b.device.data(a.device.public, number)
			w.run(2*time.Second, nil)
		}
		lost := 0
		for range 30 {
			w.run(time.Duration(60+w.rng.IntN(30))*time.Second, nil)
			number++
			b.device.data(a.device.public, number)
			w.run(time.Second, nil)
			if !a.device.heard[number] {
				lost++
			}
		}
		pa, pb := a.mesh.peers[b.mesh.self.public], b.mesh.peers[a.mesh.self.public]
		t.Logf("seed %d: a keeps %v, every %v and %v, %d of 30 lost", seed, a.mesh.keeps(pa), pa.every, pb.every, lost)
		if pa.every > 20*time.Second || pb.every > 20*time.Second {
			t.Errorf("seed %d: every %v and %v", seed, pa.every, pb.every)
		}
		lostOfAll += lost
	}
	if lostOfAll > worlds*3 {
		t.Errorf("%d of %d lost", lostOfAll, worlds*30)
	}
}
