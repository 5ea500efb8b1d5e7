package scenario

import (
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/integration/lab"
)

// A router that maps ports is asked for one: it forwards to the node, a peer behind a NAT that takes another port for
// each destination reaches the node there, the mapping outlives its lifetime, and it is gone after down.
func TestRouterMapsThePort(t *testing.T) {
	t.Parallel() // most of it is waiting
	w := newWorld(t, "embedded")
	home := w.NAT("home", lab.PortRestricted.HidePort())
	home.Gateway = true
	a := w.join(home.Host("alice"))
	b := w.join(w.NAT("office", lab.Symmetric).Host("bob"))
	c := w.join(w.Host("carol")) // whom both can reach, so that they know of each other
	w.build()
	const lifetime = time.Minute // renewed every half
	gateway, err := home.StartGateway(w.within(30*time.Second), lab.GatewayConfig{MaxLifetime: lifetime})
	w.must(err)
	w.flags = []string{"--no-dht", "--no-stun", "--no-lan", "--no-spray"} // no other way to be direct
	const port = "23456"
	c.up("--port", port)
	bootstrap := c.Host.IPv4()[0].String() + ":" + port
	inner := netip.AddrPortFrom(a.Host.IPv4()[0], a.up("--bootstrap", bootstrap).Port)
	mapped := func() bool {
		ok, err := gateway.Mapped(w.within(30*time.Second), inner)
		w.must(err)
		return ok
	}
	w.eventually(30*time.Second, "the router forwards the port", mapped)
	w.eventually(30*time.Second, "status says so", func() bool {
		m := a.status().Self.PortMapping
		return m != nil && len(m.Mappings) == 1 && m.Mappings[0].Usable && m.Detail != ""
	})
	at := a.status().Self.PortMapping.Mappings[0].External
	t.Logf("%s: %s", a.status().Self.PortMapping.Mappings[0].Protocol, a.status().Self.PortMapping.Detail)

	b.up("--bootstrap", bootstrap)
	a.reach(b, 30*time.Second)
	w.eventually(30*time.Second, "bob reaches alice at the mapped port", func() bool {
		p, found := b.peer(a)
		return found && p.Path == "direct" && p.Endpoint == at
	})

	granted := time.Now()
	for time.Since(granted) < lifetime+lifetime/4 {
		if !mapped() {
			t.Fatalf("the mapping is gone after %v", time.Since(granted))
		}
		time.Sleep(time.Second)
	}
	if got := a.status().Self.PortMapping.Mappings; len(got) != 1 || got[0].External != at {
		t.Errorf("after a renewal: %+v, want %s as before", got, at)
	}
	a.down()
	if mapped() {
		t.Error("the router still forwards after down")
	}
}
