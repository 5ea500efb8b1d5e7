package natpunch

import (
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/discovery/wire"
)

// sprayVictim is an agent with peers whose records say what the test wants, on a
// network that swallows all, and counts what goes where.
type sprayVictim struct {
	*simnet
	agent   *Agent
	victim  netip.Addr
	hits    int
	others  map[netip.Addr]int
	actions []Action
}

func newSprayVictim(own wire.NATBehavior) *sprayVictim {
	v := &sprayVictim{simnet: newSimnet(1), victim: netip.MustParseAddr("203.0.113.66"), others: map[netip.Addr]int{}}
	v.agent = NewAgent(AgentConfig{Self: simKey(1), Spray: true})
	v.agent.SetLocal(v.now, Local{
		HasIPv4: true, NAT4: own, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.10/24")},
		Candidates: []wire.Candidate{
			{Type: wire.Host, Addr: netip.MustParseAddrPort("192.168.1.10:41000")},
			{Type: wire.ServerReflexive, Addr: netip.MustParseAddrPort("198.51.100.11:41000")},
		},
	})
	return v
}

func (v *sprayVictim) add(id int, nat wire.NATBehavior) Peer {
	pair, _ := simPairs(simKey(1), simKey(id), 1)
	p := Peer{
		Node: simKey(id), Pair: pair, NAT4: nat,
		Candidates: []wire.Candidate{{Type: wire.ServerReflexive, Addr: netip.AddrPortFrom(v.victim, 41000)}},
	}
	v.agent.SetPeer(v.now, p)
	return p
}

// let lets time pass and counts what is sent.
func (v *sprayVictim) let(d time.Duration) {
	end := v.now.Add(d)
	for {
		for _, a := range v.agent.Advance(v.now) {
			v.actions = append(v.actions, a)
			var to netip.AddrPort
			switch a := a.(type) {
			case Send:
				to = a.To
			case SendFrom:
				to = a.To
			default:
				continue
			}
			if to.Addr() == v.victim {
				v.hits++
			} else {
				v.others[to.Addr()]++
			}
		}
		next, ok := v.agent.Next()
		if !ok || next.After(end) {
			v.now = end
			return
		}
		if next.After(v.now) {
			v.now = next
		}
	}
}

var (
	independentNAT = wire.NATBehavior{Mapping: EndpointIndependent}
	dependentNAT   = wire.NATBehavior{Mapping: AddressAndPortDependent}
)

// A member announces somebody else's address and asks for spray after spray: the
// victim gets no more than its budget, and nobody else gets anything.
func TestHostilePeerAsksForSprays(t *testing.T) {
	v := newSprayVictim(independentNAT)
	peer := v.add(2, dependentNAT)
	v.let(5 * time.Second)
	v.hits = 0
	ask := func(id uint32) {
		for _, phase := range []punchPhase{phaseAsked, phaseReady, phaseAgreed, phaseStarted} {
			v.agent.Told(v.now, peer.Node, appendOffer(nil, offer{Kind: manyPorts, Phase: phase, Attempt: id, Step: 1, Next: 5}))
		}
	}
	for i := range 600 {
		ask(uint32(i + 1))
		v.let(time.Second)
	}
	// A burst, and then one in five minutes.
	if limit := (targetBurst + 2) * sprayPings; v.hits > limit || v.hits < sprayPings || len(v.others) > 0 {
		t.Errorf("%d datagrams in ten minutes, and elsewhere %v", v.hits, v.others)
	}
	t.Logf("%d datagrams in ten minutes", v.hits)
}

// Many members announce the same victim: together they get what one would.
func TestManyHostilePeersAskForSprays(t *testing.T) {
	v := newSprayVictim(independentNAT)
	for i := range 50 {
		v.add(2+i, dependentNAT)
	}
	v.let(time.Minute)
	v.hits = 0
	for i := range 600 {
		node := simKey(2 + i%50)
		for _, phase := range []punchPhase{phaseAsked, phaseReady} {
			v.agent.Told(v.now, node, appendOffer(nil, offer{Kind: manyPorts, Phase: phase, Attempt: uint32(i + 1)}))
		}
		v.let(time.Second)
	}
	// Ordinary rounds go on besides.
	if limit := (targetBurst+2)*sprayPings + 50*3*20; v.hits > limit || v.hits < sprayPings {
		t.Errorf("%d datagrams in ten minutes", v.hits)
	}
}

// Without the peer's agreement nothing is opened and nothing sprayed, whatever its
// record says; nor where the roles do not fit; nor when it is switched off.
func TestNoSprayWithoutAgreement(t *testing.T) {
	v := newSprayVictim(dependentNAT)
	peer := v.add(2, independentNAT)
	v.let(time.Hour)
	var told int
	for _, a := range v.actions {
		switch a.(type) {
		case OpenPorts, SendFrom, Keep:
			t.Fatalf("%T without agreement", a)
		case Tell:
			told++
		}
	}
	if told == 0 || told > 100 || v.hits > 150 {
		t.Errorf("asked %d times, sent %d", told, v.hits)
	}
	if r := v.agent.Reason(peer.Node); r.Code != ReasonNoPunch {
		t.Errorf("reason %+v", r)
	}
	// Answers to nothing, and to another attempt.
	for _, phase := range []punchPhase{phaseAsked, phaseAgreed, phaseReady, phaseStarted, phaseLater, 77} {
		for _, kind := range []punchKind{predicting, manyPorts, matching, 0, 200} {
			v.agent.Told(v.now, peer.Node, appendOffer(nil, offer{Kind: kind, Phase: phase, Attempt: 99, Step: 1, Next: 7}))
		}
	}
	v.actions, v.hits = nil, 0
	v.let(time.Second)
	for _, a := range v.actions {
		switch a.(type) {
		case OpenPorts, SendFrom, Keep:
			t.Fatalf("%T for an answer to nothing", a)
		}
	}

	for name, v := range map[string]*sprayVictim{
		"both independent": newSprayVictim(independentNAT), "unknown": newSprayVictim(wire.NATBehavior{}), "switched off": newSprayVictim(independentNAT),
	} {
		nat := map[string]wire.NATBehavior{"both independent": independentNAT, "unknown": dependentNAT, "switched off": dependentNAT}[name]
		v.agent.spray = name != "switched off"
		peer := v.add(2, nat)
		v.let(10 * time.Second)
		v.hits = 0
		for i := range 20 {
			v.agent.Told(v.now, peer.Node, appendOffer(nil, offer{Kind: manyPorts, Phase: phaseAsked, Attempt: uint32(i + 1)}))
			v.agent.Told(v.now, peer.Node, appendOffer(nil, offer{Kind: manyPorts, Phase: phaseReady, Attempt: uint32(i + 1)}))
			v.let(time.Second)
		}
		if v.hits > 20 {
			t.Errorf("%s: %d datagrams", name, v.hits)
		}
	}
}

// Offers and punches of any bytes, from anywhere, leave the agent within its bounds.
func FuzzTold(f *testing.F) {
	f.Add([]byte{}, 0)
	f.Add(appendOffer(nil, offer{Kind: manyPorts, Phase: phaseAsked, Attempt: 7, Step: -1, Next: 3, Low: 2000, High: 2001}), 3)
	f.Add(appendOffer(nil, offer{Kind: predicting, Phase: phaseAsked, Attempt: 7, Step: -32768, Next: 65535, Low: 65535, High: 1}), 1)
	f.Fuzz(func(t *testing.T, b []byte, port int) {
		if o, err := parseOffer(b); err == nil {
			if again, err := parseOffer(appendOffer(nil, o)); err != nil || again != o {
				t.Fatalf("%x: %+v, and again %+v, %v", b, o, again, err)
			}
		}
		v := newSprayVictim(independentNAT)
		peer := v.add(2, dependentNAT)
		v.let(5 * time.Second)
		v.hits = 0
		v.agent.Told(v.now, peer.Node, b)
		v.agent.ReceiveAt(v.now, peer.Node, port, netip.AddrPortFrom(v.victim, 9), b)
		v.agent.PortsOpened(v.now, peer.Node, port)
		v.agent.Kept(v.now, peer.Node, netip.AddrPortFrom(v.victim, 9), port%2 == 0)
		v.let(20 * time.Second)
		if v.hits > sprayPings+20 || len(v.others) > 0 || v.agent.sprays.busy != nil {
			t.Fatalf("%d datagrams, %v", v.hits, v.others)
		}
	})
}
