package natpunch

import (
	"net/netip"
	"testing"
	"time"
)

// internet returns a realm with three STUN servers of both families.
func internet(n *simnet) (*realm, []netip.AddrPort) {
	r := n.newRealm(20 * time.Millisecond)
	servers := r.stunServer("198.51.100.1", "2001:db8:0:1::1")
	servers = append(servers, r.stunServer("198.51.100.2", "2001:db8:0:2::1")...)
	servers = append(servers, r.stunServer("203.0.113.3", "2001:db8:0:3::1")...)
	return r, servers
}

// home is a NAT that punching works with, and that filters as most do.
func home(addr string) gateway {
	return gateway{
		addr: netip.MustParseAddr(addr), mapping: EndpointIndependent, filtering: AddressAndPortDependent, preserves: true,
	}
}

// twoHomes returns two nodes behind two NATs, with their reflexive addresses
// known: 41 ms apart, one way.
func twoHomes(t *testing.T) (*simnet, *simNode, *simNode) {
	t.Helper()
	n := newSimnet(1)
	r, servers := internet(n)
	a := newNode(r.inner(home("198.51.100.11")).host(41000, "192.168.1.10"), 1, 24)
	b := newNode(r.inner(home("198.51.100.12")).host(42000, "192.168.2.10"), 2, 24)
	a.learnReflexive(servers)
	b.learnReflexive(servers)
	n.run(time.Second, nil)
	a.setLocal()
	b.setLocal()
	return n, a, b
}
