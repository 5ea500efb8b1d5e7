package control

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/natpunch/demux"
	"github.com/credant/credant/wgsetup"
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
	latency time.Duration // one way
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

// simDevice is WireGuard as far as the start of sessions and roaming go: an
// initiation is sent again after 5 s at the soonest, an unknown sender's is
// dropped, and an authenticated packet moves the endpoint.
type simDevice struct {
	host    *simHost
	private wgtypes.Key
	public  wgtypes.Key
	peers   map[wgtypes.Key]*simPeer
	sends   int

	redirects map[netip.AddrPort]netip.AddrPort
	heard     map[int]bool // numbers of packets that arrived
}

type simPeer struct {
	state     wgsetup.PeerState
	initiated time.Time
	keepalive bool
	interval  time.Duration
	traversal time.Time // when an authenticated packet last went either way
	session   bool
	initiator bool // of the session
	awaits    bool // a response
	offered   bool // a session that no data has confirmed yet
}

type wgMessage struct {
	kind   string // "initiation", "response", "data"
	from   wgtypes.Key
	number int // of a packet that the test sent; zero: WireGuard's own
}

func (d *simDevice) apply(want wgsetup.Desired) {
	wanted := map[wgtypes.Key]bool{}
	for _, p := range want.Peers {
		wanted[p.PublicKey] = true
		if d.peers[p.PublicKey] == nil {
			d.peers[p.PublicKey] = &simPeer{state: wgsetup.PeerState{Endpoint: p.Endpoint}}
		}
		sp := d.peers[p.PublicKey]
		if p.Keepalive > 0 && !sp.keepalive {
			sp.keepalive, sp.interval = true, p.Keepalive
			d.transmit(p.PublicKey)
			sp.traversal = d.host.w.now
			d.keepAlive(p.PublicKey, sp)
		} else if p.Keepalive > 0 && p.Keepalive != sp.interval {
			sp.interval = p.Keepalive // the kernel's timer follows at the next packet
		}
	}
	for k := range d.peers {
		if !wanted[k] {
			delete(d.peers, k)
		}
	}
}

// keepAlive sends a packet whenever none has gone either way for the interval.
func (d *simDevice) keepAlive(key wgtypes.Key, p *simPeer) {
	due := p.traversal.Add(p.interval)
	d.host.w.after(due.Sub(d.host.w.now), func() {
		if d.peers[key] != p || d.host.device != d {
			return
		}
		if !d.host.w.now.Before(p.traversal.Add(p.interval)) {
			d.transmit(key)
			p.traversal = d.host.w.now // tried, even where nothing could be sent
		}
		d.keepAlive(key, p)
	})
}

func (d *simDevice) SetRedirects(all []wgsetup.Redirect) error {
	d.redirects = map[netip.AddrPort]netip.AddrPort{}
	for _, r := range all {
		d.redirects[r.From] = r.To
	}
	return nil
}

func (d *simDevice) SetEndpoint(peer wgtypes.Key, addr netip.AddrPort) error {
	if d.peers[peer] == nil {
		return fmt.Errorf("set endpoint: %w", wgsetup.ErrNoPeer)
	}
	d.peers[peer].state.Endpoint = addr
	return nil
}

func (d *simDevice) Nudge(peer wgtypes.Key) error {
	if d.peers[peer] == nil {
		return fmt.Errorf("nudge: %w", wgsetup.ErrNoPeer)
	}
	d.transmit(peer)
	return nil
}

func (d *simDevice) Reset(peer wgtypes.Key) error {
	p := d.peers[peer]
	if p == nil {
		return fmt.Errorf("reset: %w", wgsetup.ErrNoPeer)
	}
	again := &simPeer{keepalive: p.keepalive, interval: p.interval, traversal: d.host.w.now, state: wgsetup.PeerState{Endpoint: p.state.Endpoint}}
	d.peers[peer] = again
	if again.keepalive {
		d.keepAlive(peer, again)
	}
	return nil
}

func (d *simDevice) age(p *simPeer) time.Duration {
	return d.host.w.now.Sub(p.state.LastHandshake.Add(-d.host.wall))
}

// transmit sends one packet: data in a session that may carry it, and an
// initiation where there is none or this side's has grown old.
func (d *simDevice) transmit(peer wgtypes.Key) {
	p, w := d.peers[peer], d.host.w
	if p == nil || !p.state.Endpoint.IsValid() {
		return
	}
	d.sends++
	if p.session && d.age(p) < 180*time.Second {
		p.state.TxBytes += 32
		p.traversal = w.now
		w.send(d.host, p.state.Endpoint, wgMessage{kind: "data", from: d.public})
		if !p.initiator || d.age(p) < 120*time.Second {
			return
		}
	}
	d.initiate(peer, p)
}

func (d *simDevice) initiate(peer wgtypes.Key, p *simPeer) {
	w := d.host.w
	if !p.initiated.IsZero() && w.now.Sub(p.initiated) < 5*time.Second { // REKEY_TIMEOUT
		return
	}
	p.initiated, p.awaits = w.now, true
	p.state.TxBytes += 148
	w.send(d.host, p.state.Endpoint, wgMessage{kind: "initiation", from: d.public})
	w.after(5*time.Second, func() {
		if q := d.peers[peer]; q == p && p.awaits && d.host.device == d {
			d.initiate(peer, p)
		}
	})
}

func (d *simDevice) receive(from netip.AddrPort, m wgMessage) {
	p := d.peers[m.from]
	if p == nil {
		return
	}
	switch m.kind {
	case "initiation":
		p.state.RxBytes += 148
		p.offered = true
		d.host.w.send(d.host, from, wgMessage{kind: "response", from: d.public})
	case "response":
		if !p.awaits {
			return
		}
		p.awaits, p.session, p.initiator = false, true, true
		p.state.RxBytes += 92
		p.state.LastHandshake = d.host.wallTime()
		d.host.w.send(d.host, from, wgMessage{kind: "data", from: d.public})
	case "data":
		if p.offered { // confirms the session that it was offered
			p.offered, p.session, p.initiator = false, true, false
			p.state.LastHandshake = d.host.wallTime()
		}
		if !p.session {
			return
		}
		p.state.RxBytes += 32
		if m.number > 0 {
			p.state.RxBytes += 68
			d.heard[m.number] = true
		}
		if p.initiator && d.age(p) > 165*time.Second {
			d.initiate(m.from, p)
		}
	}
	p.state.Endpoint, p.traversal = from, d.host.w.now
}

func (d *simDevice) states() map[wgtypes.Key]wgsetup.PeerState {
	all := map[wgtypes.Key]wgsetup.PeerState{}
	for k, p := range d.peers {
		all[k] = p.state
	}
	return all
}

// connected tells whether a and b have a session, both ways and known to both.
func connected(a, b *simHost) bool {
	pa, pb := a.mesh.peers[b.mesh.self.public], b.mesh.peers[a.mesh.self.public]
	return pa != nil && pb != nil && pa.working() && pb.working()
}
