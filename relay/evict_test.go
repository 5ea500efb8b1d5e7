package relay

import (
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

// An allocation that has waited for a while gives way within the quota that is
// used up, the oldest first; what is bound never does.
func TestWaitingGivesWay(t *testing.T) {
	for name, quota := range map[string]Quota{
		"network": {Network: Share{Allocations: 3}},
		"source":  {Source: Share{Allocations: 3}},
	} {
		w := newWorldWith(t, 1, Config{Stranger: quota}, tableLimits)
		office := w.network()
		a := w.joinAt(office, addr4(1, 1))
		var peers []*client
		for i := range 6 {
			peers = append(peers, w.joinAt(office, addr4(1, byte(10+i))))
		}
		w.connect(a, peers[0])
		a.mustAllocate(peers[1])
		a.mustAllocate(peers[2])
		if list := a.allocate(peers[3].node()); len(list) != 1 || list[0].Code != wire.CodeQuota {
			t.Errorf("%s: in place of one that is about to be bound: %+v", name, list)
		}
		w.pass(time.Duration(bindWithin))
		if port := a.mustAllocate(peers[3]); port != 20001 {
			t.Errorf("%s: port %d, want that of the oldest", name, port)
		}
		if r := peers[1].bind(20001, a.node()); r == nil || r.Error == nil {
			t.Errorf("%s: who gave way is answered with %+v", name, r)
		}
		if w.reach(a, peers[0], 20000) != nil {
			t.Errorf("%s: a bound one gave way", name)
		}
		w.connect(a, peers[2])
		w.connect(a, peers[3])
		if list := a.allocate(peers[4].node()); len(list) != 1 || list[0].Code != wire.CodeQuota {
			t.Errorf("%s: with all bound: %+v", name, list)
		}
		// Others are not concerned, be they of another network or from elsewhere.
		w.connect(w.joinAt(w.network(), addr4(2, 1)), w.joinAt(w.network(), addr4(2, 2)).of(w))
		w.check()
	}
}

// of gives the client the network of the one that joined before it.
func (c *client) of(w *world) *client {
	for _, other := range w.clients {
		if other != c && prefixOf(other.addr.Addr()) == prefixOf(c.addr.Addr()) {
			c.signer.Network, c.signer.Member = other.signer.Network, other.signer.Member
		}
	}
	return c
}

// Where networks are allowed and strangers served besides, strangers give way
// and members do not.
func TestStrangersGiveWay(t *testing.T) {
	most := limits{sources: 64, nodes: 64, registrations: 4, allocations: 4}
	w := newWorldWith(t, 1, Config{Strangers: true}, most)
	home, office := w.network(), w.network()
	w.s.Reconfigure(w.now, Config{Strangers: true, Allow: []keys.NetworkID{office.Network}})
	var strangers, members []*client
	for i := range 5 {
		strangers = append(strangers, w.joinAt(home, addr4(uint32(i), 1)))
		members = append(members, w.joinAt(office, addr4(uint32(100+i), 1)))
	}
	fill := func(nodes []*client) (registered, allocated int) {
		for i, c := range nodes {
			if r := c.register("x", wire.Have{}); r != nil && r.Registered != nil {
				registered++
			}
			if list := c.allocate(nodes[(i+1)%5].node()); len(list) == 1 && list[0].Port != 0 {
				allocated++
			}
		}
		w.check()
		return registered, allocated
	}
	if r, _ := fill(strangers); r != 4 {
		t.Errorf("%d strangers registered", r)
	}
	if r, a := fill(members); r != 4 || a < 4 {
		t.Errorf("%d members registered, %d allocations, want 4 of each", r, a)
	}
	if r, a := fill(strangers); r != 0 || a != 0 {
		t.Errorf("%d strangers registered and %d allocations in place of members", r, a)
	}
	if got := members[0].network().class; got != member {
		t.Errorf("class %d", got)
	}
}

func (c *client) network() *network { return c.w.s.networks[c.signer.Network] }

// In a network that is full, the nodes of one prefix give way to one of another;
// not those that forward something, and not back and forth.
func TestCrowdGivesWay(t *testing.T) {
	w := newWorldWith(t, 1, Config{Stranger: Quota{Network: Share{Registrations: 4}}}, tableLimits)
	office := w.network()
	var crowd []*client
	for i := range 4 {
		crowd = append(crowd, w.joinAt(office, addr4(1, byte(1+i))))
		crowd[i].mustRegister("crowd")
	}
	w.connect(crowd[0], crowd[1])
	w.connect(crowd[1], crowd[2])
	alone := w.joinAt(office, addr4(2, 1))
	if alone.mustRegister("alone"); len(alone.blobs()) != 3 || alone.blobs()[crowd[3].node()] != "" {
		t.Errorf("another prefix is told of %d", len(alone.blobs()))
	}
	for _, c := range crowd[:3] {
		if c.blobs()[crowd[3].node()] != "" || c.blobs()[alone.node()] != "alone" {
			t.Error("the others were not told who went and who came")
		}
	}
	for range 3 {
		w.pass(time.Second)
		if r := crowd[3].register("crowd", wire.Have{}); r == nil || r.Error == nil || r.Error.Code != wire.CodeQuota || r.Error.Text != "too many nodes of one network" {
			t.Errorf("the one that gave way is answered with %+v", r)
		}
	}
	w.check()
}

// A full table of nodes forgets sessions that have nothing here, and no other.
func TestNodesAreBounded(t *testing.T) {
	most := limits{sources: 64, nodes: 8, registrations: 8, allocations: 8}
	w := newWorldWith(t, 1, Config{}, most)
	office := w.network()
	a, b := w.joinAt(office, addr4(1, 1)), w.joinAt(office, addr4(2, 1))
	a.mustRegister("a")
	w.connect(a, b)
	visit := func(i int) *wire.Response {
		return w.joinAt(w.network(), addr4(uint32(10+i), 1)).request(front4, wire.Request{Leave: true})
	}
	for i := range 40 {
		if r := visit(i); r == nil || !r.Done {
			t.Fatalf("a visit is answered with %+v", r)
		}
		w.check()
	}
	for i := range 6 {
		w.joinAt(w.network(), addr4(uint32(50+i), 1)).mustRegister("x")
	}
	if r := visit(0); r == nil || r.Error == nil || r.Error.Code != wire.CodeFull {
		t.Errorf("with a table full of registrations: %+v", r)
	}
	if w.reach(a, b, 20000) != nil || a.refresh(a.have()) == nil {
		t.Error("those who were here are not as they were")
	}
	if list := a.allocate(keys.NodePublic{7}); len(list) != 1 || list[0].Code != wire.CodeFull {
		t.Errorf("an allocation with a stranger to all: %+v", list)
	}
	w.check()
}

// Random churn in tables that are all too small: nothing is over its bound, and
// what is left is whole.
func TestChurnInSmallTables(t *testing.T) {
	for seed := range uint64(10) {
		most := limits{sources: 6, nodes: 24, registrations: 8, allocations: 10}
		quota := Quota{Network: Share{Registrations: 4, Allocations: 6}, Source: Share{Registrations: 5, Allocations: 6}}
		w := newWorldWith(t, seed, Config{Ports: PortRange{20000, 20002}, Stranger: quota, Member: quota}, most)
		var nodes []*client
		var ids []keys.NetworkID
		for i := range 4 {
			network := w.network()
			ids = append(ids, network.Network)
			for k := range 6 {
				nodes = append(nodes, w.joinAt(network, addr4(uint32(w.rng.IntN(12)), byte(10*i+k))))
			}
		}
		for range 400 {
			i := w.rng.IntN(len(nodes))
			a, b := nodes[i], nodes[i/6*6+w.rng.IntN(6)]
			switch w.rng.IntN(12) {
			case 0, 1, 2:
				a.register("blob", a.have())
			case 3, 4, 5, 6:
				if list := a.allocate(notSelf(a, b)); len(list) == 1 && list[0].Port != 0 && a != b {
					a.bind(list[0].Port, b.node())
					b.bind(list[0].Port, a.node())
				}
			case 7:
				a.request(a.front, wire.Request{Leave: true})
			case 8:
				a.newSession()
			case 9:
				w.s.Reconfigure(w.now, Config{Allow: ids[:w.rng.IntN(3)], Strangers: w.rng.IntN(2) == 0, Stranger: quota, Member: quota})
				w.advance()
			case 10:
				w.pass(time.Duration(w.rng.IntN(100)) * time.Second)
			case 11:
				if w.rng.IntN(4) == 0 {
					port := 20000 + uint16(w.rng.IntN(3))
					delete(w.open, port)
					w.s.PortFailed(w.now, port)
					w.advance()
				}
			}
			w.check()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	}
}

func notSelf(a, b *client) keys.NodePublic {
	if a == b {
		return keys.NodePublic{2}
	}
	return b.node()
}
