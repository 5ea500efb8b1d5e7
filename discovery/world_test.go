package discovery

import (
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// world is a packet network in virtual time: it delays, reorders, loses and
// doubles datagrams, and puts NATs before hosts. One seed is one run.
type world struct {
	t     testing.TB
	rng   *rand.Rand
	now   time.Duration
	hosts []*host
	// inFlight is kept in order of arrival.
	inFlight []flight
	sent     int

	minDelay, maxDelay time.Duration
	loss, double       float64
	// tap sees every datagram at its arrival. Nil: nobody.
	tap func(from, to netip.AddrPort, data []byte)
}

type flight struct {
	at       time.Duration
	n        int
	from, to netip.AddrPort
	data     []byte
}

// host is a Greeter with an address, a NAT perhaps, and a clock of its own.
type host struct {
	w       *world
	g       *Greeter
	node    keys.NodePrivate
	probe   keys.ProbePublic
	addr    netip.AddrPort // as the internet sees it
	nat     *nat           // nil: none
	epoch   time.Time
	mets    []metAt
	twins   []Twin
	sends   []sendAt
	reasons map[string]int
}

type metAt struct {
	at time.Duration
	Met
}

type sendAt struct {
	at   time.Duration
	to   netip.AddrPort
	size int
}

// nat maps endpoint-independently and filters by address and port (RFC 4787):
// only who was sent to can answer, for as long as the mapping lives.
type nat struct {
	lifetime time.Duration
	sentTo   map[netip.AddrPort]time.Duration
}

func newWorld(t testing.TB, seed uint64) *world {
	return &world{t: t, rng: rand.New(rand.NewPCG(seed, 0)), minDelay: 20 * time.Millisecond, maxDelay: 20 * time.Millisecond}
}

func networkKey(t testing.TB, first byte) keys.NetworkKey {
	t.Helper()
	k, err := keys.ParseNetworkKey(slices.Concat([]byte{first}, make([]byte, 31)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// reader makes a rand.Rand an io.Reader.
type reader struct{ *rand.Rand }

func (r reader) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return len(b), nil
}

// bytes32 is 32 random bytes of the world's seed.
func (w *world) bytes32() [32]byte {
	var b [32]byte
	for i := range 4 {
		binary.BigEndian.PutUint64(b[8*i:], w.rng.Uint64())
	}
	return b
}

func (w *world) nodeKey() keys.NodePrivate {
	seed := w.bytes32()
	k, err := keys.ParseNodePrivate(seed[:])
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

// add makes a member at addr, with its record set. Its clock starts in 2026.
func (w *world) add(network keys.NetworkKey, addr string) *host {
	return w.addNode(network, addr, w.nodeKey(), time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
}

func (w *world) addNode(network keys.NetworkKey, addr string, node keys.NodePrivate, epoch time.Time) *host {
	h := &host{
		w: w, node: node, probe: keys.ProbePublic(w.bytes32()), epoch: epoch,
		addr: netip.MustParseAddrPort(addr), reasons: make(map[string]int),
	}
	h.g = NewGreeter(GreeterConfig{Network: network, Node: node, Probe: h.probe, Rand: reader{w.rng}})
	h.setRecord(network)
	w.hosts = append(w.hosts, h)
	return h
}

func (h *host) setRecord(network keys.NetworkKey) {
	h.w.t.Helper()
	s := signRecord(h.w.t, network, h.node, h.probe, uint64(max(h.now().UnixMilli(), 1)))
	if err := h.g.SetRecord(h.now(), s); err != nil {
		h.w.t.Fatal(err)
	}
}

func signRecord(t testing.TB, network keys.NetworkKey, node keys.NodePrivate, probe keys.ProbePublic, seq uint64) wire.SignedRecord {
	t.Helper()
	s, err := wire.Sign(wire.Record{
		Node: node.Public(), WireGuard: wgtypes.Key(node.Public()), Probe: probe,
		Seq: seq, Lifetime: wire.MaxLifetime, Name: "h",
		Addresses: []wire.AddressClaim{{Addr: keys.Address6(network.Prefix6(), node.Public())}},
	}, node)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (h *host) now() time.Time { return h.epoch.Add(h.w.now) }

func (h *host) id() keys.NodePublic { return h.node.Public() }

func (h *host) behindNAT() *host {
	h.nat = &nat{lifetime: 30 * time.Second, sentTo: make(map[netip.AddrPort]time.Duration)}
	return h
}

// hint hands the host a hint and does what follows.
func (h *host) hint(src Source, addr netip.AddrPort) bool {
	ok := h.g.Hint(h.now(), src, addr)
	h.advance()
	return ok
}

func (h *host) receive(from netip.AddrPort, data []byte) string {
	reason := h.g.Receive(h.now(), from, data)
	h.reasons[reason]++
	h.advance()
	return reason
}

// answer hands the host a datagram and returns what it wants done.
func (h *host) answer(data []byte, from netip.AddrPort) []Output {
	h.g.Receive(h.now(), from, data)
	return h.g.Advance(h.now())
}

func (h *host) advance() {
	for _, o := range h.g.Advance(h.now()) {
		switch o := o.(type) {
		case Send:
			h.sends = append(h.sends, sendAt{h.w.now, o.To, len(o.Data)})
			h.w.send(h, o.To, o.Data)
		case Met:
			h.mets = append(h.mets, metAt{h.w.now, o})
		case Twin:
			h.twins = append(h.twins, o)
		}
	}
}

func (w *world) send(h *host, to netip.AddrPort, data []byte) {
	if h.nat != nil {
		h.nat.sentTo[to] = w.now
	}
	w.inject(h.addr, to, data)
}

// inject sends a datagram with a source of the caller's choice.
func (w *world) inject(from, to netip.AddrPort, data []byte) {
	copies := 1
	if w.rng.Float64() < w.loss {
		copies = 0
	} else if w.rng.Float64() < w.double {
		copies = 2
	}
	for range copies {
		delay := w.minDelay
		if w.maxDelay > w.minDelay {
			delay += time.Duration(w.rng.Int64N(int64(w.maxDelay - w.minDelay)))
		}
		w.sent++
		f := flight{w.now + delay, w.sent, from, to, data}
		i, _ := slices.BinarySearchFunc(w.inFlight, f, func(a, b flight) int {
			return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.n, b.n))
		})
		w.inFlight = slices.Insert(w.inFlight, i, f)
	}
}

// run lets virtual time pass until end, or until done says so.
func (w *world) run(end time.Duration, done func() bool) {
	for range 1_000_000 {
		if done != nil && done() {
			return
		}
		next := end
		if len(w.inFlight) > 0 {
			next = min(next, w.inFlight[0].at)
		}
		var timer *host
		for _, h := range w.hosts {
			if at, ok := h.g.Next(); ok && at.Sub(h.epoch) < next {
				next, timer = max(at.Sub(h.epoch), w.now), h
			}
		}
		w.now = next
		switch {
		case timer != nil:
			timer.advance()
		case len(w.inFlight) > 0 && w.inFlight[0].at <= next:
			f := w.inFlight[0]
			w.inFlight = w.inFlight[1:]
			w.arrive(f)
		default:
			return
		}
	}
	w.t.Fatal("the world does not come to rest: a Greeter asks to be called without end")
}

func (w *world) arrive(f flight) {
	if w.tap != nil {
		w.tap(f.from, f.to, f.data)
	}
	for _, h := range w.hosts {
		if h.addr != f.to {
			continue
		}
		if h.nat != nil {
			at, ok := h.nat.sentTo[f.from]
			if !ok || w.now-at > h.nat.lifetime {
				continue
			}
		}
		h.receive(f.from, f.data)
	}
}

// met returns the Mets with a node, by whether they were ready.
func (h *host) met(node keys.NodePublic, ready bool) []metAt {
	var ms []metAt
	for _, m := range h.mets {
		if m.Node == node && m.Ready == ready {
			ms = append(ms, m)
		}
	}
	return ms
}

// starts counts how often h was told to start the handshake with node.
func (h *host) starts(node keys.NodePublic) int {
	n := 0
	for _, m := range h.mets {
		if m.Node == node && m.StartHandshake {
			n++
		}
	}
	return n
}
