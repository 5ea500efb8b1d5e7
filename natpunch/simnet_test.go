package natpunch

import (
	"container/heap"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/credant/credant/natpunch/demux"
)

// simnet is a packet network in virtual time. Hosts and NATs sit in realms, the
// address spaces that RFC 8155 calls so: what is sent to an address of the realm
// arrives there, everything else goes to the realm's gateway.
type simnet struct {
	now    time.Time
	rng    *rand.Rand
	loss   float64
	events eventHeap
	order  int
	sent   int // datagrams that hosts sent
	trace  func(simPacket)
	// slow adds to the delay of what is sent from or to an address.
	slow map[netip.Addr]time.Duration
}

type simPacket struct {
	from, to netip.AddrPort
	data     []byte
}

type realm struct {
	net      *simnet
	delay    time.Duration // of each datagram that crosses the realm
	hosts    map[netip.Addr]*simHost
	gateway  *gateway   // to the realm outside; nil: none
	gateways []*gateway // to realms inside
}

// gateway is a router between two realms: a NAT for IPv4, a stateful firewall for
// IPv6. Both have RFC 4787's knobs.
type gateway struct {
	inside, outside *realm
	addr            netip.Addr   // outside, IPv4
	prefix6         netip.Prefix // inside; invalid: no IPv6
	mapping         MappingBehavior
	filtering       FilteringBehavior
	open6           bool // no IPv6 firewall
	hairpinning     bool
	preserves       bool
	lifetime        time.Duration
	mappings        []*mapped
	nextPort        uint16
	cut             bool // nothing passes
	// allocate chooses the ports of mappings, if it is not nil.
	allocate func(inner uint16, taken func(uint16) bool) uint16
	// made counts the mappings, sessions the destinations of all of them.
	made, sessions int
	// blocks says what does not pass, if it is not nil.
	blocks func(p simPacket) bool
}

// mapped is one mapping of a gateway; for IPv6 inner and outer are one.
type mapped struct {
	inner, outer netip.AddrPort
	remote       netip.AddrPort // as far as the mapping depends on it
	contacted    map[netip.AddrPort]bool
	used         time.Time
}

// simHost is a host with one UDP port.
type simHost struct {
	realm   *realm
	addrs   []netip.Addr
	port    uint16
	receive func(from netip.AddrPort, b []byte)
	// answers come from the address that was asked, if this is not nil.
	asked map[netip.AddrPort]netip.Addr
	relay *simRelay // on all other ports; nil: none
	// uplinks are the realms of a host's addresses, the first the best; nil: all
	// are in realm.
	uplinks []uplink
	came    netip.Addr // where the datagram that is being received came to
	extra   *simPorts  // besides the one port; nil: none
}

type uplink struct {
	addr  netip.Addr
	realm *realm
}

// uplink gives the host another way out.
func (h *simHost) uplink(r *realm, addr string) {
	if h.uplinks == nil {
		h.uplinks = []uplink{{h.addrs[0], h.realm}}
	}
	a := netip.MustParseAddr(addr)
	h.addrs = append(h.addrs, a)
	h.uplinks = append(h.uplinks, uplink{a, r})
	r.hosts[a] = h
}

// sendFrom is send from one uplink; without one the first that is there is taken.
func (h *simHost) sendFrom(from netip.Addr, to netip.AddrPort, b []byte) {
	if h.uplinks == nil {
		h.send(to, b)
		return
	}
	for _, u := range h.uplinks {
		if u.addr == from || !from.IsValid() && u.addr.Is4() == to.Addr().Is4() {
			h.realm.net.sent++
			u.realm.pass(simPacket{netip.AddrPortFrom(u.addr, h.port), to, b})
			return
		}
	}
}

func newSimnet(seed uint64) *simnet {
	return &simnet{
		now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC),
		rng: rand.New(rand.NewPCG(seed, 1)),
	}
}

func (n *simnet) newRealm(delay time.Duration) *realm {
	return &realm{net: n, delay: delay, hosts: map[netip.Addr]*simHost{}}
}

func (r *realm) host(port uint16, addrs ...string) *simHost {
	h := &simHost{realm: r, port: port}
	for _, s := range addrs {
		a := netip.MustParseAddr(s)
		h.addrs = append(h.addrs, a)
		r.hosts[a] = h
	}
	return h
}

func (r *realm) inner(g gateway) *realm {
	in := r.net.newRealm(time.Millisecond / 4)
	g.inside, g.outside = in, r
	g.nextPort = uint16(20000 + r.net.rng.IntN(20000))
	if g.lifetime == 0 {
		g.lifetime = 2 * time.Minute
	}
	in.gateway = &g
	r.gateways = append(r.gateways, &g)
	return in
}

// send sends from the host's own port; the network chooses the source address.
func (h *simHost) send(to netip.AddrPort, b []byte) {
	h.realm.net.sent++
	if a, ok := h.asked[to]; ok {
		h.realm.pass(simPacket{netip.AddrPortFrom(a, h.port), to, b})
		return
	}
	for _, a := range h.addrs {
		if a.Is4() == to.Addr().Is4() {
			h.realm.pass(simPacket{netip.AddrPortFrom(a, h.extra.towards(to, h.port)), to, b})
			return
		}
	}
}

// pass carries a datagram that is in the realm to where it leaves it.
func (r *realm) pass(p simPacket) {
	n := r.net
	if n.loss > 0 && n.rng.Float64() < n.loss {
		return
	}
	n.after(r.delay+n.slow[p.from.Addr()]+n.slow[p.to.Addr()], func() {
		to := p.to.Addr()
		if h := r.hosts[to]; h != nil && h.relay != nil && h.port != p.to.Port() {
			if n.trace != nil {
				n.trace(p)
			}
			h.relay.take(p)
			return
		}
		if h := r.hosts[to]; h != nil {
			if h.extra.take(p) {
				return
			}
			if (h.port == p.to.Port() || h.extra.keeps(p)) && h.receive != nil {
				if n.trace != nil {
					n.trace(p)
				}
				if h.asked != nil {
					h.asked[p.from] = to
				}
				h.came = to
				h.receive(p.from, p.data)
			}
			return
		}
		for _, g := range r.gateways {
			if to.Is4() && g.addr == to || to.Is6() && g.prefix6.Contains(to) {
				g.inward(p)
				return
			}
		}
		if r.gateway != nil && (to.Is4() || r.gateway.prefix6.IsValid()) {
			r.gateway.outward(p)
		}
	})
}

func (g *gateway) outward(p simPacket) {
	if g.stops(p) {
		return
	}
	q := simPacket{g.translate(p), p.to, p.data}
	if p.to.Addr() == g.addr {
		if g.hairpinning {
			g.inward(q)
		}
		return
	}
	g.outside.pass(q)
}

// translate finds or makes the mapping of an outgoing datagram and returns its
// outer address.
func (g *gateway) translate(p simPacket) netip.AddrPort {
	remote := p.to
	ipv6 := p.to.Addr().Is6()
	switch {
	case g.mapping == EndpointIndependent || ipv6:
		remote = netip.AddrPort{}
	case g.mapping == AddressDependent:
		remote = netip.AddrPortFrom(p.to.Addr(), 0)
	}
	now := g.inside.net.now
	g.expire(now)
	for _, m := range g.mappings {
		if m.inner == p.from && m.remote == remote {
			if !m.contacted[p.to] {
				g.sessions++
			}
			m.contacted[p.to] = true
			m.used = now
			return m.outer
		}
	}
	m := &mapped{inner: p.from, outer: p.from, remote: remote, contacted: map[netip.AddrPort]bool{p.to: true}, used: now}
	if !ipv6 {
		m.outer = netip.AddrPortFrom(g.addr, g.port(p.from.Port()))
	}
	g.mappings = append(g.mappings, m)
	g.made++
	g.sessions++
	return m.outer
}

func (g *gateway) port(inner uint16) uint16 {
	taken := func(port uint16) bool {
		return slices.ContainsFunc(g.mappings, func(m *mapped) bool { return m.outer == netip.AddrPortFrom(g.addr, port) })
	}
	if g.preserves && g.mapping == EndpointIndependent && !taken(inner) {
		return inner
	}
	if g.allocate != nil {
		return g.allocate(inner, taken)
	}
	for g.nextPort++; taken(g.nextPort); g.nextPort++ {
	}
	return g.nextPort
}

func (g *gateway) expire(now time.Time) {
	g.mappings = slices.DeleteFunc(g.mappings, func(m *mapped) bool { return now.Sub(m.used) > g.lifetime })
}

func (g *gateway) stops(p simPacket) bool { return g.cut || g.blocks != nil && g.blocks(p) }

func (g *gateway) inward(p simPacket) {
	if g.stops(p) {
		return
	}
	if p.to.Addr().Is6() && g.open6 {
		g.inside.pass(p)
		return
	}
	g.expire(g.inside.net.now)
	for _, m := range g.mappings {
		if m.outer == p.to && g.admits(m, p.from) {
			g.inside.pass(simPacket{p.from, m.inner, p.data})
			return
		}
	}
}

func (g *gateway) admits(m *mapped, from netip.AddrPort) bool {
	switch g.filtering {
	case EndpointIndependent:
		return true
	case AddressDependent:
		for a := range m.contacted {
			if a.Addr() == from.Addr() {
				return true
			}
		}
		return false
	default:
		return m.contacted[from]
	}
}

// Virtual time.

type event struct {
	at    time.Time
	order int
	do    func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].order < h[j].order
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

func (n *simnet) after(d time.Duration, do func()) { n.at(n.now.Add(d), do) }

func (n *simnet) at(t time.Time, do func()) {
	n.order++
	heap.Push(&n.events, event{t, n.order, do})
}

// run lets time pass until done, or for d. It tells whether it is done.
func (n *simnet) run(d time.Duration, done func() bool) bool {
	end := n.now.Add(d)
	for {
		if done != nil && done() {
			return true
		}
		if len(n.events) == 0 || n.events[0].at.After(end) {
			n.now = end
			return false
		}
		e := heap.Pop(&n.events).(event)
		if e.at.After(n.now) {
			n.now = e.at
		}
		e.do()
	}
}

// stunServer answers binding requests.
func (r *realm) stunServer(addrs ...string) []netip.AddrPort {
	h := r.host(3478, addrs...)
	h.receive = func(from netip.AddrPort, b []byte) {
		if demux.Classify(b) == demux.STUN {
			h.send(from, bindingResponse(b, from))
		}
	}
	var servers []netip.AddrPort
	for _, a := range h.addrs {
		servers = append(servers, netip.AddrPortFrom(a, 3478))
	}
	return servers
}
