package scenario

import (
	"net/netip"
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

func newDual(t *testing.T, backend string) *dual {
	t.Helper()
	if backend == "embedded" {
		t.Parallel() // most of it is waiting
	}
	d := &dual{mid: &mid{world: newWorld(t, backend)}}
	d.cable, d.radio = d.NAT("cable", lab.PortRestricted.HidePort()), d.NAT("radio", lab.PortRestricted.HidePort())
	d.office = d.NAT("office", lab.PortRestricted.HidePort())
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

// by is the router that bob's packets to alice go to.
func (d *dual) by() *lab.Router {
	d.t.Helper()
	p, _ := d.b.peer(d.a)
	at, err := netip.ParseAddrPort(p.Endpoint)
	d.must(err)
	switch at.Addr() {
	case d.cable.PublicIPv4():
		return d.cable
	case d.radio.PublicIPv4():
		return d.radio
	default:
		d.t.Fatalf("alice is reached at %v", at)
		return nil
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
	for _, receives := range []bool{true, false} {
		name := "alice sends"
		if receives {
			name = "alice receives"
		}
		t.Run(name, func(t *testing.T) {
			d := newDual(t, backend)
			from, to := d.a, d.b
			if receives {
				from, to = d.b, d.a
			}
			s, err := lab.StartStream(from.Host.Node, from.overlay(), to.Host.Node, to.overlay(), 100)
			d.must(err)
			time.Sleep(scaled(6 * time.Second))
			was := d.by()
			at := s.Elapsed()
			d.must(d.Sever(was.PublicIPv4(), d.office.PublicIPv4()))
			time.Sleep(scaled(8 * time.Second))
			if back := d.backAfter(s, at); back > scaled(backAgain) {
				t.Errorf("back after %v, want %v", back, backAgain)
			}
			if now := d.by(); now != d.other(was) {
				t.Errorf("alice is still reached by %s", now.Name)
			}
		})
	}
}

// A cable of two is pulled at alice's own end: she knows at once.
func TestUplinkPulled(t *testing.T) {
	d := newDual(t, "embedded")
	s := d.flow()
	cut := d.a.Host.Uplink.Cut
	if d.by() == d.radio {
		cut = d.second.Cut
	}
	at := s.Elapsed()
	d.must(cut())
	time.Sleep(5 * time.Second)
	if back := d.backAfter(s, at); back > time.Second {
		t.Errorf("back after %v", back)
	}
}
