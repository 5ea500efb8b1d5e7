package mainline

import (
	"net/netip"
	"sync"
	"time"
)

// Reasons for which a serving node leaves a query without what was asked.
const (
	dropRate  = "dht-rate"  // the source's budget is spent
	dropToken = "dht-token" // an announce or put from where no token was sent
	dropRoom  = "dht-room"  // what there is room for is taken
)

// What one answer holds. libtorrent gives up to 100 addresses; fewer make a forged
// query worth less, and who asks again gets others.
const (
	maxAnswer  = 1400
	maxValues4 = 32
	maxValues6 = 16
)

// A responder answers queries in place of the library, which one datagram kills and
// which keeps whatever it is told. It has no sockets and no clock. Its methods may be
// called from any goroutine.
type responder struct {
	id      nodeID
	routing *routing
	sibling *responder // of the other family; set before use, nil without one

	mu     sync.Mutex
	tokens tokens
	peers  peerStore
	items  itemStore
	limits *limits
	served uint64
}

func newResponder(id nodeID) *responder {
	return &responder{id: id, routing: newRouting(id), tokens: newTokens(), limits: newLimits()}
}

// heard takes in what came of a query of ours.
func (r *responder) heard(now time.Time, to netip.AddrPort, a answer, err error) {
	if err != nil {
		r.routing.failed(to)
		return
	}
	r.routing.answered(now, node{a.id, to})
	r.routing.named(to, a.nodes)
}

// Receive returns the answer to a query that passed examine, and the reason where it
// is not what was asked for. The answer is empty where there is none.
func (r *responder) Receive(now time.Time, from netip.AddrPort, query message) (b []byte, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	args := &query.body
	purse, ok := r.limits.buckets(now, from.Addr())
	if !ok {
		return nil, dropRate
	}
	if ro, _ := query.top.int("ro"); ro == 0 {
		r.routing.asked(now, node{nodeID(args.string("id")), from})
	}
	res := response{id: r.id, to: from}
	switch string(query.top.string("q")) {
	case "ping":
	case "find_node":
		r.nodes(&res, infoHash(args.string("target")), args)
	case "get_peers":
		r.getPeers(now, &res, infoHash(args.string("info_hash")), args)
	case "announce_peer":
		reason = r.announcePeer(now, &res, args)
	case "get":
		r.get(now, &res, infoHash(args.string("target")), args)
	case "put":
		reason = r.put(now, &res, args)
	}
	b = res.encode(query.top.string("t"))
	cost := queryCost
	if args.has("k") {
		cost = signedPutCost
	}
	purse.pay(cost + len(b))
	if r.served++; res.refusal.code != 0 && reason == "" {
		reason = dropArguments
	}
	return b, reason
}

// nodes adds the nodes closest to target, of the families that are wanted (BEP 32).
func (r *responder) nodes(res *response, target infoHash, args *fields) {
	is4 := res.to.Addr().Is4()
	want4, want6 := is4, !is4
	if w := args.value("want"); w != nil {
		want4, want6 = false, false
		eachElement(w, func(v []byte) bool {
			s, _ := parseString(v)
			want4, want6 = want4 || string(s) == "n4", want6 || string(s) == "n6"
			return true
		})
	}
	of := func(is4Wanted bool) []node {
		from := r
		if is4Wanted != is4 {
			from = r.sibling
		}
		if from == nil {
			return nil
		}
		return from.routing.closest(target, closestK, res.to)
	}
	if want4 {
		res.nodes4 = of(true)
	}
	if want6 {
		res.nodes6 = of(false)
	}
}

func (r *responder) token(now time.Time, res *response) {
	t := r.tokens.make(now, res.to.Addr())
	res.token = t[:]
}

func (r *responder) getPeers(now time.Time, res *response, hash infoHash, args *fields) {
	n := maxValues6
	if res.to.Addr().Is4() {
		n = maxValues4
	}
	res.values = r.peers.some(now, hash, res.to.Addr(), n)
	r.token(now, res)
	r.nodes(res, hash, args)
}

func (r *responder) announcePeer(now time.Time, res *response, args *fields) string {
	if !r.tokens.valid(now, res.to.Addr(), args.string("token")) {
		res.refusal = putError{203, "Bad token"}
		return dropToken
	}
	port, _ := args.int("port")
	if implied, _ := args.int("implied_port"); implied != 0 {
		port = int64(res.to.Port())
	}
	if port < 1 || port > 0xffff {
		res.refusal = putError{203, "Bad port"}
		return dropArguments
	}
	if !r.peers.add(now, infoHash(args.string("info_hash")), netip.AddrPortFrom(res.to.Addr(), uint16(port))) {
		res.refusal = putNoRoom
		return dropRoom
	}
	return ""
}

func (r *responder) get(now time.Time, res *response, target infoHash, args *fields) {
	r.token(now, res)
	r.nodes(res, target, args)
	res.item = r.items.get(now, target)
	if seq, ok := args.int("seq"); ok && res.item.mutable() && res.item.seq <= seq {
		res.seqAlone = true
	}
}

func (r *responder) put(now time.Time, res *response, args *fields) string {
	if !r.tokens.valid(now, res.to.Addr(), args.string("token")) {
		res.refusal = putError{203, "Bad token"}
		return dropToken
	}
	p := putRequest{salt: args.string("salt")}
	p.v = args.value("v")
	if args.has("k") {
		copy(p.key[:], args.string("k"))
		copy(p.sig[:], args.string("sig"))
		p.seq, _ = args.int("seq")
		if cas, ok := args.int("cas"); ok {
			p.cas = &cas
		}
	}
	res.refusal = r.items.put(now, res.to.Addr(), p)
	switch res.refusal {
	case putFine:
		return ""
	case putNoRoom:
		return dropRoom
	}
	return dropArguments
}
