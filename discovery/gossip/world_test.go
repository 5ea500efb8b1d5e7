package gossip

import (
	"container/heap"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/credant/credant/discovery"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

// world is a network in virtual time: datagrams take a while, are lost, and
// pass only where there is a link. One seed is one run.
type world struct {
	t       testing.TB
	rng     *rand.Rand
	now     time.Time
	network keys.NetworkKey
	pair    keys.Pair
	hosts   []*host
	byNode  map[keys.NodePublic]*host
	events  events
	count   uint64

	delay time.Duration // one way
	loss  float64
	// apart says that no path can be between two hosts. Nil: none are.
	apart func(a, b *host) bool
	// meets: hosts that know of each other find a path after a while.
	meets bool
	// terse: only news is reported as learnt.
	terse bool
	// lost sees a signal before it is sent and says whether to lose it. Nil: by
	// chance.
	lost func(from, to *host, s wire.Signal) bool
}

// host is a member: what control does about gossip, and no more.
type host struct {
	w      *world
	i      int // in w.hosts
	key    keys.NodePrivate
	node   keys.NodePublic
	book   *discovery.Book
	g      *Gossip
	up     bool
	record wire.Record
	signed wire.SignedRecord

	paths   map[*host]bool
	wake    time.Time
	seqs    []uint64                // of what it has of others, by i
	hops    map[keys.NodePublic]int // that the newest record took
	expired time.Time               // when the Book was looked through

	sent, heard int // datagrams
	introduced  int // records heard
}

type event struct {
	at time.Time
	n  uint64
	do func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].n < e[j].n
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

func newWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1_784_246_400, 0),
		delay: 20 * time.Millisecond, meets: true, byNode: make(map[keys.NodePublic]*host),
	}
	network, err := keys.ParseNetworkKey(w.bytes())
	if err != nil {
		t.Fatal(err)
	}
	w.network = network
	var probes [2]keys.ProbePrivate
	for i := range probes {
		if probes[i], err = keys.ParseProbePrivate(w.bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if w.pair, err = keys.NewPair(network, probes[0], probes[1].Public()); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) bytes() []byte {
	b := make([]byte, 0, 32)
	for range 4 {
		b = binary.BigEndian.AppendUint64(b, w.rng.Uint64())
	}
	return b
}

// Read makes the world a source of randomness for its hosts.
func (w *world) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(w.rng.Uint32())
	}
	return len(b), nil
}

// add makes a host that knows only itself.
func (w *world) add() *host {
	key, err := keys.ParseNodePrivate(w.bytes())
	if err != nil {
		w.t.Fatal(err)
	}
	h := &host{w: w, i: len(w.hosts), key: key, node: key.Public()}
	w.hosts = append(w.hosts, h)
	w.byNode[h.node] = h
	for _, o := range w.hosts {
		o.seqs = append(o.seqs, make([]uint64, len(w.hosts)-len(o.seqs))...)
	}
	h.start()
	return h
}

// start begins a run of the host, with an empty memory.
func (h *host) start() {
	h.up = true
	h.book = discovery.NewBook(h.w.network.Prefix6(), 0)
	h.g = New(Config{Self: h.node, Book: h.book, Rand: h.w})
	h.paths, h.hops = make(map[*host]bool), make(map[keys.NodePublic]int)
	h.wake = time.Time{}
	clear(h.seqs)
	h.publish()
}

// stop ends it; the others notice a while later.
func (h *host) stop() {
	h.up = false
	for _, o := range h.w.hosts {
		h.w.disconnect(h, o)
	}
}

// publish signs a new record and tells it.
func (h *host) publish() {
	h.sign()
	h.g.SetOwn(h.w.now, h.signed)
	h.work()
}

// sign signs a new record.
func (h *host) sign() {
	h.record = wire.Record{
		Node: h.node, WireGuard: wgtypes.Key(h.node), Probe: keys.ProbePublic(h.node),
		Seq: max(h.record.Seq+1, uint64(h.w.now.UnixMilli())), Lifetime: wire.MaxLifetime,
		Addresses: []wire.AddressClaim{{Addr: keys.Address6(h.w.network.Prefix6(), h.node), Settled: true}},
	}
	signed, err := wire.Sign(h.record, h.key)
	if err != nil {
		h.w.t.Fatal(err)
	}
	h.signed = signed
}

func (w *world) at(at time.Time, do func()) {
	w.count++
	heap.Push(&w.events, event{at, w.count, do})
}

func (w *world) after(d time.Duration, do func()) { w.at(w.now.Add(d), do) }

// run lets time pass, until the condition holds if there is one, and reports
// whether it does.
func (w *world) run(d time.Duration, until func() bool) bool {
	w.t.Helper()
	end := w.now.Add(d)
	for until == nil || !until() {
		if len(w.events) == 0 || w.events[0].at.After(end) {
			w.now = end
			return until != nil && until()
		}
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	return true
}

// work does what the host's gossip wants done, as control does after each
// event.
func (h *host) work() {
	if !h.up {
		return
	}
	if h.w.now.Sub(h.expired) >= time.Minute {
		h.book.Expire(h.w.now)
		h.expired = h.w.now
	}
	for range 3 {
		for _, o := range h.g.Advance(h.w.now) {
			h.send(o)
		}
		at, ok := h.g.Next()
		if !ok {
			h.wake = time.Time{}
			return
		}
		if at.After(h.w.now) {
			if at != h.wake {
				h.wake = at
				g := h.g
				h.w.at(at, func() {
					if h.g == g && h.wake.Equal(at) {
						h.work()
					}
				})
			}
			return
		}
	}
	h.w.t.Fatalf("Advance at %v has always something to do", h.w.now)
}

func (h *host) send(o Output) {
	w := h.w
	h.sent++
	if o.Signal.Introduce == nil { // what is introduced fits, by its own tests
		if _, err := wire.SealSignal(&w.pair, o.Signal); err != nil {
			w.t.Fatalf("signal %+v: %v", o.Signal, err)
		}
	}
	to := w.hostOf(o.To)
	if !h.paths[to] {
		w.t.Errorf("signal to a node that cannot be spoken to")
	}
	if w.lost != nil && w.lost(h, to, o.Signal) || w.rng.Float64() < w.loss || w.isApart(h, to) {
		return
	}
	hops := 0
	if i := o.Signal.Introduce; i != nil {
		node, _, err := i.Signed.Claim()
		if err != nil {
			w.t.Fatal(err)
		}
		hops = h.hops[node] + 1
		i.Age = (i.Age + time.Second - 1).Truncate(time.Second) // as it is encoded
	}
	g := to.g
	w.after(w.delay+time.Duration(w.rng.Int64N(int64(w.delay/10))), func() {
		if to.up && to.g == g {
			to.receive(h, o.Signal, hops)
		}
	})
}

func (h *host) receive(from *host, s wire.Signal, hops int) {
	h.heard++
	switch {
	case s.Digest != nil:
		h.g.ReceiveDigest(h.w.now, from.node, *s.Digest)
	case s.Want != nil:
		h.g.ReceiveWant(h.w.now, from.node, *s.Want)
	default:
		h.introduced++
		h.learn(*s.Introduce, from.node, hops)
	}
	h.work()
}

// learn files a record, as control does.
func (h *host) learn(i wire.Introduce, from keys.NodePublic, hops int) {
	node, seq, err := i.Signed.Claim()
	if err != nil {
		h.w.t.Fatal(err)
	}
	if node == h.node {
		return
	}
	before, known := h.book.Get(node)
	if known && before.Record.Seq >= seq {
		if before.Record.Seq == seq && !h.w.terse {
			h.g.Learned(h.w.now, node, from)
		}
		return // to verify it again takes the tests too long
	}
	_, change, err := h.book.Put(h.w.now, i.Signed, i.Age)
	if err != nil || change != discovery.New && change != discovery.Updated {
		return
	}
	other := h.w.hostOf(node)
	h.hops[node], h.seqs[other.i] = hops, seq
	h.g.Learned(h.w.now, node, from)
	if change == discovery.New && h.w.meets {
		h.w.after(6*h.w.delay, func() { h.w.connect(h, other) }) // three round trips of checks
	}
}

func (w *world) hostOf(node keys.NodePublic) *host {
	h := w.byNode[node]
	if h == nil {
		w.t.Fatalf("no host %s", node.ID())
	}
	return h
}

func (w *world) isApart(a, b *host) bool { return w.apart != nil && w.apart(a, b) }

// connect makes a path between two hosts, by hellos: each has the other's
// record then.
func (w *world) connect(a, b *host) {
	if !a.up || !b.up || a == b || a.paths[b] || w.isApart(a, b) {
		return
	}
	a.paths[b], b.paths[a] = true, true
	for _, x := range []struct{ h, o *host }{{a, b}, {b, a}} {
		x.h.learn(wire.Introduce{Signed: x.o.signed}, x.o.node, 1)
		x.h.g.SetPeer(w.now, x.o.node, true)
		x.h.work()
	}
}

// disconnect takes the path away, on both sides.
func (w *world) disconnect(a, b *host) {
	if !a.paths[b] {
		return
	}
	delete(a.paths, b)
	delete(b.paths, a)
	for _, x := range []struct{ h, o *host }{{a, b}, {b, a}} {
		if x.h.up {
			x.h.g.SetPeer(w.now, x.o.node, false)
			x.h.work()
		}
	}
}

// knows says whether the host has learnt what another one published last.
func (h *host) knows(o *host) bool { return h == o || h.seqs[o.i] == o.record.Seq }

// same says whether all that are up know all others that are up.
func (w *world) same() bool {
	for _, h := range w.hosts {
		for _, o := range w.hosts {
			if h.up && o.up && !h.knows(o) {
				return false
			}
		}
	}
	return true
}

// begin makes n hosts that know the first, as if it were given to them, within
// a second.
func (w *world) begin(n int) {
	for range n {
		w.add()
	}
	for _, h := range w.hosts[1:] {
		w.after(time.Duration(w.rng.Int64N(int64(time.Second))), func() { w.connect(h, w.hosts[0]) })
	}
}

// settled makes a world of n hosts that know each other and have nothing more
// to say.
func settled(t testing.TB, seed uint64, n int) *world {
	t.Helper()
	w := newWorld(t, seed)
	w.begin(n)
	w.run(time.Second, nil)
	if !w.run(time.Minute, w.same) {
		t.Fatal("a network that has just started does not become one")
	}
	w.run(15*time.Minute, nil)
	w.reset()
	return w
}

// rounds is the most hops that any record has taken since the reset.
func (w *world) rounds() (most int) {
	for _, h := range w.hosts {
		for _, n := range h.hops {
			most = max(most, n)
		}
	}
	return most
}

// reset begins to count anew.
func (w *world) reset() {
	for _, h := range w.hosts {
		h.sent, h.heard, h.introduced = 0, 0, 0
		clear(h.hops)
	}
}

// sent is how many datagrams all hosts have sent since the reset.
func (w *world) sent() (n int) {
	for _, h := range w.hosts {
		n += h.sent
	}
	return n
}
