package natpunch

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/discovery/wire"
)

// natKind is a NAT, and what a node knows of it.
type natKind struct {
	name      string
	mapping   MappingBehavior
	filtering FilteringBehavior
	step      int // ports that count up
	others    int // hosts' mappings between two of ours, at most
	low, high uint16
	preserves bool
}

func (k natKind) gateway(rng *rand.Rand, addr string) gateway {
	g := gateway{addr: netip.MustParseAddr(addr), mapping: k.mapping, filtering: k.filtering, preserves: k.preserves}
	switch {
	case k.step != 0:
		g.allocate = countingPorts(rng, k.step, k.others)
	case k.low != 0:
		g.allocate = randomPorts(rng, k.low, k.high)
	default:
		g.allocate = randomPorts(rng, 1024, 65535)
	}
	return g
}

func (k natKind) behavior() wire.NATBehavior {
	return wire.NATBehavior{Mapping: k.mapping, Filtering: k.filtering, Step: int16(k.step), Low: k.low, High: k.high}
}

var (
	strictIndependent = natKind{name: "independent mapping", mapping: EndpointIndependent, filtering: AddressAndPortDependent, preserves: true}
	randomDependent   = natKind{name: "random ports", mapping: AddressAndPortDependent, filtering: AddressAndPortDependent}
	blockDependent    = natKind{name: "a block of ports", mapping: AddressAndPortDependent, filtering: AddressAndPortDependent, low: 20000, high: 22047}
	countingDependent = natKind{name: "sequential ports", mapping: AddressAndPortDependent, filtering: AddressAndPortDependent, step: 1}
	busyDependent     = natKind{name: "sequential ports among others'", mapping: AddressDependent, filtering: AddressAndPortDependent, step: 2, others: 4}
	fallingDependent  = natKind{name: "falling ports", mapping: AddressAndPortDependent, filtering: AddressDependent, step: -1, others: 1}
)

// sprayPair puts two nodes behind NATs of two kinds, 20 ms away from a relay.
func sprayPair(seed uint64, ka, kb natKind) (n *simnet, a, b *simNode, relay *simRelay) {
	n = newSimnet(seed)
	r, servers := internet(n)
	relay = r.relay("198.51.100.101")
	a = newNode(r.inner(ka.gateway(n.rng, "198.51.100.11")).host(41000, "192.168.1.10"), 1, 24)
	b = newNode(r.inner(kb.gateway(n.rng, "198.51.100.12")).host(42000, "192.168.2.10"), 2, 24)
	a.nat4, b.nat4 = ka.behavior(), kb.behavior()
	a.learnReflexive(servers)
	b.learnReflexive(servers)
	n.run(time.Second, nil)
	a.setLocal()
	b.setLocal()
	return n, a, b, relay
}

func (n *simNode) isDirect(peer *simNode) bool {
	p, ok := n.agent.Path(peer.key)
	return ok && p.Kind == Direct && n.agent.peers[peer.key].trust == settled
}

func bothDirect(a, b *simNode) func() bool {
	return func() bool { return a.isDirect(b) && b.isDirect(a) }
}

// One dependent NAT of any kind, the other side filtering as strictly as there is:
// soon direct, whichever side controls, through a relay or with another member to
// carry signals.
func TestSprayMakesDirect(t *testing.T) {
	for _, kind := range []natKind{randomDependent, blockDependent, countingDependent, busyDependent, fallingDependent} {
		for _, swapped := range []bool{false, true} {
			for _, relayed := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/controlling=%v/relay=%v", kind.name, !swapped, relayed), func(t *testing.T) {
					var took []time.Duration
					for seed := uint64(1); seed <= 20; seed++ {
						ka, kb := kind, strictIndependent
						if swapped {
							ka, kb = kb, ka
						}
						n, a, b, relay := sprayPair(seed, ka, kb)
						start := n.now
						meet(a, b, 0, 0)
						if relayed {
							relay.allocate(a, b, 0, 0)
						} else {
							carry(a, b)
						}
						if !n.run(20*time.Minute, bothDirect(a, b)) {
							t.Fatalf("seed %d: not direct: %v %v, %s", seed, a.selects, b.selects, a.agent.WhyNotDirect(b.key))
						}
						took = append(took, n.now.Sub(start))
						samePair(t, a, b)
						n.run(5*time.Minute, nil)
						if !a.isDirect(b) || !b.isDirect(a) {
							t.Fatalf("seed %d: direct no more: %v %v", seed, a.selects, b.selects)
						}
					}
					slow := 0
					for _, d := range took {
						if d > 10*time.Second {
							slow++
						}
					}
					t.Logf("direct after %v", took)
					if slow > 2 {
						t.Errorf("%d of %d took longer than 10 s: %v", slow, len(took), took)
					}
				})
			}
		}
	}
}
