package relay

import (
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

var (
	seedFlag = flag.Uint64("seed", 0, "run random worlds of this seed only (0: a range)")
	runsFlag = flag.Int("runs", 20, "how many random worlds to run")
)

// model is what a server should hold, told in the slowest and plainest way.
type model struct {
	now     time.Time
	ports   PortRange
	pairs   []*modelPair
	entries map[*client]*modelEntry
}

type modelPair struct {
	nodes   [2]*client
	port    uint16
	at      [2]netip.AddrPort
	from    [2]netip.AddrPort // not valid while not bound
	used    [2]time.Time
	touched time.Time
}

type modelEntry struct {
	blob    string
	expires time.Time
}

func (p *modelPair) bound() bool { return p.from[0].IsValid() && p.from[1].IsValid() }

func (p *modelPair) has(c *client) bool { return p.nodes[0] == c || p.nodes[1] == c }

func (p *modelPair) side(c *client) int { return slices.Index(p.nodes[:], c) }

func (p *modelPair) expires() time.Time {
	if !p.bound() {
		return p.touched.Add(30 * time.Second)
	}
	if p.used[0].Before(p.used[1]) {
		return p.used[0].Add(300 * time.Second)
	}
	return p.used[1].Add(300 * time.Second)
}

// advance forgets what is over by now.
func (m *model) advance(now time.Time) {
	m.now = now
	m.pairs = slices.DeleteFunc(m.pairs, func(p *modelPair) bool { return !p.expires().After(now) })
	maps.DeleteFunc(m.entries, func(_ *client, e *modelEntry) bool { return !e.expires.After(now) })
}

func (m *model) find(a, b *client) *modelPair {
	for _, p := range m.pairs {
		if p.has(a) && p.has(b) {
			return p
		}
	}
	return nil
}

func (m *model) uses(c *client, port uint16) bool {
	return slices.ContainsFunc(m.pairs, func(p *modelPair) bool { return p.has(c) && p.port == port })
}

func (m *model) lowest(a, b *client) uint16 {
	for port := m.ports.First; port <= m.ports.Last; port++ {
		if !m.uses(a, port) && !m.uses(b, port) {
			return port
		}
	}
	return 0
}

// allocate returns the port of a pair, 0 where there is none.
func (m *model) allocate(a, b *client) uint16 {
	if p := m.find(a, b); p != nil {
		p.touched = m.now
		return p.port
	}
	if m.lowest(a, b) == 0 {
		var oldest *modelPair
		for _, p := range m.pairs {
			frees := p.has(a) && !m.uses(b, p.port) || p.has(b) && !m.uses(a, p.port)
			if frees && !p.bound() && (oldest == nil || p.touched.Before(oldest.touched)) {
				oldest = p
			}
		}
		m.pairs = slices.DeleteFunc(m.pairs, func(p *modelPair) bool { return p == oldest })
	}
	port := m.lowest(a, b)
	if port != 0 {
		m.pairs = append(m.pairs, &modelPair{nodes: [2]*client{a, b}, port: port, touched: m.now})
	}
	return port
}

func (m *model) bind(a, b *client, at netip.AddrPort) bool {
	p := m.find(a, b)
	if p == nil || p.port != at.Port() {
		return false
	}
	i := p.side(a)
	for _, other := range m.pairs {
		for k := range other.from {
			if other.at[k] == at && other.from[k] == a.addr && (other != p || k != i) {
				other.from[k], other.touched = netip.AddrPort{}, m.now
			}
		}
	}
	p.at[i], p.from[i], p.used[i], p.touched = at, a.addr, m.now, m.now
	return true
}

func (m *model) flows() map[FlowKey]string {
	want := make(map[FlowKey]string)
	for _, p := range m.pairs {
		for i := range p.from {
			if p.bound() {
				want[FlowKey{p.at[i], p.from[i]}] = fmt.Sprint(p.at[1-i], p.from[1-i])
			}
		}
	}
	return want
}

// Whatever clients do, in whatever order, the server holds what the model does,
// the forwarder forwards just that, and each registered node knows the others.
func TestRandomAgainstModel(t *testing.T) {
	first, runs := uint64(1), uint64(*runsFlag)
	if *seedFlag != 0 {
		first, runs = *seedFlag, 1
	}
	for seed := first; seed < first+runs; seed++ {
		randomRun(t, seed)
		if t.Failed() {
			t.Fatalf("again with: go test -run %s -seed %d", t.Name(), seed)
		}
	}
}

type randomWorld struct {
	*world
	m        *model
	networks [2][]*client
	// blank are those who forgot what they were told.
	blank map[*client]bool
}

func randomRun(t *testing.T, seed uint64) {
	ports := PortRange{20000, 20000 + uint16(2+seed%5)}
	w := &randomWorld{blank: make(map[*client]bool), world: newWorldWith(t, seed, Config{Ports: ports}, tableLimits)}
	w.m = &model{ports: ports, entries: make(map[*client]*modelEntry)}
	for i := range w.networks {
		network := w.network()
		for k := range 5 {
			// Some share an address.
			addr := fmt.Sprintf("198.51.100.%d:%d", k/2, 5000+10*i+k)
			if k == 4 {
				addr = fmt.Sprintf("[2001:db8:%d::1]:5000", i)
			}
			w.networks[i] = append(w.networks[i], w.join(network, addr))
		}
	}
	for step := range 300 {
		what := w.step()
		w.m.advance(w.now)
		w.world.check()
		if !w.compare() {
			t.Errorf("seed %d, step %d: after %s", seed, step, what)
			return
		}
	}
}

func (w *randomWorld) step() string {
	nodes := w.networks[w.rng.IntN(2)]
	a, b := nodes[w.rng.IntN(len(nodes))], nodes[w.rng.IntN(len(nodes))]
	for a == b {
		b = nodes[w.rng.IntN(len(nodes))]
	}
	p := w.m.find(a, b)
	switch n := w.rng.IntN(100); {
	case n < 20:
		list := a.allocate(b.node())
		w.m.advance(w.now)
		want := w.m.allocate(a, b)
		if len(list) != 1 || list[0].Port != want {
			w.tb.Errorf("allocated %+v, want %d", list, want)
		}
		return "allocate"
	case n < 55 && p != nil:
		r := a.bind(p.port, b.node())
		w.m.advance(w.now)
		if ok := w.m.bind(a, b, a.at(p.port)); (r != nil && r.Bound != nil) != ok {
			w.tb.Errorf("bind answered with %+v, want %v", r, ok)
		} else if ok && r.Bound.PeerBound != w.m.find(a, b).bound() {
			w.tb.Errorf("bound %+v, want %v", r.Bound, !r.Bound.PeerBound)
		}
		return "bind"
	case n < 58:
		w.m.advance(w.now.Add(time.Millisecond))
		a.request(a.front, wire.Request{Release: &wire.Release{Peers: []keys.NodePublic{b.node()}}})
		w.m.pairs = slices.DeleteFunc(w.m.pairs, func(p *modelPair) bool { return p.has(a) && p.has(b) })
		return "release"
	case n < 63:
		return w.moveSomewhere(a, b)
	case n < 66:
		a.newSession()
		w.forget(a)
		clear(a.cookies)
		return w.register(a) // it knows nothing of before
	case n < 76:
		return w.register(a)
	case n < 84:
		if r := a.refresh(a.have()); r != nil && r.Refreshed != nil {
			w.m.advance(w.now)
			if e := w.m.entries[a]; e == nil {
				w.tb.Errorf("refreshed without a registration")
			} else {
				e.expires = w.now.Add(120 * time.Second)
			}
		}
		return "refresh"
	case n < 86:
		a.request(a.front, wire.Request{Leave: true})
		delete(w.m.entries, a)
		w.m.pairs = slices.DeleteFunc(w.m.pairs, func(p *modelPair) bool { return p.has(a) })
		return "leave"
	case n < 92 && len(w.flows) > 0:
		w.count()
		return "packets"
	case n < 93:
		return w.loseAddress()
	case n < 98:
		w.pass(time.Duration(w.rng.IntN(20)) * time.Second)
		return "pass"
	}
	w.pass(time.Duration(w.rng.IntN(200)) * time.Second)
	return "pass long"
}

// loseAddress takes an address from the relay, and gives it back at once.
func (w *randomWorld) loseAddress() string {
	locals := []netip.Addr{front4.Addr(), front6.Addr()}
	gone := locals[w.rng.IntN(2)]
	w.m.advance(w.now)
	w.s.Move(w.now, locals, []netip.Addr{gone})
	w.advance()
	for _, p := range w.m.pairs {
		for i := range p.from {
			if p.from[i].IsValid() && p.at[i].Addr() == gone {
				p.from[i], p.touched = netip.AddrPort{}, w.now
			}
		}
	}
	return "loseAddress"
}

func (w *randomWorld) register(a *client) string {
	blob := fmt.Sprint("blob ", w.rng.IntN(3))
	if e := w.m.entries[a]; e != nil && w.rng.IntN(2) == 0 {
		blob = e.blob
	}
	if w.m.entries[a] == nil {
		w.forget(a) // what it knew is of another time
	}
	r := a.register(blob, a.have())
	w.m.advance(w.now)
	switch {
	case r == nil:
		w.tb.Error("registration was not answered")
	case r.Registered != nil:
		w.m.entries[a] = &modelEntry{blob, w.now.Add(120 * time.Second)}
	case r.Error == nil || r.Error.Code != wire.CodeQuota:
		w.tb.Errorf("registration answered with %+v", r)
	}
	return "register"
}

func (w *randomWorld) forget(c *client) {
	c.pushes = nil
	w.blank[c] = true
}

// moveSomewhere gives a another port, family, or the very address of b, who has
// another then.
func (w *randomWorld) moveSomewhere(a, b *client) string {
	fresh := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(w.rng.IntN(3))}), uint16(1024+w.rng.IntN(60000)))
	if w.clients[fresh] != nil {
		return "no move"
	}
	if old := b.addr; w.rng.IntN(3) == 0 && old.Addr().Is4() && a.front == front4 {
		b.move(fresh)
		a.move(old)
		clear(a.cookies)
		clear(b.cookies)
		// Neither is told anything where it was.
		w.register(a)
		w.register(b)
		return "exchange of addresses"
	}
	a.front = front4
	a.move(fresh)
	clear(a.cookies)
	w.register(a)
	return "move"
}

func (w *randomWorld) count() {
	all := slices.SortedFunc(maps.Keys(w.flows), func(a, b FlowKey) int { return a.Source.Compare(b.Source)*2 + a.At.Compare(b.At) })
	k := all[w.rng.IntN(len(all))]
	w.s.Counted(w.now, k, 1, 100)
	for _, p := range w.m.pairs {
		for i := range p.from {
			if (FlowKey{p.at[i], p.from[i]}) == k {
				p.used[i] = w.now
			}
		}
	}
}

func (w *randomWorld) compare() bool {
	want := w.m.flows()
	ok := len(want) == len(w.flows)
	for k, f := range w.flows {
		ok = ok && want[k] == fmt.Sprint(f.From, f.To)
	}
	if !ok {
		w.tb.Errorf("flows %v, want %v", w.flows, want)
	}
	st := w.s.Stats()
	if st.Allocations != len(w.m.pairs) || st.Registrations != len(w.m.entries) {
		w.tb.Errorf("%d allocations and %d registrations, want %d and %d", st.Allocations, st.Registrations, len(w.m.pairs), len(w.m.entries))
		return false
	}
	for _, nodes := range w.networks {
		for _, c := range nodes {
			if w.m.entries[c] != nil && !w.knows(c, nodes) {
				return false
			}
		}
	}
	return ok
}

// knows compares what a registered node was told with what the others say.
func (w *randomWorld) knows(c *client, nodes []*client) bool {
	want := make(map[keys.NodePublic]string)
	for _, other := range nodes {
		if e := w.m.entries[other]; e != nil && other != c {
			want[other.node()] = e.blob
		}
	}
	if w.blank[c] && !maps.Equal(c.blobs(), want) {
		// Who starts over again and again is told everything only so often.
		w.pass(10 * time.Second)
		w.m.advance(w.now)
		if w.m.entries[c] == nil {
			return true
		}
		if r := c.refresh(c.have()); r != nil && r.Refreshed != nil {
			w.m.entries[c].expires = w.now.Add(120 * time.Second)
		}
		w.m.advance(w.now)
		return w.knows(c, nodes)
	}
	delete(w.blank, c)
	if got := c.blobs(); !maps.Equal(got, want) {
		w.tb.Errorf("%v knows %v, want %v", c.addr, got, want)
		return false
	}
	return true
}
