package swap

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// path is a way between both kernels. An endpoint names it.
type path struct {
	endpoint netip.AddrPort // at both sides alike, as that of a relay is
	latency  [2]time.Duration
	jitter   time.Duration
	loss     float64
	dead     [2]bool // by sender
}

func (p *path) rtt() time.Duration { return p.latency[0] + p.latency[1] }

// kernel is WireGuard at one side, as far as endpoints go: it sends to where
// the last authenticated packet came from, or to what was set after that.
type kernel struct {
	endpoint netip.AddrPort
	redirect bool // to the new path, of the old one's source
	received int64
	sent     int
	arrived  map[int]bool
	stable   time.Duration   // since when the endpoint is what it is
	dropped  int             // data that a path lost by chance
	holes    []time.Duration // when data was sent into a dead path
}

// world is two kernels, two paths between them and virtual time.
type world struct {
	rng      *rand.Rand
	now      time.Duration
	events   events
	order    int
	old, new *path
	kernels  [2]*kernel
	swaps    [2]*Swap
}

var epoch = time.Unix(1_700_000_000, 0)

func newWorld(rng *rand.Rand, from, to *path) *world {
	w := &world{rng: rng, old: from, new: to}
	from.endpoint = netip.MustParseAddrPort("192.0.2.9:20000")
	to.endpoint = netip.MustParseAddrPort("192.0.2.1:51820")
	for i := range w.kernels {
		w.kernels[i] = &kernel{endpoint: from.endpoint, arrived: make(map[int]bool)}
	}
	return w
}

// upTo is a random time that is at most d.
func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d) + 1)) }

func (w *world) after(d time.Duration, f func()) {
	w.order++
	heap.Push(&w.events, event{w.now + d, w.order, f})
}

func (w *world) run(until time.Duration) {
	for len(w.events) > 0 && w.events[0].at <= until {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.f()
	}
	w.now = until
}

// data is a packet with a number, keepalives have none.
const keepalive = -1

func (w *world) send(side, number int) {
	k := w.kernels[side]
	p := w.old
	switch k.endpoint {
	case w.new.endpoint:
		p = w.new
	case w.old.endpoint:
	default:
		return // the peer is elsewhere
	}
	if number != keepalive {
		k.sent++
	}
	switch {
	case p.dead[side]:
		if number != keepalive {
			k.holes = append(k.holes, w.now)
		}
		return
	case w.rng.Float64() < p.loss:
		if number != keepalive {
			k.dropped++
		}
		return
	}
	latency := p.latency[side]
	if p.jitter > 0 {
		latency += w.upTo(p.jitter)
	}
	source := p.endpoint
	w.after(latency, func() { w.receive(1-side, source, number) })
}

func (w *world) receive(side int, source netip.AddrPort, number int) {
	k := w.kernels[side]
	if k.redirect && source == w.old.endpoint {
		source = w.new.endpoint
	}
	w.set(side, source)
	k.received += 32
	if number != keepalive {
		k.arrived[number] = true
	}
}

func (w *world) set(side int, endpoint netip.AddrPort) {
	if k := w.kernels[side]; k.endpoint != endpoint {
		k.endpoint = endpoint
		k.stable = w.now
	}
}

// traffic has a side send data until the end.
func (w *world) traffic(side int, perSecond int, end time.Duration) {
	if perSecond == 0 {
		return
	}
	interval := time.Second / time.Duration(perSecond)
	number := 0
	var next func()
	next = func() {
		if w.now >= end {
			return
		}
		w.send(side, number)
		number++
		// Not in step with the other side's, nor with the Swap's.
		w.after(interval*9/10+w.upTo(interval/5), next)
	}
	w.after(w.upTo(interval), next)
}

// swap runs a Swap at one side as a caller does: look, advance, follow with
// the redirect, then act; each takes its time.
func (w *world) swap(side int, c Config, nftables, netlink time.Duration) {
	k := w.kernels[side]
	c.From, c.To = w.old.endpoint, w.new.endpoint
	s := New(epoch.Add(w.now), c)
	w.swaps[side] = s
	var step func()
	step = func() {
		now := epoch.Add(w.now)
		s.Looked(now, k.endpoint, k.received)
		actions := s.Advance(now)
		delay := time.Duration(0)
		if want := s.Redirects(); want != k.redirect {
			delay = w.upTo(nftables)
			w.after(delay, func() { k.redirect = want })
		}
		for _, a := range actions {
			delay += w.upTo(netlink)
			w.after(delay, func() {
				switch a := a.(type) {
				case SetEndpoint:
					w.set(side, a.Addr)
				case Nudge:
					w.send(side, keepalive)
				}
			})
		}
		if _, done := s.Done(); done {
			return
		}
		w.after(max(s.Next().Sub(now), delay, 100*time.Microsecond), step)
	}
	step()
}

// events is a heap by time.
type event struct {
	at    time.Duration
	order int
	f     func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	*e = (*e)[:last]
	return x
}

// setup is one run: both sides' traffic, and when each begins to swap.
type setup struct {
	old, new  path
	redirects [2]bool
	loaded    [2]bool // what the Swap is told
	rate      [2]int
	start     [2]time.Duration // or never
	nftables  time.Duration    // the longest transaction
	netlink   time.Duration    // the longest call of WireGuard
}

func (c setup) String() string {
	return fmt.Sprintf("old %v jitter %v, new %v jitter %v, loss %.2f/%.2f, redirects %v, loaded %v, rate %v, start %v",
		c.old.latency, c.old.jitter, c.new.latency, c.new.jitter, c.old.loss, c.new.loss, c.redirects, c.loaded, c.rate, c.start)
}

const (
	begin    = time.Second
	released = begin + 8*time.Second
	end      = begin + 10*time.Second

	never = -1 * time.Second // a start
)

// result is what became of a run.
type result struct {
	old       netip.AddrPort
	outcomes  [2]Outcome
	endpoints [2]netip.AddrPort
	stable    [2]time.Duration // when the endpoint was the last, after the side began
	hole      [2]time.Duration // from the first to the last packet into a dead path
}

// run swaps in a world. Long after, the path that was given up is taken away,
// as a relay's allocation is.
func (c setup) run(t *testing.T, rng *rand.Rand) result {
	t.Helper()
	w := newWorld(rng, &c.old, &c.new)
	for side := range w.kernels {
		w.traffic(side, c.rate[side], end)
		if c.start[side] == never {
			continue
		}
		w.after(begin+c.start[side], func() {
			w.swap(side, Config{
				RTT: max(w.old.rtt(), w.new.rtt()), CanRedirect: c.redirects[side], Loaded: c.loaded[side],
			}, c.nftables, c.netlink)
		})
	}
	w.after(released, func() {
		if w.kernels[0].endpoint == w.new.endpoint && w.kernels[1].endpoint == w.new.endpoint {
			w.old.dead = [2]bool{true, true}
		}
	})
	w.run(end + time.Second)
	r := result{old: w.old.endpoint}
	for side, k := range w.kernels {
		if s := w.swaps[side]; s != nil {
			outcome, done := s.Done()
			if !done {
				t.Errorf("side %d has not ended", side)
			}
			r.outcomes[side] = outcome
			r.stable[side] = max(0, k.stable-begin-c.start[side])
		}
		r.endpoints[side] = k.endpoint
		if n := len(k.holes); n > 0 {
			r.hole[side] = k.holes[n-1] - k.holes[0]
		}
		missing := -k.dropped
		for number := range k.sent {
			if !w.kernels[1-side].arrived[number] {
				missing++
			}
		}
		if missing != len(k.holes) {
			t.Errorf("side %d: %d of %d packets missing, %d sent into a dead path", side, missing, k.sent, len(k.holes))
		}
	}
	return r
}

// mustStay checks a swap to a path that works.
func (r result) mustStay(t *testing.T, c setup) {
	t.Helper()
	for side, outcome := range r.outcomes {
		if c.start[side] != never && outcome != Stayed {
			t.Errorf("side %d %s", side, outcome)
		}
		if r.endpoints[side] == r.old {
			t.Errorf("side %d is on the old path", side)
		}
		if r.hole[side] > 0 {
			t.Errorf("side %d used the old path after it was gone, for %v", side, r.hole[side])
		}
	}
}
