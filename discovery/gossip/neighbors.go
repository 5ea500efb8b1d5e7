package gossip

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

const (
	// MaxNeighbors is how many peers a node tells the news at once: the next on
	// the ring of node hashes that all share, the one before and the one after
	// next, so that everybody is somebody's neighbour; the rest at random, by
	// which news crosses a network of hundreds in three or four hops and which
	// nobody can arrange to be among. Before them go gateways: peers that brought
	// the records of nodes that this one cannot speak to.
	MaxNeighbors = 8
	maxGateways  = 2
	// minUpstream is how many of them at least a node asks to tell it the news in
	// turn: the first two on the ring, who in a full mesh do so anyway, and the
	// gateways or one at random. Without it, one that has few peers who have many
	// hears nothing.
	minUpstream  = 3
	maxFollowers = 512

	// choosePause gathers peers that appear together.
	choosePause = 2 * time.Second
	// comeback is how long a node must have been known for a path to it to be
	// one that stood before: news that was missed may wait at its other end.
	comeback = 10 * time.Second
	// greetWait is how long others have to tell of a node that was met without
	// them. Where they do not, the path to it may join two networks.
	greetWait = 500 * time.Millisecond
)

// greet is a comparison that may be needed with a peer that is no neighbour.
type greet struct {
	node keys.NodePublic
	at   time.Time
}

// add makes room for a peer; nil if there is none.
func (g *Gossip) add(now time.Time, node keys.NodePublic) *peer {
	if len(g.peers) >= g.limit {
		for n, p := range g.peers {
			if !p.working && p.rested(now, len(g.set.byHash)) {
				delete(g.peers, n)
			}
		}
	}
	for n, p := range g.peers {
		if len(g.peers) < g.limit {
			break
		}
		if !p.working {
			delete(g.peers, n)
		}
	}
	if len(g.peers) >= g.limit {
		return nil
	}
	rank := sha256.Sum256(append(g.secret[:], node[:]...))
	p := &peer{node: node, hash: wire.HashNode(node), rank: binary.BigEndian.Uint64(rank[:])}
	g.peers[node] = p
	return p
}

// insert puts a peer that works in order.
func (g *Gossip) insert(p *peer) {
	i, _ := slices.BinarySearchFunc(g.order, p, byKey)
	g.order = slices.Insert(g.order, i, p)
}

// lose takes out a peer that does not work any more.
func (g *Gossip) lose(now time.Time, p *peer) {
	i, found := slices.BinarySearchFunc(g.order, p, byKey)
	if found {
		g.order = slices.Delete(g.order, i, i+1)
	}
	g.release(p)
	chosen := p.neighbor
	p.stop()
	if chosen {
		g.choose(now)
	}
	if p.rested(now, len(g.set.byHash)) {
		delete(g.peers, p.node)
	}
}

func byKey(a, b *peer) int { return a.node.Compare(b.node) }

// met decides what there is to say to a peer that works from now on.
func (g *Gossip) met(now time.Time, p *peer) {
	g.set.sync()
	g.touch(now)
	if g.neighborCount() < MaxNeighbors {
		g.choose(now)
	} else if g.chooseAt.IsZero() {
		g.chooseAt = now.Add(choosePause)
	}
	if p.neighbor || g.set.own.node.Compare(p.node) > 0 || len(g.greets) >= g.limit {
		return // it is compared with, or does so
	}
	at := now
	if g.metLately(p) {
		at = now.Add(greetWait)
	}
	g.greets = append(g.greets, greet{p.node, at})
}

// metLately says whether the peer was not known much longer than spoken to.
func (g *Gossip) metLately(p *peer) bool {
	k := g.set.byHash[p.hash]
	return k == nil || p.since.Sub(k.since) < comeback
}

// isJoined says whether the peer is known to be one of those that the others
// can speak to.
func (g *Gossip) isJoined(p *peer) bool {
	k := g.set.byHash[p.hash]
	return k != nil && k.gossiped && g.metLately(p)
}

func (g *Gossip) neighborCount() (n int) {
	for _, p := range g.order {
		if p.neighbor {
			n++
		}
	}
	return n
}

// chooseDue chooses and greets anew where it is time.
func (g *Gossip) chooseDue(now time.Time) {
	if !g.chooseAt.IsZero() && !now.Before(g.chooseAt) {
		g.choose(now)
	}
	for len(g.greets) > 0 && !now.Before(g.greets[0].at) && !g.greeting.ready(now, greetLimit).After(now) {
		p := g.peers[g.greets[0].node]
		g.greets = g.greets[1:]
		if p != nil && p.working && p.fresh && !g.isJoined(p) {
			g.greeting.take(now, greetLimit, 1)
			p.compare(now)
		}
	}
}

// choose makes the neighbours what they should be among the peers that work.
// Who becomes one is compared with, which also tells it whether it is followed.
func (g *Gossip) choose(now time.Time) {
	g.chooseAt = time.Time{}
	chosen := make(map[*peer]bool, MaxNeighbors) // and whether upstream
	pick := func(p *peer, upstream bool) {
		if _, ok := chosen[p]; !ok && len(chosen) < MaxNeighbors {
			chosen[p] = upstream
		}
	}
	ring := slices.Clone(g.order)
	if n := len(ring); n > 0 {
		slices.SortFunc(ring, func(a, b *peer) int { return cmp.Compare(a.hash, b.hash) })
		i, _ := slices.BinarySearchFunc(ring, g.set.own.hash, func(p *peer, h wire.NodeHash) int { return cmp.Compare(p.hash, h) })
		pick(ring[i%n], true)
		pick(ring[(i+n-1)%n], true)
		next := ring[(i+1)%n]
		for _, p := range g.gateways() {
			pick(p, true)
		}
		slices.SortFunc(ring, func(a, b *peer) int { return cmp.Compare(a.rank, b.rank) })
		for i, p := range ring {
			pick(p, len(chosen) < minUpstream)
			if i == 0 {
				pick(next, false)
			}
		}
	}
	for _, p := range g.order {
		upstream, neighbor := chosen[p]
		if neighbor && !p.neighbor || upstream != p.toldUpstream {
			p.compare(now)
		}
		p.neighbor, p.upstream = neighbor, upstream
	}
}

// gateways are the peers that brought most of the records of nodes that are no
// peers. One that is a neighbour stays before another that is hardly better.
func (g *Gossip) gateways() []*peer {
	brought := make(map[*peer]int)
	for _, k := range g.set.byHash {
		if p := g.peers[k.node]; p != nil && p.working {
			continue
		}
		if p := g.peers[k.via]; p != nil && p.working {
			brought[p]++
		}
	}
	worth := func(p *peer) int {
		if p.upstream {
			return 2 * brought[p]
		}
		return brought[p]
	}
	best := slices.SortedFunc(maps.Keys(brought), func(a, b *peer) int {
		return cmp.Or(cmp.Compare(worth(b), worth(a)), cmp.Compare(a.rank, b.rank))
	})
	return best[:min(len(best), maxGateways)]
}

// follow takes it that a peer wants to be told the news, or does not.
func (g *Gossip) follow(p *peer, wants bool) {
	if wants && (!p.follows || !p.working) {
		n := 0
		for _, o := range g.order {
			if o.follows {
				n++
			}
		}
		wants = n < maxFollowers
	}
	p.follows = wants
}
