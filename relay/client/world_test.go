package client

import (
	"container/heap"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world is clients and a relay in virtual time, with a network between them that
// delays, loses and reorders.
type world struct {
	t      testing.TB
	now    time.Time
	rng    *rand.Rand
	delay  time.Duration // one way
	jitter time.Duration
	loss   float64
	events events
	order  int
	relay  *model
	server func(at, from netip.AddrPort, b []byte) // receives for the relay
	tap    func(at, to netip.AddrPort, b []byte)   // hears what arrives at hosts
	hosts  []*host
	dead   map[netip.Addr]bool // addresses of the relay that nothing reaches
}

// host is a client, where the relay sees it, and what it said.
type host struct {
	name   string
	w      *world
	node   keys.NodePrivate
	client *Client
	said   []said
	sent   []said // Sends
	drops  map[string]int
	known  map[keys.NodePublic]netip.AddrPort // allocations, as told
	// port and v4 say how its NAT maps it: every destination alike.
	v4, v6 netip.Addr
	port   uint16
	mute   bool // sends nothing
	asleep bool // does nothing at all
}

type said struct {
	at  time.Duration // since the epoch
	out Output
}

type event struct {
	at    time.Time
	order int
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

var (
	main4 = netip.MustParseAddrPort("203.0.113.5:3478")
	main6 = netip.MustParseAddrPort("[2001:db8::5]:3478")
)

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{
		t: t, now: epoch, rng: rand.New(rand.NewPCG(seed, 1)), delay: 20 * time.Millisecond,
		dead: map[netip.Addr]bool{},
	}
	w.relay = newModel(w)
	w.server = w.relay.receive
	return w
}

func testNetwork(t testing.TB) keys.NetworkKey {
	t.Helper()
	k, err := keys.ParseNetworkKey([]byte("one network key of 32 bytes, yes"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// add makes a host with a client that knows the relay's addresses.
func (w *world) add(addrs ...netip.AddrPort) *host {
	w.t.Helper()
	n := byte(len(w.hosts) + 1)
	seed := [32]byte{n}
	node, err := keys.ParseNodePrivate(seed[:])
	if err != nil {
		w.t.Fatal(err)
	}
	network := testNetwork(w.t)
	h := &host{
		name: fmt.Sprint("host ", n), w: w, node: node, drops: map[string]int{}, known: map[keys.NodePublic]netip.AddrPort{},
		v4: netip.AddrFrom4([4]byte{198, 51, 100, n}), v6: netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: n}), port: 50000,
	}
	h.client = New(Config{Network: network.ID(), Sign: network.SignID, Node: node, Rand: chaos{w.rng}},
		Server{w.relay.identity.Public(), addrs})
	w.hosts = append(w.hosts, h)
	return h
}

// chaos makes a seeded generator an io.Reader.
type chaos struct{ rng *rand.Rand }

func (c chaos) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(c.rng.Uint32())
	}
	return len(b), nil
}

func (w *world) at(d time.Duration, do func()) {
	w.order++
	heap.Push(&w.events, event{w.now.Add(d), w.order, do})
}

// carry delivers a datagram, or not.
func (w *world) carry(do func()) {
	if w.rng.Float64() < w.loss {
		return
	}
	d := w.delay
	if w.jitter > 0 {
		d += time.Duration(w.rng.Int64N(int64(w.jitter)))
	}
	w.at(d, do)
}

// arrive hands a datagram from the relay to the host that has that address.
func (w *world) arrive(at, to netip.AddrPort, b []byte) {
	if w.tap != nil {
		w.tap(at, to, b)
	}
	for _, h := range w.hosts {
		if h.asleep || to != h.source(at) {
			continue // somebody else, or a mapping that its NAT has no more
		}
		if drop := h.client.Receive(w.now, at, b); drop != "" {
			h.drops[drop]++
		}
		h.pump()
	}
}

// source is where the relay sees what the host sends to an address.
func (h *host) source(to netip.AddrPort) netip.AddrPort {
	if to.Addr().Is4() {
		return netip.AddrPortFrom(h.v4, h.port)
	}
	return netip.AddrPortFrom(h.v6, h.port)
}

func (h *host) pump() {
	for range 100 {
		outs := h.client.Advance(h.w.now)
		for _, o := range outs {
			s := said{h.w.now.Sub(epoch), o}
			h.check(o)
			send, ok := o.(Send)
			if !ok {
				h.said = append(h.said, s)
				continue
			}
			h.sent = append(h.sent, s)
			from := h.source(send.To)
			if !h.mute && !h.w.dead[send.To.Addr()] {
				h.w.carry(func() { h.w.server(send.To, from, send.Data) })
			}
		}
		if next, ok := h.client.Next(); !ok || next.After(h.w.now) {
			return
		}
	}
	h.w.t.Fatalf("%s: Advance never comes to rest", h.name)
}

// check holds what is told to what was told before.
func (h *host) check(o Output) {
	h.w.t.Helper()
	switch o := o.(type) {
	case Bound:
		if h.known[o.Peer] != o.Addr {
			h.w.t.Errorf("%s: %+v of an allocation that is not known", h.name, o)
		}
	case Lost:
		if h.known[o.Peer] != o.Addr {
			h.w.t.Errorf("%s: %+v of an allocation that is not known", h.name, o)
		}
		delete(h.known, o.Peer)
	case Allocated:
		if _, ok := h.known[o.Peer]; ok {
			h.w.t.Errorf("%s: %+v without that the old one was lost", h.name, o)
		}
		h.known[o.Peer] = o.Addr
	case Send:
		if o.To != main4 && o.To != main6 && !slices.Contains(slices.Collect(maps.Values(h.known)), o.To) {
			h.w.t.Errorf("%s: sends to %v, which is not the relay's", h.name, o.To)
		}
	}
}

// setPeers tells the client, and forgets what it is not told the end of.
func (h *host) setPeers(peers ...*host) {
	var list []keys.NodePublic
	for _, p := range peers {
		list = append(list, p.node.Public())
	}
	maps.DeleteFunc(h.known, func(k keys.NodePublic, _ netip.AddrPort) bool { return !slices.Contains(list, k) })
	h.client.SetPeers(h.w.now, list)
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	w.t.Helper()
	end := w.now.Add(d)
	for range 10_000_000 {
		for len(w.events) > 0 && !w.events[0].at.After(w.now) {
			heap.Pop(&w.events).(event).do()
		}
		next := end
		for _, h := range w.hosts {
			if h.asleep {
				continue
			}
			h.pump()
			if t, ok := h.client.Next(); ok && t.Before(next) {
				next = t
			}
		}
		if len(w.events) > 0 && w.events[0].at.Before(next) {
			next = w.events[0].at
		}
		if !w.now.Before(end) && !next.Before(end) {
			return
		}
		w.now = next
	}
	w.t.Fatal("time stands still")
}

// until lets time pass until something holds, and says how long it took.
func (w *world) until(limit time.Duration, what string, holds func() bool) time.Duration {
	w.t.Helper()
	from := w.now
	for !holds() {
		if w.now.Sub(from) >= limit {
			break
		}
		w.run(time.Millisecond)
	}
	if holds() {
		return w.now.Sub(from)
	}
	w.t.Fatalf("not within %v: %s", limit, what)
	return 0
}

func (h *host) forget() { h.said, h.sent = nil, nil }

// ready reports whether both halves of the pair are bound, as h was told.
func (h *host) ready(peer *host) bool {
	for _, a := range h.client.Status().Allocations {
		if a.Peer == peer.node.Public() {
			return a.Bound && a.Ready
		}
	}
	return false
}

func (h *host) port4(peer *host) netip.AddrPort {
	for _, a := range h.client.Status().Allocations {
		if a.Peer == peer.node.Public() {
			return a.Addr
		}
	}
	return netip.AddrPort{}
}

// told returns the outputs of one type.
func told[T Output](h *host) (list []T) {
	for _, s := range h.said {
		if o, ok := s.out.(T); ok {
			list = append(list, o)
		}
	}
	return list
}

func (h *host) kinds() map[wire.Kind]int {
	n := map[wire.Kind]int{}
	for _, s := range h.sent {
		k, _ := wire.ParseHeader(s.out.(Send).Data)
		n[k]++
	}
	return n
}
