package natpunch

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
	"github.com/credant/credant/natpunch/demux"
	"github.com/pion/stun/v2"
)

// simNode is a node of ours on a simulated host: it does what control does.
type simNode struct {
	*simHost
	net      *simnet
	key      keys.NodePublic
	agent    *Agent
	stun     *STUN
	prefixes []netip.Prefix
	wake     time.Time
	drops    map[string]int
	selects  []Select
	lost     []Lost
	doubts   int
	confirms int
	seen     []Reflexive
	at       []time.Time // of the Selects
	sent     int
	bindings []*simBinding
	nat4     wire.NATBehavior
	// others are the peers that another member carries signals to.
	others map[keys.NodePublic]*simNode
}

// simKey gives node i a key that orders like i.
func simKey(i int) (k keys.NodePublic) {
	binary.BigEndian.PutUint32(k[:], uint32(i))
	k[31] = 1
	return k
}

// simPairs returns the two halves of a pair, without the cost of X25519.
func simPairs(a, b keys.NodePublic, generation int) (ab, ba keys.Pair) {
	derive := func(from, to keys.NodePublic) (key [32]byte, tag [8]byte) {
		key = sha256.Sum256(fmt.Appendf(nil, "%x %x %d", from, to, generation))
		tag = [8]byte(key[8:])
		return key, tag
	}
	ab.SendKey, ab.SendTag = derive(a, b)
	ab.RecvKey, ab.RecvTag = derive(b, a)
	ba.SendKey, ba.SendTag, ba.RecvKey, ba.RecvTag = ab.RecvKey, ab.RecvTag, ab.SendKey, ab.SendTag
	return ab, ba
}

// newNode starts a node. Its prefixes are its addresses with these lengths.
func newNode(h *simHost, id int, bits ...int) *simNode {
	n := &simNode{simHost: h, net: h.realm.net, key: simKey(id), drops: map[string]int{}}
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], uint64(id)<<32|n.net.rng.Uint64()>>32)
	n.agent = NewAgent(AgentConfig{Self: n.key, Overlay: simOverlay, Rand: rand.NewChaCha8(seed), Spray: true})
	for i, a := range h.addrs {
		n.prefixes = append(n.prefixes, netip.PrefixFrom(a, bits[i]))
	}
	n.stun = NewSTUN(nil)
	n.stun.SetLocal(h.addrs, h.port)
	h.receive = n.take
	n.setLocal()
	n.keepAlive()
	return n
}

// keepAlive is WireGuard's persistent keepalive on every selected path.
func (n *simNode) keepAlive() {
	n.net.after(25*time.Second, func() {
		for _, c := range n.agent.peers {
			if c.selected != nil {
				n.sendFrom(c.selected.base, c.selected.remote, keepalive)
			}
		}
		n.keepAlive()
	})
}

var keepalive = append([]byte{4, 0, 0, 0}, make([]byte, 28)...)

var simOverlay = []netip.Prefix{netip.MustParsePrefix("fd5a:5555:5555::/48"), netip.MustParsePrefix("10.77.0.0/16")}

func (n *simNode) candidates() []wire.Candidate {
	var c []wire.Candidate
	for _, a := range n.addrs {
		c = append(c, wire.Candidate{Type: wire.Host, Addr: netip.AddrPortFrom(a, n.port)})
	}
	for _, a := range n.stun.Result().Reflexive() {
		c = append(c, wire.Candidate{Type: wire.ServerReflexive, Addr: a})
	}
	return c
}

func (n *simNode) setLocal() {
	l := Local{Candidates: n.candidates(), Prefixes: n.prefixes, NAT4: n.nat4}
	for _, a := range n.addrs {
		l.HasIPv4 = l.HasIPv4 || a.Is4()
		l.HasIPv6 = l.HasIPv6 || a.Is6() && !a.IsPrivate()
	}
	for _, u := range n.uplinks {
		l.Bases = append(l.Bases, u.addr)
	}
	n.agent.SetLocal(n.net.now, l)
	n.advance()
}

func (n *simNode) take(from netip.AddrPort, b []byte) {
	if n.heardRelay(from, b) {
		return
	}
	var reason string
	switch demux.Classify(b) {
	case demux.STUN:
		reason = n.stun.Receive(n.net.now, from, b)
	case demux.WireGuard:
		return
	case demux.CredAnt:
		reason = n.agent.ReceiveOn(n.net.now, from, n.came, b)
	default:
		reason = demux.DropUnknown
	}
	n.drops[reason]++
	n.advance()
}

func (n *simNode) advance() {
	now := n.net.now
	for _, s := range n.stun.Advance(now) {
		n.send(s.To, s.Data)
	}
	for _, a := range n.agent.Advance(now) {
		switch a := a.(type) {
		case Send:
			n.sent++
			n.sendFrom(a.From, a.To, a.Data)
		case Select:
			n.selects = append(n.selects, a)
			n.at = append(n.at, now)
		case Lost:
			n.lost = append(n.lost, a)
		case Reflexive:
			n.seen = append(n.seen, a)
		case OpenPorts, SendFrom, Keep, ClosePorts, Release, Tell:
			n.sprayed(a)
		case Doubt:
			n.doubts++
		case Confirm:
			n.confirms++
		}
	}
	n.schedule(n.agent.Next())
	n.schedule(n.stun.Next())
}

func (n *simNode) schedule(at time.Time, ok bool) {
	if !ok {
		return
	}
	if at.Before(n.net.now) {
		at = n.net.now
	}
	if !n.wake.IsZero() && !at.Before(n.wake) && n.wake.After(n.net.now) {
		return
	}
	n.wake = at
	n.net.at(at, func() {
		if n.wake.Equal(at) {
			n.wake = time.Time{}
			n.advance()
		}
	})
}

func (n *simNode) learnReflexive(servers []netip.AddrPort) {
	n.stun.SetServers(servers)
	n.advance()
}

// meet gives each node the other's record after a delay of its own.
func meet(a, b *simNode, delayA, delayB time.Duration) {
	ab, ba := simPairs(a.key, b.key, 1)
	a.net.after(delayA, func() {
		a.agent.SetPeer(a.net.now, Peer{Node: b.key, Pair: ab, Candidates: b.candidates(), NAT4: b.nat4})
		a.advance()
	})
	b.net.after(delayB, func() {
		b.agent.SetPeer(b.net.now, Peer{Node: a.key, Pair: ba, Candidates: a.candidates(), NAT4: a.nat4})
		b.advance()
	})
}

func bothSettled(a, b *simNode) func() bool {
	return func() bool {
		return a.agent.peers[b.key] != nil && a.agent.peers[b.key].trust == settled &&
			b.agent.peers[a.key] != nil && b.agent.peers[a.key].trust == settled
	}
}

// samePair reports, by sending a datagram each way, whether the two nodes have
// selected the same pair: each sees the other come from where it sends to.
func samePair(t *testing.T, a, b *simNode) {
	t.Helper()
	pa, okA := a.agent.Path(b.key)
	pb, okB := b.agent.Path(a.key)
	if !okA || !okB {
		t.Fatalf("paths: %v %v, %v %v", pa, okA, pb, okB)
	}
	loss := a.net.loss
	a.net.loss = 0
	defer func() { a.net.loss = loss }()
	arrives := func(from, to *simNode, base netip.Addr, addr, want netip.AddrPort) {
		t.Helper()
		var got netip.AddrPort
		take := to.receive
		to.receive = func(src netip.AddrPort, b []byte) {
			if string(b) == "datagram" {
				got = src
			}
		}
		from.sendFrom(base, addr, []byte("datagram"))
		a.net.run(10*time.Second, func() bool { return got.IsValid() })
		to.receive = take
		if got != want {
			t.Fatalf("a datagram to %v arrives from %v, and the other side sends to %v", addr, got, want)
		}
	}
	arrives(a, b, pa.Base, pa.Addr, pb.Addr)
	arrives(b, a, pb.Base, pb.Addr, pa.Addr)
}

func bindingResponse(request []byte, mapped netip.AddrPort) []byte {
	m := stun.Message{Raw: request}
	if m.Decode() != nil {
		return nil
	}
	return stun.MustBuild(stun.NewTransactionIDSetter(m.TransactionID), stun.BindingSuccess,
		&stun.XORMappedAddress{IP: mapped.Addr().AsSlice(), Port: int(mapped.Port())},
		stun.NewSoftware("sim"), stun.Fingerprint).Raw
}

// openTestCheck reads a check with the key of the one it is for.
func openTestCheck(p *keys.Pair, b []byte) (check, error) {
	body, err := wire.OpenPair(wire.KindCheck, p, b)
	if err != nil {
		return check{}, err
	}
	return parseCheck(body)
}
