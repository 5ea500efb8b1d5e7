package scenario

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/integration/lab"
)

// status says what NAT the node is behind, in the words of RFC 4787 and in plain ones.
func TestStatusSaysWhichNAT(t *testing.T) {
	for _, nat := range []lab.NAT{lab.FullCone, lab.PortRestricted.HidePort(), lab.Symmetric} {
		t.Run(nat.String(), func(t *testing.T) {
			w := newWorld(t, "embedded")
			home := w.NAT("home", nat)
			a := w.join(home.Host("alice"))
			stunHost := w.Host("stun")
			stunHost.Addresses = 2
			w.build()
			server, err := stunHost.StartSTUN()
			w.must(err)
			defer server.Close()
			// Only another port of one address tells address-dependent mapping from address- and port-dependent.
			otherPort := netip.AddrPortFrom(server.Addr[0].Addr(), lab.STUNPort+1)
			a.up("--no-dht", "--stun", server.Addr[0].String(), "--stun", server.Addr[1].String(), "--stun", otherPort.String())
			var got localapi.NATFamily
			w.eventually(5*time.Second, "the mapping is known", func() bool {
				got = a.status().Self.NAT.IPv4
				return got.Mapping != "" && got.Mapping != "unknown"
			})
			if got.Mapping != string(nat.Mapping) {
				t.Errorf("mapping %s, want %s", got.Mapping, nat.Mapping)
			}
			preserved := nat.Ports == lab.PortsPreserved
			if got.PortPreserved == nil || *got.PortPreserved != preserved {
				t.Errorf("port preserved: %v, want %v", got.PortPreserved, preserved)
			}
			if len(got.Reflexive) == 0 || !strings.HasPrefix(got.Reflexive[0], home.PublicIPv4().String()+":") {
				t.Errorf("seen as %v, want %v", got.Reflexive, home.PublicIPv4())
			}
			if got.Detail == "" {
				t.Error("no plain words")
			}
		})
	}
}

// Where no direct path can be, the peer is not listed as reached, and status says why.
func TestNoDirectPathHasAReason(t *testing.T) {
	w := newWorld(t, "embedded")
	a := w.join(w.NAT("home", lab.Symmetric).Host("alice"))
	b := w.join(w.NAT("office", lab.Symmetric).Host("bob"))
	c := w.join(w.Host("carol")) // whom both can reach, so that they know of each other
	w.build()
	w.flags = []string{"--no-dht", "--no-stun", "--no-lan"}
	const port = "23456"
	c.up("--port", port)
	bootstrap := c.Host.IPv4()[0].String() + ":" + port
	a.up("--bootstrap", bootstrap)
	b.up("--bootstrap", bootstrap)
	a.reach(c, 5*time.Second)
	b.reach(c, 5*time.Second)
	w.eventually(15*time.Second, "the reason is said", func() bool {
		p, found := a.peer(b)
		return found && p.Path != "direct" && p.Reason != ""
	})
	p, _ := a.peer(b)
	t.Logf("%s: %s", p.Path, p.Reason)
	if reply, err := a.Ping(w.within(10*time.Second), "bob"); err == nil && reply.OK {
		t.Errorf("bob answered: %+v", reply)
	}
}
