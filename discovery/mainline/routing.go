package mainline

import (
	"crypto/rand"
	"math/bits"
	"net/netip"
	"sync"
	"time"
)

const (
	// BEP 5: a node is good for 15 minutes after it was heard, and a bucket in which
	// nothing changed for as long is refreshed.
	goodFor        = 15 * time.Minute
	probeEvery     = time.Second // between probes
	probeAgain     = 15 * time.Second
	maxRouted      = 1024
	maxCandidates  = 64
	maxOfHost4     = 1 // nodes of one IPv4 address: a host alone must not fill buckets
	maxOfHost6     = 4 // of one /64
	routedFailures = 2 // after so many in a row a node is forgotten
)

// A routing is BEP 5's routing table, with buckets split all the way: one for each
// number of leading bits that an id shares with ours. Nodes enter it by answering.
type routing struct {
	mu      sync.Mutex
	self    nodeID
	nodes   map[netip.AddrPort]*routed
	buckets [160]routedBucket
	ofHost  map[netip.Prefix]int

	candidates []node // that asked or were named, to be pinged
	probed     time.Time
}

type routed struct {
	node
	heard    time.Time
	probed   time.Time
	failures int
}

type routedBucket struct {
	nodes   []*routed // at most closestK
	changed time.Time
}

// A probe asks a routed node or a candidate: with a target for the nodes around that,
// and else whether it lives.
type probe struct {
	to     netip.AddrPort
	target *infoHash
}

func newRouting(self nodeID) *routing {
	return &routing{self: self, nodes: make(map[netip.AddrPort]*routed), ofHost: make(map[netip.Prefix]int)}
}

func (r *routing) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.nodes)
}

// bucket returns the bucket of id; nil for our own.
func (r *routing) bucket(id nodeID) *routedBucket {
	for i := range id {
		if x := r.self[i] ^ id[i]; x != 0 {
			return &r.buckets[8*i+bits.LeadingZeros8(x)]
		}
	}
	return nil
}

// asked takes in that a node, which answers others, sent a query.
func (r *routing) asked(now time.Time, n node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.nodes[n.addr]; known != nil {
		if known.id == n.id && known.failures == 0 {
			known.heard = now
		}
		return
	}
	r.candidate(n)
}

// named takes in which nodes one that answered knows.
func (r *routing) named(by netip.AddrPort, nodes []node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range nodes[:min(len(nodes), maxLearned)] {
		if learnable(by, n.addr) {
			r.candidate(n)
		}
	}
}

func (r *routing) candidate(n node) {
	b := r.bucket(n.id)
	if b == nil || n.id == (nodeID{}) || r.nodes[n.addr] != nil || len(r.candidates) >= maxCandidates || !r.room(b, n) {
		return
	}
	for _, c := range r.candidates {
		if c.addr.Addr() == n.addr.Addr() {
			return
		}
	}
	r.candidates = append(r.candidates, n)
}

// room reports whether n would find a place.
func (r *routing) room(b *routedBucket, n node) bool {
	limit := maxOfHost6
	if n.addr.Addr().Is4() {
		limit = maxOfHost4
	}
	if r.ofHost[sourceHost(n.addr.Addr())] >= limit {
		return false
	}
	return len(b.nodes) < closestK && len(r.nodes) < maxRouted || b.failing() != nil
}

func (b *routedBucket) failing() *routed {
	for _, n := range b.nodes {
		if n.failures > 0 {
			return n
		}
	}
	return nil
}

// answered takes in that a node answered: it lives at that address and under that id.
func (r *routing) answered(now time.Time, n node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.nodes[n.addr]; known != nil {
		if known.id == n.id {
			known.heard, known.failures = now, 0
			return
		}
		r.remove(known)
	}
	b := r.bucket(n.id)
	if b == nil || n.id == (nodeID{}) || !r.room(b, n) {
		return
	}
	if len(b.nodes) >= closestK || len(r.nodes) >= maxRouted {
		r.remove(b.failing())
	}
	e := &routed{node: n, heard: now}
	b.nodes = append(b.nodes, e)
	b.changed = now
	r.nodes[n.addr] = e
	r.ofHost[sourceHost(n.addr.Addr())]++
}

// failed takes in that a node did not answer.
func (r *routing) failed(addr netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.nodes[addr]
	if known == nil {
		return
	}
	if known.failures++; known.failures >= routedFailures {
		r.remove(known)
	}
}

func (r *routing) remove(n *routed) {
	delete(r.nodes, n.addr)
	b := r.bucket(n.id)
	for i, o := range b.nodes {
		if o == n {
			b.nodes = append(b.nodes[:i], b.nodes[i+1:]...)
			break
		}
	}
	host := sourceHost(n.addr.Addr())
	if r.ofHost[host]--; r.ofHost[host] == 0 {
		delete(r.ofHost, host)
	}
}

// closest returns up to n nodes that answer, the closest to target first: others than
// asker, and of those that it can do something with. The zero asker takes all.
func (r *routing) closest(target infoHash, n int, asker netip.AddrPort) []node {
	r.mu.Lock()
	defer r.mu.Unlock()
	near := make([]node, 0, n+1)
	for addr, e := range r.nodes {
		if e.failures > 0 || addr == asker || asker.IsValid() && !useful(asker.Addr(), addr.Addr()) {
			continue
		}
		at := len(near)
		for at > 0 && distanceCompare(target, e.id, near[at-1].id) < 0 {
			at--
		}
		if at == n {
			continue
		}
		near = append(near, node{})
		copy(near[at+1:], near[at:])
		near[at] = e.node
		near = near[:min(len(near), n)]
	}
	return near
}

// due returns the next probe, at most one each second: a candidate, else a node not
// heard for long, else a refresh.
func (r *routing) due(now time.Time) (p probe, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.probed).Abs() < probeEvery {
		return p, false
	}
	r.probed = now
	if len(r.candidates) > 0 {
		p.to = r.candidates[0].addr
		r.candidates = append(r.candidates[:0], r.candidates[1:]...)
		return p, true
	}
	var stale *routed
	for _, n := range r.nodes {
		if (n.failures > 0 || now.Sub(n.heard) >= goodFor) && now.Sub(n.probed) >= probeAgain &&
			(stale == nil || n.heard.Before(stale.heard)) {
			stale = n
		}
	}
	if stale != nil {
		stale.probed = now
		return probe{to: stale.addr}, true
	}
	return r.refresh(now)
}

// refresh asks for nodes of a bucket that has not changed for long. The deepest
// buckets are left to the lookup of our own id.
func (r *routing) refresh(now time.Time) (p probe, ok bool) {
	deepest := len(r.buckets) - 1
	for deepest >= 0 && len(r.buckets[deepest].nodes) == 0 {
		deepest--
	}
	for i := range deepest + 1 {
		b := &r.buckets[i]
		if now.Sub(b.changed) < goodFor {
			continue
		}
		b.changed = now
		target := r.within(i)
		var to *routed
		for _, n := range r.nodes {
			if n.failures == 0 && (to == nil || distanceCompare(target, n.id, to.id) < 0) {
				to = n
			}
		}
		if to != nil {
			return probe{to: to.addr, target: &target}, true
		}
	}
	return p, false
}

// within returns a random id that shares exactly n leading bits with ours.
func (r *routing) within(n int) infoHash {
	var id infoHash
	_, _ = rand.Read(id[:])
	for i := range n + 1 {
		bit := byte(0x80) >> (i % 8)
		id[i/8] = id[i/8]&^bit | r.self[i/8]&bit
	}
	id[n/8] ^= 0x80 >> (n % 8)
	return id
}
