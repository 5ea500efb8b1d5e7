package gossip

import (
	"slices"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

const (
	// fewMissing is how many records a peer is sent because a page of its lacks
	// them, without being asked: that saves a round trip and two datagrams.
	fewMissing = 8
)

// ReceiveDigest takes a digest of a peer. It returns the reason for which it
// was dropped, or nothing.
func (g *Gossip) ReceiveDigest(now time.Time, from keys.NodePublic, d wire.Digest) string {
	p := g.peers[from]
	switch {
	case p == nil || !p.working:
		return dropNotWorking
	case !p.heard.take(now, hearLimit, 1):
		return dropRateLimit
	}
	g.changed(now)
	g.set.sync()
	g.follow(p, d.Follow)
	switch {
	case len(d.Sums) > 0:
		p.fresh = false
		g.readSums(now, p, d.Sums)
	case d.Last != 0:
		p.fresh = false
		g.readPage(now, p, d)
	default:
		for _, e := range d.Entries {
			g.read(now, p, e)
		}
	}
	return ""
}

// readSums answers sums that differ with pages of where they do.
func (g *Gossip) readSums(now time.Time, p *peer, theirs []uint64) {
	v := g.set.view(now)
	ours := v.sumsOf(len(theirs))
	var differ []int
	for i, s := range ours {
		if s != theirs[i] {
			differ = append(differ, i)
		}
	}
	if len(differ) == 0 {
		p.agreed()
		return
	}
	if !p.told() && len(g.asked) > 0 {
		return // there is something better to ask for already
	}
	// Where there is more than can be said at once, each time another part is.
	start := 0
	if len(v.entries) > maxPages*wire.MaxEntries {
		start = g.rng.IntN(len(differ))
	}
	p.pages = pagesOf(v, append(differ[start:len(differ):len(differ)], differ[:start]...), len(ours))
	p.heard.take(now, hearLimit, len(p.pages))
	g.compareAgain(now, p)
}

// compareAgain makes sure that what is said to the peer now was not lost.
func (g *Gossip) compareAgain(now time.Time, p *peer) {
	if p.heard.take(now, hearLimit, 1) {
		p.compare(now.Add(settleAfter))
	}
}

// pagesOf are at most maxPages ranges of at most MaxEntries each that cover the
// parts, the first of them first.
func pagesOf(v *view, parts []int, of int) (pages []pageRange) {
	for _, i := range parts {
		first, last := part(i, of)
		if n := len(pages); n > 0 {
			// One page may reach over what does not differ to what does.
			if l := &pages[n-1]; first > l.last && len(v.within(l.first, last)) <= wire.MaxEntries {
				l.last = last
				continue
			}
		}
		for {
			if len(pages) == maxPages {
				return pages
			}
			entries := v.within(first, last)
			if len(entries) <= wire.MaxEntries {
				pages = append(pages, pageRange{first, last})
				break
			}
			cut := entries[wire.MaxEntries-1].Node
			pages = append(pages, pageRange{first, cut})
			first = cut + 1
		}
	}
	return pages
}

// readPage takes all that a peer has in a range.
func (g *Gossip) readPage(now time.Time, p *peer, d wire.Digest) {
	same := true
	for _, e := range d.Entries {
		same = !g.read(now, p, e) && same
	}
	// What is missing there; of very much some, and another time others. Their
	// entries are few, so the search is not longer.
	var missing []wire.NodeHash
	ours := g.set.view(now).within(d.From, d.Last)
	for i, start := 0, g.rng.IntN(max(len(ours), 1)); i < len(ours) && len(missing) < maxAnnounce; i++ {
		e := ours[(start+i)%len(ours)]
		if j, found := slices.BinarySearchFunc(d.Entries, e.Node, byNode); !found || d.Entries[j].Seq < e.Seq {
			missing = append(missing, e.Node)
		}
	}
	if len(missing) > 0 {
		g.supply(now, p, missing)
	} else if same && d.From == 0 && d.Last == wire.LastHash {
		p.agreed()
	}
}

// supply sees to it that the peer gets what it lacks: it is sent a few, and
// told of many.
func (g *Gossip) supply(now time.Time, p *peer, missing []wire.NodeHash) {
	g.compareAgain(now, p)
	if len(missing) <= fewMissing {
		for _, h := range missing {
			if !p.owed.take(now, owedLimit(len(g.set.byHash)), 1) || !p.push(h) {
				break
			}
		}
		return
	}
	for _, h := range missing {
		if !p.tell(now, h) {
			break
		}
	}
	p.heard.take(now, hearLimit, (len(missing)+wire.MaxEntries-1)/wire.MaxEntries)
}

// read takes it that a peer has a record, and reports whether it is one that
// this node lacks.
func (g *Gossip) read(now time.Time, p *peer, e wire.Entry) bool {
	p.shown(e, g.set.seq(e.Node))
	if !g.set.lacks(e) {
		return false
	}
	g.offer(now, p, e)
	return true
}

// digest is what a comparison with the peer opens with.
func (g *Gossip) digest(now time.Time) wire.Digest {
	v := g.set.view(now)
	if len(v.entries) <= wire.MaxEntries {
		return wire.Digest{Last: wire.LastHash, Entries: v.entries}
	}
	return wire.Digest{Sums: v.sumsOf(wire.MaxSums)}
}
