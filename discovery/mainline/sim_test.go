//go:build !race

package mainline

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anacrolix/dht/v2/bep44"
	"github.com/anacrolix/dht/v2/krpc"
	"github.com/anacrolix/torrent/bencode"
)

// A simDHT is a DHT in memory and fake time, whose nodes behave as BEP 5 says.
type simDHT struct {
	t *testing.T

	mu    sync.Mutex
	rand  *rand.Rand
	nodes map[netip.AddrPort]*simNode
	conns map[netip.AddrPort]*memConn
	loss  float64
	cut   bool                  // nothing gets through
	asked map[krpc.ID]time.Time // when a hash was last asked for
	sent  atomic.Int64          // datagrams of members, both ways

	serving map[netip.AddrPort]*memConn // members that others reach
}

type simNode struct {
	node
	addr6  netip.AddrPort
	table  []*simNode
	dead   bool
	stored map[krpc.ID]map[netip.AddrPort]time.Time
	items  map[krpc.ID]simItem
}

type simItem struct {
	krpc.MsgArgs
	at time.Time
}

const (
	simExpiry = 30 * time.Minute // of an announce, as libtorrent's
	simToken  = 5 * time.Minute  // the least a token lives

	simItemExpiry = 2 * time.Hour
)

// newSimDHT makes n nodes, each with a routing table of up to 8 nodes a bucket.
func newSimDHT(t *testing.T, n int) *simDHT {
	d := &simDHT{
		t: t, rand: rand.New(rand.NewPCG(1, uint64(n))),
		nodes: make(map[netip.AddrPort]*simNode), conns: make(map[netip.AddrPort]*memConn),
		asked: make(map[krpc.ID]time.Time), serving: make(map[netip.AddrPort]*memConn),
	}
	var all []*simNode
	for i := range n {
		s := &simNode{stored: make(map[krpc.ID]map[netip.AddrPort]time.Time), items: make(map[krpc.ID]simItem)}
		s.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 6881)
		for j := range s.id {
			s.id[j] = byte(d.rand.Uint32())
		}
		s.addr6 = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 14: byte(i >> 8), 15: byte(i)}), 6881)
		all = append(all, s)
		d.nodes[s.addr], d.nodes[s.addr6] = s, s
	}
	for _, s := range all {
		var buckets [161]int
		for _, i := range d.rand.Perm(n) {
			o := all[i]
			b := commonBits(s.id, o.id)
			if o != s && buckets[b] < closestK {
				buckets[b]++
				s.table = append(s.table, o)
			}
		}
	}
	return d
}

func (d *simDHT) bootstrap() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 0, 0}), 6881)
}

// closest returns the n nodes closest to hash that live.
func (d *simDHT) closest(hash infoHash, n int) []*simNode {
	var all []*simNode
	for addr, s := range d.nodes {
		if !s.dead && addr == s.addr {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b *simNode) int { return distanceCompare(hash, a.id, b.id) })
	return all[:n]
}

// change makes things different for the datagrams that follow.
func (d *simDHT) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// holders counts the closest nodes to which m announced after since.
func (d *simDHT) holders(m *simMember, since time.Time) int { return d.holdersOf(simHash, m, since) }

func (d *simDHT) holdersOf(hash infoHash, m *simMember, since time.Time) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	holders := 0
	for _, n := range d.closest(hash, closestK) {
		if at, ok := n.stored[krpc.ID(hash)][m.addr]; ok && !at.Before(since) {
			holders++
		}
	}
	return holders
}

// askedLately counts the hashes that were asked for in the last two minutes.
func (d *simDHT) askedLately() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, at := range d.asked {
		if time.Since(at) < 2*time.Minute {
			n++
		}
	}
	return n
}

// handle takes a datagram of a member's to a node, and its answer back.
func (d *simDHT) handle(b []byte, from, to netip.AddrPort) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sent.Add(1)
	if q := parseQuery(b); q.A != nil {
		d.asked[q.A.InfoHash] = time.Now()
	}
	if c := d.serving[to]; c != nil || d.serving[from] != nil {
		if c == nil {
			c = d.conns[to]
		}
		if c != nil {
			time.AfterFunc(20*time.Millisecond, func() { c.deliver(b, from) })
		}
		return nil
	}
	n := d.nodes[to]
	latency := 10*time.Millisecond + time.Duration(d.rand.ExpFloat64()*float64(50*time.Millisecond))
	if n == nil || n.dead || d.cut || d.rand.Float64() < d.loss {
		return nil
	}
	time.AfterFunc(latency, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		answer := n.answer(parseQuery(b), from)
		if d.rand.Float64() < d.loss || d.cut {
			return
		}
		time.AfterFunc(latency, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.sent.Add(1)
			d.conns[from].deliver(answer, to)
		})
	})
	return nil
}

func (n *simNode) answer(q krpc.Msg, from netip.AddrPort) []byte {
	r := krpc.Return{ID: krpc.ID(n.id)}
	token := time.Now().Truncate(simToken).String() + from.Addr().String()
	last := time.Now().Add(-simToken).Truncate(simToken).String() + from.Addr().String()
	fail := func(code int) []byte {
		return bencode.MustMarshal(krpc.Msg{T: q.T, Y: "e", E: &krpc.Error{Code: code, Msg: "no"}})
	}
	switch q.Q {
	case "announce_peer", "put":
		if q.A.Token != token && q.A.Token != last {
			return fail(203)
		}
	}
	switch q.Q {
	case "find_node":
		n.near(&r, infoHash(q.A.Target), q, from)
	case "get_peers":
		r.Token = &token
		n.near(&r, infoHash(q.A.InfoHash), q, from)
		for a, at := range n.stored[q.A.InfoHash] {
			if time.Since(at) < simExpiry && a.Addr().Is4() == from.Addr().Is4() {
				r.Values = append(r.Values, nodeAddrOf(a))
			}
		}
	case "announce_peer":
		if n.stored[q.A.InfoHash] == nil {
			n.stored[q.A.InfoHash] = make(map[netip.AddrPort]time.Time)
		}
		who := from
		if !q.A.ImpliedPort {
			who = netip.AddrPortFrom(from.Addr(), uint16(*q.A.Port))
		}
		n.stored[q.A.InfoHash][who] = time.Now()
	case "get":
		r.Token = &token
		n.near(&r, infoHash(q.A.Target), q, from)
		if i, ok := n.items[q.A.Target]; ok && time.Since(i.at) < simItemExpiry {
			r.V, r.K, r.Sig, r.Seq = bencode.MustMarshal(i.V), i.K, i.Sig, i.Seq
		}
	case "put":
		target := krpc.ID(bep44.MakeMutableTarget(q.A.K, q.A.Salt))
		switch {
		case !bep44.Verify(q.A.K[:], q.A.Salt, *q.A.Seq, bencode.MustMarshal(q.A.V), q.A.Sig[:]):
			return fail(206)
		case n.items[target].Seq != nil && *n.items[target].Seq > *q.A.Seq:
			return fail(302)
		}
		n.items[target] = simItem{*q.A, time.Now()}
	}
	return reply(q.T, r)
}

func (n *simNode) near(r *krpc.Return, target infoHash, q krpc.Msg, from netip.AddrPort) {
	near := slices.Clone(n.table)
	slices.SortFunc(near, func(a, b *simNode) int { return distanceCompare(target, a.id, b.id) })
	for _, o := range near[:min(len(near), closestK)] {
		if from.Addr().Is4() || slices.Contains(q.A.Want, krpc.WantNodes) {
			r.Nodes = append(r.Nodes, krpc.NodeInfo{ID: krpc.ID(o.id), Addr: nodeAddrOf(o.addr)})
		}
		if from.Addr().Is6() || slices.Contains(q.A.Want, krpc.WantNodes6) {
			r.Nodes6 = append(r.Nodes6, krpc.NodeInfo{ID: krpc.ID(o.id), Addr: nodeAddrOf(o.addr6)})
		}
	}
}

func nodeAddrOf(a netip.AddrPort) krpc.NodeAddr {
	return krpc.NodeAddr{IP: a.Addr().AsSlice(), Port: int(a.Port())}
}

// A simMember is a Source in the simulation.
type simMember struct {
	*Source
	addr  netip.AddrPort
	start time.Time
	stop  func()

	mu    sync.Mutex
	found map[netip.AddrPort][]time.Duration // since the start
}

var simHash = infoHash{0xca, 0xfe}

func (d *simDHT) member(i byte, change func(*Config)) *simMember {
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, i}), 5000)
	m := &simMember{addr: addr, start: time.Now(), found: make(map[netip.AddrPort][]time.Duration)}
	c := Config{
		IPv4:       d.conn(addr),
		Bootstrap:  []string{d.bootstrap().String()},
		InfoHashes: func(time.Time) [][20]byte { return [][20]byte{simHash} },
		Found: func(a netip.AddrPort) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.found[a] = append(m.found[a], time.Since(m.start))
		},
		Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&c)
	}
	m.Source = New(c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	m.stop = func() {
		cancel()
		if err := <-done; err != nil {
			d.t.Errorf("Run: %v", err)
		}
	}
	return m
}

func (d *simDHT) conn(addr netip.AddrPort) *memConn {
	c := newMemConn(addr)
	c.out = func(b []byte, to netip.AddrPort) error { return d.handle(b, addr, to) }
	d.change(func() { d.conns[addr] = c })
	return c
}

// direct lets members send to m, which talks to members alone then.
func (d *simDHT) direct(m *simMember) {
	d.change(func() { d.serving[m.addr] = d.conns[m.addr] })
}

// pass lets fake time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (m *simMember) first(addr netip.AddrPort) (time.Duration, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.found[addr]
	if len(at) == 0 {
		return 0, false
	}
	return at[0], true
}
