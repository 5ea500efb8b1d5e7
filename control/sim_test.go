package control

import (
	"container/heap"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/natpunch/demux"
	"github.com/credant/credant/relay/stunserver"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// world is a small internet in virtual time: hosts with a mesh and a device
// that behaves as WireGuard does where it matters, NATs with endpoint-
// independent mapping and address-and-port-dependent filtering, latency, loss.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	now     time.Time
	seq     int
	queue   eventQueue
	hosts   []*simHost
	relays  []*simRelay
	stun    map[netip.AddrPort]time.Duration // servers, and how long each takes to answer
	latency time.Duration                    // one way
	loss    float64
	network keys.NetworkKey
	sent    int // datagrams, all kinds but WireGuard's
}

type simEvent struct {
	at  time.Time
	seq int
	do  func()
}

type eventQueue []simEvent

func (q eventQueue) Len() int      { return len(q) }
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].seq < q[j].seq
}
func (q *eventQueue) Push(x any) { *q = append(*q, x.(simEvent)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

func newWorld(t *testing.T, seed uint64) *world {
	return &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: start,
		latency: 20 * time.Millisecond, network: testNetworkKey(t, "one"),
	}
}

func testNetworkKey(t *testing.T, what string) keys.NetworkKey {
	b := make([]byte, 32)
	copy(b, what)
	k, err := keys.ParseNetworkKey(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, simEvent{w.now.Add(d), w.seq, do})
}

// run lets time pass until the condition holds, at most for d. It reports
// whether the condition came to hold, and when.
func (w *world) run(d time.Duration, until func() bool) (time.Duration, bool) {
	began, end := w.now, w.now.Add(d)
	for len(w.queue) > 0 && !w.queue[0].at.After(end) {
		e := heap.Pop(&w.queue).(simEvent)
		w.now = e.at
		e.do()
		if until != nil && until() {
			return w.now.Sub(began), true
		}
	}
	w.now = end
	return d, until != nil && until()
}

// simHost is one machine.
type simHost struct {
	w      *world
	name   string
	mesh   *mesh
	device *simDevice
	inner  netip.AddrPort
	nat    *simNAT // nil: public
	wall   time.Duration
	woken  time.Time // earliest pending wake-up
	off    bool
	events []localapi.Event
	steps  int
	spy    func(to netip.AddrPort, b []byte) // where set, told of what is sent
	board  func(noteWants)                   // where set, leaves and reads notes
}

type simNAT struct {
	public    netip.Addr
	ports     map[[2]netip.AddrPort]netip.AddrPort // (inner, remote) to outer
	hosts     map[netip.AddrPort]*simHost          // by outer
	open      map[[2]netip.AddrPort]time.Time      // (outer, remote)
	dependent bool                                 // on address and port: each remote sees another port
	lifetime  time.Duration                        // of a mapping that nothing from inside refreshes
}

func newNAT(public string) *simNAT {
	return &simNAT{
		public: netip.MustParseAddr(public), ports: map[[2]netip.AddrPort]netip.AddrPort{},
		hosts: map[netip.AddrPort]*simHost{}, open: map[[2]netip.AddrPort]time.Time{},
		lifetime: 2 * time.Minute,
	}
}

func (n *simNAT) out(h *simHost, to netip.AddrPort, now time.Time) netip.AddrPort {
	key := [2]netip.AddrPort{h.inner}
	if n.dependent {
		key[1] = to
	}
	outer, ok := n.ports[key]
	if !ok {
		outer = netip.AddrPortFrom(n.public, uint16(40000+7*len(n.ports)))
		n.ports[key], n.hosts[outer] = outer, h
	}
	n.open[[2]netip.AddrPort{outer, to}] = now.Add(n.lifetime)
	return outer
}

type hostOption func(*meshConfig, *simHost)

func (w *world) host(name, addr string, nat *simNAT, options ...hostOption) *simHost {
	h := &simHost{w: w, name: name, nat: nat, inner: netip.MustParseAddrPort(addr)}
	h.boot(options...)
	w.hosts = append(w.hosts, h)
	return h
}

// boot starts the host's daemon, for the first time or again.
func (h *simHost) boot(options ...hostOption) {
	private, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		h.w.t.Fatal(err)
	}
	node := keys.GenerateNode()
	if h.mesh != nil { // the same node again
		private, node = h.device.private, h.mesh.self.node
	}
	h.device = &simDevice{host: h, private: private, public: private.PublicKey(), peers: map[wgtypes.Key]*simPeer{}, heard: map[int]bool{}}
	c := meshConfig{
		network: h.w.network, drops: newDrops(),
		self: self{
			node: node, public: node.Public(), wireGuard: private.PublicKey(),
			probe: keys.GenerateProbe(), name: h.name, port: h.inner.Port(),
		},
	}
	if h.mesh != nil {
		c.memory.Sequence = h.mesh.publisher.sequence
	}
	for _, o := range options {
		o(&c, h)
	}
	h.mesh = newMesh(h.w.now, c)
	h.mesh.hostChanged(h.w.now, []netip.Prefix{h.link()})
	h.step()
}

// link is what the host can reach without a router.
func (h *simHost) link() netip.Prefix {
	if h.inner.Addr().Is6() {
		return netip.PrefixFrom(h.inner.Addr(), 64)
	}
	return netip.PrefixFrom(h.inner.Addr(), 24)
}

func (h *simHost) wallTime() time.Time { return h.w.now.Add(h.wall) }

// step lets the mesh advance and carries its effects out, as the daemon does.
func (h *simHost) step() {
	if h.off {
		return
	}
	h.steps++
	e := h.mesh.advance(h.w.now, h.wallTime())
	h.perform(e)
	if e.look {
		h.mesh.looked(h.w.now, h.wallTime(), h.device.states())
		h.perform(h.mesh.advance(h.w.now, h.wallTime()))
	}
	next := h.mesh.next(h.w.now)
	if h.woken.After(h.w.now) && !next.Before(h.woken) {
		return
	}
	h.woken = next
	mesh := h.mesh
	h.w.after(max(0, next.Sub(h.w.now)), func() {
		if h.mesh == mesh {
			h.step()
		}
	})
}

func (h *simHost) perform(e effects) {
	if e.apply {
		h.device.apply(h.mesh.desired())
	}
	if err := e.steer(h.device, func(o outgoing) error {
		h.w.sent++
		if h.spy != nil {
			h.spy(o.to, o.data)
		}
		h.w.send(h, o.to, o.data)
		return nil
	}); err != nil {
		h.w.t.Errorf("%s: %v", h.name, err)
	}
	if h.board != nil {
		h.board(e.notes)
	}
	for _, event := range e.events {
		event.Time = h.w.now
		h.events = append(h.events, event)
	}
}

func (h *simHost) hint(addr netip.AddrPort) {
	h.mesh.hint(h.w.now, discovery.SourceDHT, addr)
	h.step()
}

// public is where the rest of the world sees the host, as a DHT node would.
func (h *simHost) public() netip.AddrPort {
	if h.nat == nil {
		return h.inner
	}
	return h.nat.out(h, netip.MustParseAddrPort("9.9.9.9:6881"), h.w.now)
}

// send carries one datagram, ours ([]byte) or WireGuard's (wgMessage).
func (w *world) send(from *simHost, to netip.AddrPort, what any) {
	if from.off || w.rng.Float64() < w.loss {
		return
	}
	source := from.inner
	if from.link().Contains(to.Addr()) {
		for _, h := range w.hosts {
			if h.nat == from.nat && h.inner == to {
				w.after(200*time.Microsecond, func() { h.take(source, what) })
			}
		}
		return
	}
	if to.Addr().IsPrivate() || to.Addr().Is4() != from.inner.Addr().Is4() {
		return
	}
	if from.nat != nil {
		source = from.nat.out(from, to, w.now)
	}
	w.after(w.latency, func() { w.arrive(source, to, what) })
}

// arrive hands a datagram on the internet to whoever is at the address.
func (w *world) arrive(source, to netip.AddrPort, what any) {
	if slow, ok := w.stun[to]; ok {
		server := stunserver.New(stunserver.Config{Addrs: []netip.Addr{to.Addr()}, Ports: []uint16{to.Port()}})
		if b, _, _, ok := server.Respond(w.now, what.([]byte), to, source); ok {
			w.after(slow+w.latency, func() { w.arrive(to, source, b) })
		}
	}
	for _, r := range w.relays {
		if slices.Contains(r.locals(), to.Addr()) {
			r.take(source, to, what)
		}
	}
	for _, h := range w.hosts {
		if h.nat == nil && h.inner == to {
			h.take(source, what)
		} else if h.nat != nil && h.nat.hosts[to] == h && w.now.Before(h.nat.open[[2]netip.AddrPort{to, source}]) {
			h.take(source, what)
		}
	}
}

func (h *simHost) take(from netip.AddrPort, what any) {
	if h.off {
		return
	}
	if m, ok := what.(wgMessage); ok {
		if to, ok := h.device.redirects[from]; ok {
			from = to
		}
		h.device.receive(from, m)
		return
	}
	b := what.([]byte)
	h.mesh.receive(h.w.now, h.wallTime(), datagram{from: from, kind: demux.Classify(b), data: b})
	h.step()
}
