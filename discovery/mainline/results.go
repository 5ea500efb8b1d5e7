package mainline

import (
	"context"
	"net/netip"
	"slices"
	"time"
)

// A result is what came of one query.
type result struct {
	query
	group  *group
	answer answer
	other  []node // of the other family
	err    error
}

// query sends one query and hands back what came of it.
func (f *family) query(ctx context.Context, g *group, q query) {
	r := result{query: q, group: g}
	both := f.sibling != nil && f.sibling.last.get().live == 0
	switch {
	case q.token != "" && g.purpose == toPut:
		r.err = f.server.put(ctx, q, g.item)
	case q.token != "":
		r.err = f.server.announcePeer(ctx, q, f.forwarded(g))
	case g.purpose == toPut || g.purpose == toGet:
		r.answer, r.other, r.err = f.server.get(ctx, q, both)
	case g.purpose == toServe:
		r.answer, r.other, r.err = f.server.findNode(ctx, q, both)
	default:
		r.answer, r.other, r.err = f.server.getPeers(ctx, q, both)
	}
	select {
	case f.results <- r:
	case <-ctx.Done():
	}
}

// forwarded is the port to announce for a group; zero: the one that others see.
func (f *family) forwarded(g *group) int {
	if forwarded := f.source.config.Forwarded; forwarded != nil && f.is4 && g.purpose == toMeet {
		return int(forwarded())
	}
	return 0
}

// probe asks a node for the routing table.
func (f *family) probe(ctx context.Context, p probe) {
	var a answer
	var err error
	if p.target != nil {
		a, _, err = f.server.findNode(ctx, query{hash: *p.target, to: p.to}, false)
	} else {
		a, _, err = f.server.ping(ctx, p.to)
	}
	if ctx.Err() == nil {
		f.serving.heard(time.Now(), p.to, a, err)
	}
}

// take hands a result to its lookup, and yields what is in it.
func (f *family) take(now time.Time, r result) {
	if f.serving != nil && r.token == "" {
		f.serving.heard(now, r.to, r.answer, r.err)
	}
	l := r.group.lookup(r.hash)
	if l == nil {
		return // yesterday's
	}
	if r.err != nil {
		l.Fail(now, r.query)
		return
	}
	if r.token != "" {
		l.Accept(now, r.query)
		return
	}
	f.table.add(now, node{r.answer.id, r.to})
	f.see(now, r)
	found := l.Answer(now, r.query, r.answer)
	switch r.group.purpose {
	case toMeet, toLook:
		f.yield(now, r.group, found)
	case toPut:
		r.group.item.stored(r.answer.item)
	case toGet:
		r.group.fetch.add(r.answer.item)
	}
	f.offer(r)
}

func (f *family) yield(now time.Time, g *group, found []netip.AddrPort) {
	if !g.on || g.found == nil {
		return
	}
	for _, a := range found {
		if g.purpose == toMeet {
			if len(f.found) < maxFound {
				f.found[a] = struct{}{}
			}
			f.foundAt = now
		}
		f.source.found(a, g.found)
	}
}

// see takes the answering node's word on where this host is.
func (f *family) see(now time.Time, r result) {
	f.source.seen(r.to, r.answer.seen)
	agreed, moved := f.vantage.see(now, r.to.Addr(), r.answer.seen)
	if agreed {
		f.source.located(r.answer.seen, moved)
	}
	if moved {
		for _, g := range f.groups {
			if g.on {
				g.kick(now)
			}
		}
	}
}

// offer passes nodes of the other family on, which may have nobody to begin from.
func (f *family) offer(r result) {
	if f.sibling == nil || len(r.other) == 0 {
		return
	}
	nodes := slices.DeleteFunc(r.other, func(n node) bool {
		return n.id == nodeID{} || n.addr.Addr().Is4() == f.is4 || !learnable(r.to, n.addr)
	})
	select {
	case f.sibling.offered <- nodes[:min(len(nodes), maxLearned)]:
	default:
	}
}
