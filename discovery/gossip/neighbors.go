package gossip

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

const (
	// MaxNeighbors is how many peers a node tells the news at once: the next on
	// the ring of node hashes that all share, the one before and the one after
	// next, so that everybody is somebody's neighbour; and five at random, by
	// which news crosses a network of hundreds in three or four hops and which
	// nobody can arrange to be among.
	MaxNeighbors = 8
	// fewPeers is when a node asks its peers to be told the news: they may have
	// hundreds to choose among.
	fewPeers     = 4
	maxFollowers = 128

	// choosePause gathers peers that appear together.
	choosePause = 2 * time.Second
	// comeback is how long a node must have been known for a path to it to be
	// one that stood before, or that joins two halves of a network.
	comeback = 10 * time.Second
)

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
	if len(g.order) == fewPeers {
		for _, o := range g.order {
			o.compare(now) // and so ask them to tell
		}
	}
	if p.rested(now, len(g.set.byHash)) {
		delete(g.peers, p.node)
	}
}

func byKey(a, b *peer) int { return a.node.Compare(b.node) }

// met decides what there is to say to a peer that works from now on.
func (g *Gossip) met(now time.Time, p *peer) {
	g.touch(now)
	if g.neighborCount() < MaxNeighbors {
		g.choose(now)
	} else if g.chooseAt.IsZero() {
		g.chooseAt = now.Add(choosePause)
	}
	if p.neighbor {
		return // choose has seen to it
	}
	k := g.set.byHash[p.hash]
	switch {
	case k == nil || !k.gossiped:
		p.compare(now) // nothing but this path may join us
	case now.Sub(k.since) < comeback:
		// Its record has just come through others: they are joined to it.
	case g.greeting.take(now, greetLimit, 1):
		p.compare(now)
	case g.set.own.node.Compare(p.node) < 0 && len(g.greets) < g.limit && !slices.Contains(g.greets, p.node):
		g.greets = append(g.greets, p.node)
	}
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
	for len(g.greets) > 0 && !g.greeting.ready(now, greetLimit).After(now) {
		p := g.peers[g.greets[0]]
		g.greets = g.greets[1:]
		if p != nil && p.working && p.fresh {
			g.greeting.take(now, greetLimit, 1)
			p.compare(now)
		}
	}
}

// choose makes the neighbours what they should be among the peers that work.
// Who becomes one is compared with.
func (g *Gossip) choose(now time.Time) {
	g.chooseAt = time.Time{}
	chosen := make(map[*peer]bool, MaxNeighbors)
	if len(g.order) <= MaxNeighbors {
		for _, p := range g.order {
			chosen[p] = true
		}
	} else {
		ring := slices.Clone(g.order)
		slices.SortFunc(ring, func(a, b *peer) int { return cmp.Compare(a.hash, b.hash) })
		i, _ := slices.BinarySearchFunc(ring, g.set.own.hash, func(p *peer, h wire.NodeHash) int { return cmp.Compare(p.hash, h) })
		for _, j := range []int{i, i - 1, i + 1} {
			chosen[ring[(j+len(ring))%len(ring)]] = true
		}
		slices.SortFunc(ring, func(a, b *peer) int { return cmp.Compare(a.rank, b.rank) })
		for _, p := range ring {
			if len(chosen) == MaxNeighbors {
				break
			}
			chosen[p] = true
		}
	}
	for _, p := range g.order {
		was := p.neighbor
		p.neighbor = chosen[p]
		if p.neighbor && !was {
			p.compare(now)
		}
	}
}

// few says whether this node should be told the news by all its peers.
func (g *Gossip) few() bool { return len(g.order) <= fewPeers }

// follow takes it that a peer wants to be told the news, or does not.
func (g *Gossip) follow(p *peer, wants bool) {
	if wants && !p.follows {
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
