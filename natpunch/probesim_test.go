package natpunch

import (
	"container/heap"
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v2"
)

// probeNAT is a NAT with the two knobs of RFC 4787 and some more. The zero one
// is none: the host has the outer address.
type probeNAT struct {
	mapping, filtering Behavior
	pick               func(local uint16, taken func(uint16) bool) uint16 // zero: no way out
	hairpin            bool
	lifetime           time.Duration // zero: long

	mappings []*natMapping
}

// Behavior is short for the tests' tables.
type Behavior = MappingBehavior

type natMapping struct {
	inner, outer uint16
	to           netip.AddrPort // first destination
	sent         map[netip.AddrPort]bool
	used         time.Time
}

var (
	natOuter = netip.MustParseAddr("192.0.2.1")
	natInner = netip.MustParseAddr("192.168.1.10")
)

func (n *probeNAT) alive(m *natMapping, now time.Time) bool {
	return n.lifetime == 0 || now.Sub(m.used) < n.lifetime
}

func (n *probeNAT) outward(now time.Time, inner uint16, to netip.AddrPort) *natMapping {
	for _, m := range n.mappings {
		same := n.mapping == EndpointIndependent || n.mapping == AddressDependent && m.to.Addr() == to.Addr() || m.to == to
		if m.inner == inner && same && n.alive(m, now) {
			m.used, m.sent[to] = now, true
			return m
		}
	}
	taken := func(port uint16) bool {
		for _, m := range n.mappings {
			if m.outer == port && n.alive(m, now) {
				return true
			}
		}
		return false
	}
	outer := n.pick(inner, taken)
	if outer == 0 {
		return nil
	}
	m := &natMapping{inner: inner, outer: outer, to: to, sent: map[netip.AddrPort]bool{to: true}, used: now}
	n.mappings = append(n.mappings, m)
	return m
}

func (n *probeNAT) inward(now time.Time, outer uint16, from netip.AddrPort) *natMapping {
	for _, m := range n.mappings {
		if m.outer != outer || !n.alive(m, now) {
			continue
		}
		for sent := range m.sent {
			if n.filtering == EndpointIndependent || n.filtering == AddressDependent && sent.Addr() == from.Addr() || sent == from {
				return m
			}
		}
	}
	return nil
}

func preserved(local uint16, taken func(uint16) bool) uint16 {
	for taken(local) {
		local = 1024 + uint16(rand.Uint32N(60000))
	}
	return local
}

func randomIn(rng *rand.Rand, low, high uint16) func(uint16, func(uint16) bool) uint16 {
	return func(_ uint16, taken func(uint16) bool) uint16 {
		for {
			if port := low + uint16(rng.UintN(uint(high-low)+1)); !taken(port) {
				return port
			}
		}
	}
}

func sequential(next uint16, step func() int) func(uint16, func(uint16) bool) uint16 {
	return func(uint16, func(uint16) bool) uint16 {
		next += uint16(step())
		return next
	}
}

// hashed gives each local port one of a few, and no way out where that is taken.
func hashed(few uint16) func(uint16, func(uint16) bool) uint16 {
	return func(local uint16, taken func(uint16) bool) uint16 {
		h := fnv.New32a()
		_, _ = h.Write([]byte{byte(local >> 8), byte(local)})
		if port := 20000 + uint16(h.Sum32()%uint32(few)); !taken(port) {
			return port
		}
		return 0
	}
}

// probeServer answers on two addresses and two ports, as RFC 5780 says, or does
// less.
type probeServer struct {
	addrs        [2]netip.Addr
	plain        bool // no RFC 5780
	ignores      bool // offers it, but answers from where it was asked
	mute         bool // offers it, but what is to come from elsewhere never comes
	noOther      bool // offers it, but nothing listens at the other address
	noResponse   bool // knows no RESPONSE-PORT
	deaf         bool // never answers
	requestsSeen int
}

func newProbeServer(a, b string) *probeServer {
	return &probeServer{addrs: [2]netip.Addr{netip.MustParseAddr(a), netip.MustParseAddr(b)}}
}

func (s *probeServer) primary() netip.AddrPort { return netip.AddrPortFrom(s.addrs[0], 3478) }

// answer returns what goes where, from where; ok is false for silence.
func (s *probeServer) answer(at, from netip.AddrPort, data []byte) (src, dst netip.AddrPort, out []byte, ok bool) {
	s.requestsSeen++
	m := &stun.Message{Raw: data}
	if m.Decode() != nil || s.deaf || (s.plain || s.noOther) && at != s.primary() {
		return
	}
	other := func(a netip.Addr) netip.Addr {
		if a == s.addrs[0] {
			return s.addrs[1]
		}
		return s.addrs[0]
	}
	otherPort := func(p uint16) uint16 { return 3478 + 3479 - p }
	src, dst = at, from
	setters := []stun.Setter{m, stun.BindingSuccess, &stun.XORMappedAddress{IP: from.Addr().AsSlice(), Port: int(from.Port())}}
	if !s.plain {
		setters = append(setters, &stun.OtherAddress{IP: other(at.Addr()).AsSlice(), Port: int(otherPort(at.Port()))})
		if v, err := m.Get(stun.AttrChangeRequest); err == nil && !s.ignores {
			if s.mute {
				return
			}
			if v[3]&4 != 0 {
				src = netip.AddrPortFrom(other(src.Addr()), src.Port())
			}
			if v[3]&2 != 0 {
				src = netip.AddrPortFrom(src.Addr(), otherPort(src.Port()))
			}
		}
		if v, err := m.Get(attrResponsePort); err == nil {
			if s.noResponse {
				setters[1] = stun.BindingError
			} else {
				dst = netip.AddrPortFrom(dst.Addr(), binary.BigEndian.Uint16(v))
			}
		}
	}
	return src, dst, stun.MustBuild(setters...).Raw, true
}

// probeWorld runs one Probe before a NAT and servers, with 20 ms each way.
type probeWorld struct {
	t       *testing.T
	nat     *probeNAT // nil: none
	servers []*probeServer
	loss    float64
	jitter  time.Duration // each datagram may take that much longer, so that they overtake each other
	stalls  time.Duration // the process is held up for 1-3 s, so often in the mean; zero: never
	rng     *rand.Rand

	now    time.Time
	queue  probeEvents
	ports  map[int]uint16 // index to local port
	opened int
	before func() // each datagram out; nil: nothing

	stall   time.Time // the next one
	stalled time.Time // until then
}

type probeEvent struct {
	at  time.Time
	n   int
	run func()
}

type probeEvents []probeEvent

func (e probeEvents) Len() int { return len(e) }
func (e probeEvents) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].n < e[j].n
}
func (e probeEvents) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *probeEvents) Push(x any)   { *e = append(*e, x.(probeEvent)) }
func (e *probeEvents) Pop() any {
	x := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return x
}

func (w *probeWorld) later(d time.Duration, run func()) {
	if w.rng.Float64() >= w.loss {
		if w.jitter > 0 {
			d += time.Duration(w.rng.Int64N(int64(w.jitter)))
		}
		w.at(w.now.Add(d), run)
	}
}

func (w *probeWorld) at(at time.Time, run func()) {
	heap.Push(&w.queue, probeEvent{at, w.opened<<20 + len(w.queue), run})
}

// holdUp has the process stall when it is time for that, and tells whether it does.
func (w *probeWorld) holdUp() bool {
	if w.stalls > 0 && !w.now.Before(w.stall) {
		if !w.stall.IsZero() {
			w.stalled = w.now.Add(time.Second + time.Duration(w.rng.Int64N(int64(2*time.Second))))
		}
		w.stall = w.now.Add(time.Duration(w.rng.ExpFloat64() * float64(w.stalls)))
		if w.stall.Before(w.stalled) {
			w.stall = w.stalled
		}
	}
	return w.now.Before(w.stalled)
}

const probeDelay = 20 * time.Millisecond

// run lets the Probe measure and returns what it found, and how long it took.
func (w *probeWorld) run(p *Probe) (FamilyStatus, time.Duration) {
	w.t.Helper()
	w.now, w.ports = epoch, make(map[int]uint16)
	if w.rng == nil {
		w.rng = rand.New(rand.NewPCG(1, 2))
	}
	for steps := 0; ; steps++ {
		if steps > 100_000 {
			w.t.Fatal("it does not come to an end")
		}
		var a ProbeActions
		if !w.holdUp() {
			a = p.Advance(w.now)
		}
		for _, i := range a.Open {
			w.opened++
			w.ports[i] = uint16(20000 + 7*w.opened)
			p.Opened(i, w.ports[i])
		}
		for _, s := range a.Send {
			w.outward(p, w.ports[s.Port], s.To, s.Data)
		}
		for _, i := range a.Close {
			delete(w.ports, i)
		}
		if p.Done() {
			if len(w.ports) > 0 {
				w.t.Errorf("%d ports are left open", len(w.ports))
			}
			return p.Result(), w.now.Sub(epoch)
		}
		next, ok := p.Next()
		if ok && next.Before(w.stalled) {
			next = w.stalled
		}
		if len(w.queue) > 0 && (!ok || w.queue[0].at.Before(next)) {
			e := heap.Pop(&w.queue).(probeEvent)
			w.now = e.at
			e.run()
			continue
		}
		if !ok {
			w.t.Fatal("it waits for nothing")
		}
		if next.After(w.now) {
			w.now = next
		}
	}
}

// outward takes a datagram of the host to where it goes.
func (w *probeWorld) outward(p *Probe, local uint16, to netip.AddrPort, data []byte) {
	if w.before != nil {
		w.before()
	}
	from := netip.AddrPortFrom(natOuter, local)
	if w.nat != nil {
		m := w.nat.outward(w.now, local, to)
		if m == nil {
			return
		}
		from = netip.AddrPortFrom(natOuter, m.outer)
	}
	if to.Addr() == natOuter {
		if w.nat != nil && w.nat.hairpin {
			w.later(time.Millisecond, func() { w.inward(p, from, to, data) })
		}
		return
	}
	for _, s := range w.servers {
		if to.Addr() != s.addrs[0] && to.Addr() != s.addrs[1] {
			continue
		}
		w.later(probeDelay, func() {
			if src, dst, out, ok := s.answer(to, from, data); ok {
				w.later(probeDelay, func() { w.inward(p, src, dst, out) })
			}
		})
	}
}

// inward takes a datagram through the NAT. Of a process that stalls, what came
// meanwhile is read last.
func (w *probeWorld) inward(p *Probe, from, to netip.AddrPort, data []byte) {
	local := to.Port()
	if w.nat != nil {
		m := w.nat.inward(w.now, to.Port(), from)
		if m == nil {
			return
		}
		local = m.inner
	}
	for i, port := range w.ports {
		switch {
		case port != local:
		case w.now.Before(w.stalled):
			w.at(w.stalled.Add(5*time.Millisecond), func() {
				if w.ports[i] == local {
					p.Receive(i, from, data)
				}
			})
		default:
			p.Receive(i, from, data)
		}
	}
}
