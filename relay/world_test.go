package relay

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/relay/wire"
)

var (
	front4 = netip.MustParseAddrPort("203.0.113.5:3478")
	front6 = netip.MustParseAddrPort("[2001:db8:5::5]:3478")
)

// world is a server in virtual time, the forwarder that does what it says, and
// the clients that speak to it. Datagrams arrive at once.
type world struct {
	tb      testing.TB
	rng     *rand.Rand
	now     time.Time
	s       *Server
	open    map[uint16]bool
	flows   map[FlowKey]Flow
	clients map[netip.AddrPort]*client
	// in and out count the bytes of each address before it has proved itself, by
	// what the server received and sent.
	in, out map[netip.AddrPort]int
	proven  map[netip.AddrPort]bool
	reasons map[string]int
	keysN   uint64
}

func newWorld(tb testing.TB, seed uint64) *world {
	return newWorldWith(tb, seed, Config{}, tableLimits)
}

func newWorldWith(tb testing.TB, seed uint64, cfg Config, most limits) *world {
	w := &world{
		tb: tb, rng: rand.New(rand.NewPCG(seed, 0)),
		now:     time.Unix(1e6, 0),
		open:    make(map[uint16]bool),
		flows:   make(map[FlowKey]Flow),
		clients: make(map[netip.AddrPort]*client),
		in:      make(map[netip.AddrPort]int), out: make(map[netip.AddrPort]int),
		proven:  make(map[netip.AddrPort]bool),
		reasons: make(map[string]int),
	}
	w.s = newServer(w.config(cfg), most)
	return w
}

func (w *world) config(cfg Config) Config {
	seed := w.seed()
	identity, err := wire.ParseServerPrivate(seed[:])
	if err != nil {
		w.tb.Fatal(err)
	}
	cfg.Identity = identity
	cfg.Locals = []netip.Addr{front4.Addr(), front6.Addr()}
	if cfg.Rand == nil {
		cfg.Rand = rand.NewChaCha8(w.seed())
	}
	return cfg
}

func (w *world) seed() [32]byte {
	w.keysN++
	return sha256.Sum256(binary.BigEndian.AppendUint64([]byte("test"), w.keysN))
}

// restart puts another server in the place of this one, with the same identity.
func (w *world) restart() {
	cfg := w.s.cfg
	w.s = newServer(cfg, w.s.limits)
	w.open, w.flows = make(map[uint16]bool), make(map[FlowKey]Flow)
}

// receive hands the server a datagram, carries out what it says, and returns
// the reason.
func (w *world) receive(at, from netip.AddrPort, b []byte) string {
	w.tb.Helper()
	w.now = w.now.Add(time.Millisecond)
	if !w.proven[from] {
		w.in[from] += len(b)
	}
	before := slices.Clone(b)
	reason := w.s.Receive(w.now, at, from, b)
	if !slices.Equal(b, before) {
		w.tb.Fatal("the server changed what it received")
	}
	clear(b) // it keeps nothing of it
	w.reasons[reason]++
	w.advance()
	return reason
}

func (w *world) unknown(at, from netip.AddrPort, b []byte) {
	w.in[from] += len(b)
	w.s.Unknown(w.now, at, from, b)
	w.advance()
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	w.tb.Helper()
	end := w.now.Add(d)
	for {
		next, ok := w.s.Next()
		if !ok || next.After(end) {
			break
		}
		if next.After(w.now) {
			w.now = next
		}
		w.advance()
	}
	w.now = end
	w.advance()
}

func (w *world) advance() {
	w.tb.Helper()
	for _, out := range w.s.Advance(w.now) {
		w.carryOut(out)
	}
	if next, ok := w.s.Next(); ok && !next.After(w.now) {
		w.tb.Fatalf("after Advance at %v the next is at %v", w.now, next)
	}
}

func (w *world) carryOut(out Output) {
	w.tb.Helper()
	switch out := out.(type) {
	case Send:
		w.send(out)
	case OpenPort:
		if w.open[out.Port] {
			w.tb.Fatalf("port %d is opened twice", out.Port)
		}
		w.open[out.Port] = true
	case ClosePort:
		for k := range w.flows {
			if k.At.Port() == out.Port {
				w.tb.Fatalf("port %d is closed under %v", out.Port, k)
			}
		}
		if !w.open[out.Port] {
			w.tb.Fatalf("port %d is closed and was not open", out.Port)
		}
		delete(w.open, out.Port)
	case Install:
		if !w.open[out.At.Port()] || out.From.Port() != out.At.Port() {
			w.tb.Fatalf("install %v: port not open, or two ports", out.Flow)
		}
		if !w.proven[out.Source] || !w.proven[out.To] {
			w.tb.Fatalf("install %v: a side never proved itself", out.Flow)
		}
		if len(out.Buckets) != 3 {
			w.tb.Fatalf("install %v with %d buckets", out.Flow, len(out.Buckets))
		}
		w.flows[out.FlowKey] = out.Flow
	case Remove:
		if _, ok := w.flows[out.FlowKey]; !ok {
			w.tb.Fatalf("remove %v: not there", out.FlowKey)
		}
		delete(w.flows, out.FlowKey)
	}
}

func (w *world) send(out Send) {
	w.tb.Helper()
	port := out.From.Port()
	if port != front4.Port() && !w.open[port] {
		w.tb.Fatalf("send from %v, which is not open", out.From)
	}
	if out.From.Addr().Is4() != out.To.Addr().Is4() || len(out.Data) > wire.MaxFrame {
		w.tb.Fatalf("send %d bytes from %v to %v", len(out.Data), out.From, out.To)
	}
	if !w.proven[out.To] {
		w.out[out.To] += len(out.Data)
		if w.out[out.To] > w.in[out.To] {
			w.tb.Fatalf("%v sent %d bytes and was sent %d without proof", out.To, w.in[out.To], w.out[out.To])
		}
	}
	if c := w.clients[out.To]; c != nil {
		c.receive(out)
	}
}

// check compares the flows with each other: each has its other direction.
func (w *world) check() {
	w.tb.Helper()
	for k, f := range w.flows {
		back, ok := w.flows[FlowKey{At: f.From, Source: f.To}]
		if !ok || back.From != k.At || back.To != k.Source {
			w.tb.Fatalf("%v has no way back", f)
		}
	}
	checkServer(w.tb, w.s)
}
