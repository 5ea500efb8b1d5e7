package control

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/discovery/wire"
)

func wanting(prefix string) hostOption {
	return func(c *meshConfig, _ *simHost) { c.subnet = netip.MustParsePrefix(prefix) }
}

// Where two users ask for different subnets, the lower key's holds for those who
// come, both are told, and nobody who has settled renumbers.
func TestSubnetsDiffer(t *testing.T) {
	for seed := range uint64(6) {
		w := newWorld(t, seed)
		a := w.host("a", "5.1.1.1:20001", nil, wanting("10.20.0.0/16"))
		b := w.host("b", "5.2.2.2:20002", nil, wanting("10.30.0.0/16"))
		w.run(time.Minute, nil)
		b.hint(a.inner)
		w.run(time.Minute, nil)
		low, high := a, b
		if a.mesh.self.public.Compare(b.mesh.self.public) > 0 {
			low, high = b, a
		}
		if n := high.mesh.notices["subnet"]; !strings.Contains(n, low.name+" asks for") || !strings.Contains(n, "without --subnet") {
			t.Errorf("seed %d: the higher key is told %q", seed, n)
		}
		if n := low.mesh.notices["subnet"]; !strings.Contains(n, high.name+" asks for") {
			t.Errorf("seed %d: the lower key is told %q", seed, n)
		}
		for _, h := range []*simHost{a, b} {
			if own := h.mesh.addressing.own4(); len(own) != 1 || !h.mesh.subnet.wanted.Contains(own[0].addr) {
				t.Errorf("seed %d: %s has renumbered to %v", seed, h.name, own)
			}
		}
		c := w.host("c", "5.3.3.3:20003", nil)
		c.hint(a.inner)
		w.run(time.Minute, nil)
		if own := c.mesh.addressing.own4(); len(own) != 1 || !low.mesh.subnet.wanted.Contains(own[0].addr) {
			t.Errorf("seed %d: a newcomer has %v, want one in %s", seed, own, low.mesh.subnet.wanted)
		}
		if n := c.mesh.notices["subnet"]; n != "" {
			t.Errorf("seed %d: the newcomer is told %q", seed, n)
		}
		high.leave()
		w.run(time.Minute, nil)
		if n := low.mesh.notices["subnet"]; n != "" {
			t.Errorf("seed %d: one is left and is told %q", seed, n)
		}
	}
}

// A node that has settled elsewhere is told that the network has moved, and moves
// at its next start.
func TestSubnetComesLate(t *testing.T) {
	w := newWorld(t, 1)
	a := w.host("a", "5.1.1.1:20001", nil)
	w.run(time.Minute, nil)
	b := w.host("b", "5.2.2.2:20002", nil, wanting("10.20.0.0/16"))
	b.hint(a.inner)
	w.run(time.Minute, nil)
	if own := a.mesh.addressing.own4(); len(own) != 1 || !w.network.Prefix4().Contains(own[0].addr) {
		t.Errorf("it has moved by itself to %v", own)
	}
	if n := a.mesh.notices["subnet"]; !strings.Contains(n, "start this node again to move there") {
		t.Errorf("it is told %q", n)
	}
	claimed := a.mesh.subnet.claimed
	a.boot(func(c *meshConfig, _ *simHost) { c.memory.Subnet = claimed })
	if own := a.mesh.addressing.own4(); len(own) != 1 || own[0].addr.As4()[1] != 20 {
		t.Errorf("started again, it has %v", own)
	}
}

// A member can have the others use a private prefix, and none of the internet's
// or of this host.
func TestHostileSubnets(t *testing.T) {
	w := newWorld(t, 1)
	a := w.host("a", "5.1.1.1:20001", nil, func(c *meshConfig, _ *simHost) {
		c.clash = func(p netip.Prefix) (string, bool) {
			return "192.168.1.2/24 of eth0", p.Overlaps(netip.MustParsePrefix("192.168.1.0/24"))
		}
	})
	for i, bad := range []string{"8.0.0.0/8", "127.0.0.0/8", "0.0.0.0/8", "224.0.0.0/8", "169.254.0.0/16", "10.0.0.0/30", "172.0.0.0/8"} {
		a.stranger(i, func(r *wire.Record) { r.Subnet = netip.MustParsePrefix(bad) })
		a.step()
		if got := a.mesh.subnet.prefix(); got != w.network.Prefix4() {
			t.Errorf("a claim of %s is taken: %s", bad, got)
		}
	}
	a.stranger(100, func(r *wire.Record) { r.Subnet = netip.MustParsePrefix("192.168.0.0/16") })
	a.step()
	if got := a.mesh.addressing; got.prefix.IsValid() || len(got.own4()) != 0 {
		t.Errorf("it uses %s over its own network", got.prefix)
	}
	if n := a.mesh.notices["clash"]; !strings.Contains(n, "eth0") || !strings.Contains(n, "IPv6 only") {
		t.Errorf("it is told %q", n)
	}
}

// A network of the host that is in the way keeps IPv4 away for as long as it is
// there, and is only told of where it comes later.
func TestClashComesAndGoes(t *testing.T) {
	w := newWorld(t, 1)
	clashes := true
	a := w.host("a", "5.1.1.1:20001", nil, func(c *meshConfig, _ *simHost) {
		c.clash = func(netip.Prefix) (string, bool) { return "a route to 10.0.0.0/8 through eth0", clashes }
		c.fixed = []netip.Addr{w.pick(5, false), w.pick(5, true)}
	})
	w.run(time.Minute, nil)
	if own := a.mesh.addressing.own; len(own) != 1 || own[0].addr.Is4() || !own[0].settled {
		t.Errorf("with the clash it has %v, want the IPv6 address", own)
	}
	if n := a.mesh.notices["clash"]; !strings.Contains(n, "IPv6 only") {
		t.Errorf("it is told %q", n)
	}
	a.mesh.clashReviewed(w.now) // nothing has changed
	clashes = false
	a.mesh.clashReviewed(w.now)
	a.step()
	if own := a.mesh.addressing.own; len(own) != 2 || !own[0].addr.Is4() || !own[1].settled {
		t.Errorf("without the clash it has %v, want both addresses", own)
	}
	if n := a.mesh.notices["clash"]; n != "" {
		t.Errorf("it is still told %q", n)
	}
	if d := a.mesh.desired(); len(d.Addresses) != 3 || len(d.Routes) != 2 {
		t.Errorf("the device gets %v, %v", d.Addresses, d.Routes)
	}
	w.run(time.Minute, nil)
	clashes = true
	a.mesh.clashReviewed(w.now)
	if n := a.mesh.notices["clash"]; len(a.mesh.addressing.own) != 2 || !strings.Contains(n, "has begun to use") {
		t.Errorf("with a late clash it has %v and is told %q", a.mesh.addressing.own, n)
	}
}
