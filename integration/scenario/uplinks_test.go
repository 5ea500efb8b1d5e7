package scenario

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/integration/lab"
)

// A dual is a pair in mid-flow, alice of which has two uplinks behind two NATs.
type dual struct {
	*mid
	cable, radio *lab.Router // alice's routes prefer the cable
	second       *lab.Uplink // to radio
}

func newDual(t *testing.T, backend string, ipv6 bool) *dual {
	t.Helper()
	d := &dual{mid: &mid{world: newWorld(t, backend)}}
	d.cable, d.radio = d.NAT("cable", lab.PortRestricted.HidePort()), d.NAT("radio", lab.PortRestricted.HidePort())
	d.office = d.NAT("office", lab.PortRestricted.HidePort())
	d.cable.IPv6, d.radio.IPv6, d.office.IPv6 = ipv6, ipv6, ipv6
	alice := d.cable.Host("alice")
	d.second = alice.AddUplink(d.radio)
	d.a, d.b = d.join(alice), d.join(d.office.Host("bob"))
	stun := d.Lab.Host("stun")
	stun.Addresses = 2
	dht := d.addDHT()
	d.build()
	d.flags = []string{"--no-lan"}
	d.startSTUN(stun)
	d.startDHT(dht)
	d.a.up()
	d.b.up()
	d.b.reach(d.a, 20*time.Second)
	d.eventually(30*time.Second, "the path is direct", func() bool {
		there, _ := d.a.peer(d.b)
		back, _ := d.b.peer(d.a)
		return there.Path == "direct" && back.Path == "direct"
	})
	return d
}

// by is the router that bob's packets to alice go to, nil while he knows of none.
func (d *dual) by() *lab.Router {
	d.t.Helper()
	p, _ := d.b.peer(d.a)
	if p.Endpoint == "" {
		return nil
	}
	at, err := netip.ParseAddrPort(p.Endpoint)
	d.must(err)
	switch at.Addr() {
	case d.cable.PublicIPv4(), d.a.Host.Uplink.Address6():
		return d.cable
	case d.radio.PublicIPv4(), d.second.Address6():
		return d.radio
	default:
		d.t.Fatalf("alice is reached at %v", at)
		return nil
	}
}

// forward has a router do something to all that it forwards, in the words of nft.
func (d *dual) forward(r *lab.Router, rule string) {
	d.t.Helper()
	result, err := r.Run(d.within(10*time.Second), "nft",
		"table inet trouble {\n chain forward {\n type filter hook forward priority -10\n "+rule+"\n }\n}")
	d.must(err)
	if result.Code != 0 {
		d.t.Fatalf("nft on %s: %s", r.Name, result.Output)
	}
}

func (d *dual) other(r *lab.Router) *lab.Router {
	if r == d.cable {
		return d.radio
	}
	return d.cable
}

// One of two uplinks goes dead in mid-flow, and nobody is told: the flow goes on over the other.
func TestDeadUplink(t *testing.T)       { deadUplink(t, "embedded") }
func TestKernelDeadUplink(t *testing.T) { deadUplink(t, "kernel") }

func deadUplink(t *testing.T, backend string) {
	for _, c := range []struct {
		name           string
		receives, ipv6 bool
	}{
		{"alice sends", false, false},
		{"alice receives", true, false},
		{"alice sends by IPv6", false, true},
		{"alice receives by IPv6", true, true},
	} {
		if backend == "kernel" && c.receives == c.ipv6 {
			continue // each takes a minute there
		}
		t.Run(c.name, func(t *testing.T) {
			if backend == "embedded" {
				t.Parallel() // most of it is waiting
			}
			soon(t, backAgain, "back", func() time.Duration { return backByOther(t, backend, c.receives, c.ipv6) })
		})
	}
}

// backByOther is how soon a flow is back after the uplink that it took is dead.
func backByOther(t *testing.T, backend string, receives, ipv6 bool) time.Duration {
	d := newDual(t, backend, ipv6)
	from, to := d.a, d.b
	if receives {
		from, to = d.b, d.a
	}
	s, err := lab.StartStream(from.Host.Node, from.overlay(), to.Host.Node, to.overlay(), 50)
	d.must(err)
	time.Sleep(6 * time.Second)
	was := d.by()
	at := s.Elapsed()
	d.forward(was, "drop")
	d.eventually(patience, "alice is reached by the other uplink", func() bool { return d.by() == d.other(was) })
	time.Sleep(2 * time.Second)
	back := d.backAfter(s, at)
	if now := d.by(); now != d.other(was) {
		t.Errorf("alice is still reached by %s", was.Name)
	}
	// The first way that works may be of the other family.
	d.eventually(patience, "alice reaches bob by the better family", func() bool {
		p, _ := d.a.peer(d.b)
		return ipv6 == netip.MustParseAddrPort(p.Endpoint).Addr().Is6()
	})
	d.end()
	return back
}

// One of two uplinks loses every tenth packet: while a flow goes on, the other takes its place.
func TestLossyUplink(t *testing.T) {
	t.Parallel() // most of it is waiting
	d := newDual(t, "embedded", false)
	s := d.flow()
	was := d.by()
	d.forward(was, "numgen random mod 10 == 0 drop")
	took := d.eventually(5*time.Minute, "alice is reached by the better uplink", func() bool { return d.by() == d.other(was) })
	time.Sleep(time.Second)
	from := s.Elapsed()
	time.Sleep(5 * time.Second)
	sent, gaps, err := s.Stop()
	d.must(err)
	t.Logf("moved after %v; %d of %d lost", took.Round(time.Second), lab.Lost(gaps), sent)
	// A machine that is busy loses one now and then; the bad uplink loses 25 of these 250.
	late := slices.DeleteFunc(slices.Clone(gaps), func(g lab.Gap) bool { return g.At <= from })
	if n := lab.Lost(late); n > 8 {
		t.Errorf("as much is lost as before: %d, %v", n, late)
	}
}

// A cable of two is pulled at alice's own end: she knows at once.
func TestUplinkPulled(t *testing.T) {
	t.Parallel() // most of it is waiting
	soon(t, time.Second, "back", func() time.Duration {
		d := newDual(t, "embedded", false)
		s := d.flow()
		cut := d.a.Host.Uplink.Cut
		if d.by() == d.radio {
			cut = d.second.Cut
		}
		at := s.Elapsed()
		d.must(cut())
		time.Sleep(5 * time.Second)
		back := d.backAfter(s, at)
		d.end()
		return back
	})
}
