package mainline

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anacrolix/dht/v2/krpc"
	"github.com/anacrolix/torrent/bencode"

	"github.com/credant/credant/discovery"
)

// A simDHT is a DHT in memory and fake time, whose nodes behave as BEP 5 says.
type simDHT struct {
	t *testing.T

	mu    sync.Mutex
	rand  *rand.Rand
	nodes map[netip.AddrPort]*simNode
	conns map[netip.AddrPort]*memConn
	loss  float64
	cut   bool // nothing gets through
	sent  int  // datagrams of members, both ways
}

type simNode struct {
	node
	table  []node
	dead   bool
	stored map[krpc.ID]map[netip.AddrPort]time.Time
}

const (
	simExpiry = 30 * time.Minute // of an announce, as libtorrent's
	simToken  = 5 * time.Minute  // the least a token lives
)

// newSimDHT makes n nodes, each with a routing table of up to 8 nodes a bucket.
func newSimDHT(t *testing.T, n int) *simDHT {
	d := &simDHT{
		t: t, rand: rand.New(rand.NewPCG(1, uint64(n))),
		nodes: make(map[netip.AddrPort]*simNode), conns: make(map[netip.AddrPort]*memConn),
	}
	var all []*simNode
	for i := range n {
		s := &simNode{stored: make(map[krpc.ID]map[netip.AddrPort]time.Time)}
		s.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 6881)
		for j := range s.id {
			s.id[j] = byte(d.rand.Uint32())
		}
		all = append(all, s)
		d.nodes[s.addr] = s
	}
	for _, s := range all {
		var buckets [161]int
		for _, i := range d.rand.Perm(n) {
			o := all[i]
			b := commonBits(s.id, o.id)
			if o != s && buckets[b] < closestK {
				buckets[b]++
				s.table = append(s.table, o.node)
			}
		}
	}
	return d
}

func commonBits(a, b nodeID) int {
	for i := range 160 {
		if (a[i/8]^b[i/8])>>(7-i%8)&1 == 1 {
			return i
		}
	}
	return 160
}

func (d *simDHT) bootstrap() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 0, 0}), 6881)
}

// closest returns the n nodes closest to hash that live.
func (d *simDHT) closest(hash infoHash, n int) []*simNode {
	var all []*simNode
	for _, s := range d.nodes {
		if !s.dead {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b *simNode) int { return distanceCompare(hash, a.id, b.id) })
	return all[:n]
}

// handle takes a datagram of a member's to a node, and its answer back.
func (d *simDHT) handle(b []byte, from, to netip.AddrPort) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sent++
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
			d.sent++
			d.conns[from].deliver(answer, to)
		})
	})
	return nil
}

func (n *simNode) answer(q krpc.Msg, from netip.AddrPort) []byte {
	r := krpc.Return{ID: krpc.ID(n.id)}
	token := time.Now().Truncate(simToken).String() + from.Addr().String()
	switch q.Q {
	case "get_peers":
		r.Token = &token
		near := slices.Clone(n.table)
		slices.SortFunc(near, func(a, b node) int { return distanceCompare(infoHash(q.A.InfoHash), a.id, b.id) })
		for _, o := range near[:min(len(near), closestK)] {
			r.Nodes = append(r.Nodes, krpc.NodeInfo{ID: krpc.ID(o.id), Addr: krpc.NodeAddr{IP: o.addr.Addr().AsSlice(), Port: int(o.addr.Port())}})
		}
		for a, at := range n.stored[q.A.InfoHash] {
			if time.Since(at) < simExpiry {
				r.Values = append(r.Values, krpc.NodeAddr{IP: a.Addr().AsSlice(), Port: int(a.Port())})
			}
		}
	case "announce_peer":
		last := time.Now().Add(-simToken).Truncate(simToken).String() + from.Addr().String()
		if q.A.Token != token && q.A.Token != last {
			return bencode.MustMarshal(krpc.Msg{T: q.T, Y: "e", E: &krpc.Error{Code: 203, Msg: "Bad token"}})
		}
		if n.stored[q.A.InfoHash] == nil {
			n.stored[q.A.InfoHash] = make(map[netip.AddrPort]time.Time)
		}
		n.stored[q.A.InfoHash][from] = time.Now()
	}
	return reply(q.T, r)
}

// A simMember is a Source in the simulation.
type simMember struct {
	*Source
	addr  netip.AddrPort
	start time.Time
	found map[netip.AddrPort][]time.Duration // since the start
	stop  func()
}

var simHash = infoHash{0xca, 0xfe}

func (d *simDHT) member(i byte, change func(*Config)) *simMember {
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, i}), 5000)
	conn := newMemConn(addr)
	conn.out = func(b []byte, to netip.AddrPort) error { return d.handle(b, addr, to) }
	d.conns[addr] = conn
	m := &simMember{addr: addr, start: time.Now(), found: make(map[netip.AddrPort][]time.Duration)}
	c := Config{
		IPv4:       conn,
		Bootstrap:  []string{d.bootstrap().String()},
		InfoHashes: func(time.Time) [][20]byte { return [][20]byte{simHash} },
		Found:      func(a netip.AddrPort) { m.found[a] = append(m.found[a], time.Since(m.start)) },
		Log:        slog.New(slog.DiscardHandler),
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

// pass lets fake time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (m *simMember) first(addr netip.AddrPort) (time.Duration, bool) {
	at := m.found[addr]
	if len(at) == 0 {
		return 0, false
	}
	return at[0], true
}

// The promise: two members meet over a DHT with dead nodes and lost datagrams
// within a few round trips of it.
func TestFirstContact(t *testing.T) {
	for _, c := range []struct {
		name  string
		nodes int
		dead  float64
		loss  float64
		limit time.Duration
	}{
		{"16 nodes", 16, 0, 0, 500 * time.Millisecond},
		{"500 nodes", 500, 0, 0, time.Second},
		{"500 nodes, a third dead, 5 % lost", 500, 0.33, 0.05, 3 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newSimDHT(t, c.nodes)
				d.loss = c.loss
				for addr, n := range d.nodes {
					n.dead = addr != d.bootstrap() && d.rand.Float64() < c.dead
				}
				a := d.member(1, nil)
				defer a.stop()
				pass(10 * time.Second)
				before := d.sent
				b := d.member(2, nil)
				defer b.stop()
				pass(10 * time.Second)
				took, ok := b.first(a.addr)
				if !ok || took > c.limit {
					t.Errorf("the second found the first after %v (%t), want at most %v: %+v", took, ok, c.limit, b.Status())
				}
				other, ok := a.first(b.addr)
				if other -= b.start.Sub(a.start); !ok || other > c.limit+time.Second {
					t.Errorf("the first found the second %v after its start (%t), want at most %v", other, ok, c.limit+time.Second)
				}
				t.Logf("the second found the first after %v, and was found %v after its start; %d datagrams",
					took.Round(time.Millisecond), other.Round(time.Millisecond), d.sent-before)
			})
		})
	}
}

// The promise: an idle settled node costs about 4 DHT datagrams a minute, stays
// announced, and notices a newcomer within a minute.
func TestIdleNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 300)
		a := d.member(1, nil)
		defer a.stop()
		pass(10 * time.Minute)
		if st := a.Status(); st.State != discovery.StateWorking || !strings.Contains(st.Detail, "settled") || st.Nodes != closestK {
			t.Errorf("Status() = %+v, want settled", st)
		}
		const minutes = 240
		before, worst := d.sent, 0
		for range minutes {
			last := d.sent
			pass(time.Minute)
			worst = max(worst, d.sent-last)
			holders := 0
			for _, n := range d.closest(simHash, closestK) {
				if at, ok := n.stored[krpc.ID(simHash)][a.addr]; ok && time.Since(at) < simExpiry {
					holders++
				}
			}
			if holders < closestK-1 {
				t.Fatalf("%d of the closest hold the announcement after %v, want %d", holders, time.Since(a.start), closestK)
			}
		}
		mean := float64(d.sent-before) / minutes
		t.Logf("%.2f datagrams a minute, at most %d in one", mean, worst)
		if mean > 5 {
			t.Errorf("%.2f datagrams a minute, want about 4", mean)
		}
		if worst > 50 {
			t.Errorf("%d datagrams in one minute, want a search at most", worst)
		}

		b := d.member(2, nil)
		defer b.stop()
		pass(2 * time.Minute)
		at, ok := a.first(b.addr)
		if took := at - b.start.Sub(a.start); !ok || took > time.Minute {
			t.Errorf("the settled node found the newcomer after %v (%t), want at most a minute", took, ok)
		}
	})
}

// Fast polling asks the closest nodes alone, each second; Kick brings it back and
// announces anew.
func TestPollingAndKick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 100)
		a := d.member(1, nil)
		defer a.stop()
		pass(10 * time.Second)
		count := func() int {
			before := d.sent
			pass(20 * time.Second)
			return d.sent - before
		}
		const fast = 20 * closestK * 2
		inFlight := 2 * closestK // at either end
		if n := count(); n < fast-inFlight || n > fast+inFlight {
			t.Errorf("%d datagrams in 20 s of fast polling, want %d", n, fast)
		}
		pass(10 * time.Minute)
		if n := count(); n > 4 {
			t.Errorf("%d datagrams in 20 s once settled, want at most one query and answer", n)
		}
		kicked := time.Now()
		a.Kick()
		pass(time.Second)
		for _, n := range d.closest(simHash, closestK) {
			if at := n.stored[krpc.ID(simHash)][a.addr]; at.Before(kicked) {
				t.Errorf("not announced anew to %v", n.addr)
			}
		}
		pass(time.Second)
		if n := count(); n < fast-inFlight || n > fast+inFlight {
			t.Errorf("%d datagrams in 20 s after Kick, want %d", n, fast)
		}
	})
}

// Nobody answers: said for people, tried again without flooding, and over as soon
// as somebody does.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 100)
		a := d.member(1, nil)
		defer a.stop()
		pass(10 * time.Minute)
		d.cut = true
		pass(10 * time.Minute)
		st := a.Status()
		if st.State != discovery.StateFailing || !strings.HasPrefix(st.LastError, "no DHT node answers: UDP blocked or no internet; trying again in ") {
			t.Errorf("Status() = %+v, want that no node answers", st)
		}
		before := d.sent
		pass(10 * time.Minute)
		if n := d.sent - before; n > 10*(retryBudget+2) || n == 0 {
			t.Errorf("%d datagrams in ten minutes without an answer, want a few a minute", n)
		}
		if len(a.Nodes()) == 0 {
			t.Error("Nodes() forgot all nodes")
		}
		d.cut = false
		pass(time.Minute + time.Second)
		if st := a.Status(); st.State != discovery.StateWorking || st.LastError != "" {
			t.Errorf("Status() = %+v a minute after the outage, want working", st)
		}

		d.cut = true
		pass(10 * time.Minute)
		d.cut = false
		a.Kick()
		pass(2 * time.Second)
		if st := a.Status(); st.State != discovery.StateWorking {
			t.Errorf("Status() = %+v 2 s after Kick, want working", st)
		}
	})
}

// The nodes that hold the announcement go away one day: others take their place.
func TestClosestNodesDie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 200)
		a := d.member(1, nil)
		defer a.stop()
		pass(10 * time.Minute)
		for _, n := range d.closest(simHash, closestK) {
			n.dead = n.addr != d.bootstrap()
		}
		pass(10 * time.Minute)
		holders := 0
		for _, n := range d.closest(simHash, closestK) {
			if _, ok := n.stored[krpc.ID(simHash)][a.addr]; ok {
				holders++
			}
		}
		if holders < closestK/2 {
			t.Errorf("%d of the new closest hold the announcement, want most of %d: %+v", holders, closestK, a.Status())
		}
		b := d.member(2, nil)
		defer b.stop()
		pass(5 * time.Second)
		if took, ok := b.first(a.addr); !ok || took > 3*time.Second {
			t.Errorf("a newcomer found the first after %v (%t)", took, ok)
		}
	})
}

// At the change of the day the next hash is searched at once, from the nodes known.
func TestDayChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 200)
		midnight := time.Now().Add(3 * time.Hour)
		hashes := func(now time.Time) [][20]byte {
			today, tomorrow := infoHash{1, 2, 3}, infoHash{0xfe, 2, 3}
			switch {
			case now.Before(midnight.Add(-2 * time.Hour)):
				return [][20]byte{today}
			case now.Before(midnight.Add(2 * time.Hour)):
				return [][20]byte{today, tomorrow}
			}
			return [][20]byte{tomorrow}
		}
		a := d.member(1, func(c *Config) { c.InfoHashes = hashes })
		defer a.stop()
		pass(90 * time.Minute)
		if n := len(a.families[0].lookups); n != 2 {
			t.Fatalf("%d lookups around midnight, want 2", n)
		}
		before := d.sent
		pass(time.Hour)
		if n := d.sent - before; n > 6*60 {
			t.Errorf("%d datagrams in an hour with two hashes, want about as many as with one", n)
		}
		pass(4 * time.Hour)
		if n := len(a.families[0].lookups); n != 1 {
			t.Errorf("%d lookups after midnight, want 1", n)
		}
		b := d.member(2, func(c *Config) { c.InfoHashes = hashes })
		defer b.stop()
		pass(5 * time.Second)
		if _, ok := b.first(a.addr); !ok {
			t.Error("the first is not found under the new day's hash")
		}
	})
}

// A warm start needs no bootstrap node, also where most remembered nodes are gone.
func TestWarmStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 300)
		a := d.member(1, nil)
		defer a.stop()
		pass(time.Minute)
		known := a.Nodes()
		if len(known) < closestK || len(known) > MaxNodes {
			t.Fatalf("%d nodes to remember", len(known))
		}
		warm := func(c *Config) { c.Bootstrap, c.KnownNodes = []string{}, known }
		b := d.member(2, warm)
		pass(5 * time.Second)
		if took, ok := b.first(a.addr); !ok || took > 300*time.Millisecond {
			t.Errorf("found after %v (%t), want one round trip", took, ok)
		}
		b.stop()

		for i, addr := range known {
			d.nodes[addr].dead = i%4 != 3
		}
		c := d.member(3, warm)
		defer c.stop()
		pass(5 * time.Second)
		if took, ok := c.first(a.addr); !ok || took > 3*time.Second {
			t.Errorf("with three quarters of the nodes gone: found after %v (%t)", took, ok)
		}
	})
}

// Names are resolved in the background, and again while nobody answers.
func TestBootstrapNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDHT(t, 50)
		working := false
		lookups := 0
		a := d.member(1, func(c *Config) {
			c.Bootstrap = []string{"dht.example:6881"}
			c.LookupIP = func(ctx context.Context, host string) ([]netip.Addr, error) {
				if lookups++; !working {
					time.Sleep(time.Second)
					return nil, errors.New("no such host")
				}
				return []netip.Addr{d.bootstrap().Addr()}, nil
			}
		})
		defer a.stop()
		pass(500 * time.Millisecond)
		if st := a.Status(); st.State != discovery.StateStarting || st.Detail != "resolving bootstrap nodes" {
			t.Errorf("Status() = %+v, want resolving", st)
		}
		pass(5 * time.Minute)
		st := a.Status()
		if st.State != discovery.StateFailing || !strings.Contains(st.LastError, "resolve dht.example: no such host") {
			t.Errorf("Status() = %+v, want the resolver's error", st)
		}
		if lookups > 15 {
			t.Errorf("%d look-ups in five minutes", lookups)
		}
		working = true
		pass(maxSearchPause + 2*time.Second)
		if st := a.Status(); st.State != discovery.StateWorking {
			t.Errorf("Status() = %+v, want working once the name resolves", st)
		}
		before := lookups
		pass(time.Hour)
		if lookups != before {
			t.Errorf("%d look-ups while the DHT answers, want none", lookups-before)
		}
	})
}

// A source without any socket or node says so.
func TestNothingToWorkWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		none := New(Config{InfoHashes: func(time.Time) [][20]byte { return nil }, Found: func(netip.AddrPort) {}})
		if st := none.Status(); st.State != discovery.StateWaiting {
			t.Errorf("Status() = %+v without a socket", st)
		}
		d := newSimDHT(t, 1)
		a := d.member(1, func(c *Config) { c.Bootstrap = []string{} })
		defer a.stop()
		pass(time.Minute)
		if st := a.Status(); st.State != discovery.StateWaiting || st.Detail != "no nodes known" {
			t.Errorf("Status() = %+v without nodes", st)
		}
	})
}
