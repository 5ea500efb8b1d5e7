package relay

import (
	"slices"
	"testing"

	"github.com/credant/credant/relay/wire"
)

// checkServer holds the server's tables to what must be true of them.
func checkServer(tb testing.TB, s *Server) {
	tb.Helper()
	held := make(map[*source]int)
	var sums [classes]map[*source][2]int
	for c := range sums {
		sums[c] = make(map[*source][2]int)
	}
	bound := 0
	perNetwork := make(map[*network][2]int)
	for _, r := range s.registered {
		of := r.node.network.class
		held[r.source]++
		x := sums[of][r.source]
		x[0]++
		sums[of][r.source] = x
		if r.node.reg != r || !slices.Contains(r.node.network.registered, r.node) {
			tb.Fatal("a registration is not its node's")
		}
	}
	users := make(map[uint16]int)
	for _, a := range s.board.list {
		w := a.network()
		held[a.source]++
		x := sums[w.class][a.source]
		x[1]++
		sums[w.class][a.source] = x
		y := perNetwork[w]
		y[1]++
		perNetwork[w] = y
		users[a.port]++
		if a.bound() {
			bound++
		}
		if a.bound() != (a.waits[0] == nil) || a.bound() != (a.waits[1] == nil) {
			tb.Fatalf("allocation bound %v waits %v", a.bound(), a.waits)
		}
		if s.board.pairs[pairOf(a.sides[0].node, a.sides[1].node)] != a || a.due.place == 0 {
			tb.Fatal("an allocation is not found or has no timer")
		}
		for i := range a.sides {
			side := &a.sides[i]
			if side.node.held[side.slot] != a || !side.node.ports.has(s.board.offset(a.port)) {
				tb.Fatal("a node does not hold its allocation")
			}
			if side.source == nil {
				continue
			}
			held[side.source]++
			if got := s.board.claims[side.key()]; got.allocation != a || got.side != i {
				tb.Fatalf("claim of %v is another's", side.key())
			}
		}
	}
	claims := 0
	for _, a := range s.board.list {
		for i := range a.sides {
			if a.sides[i].source != nil {
				claims++
			}
		}
	}
	if claims != len(s.board.claims) || bound != s.board.bound || len(s.board.pairs) != len(s.board.list) {
		tb.Fatalf("%d claims of %d, %d bound of %d", len(s.board.claims), claims, s.board.bound, bound)
	}
	for i, p := range s.board.state {
		if port := s.board.ports.First + uint16(i); p.users != users[port] {
			tb.Fatalf("port %d counts %d users, has %d", port, p.users, users[port])
		}
	}
	for _, src := range s.sources.list {
		if src.held != held[src] {
			tb.Fatalf("source holds %d, counts %d", held[src], src.held)
		}
		for c := range src.of {
			want := sums[c][src]
			if got := [2]int{src.of[c].registrations, src.of[c].allocations}; got != want {
				tb.Fatalf("source has %v, counts %v", want, got)
			}
		}
		delete(held, src)
	}
	if len(held) != 0 {
		tb.Fatal("a source that holds something was forgotten")
	}
	nodes := 0
	for _, w := range s.networks {
		nodes += len(w.nodes)
		var sum wire.Have
		for _, n := range w.registered {
			sum.Toggle(n.key, n.reg.blob)
		}
		if sum != w.sum || w.allocations != perNetwork[w][1] || len(w.nodes) == 0 {
			tb.Fatalf("network of %d nodes counts %d allocations, has %d", len(w.nodes), w.allocations, perNetwork[w][1])
		}
	}
	if nodes != len(s.nodes) {
		tb.Fatalf("%d nodes in networks, %d in all", nodes, len(s.nodes))
	}
	for _, n := range s.nodes {
		used := 0
		for _, word := range n.ports {
			for ; word != 0; word &= word - 1 {
				used++
			}
		}
		both := 0
		for _, a := range n.held {
			if a.bound() {
				both++
			}
		}
		if used != len(n.held) || both != n.forwarding {
			tb.Fatalf("node has %d ports for %d allocations, counts %d bound of %d", used, len(n.held), n.forwarding, both)
		}
		if n.idle() && (n.session == nil || n.due.place == 0) {
			tb.Fatal("a node is kept for nothing, or for ever")
		}
		if n.session != nil && s.sessions[n.keys.ClientKey()] != n {
			tb.Fatal("a session is not found")
		}
	}
	if len(s.nodes) > s.limits.nodes || len(s.registered) > s.limits.registrations ||
		len(s.board.list) > s.board.limit || len(s.sources.list) > s.sources.limit+s.sources.limit/4 {
		tb.Fatal("a table is over its bound")
	}
}
