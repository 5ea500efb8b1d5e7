package natpunch

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch/demux"
)

// The relay runs on the peer's own host, or the peer on the relay's: only the exact
// address with its port tells the two apart.
func TestRelayAndPeerShareAnAddress(t *testing.T) {
	n := newSimnet(1)
	r, servers := internet(n)
	a := newNode(r.inner(unreachable("198.51.100.11")).host(41000, "192.168.1.10"), 1, 24)
	host := r.host(42000, "198.51.100.12")
	relay := host.serve()
	b := newNode(host, 2, 24)
	a.learnReflexive(servers)
	n.run(time.Second, nil)
	a.setLocal()
	meet(a, b, 0, 0)
	relay.allocate(a, b, 0, 0)
	n.run(time.Minute, nil)
	for _, x := range []*simNode{a, b} {
		if s := lastSelect(t, x); s.Path.Kind != Direct {
			t.Errorf("selected %v", x.selects)
		}
	}
	if s := lastSelect(t, a); s.Path.Addr != addr(b) {
		t.Errorf("selected %v", s)
	}
	samePair(t, a, b)

	a.realm.gateway.blocks = func(p simPacket) bool { return p.to == addr(b) || p.from == addr(b) }
	a.agent.CheckConsent(n.now, b.key)
	a.advance()
	n.run(10*time.Second, nil)
	for _, x := range []*simNode{a, b} {
		if s := lastSelect(t, x); s.Path.Kind != Relay || s.Path.Addr != netip.AddrPortFrom(host.addrs[0], 20000) {
			t.Errorf("selected %v", x.selects)
		}
		for _, r := range x.seen {
			if r.Addr.Port() == 20000 {
				t.Errorf("the relay is taken for this node: %v", x.seen)
			}
		}
	}
	samePair(t, a, b)
}

// What is relayed for one peer is no address of another, whoever announces it or
// sends from there.
func TestRelayedAddressIsNobodyElses(t *testing.T) {
	n, a, b := twoPublic(t)
	relayed := netip.MustParseAddrPort("198.51.100.101:20000")
	meet(a, b, 0, 0)
	n.run(time.Minute, nil)
	a.agent.SetRelayed(n.now, b.key, []Relayed{{Addr: relayed}})
	ours, _ := simPairs(a.key, simKey(9), 1)
	m := newMember(t, n, a, 9)
	a.agent.SetPeer(n.now, Peer{Node: m.node, Pair: ours, Candidates: []wire.Candidate{{Type: wire.Host, Addr: relayed}}})
	a.advance()
	n.run(time.Minute, nil)
	if got := len(a.agent.peers[m.node].pairs); got != 0 {
		t.Errorf("%d pairs", got)
	}
	if reason, out := a.sends(relayed, m.ping(nil)); reason != DropSource || len(out) > 0 {
		t.Errorf("dropped %q, sent %v", reason, out)
	}
	// Given up, it is nobody's for a while, and then anybody's.
	a.agent.SetRelayed(n.now, b.key, nil)
	if reason, _ := a.sends(relayed, m.ping(nil)); reason != DropSource {
		t.Errorf("dropped %q", reason)
	}
	if reason, _ := a.sends(relayed, sealedBy(t, b, a)); reason != DropSource {
		t.Errorf("dropped %q", reason)
	}
	n.now = n.now.Add(retiredFor + time.Second)
	if reason, _ := a.sends(relayed, sealedBy(t, b, a)); reason != "" {
		t.Errorf("dropped %q", reason)
	}
	if reason, _ := a.sends(relayed, m.ping(nil)); reason != "" || len(a.agent.relayed) != 0 {
		t.Errorf("dropped %q, known %v", reason, a.agent.relayed)
	}
}

// sealedBy makes a ping of one node's for another.
func sealedBy(t *testing.T, from, to *simNode) []byte {
	t.Helper()
	l := from.agent.peers[to.key]
	l.link.number++
	b, err := sealCheck(&l.pair, check{Type: ping, Number: l.link.number, ID: transactionID{byte(l.link.number)}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRelayedAddressesAreKeptPlain(t *testing.T) {
	n, a, b := twoPublic(t)
	meet(a, b, 0, 0)
	n.run(time.Second, nil)
	mapped := netip.MustParseAddrPort("[::ffff:198.51.100.101]:20000")
	a.agent.SetRelayed(n.now, b.key, []Relayed{{mapped, true}, {plain(mapped), true}, {netip.AddrPort{}, true}})
	c := a.agent.peers[b.key]
	if i := slices.IndexFunc(c.pairs, (*candidatePair).relayed); i < 0 || c.pairs[i].remote != plain(mapped) {
		t.Errorf("pairs %v", c.pairs)
	}
	if reason, _ := a.sends(mapped, sealedBy(t, b, a)); reason != "" && reason != demux.DropReplayed {
		t.Errorf("dropped %q", reason)
	}
}
