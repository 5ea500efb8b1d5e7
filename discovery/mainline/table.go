package mainline

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// maxTable bounds how many nodes that have answered are remembered.
const maxTable = 128

// A table remembers nodes that answered, across lookups: a new day's lookup begins
// from them, and the cache keeps them for the next start. It is no routing table:
// nothing is sent to keep it fresh.
type table struct {
	entries map[netip.AddrPort]heard
}

type heard struct {
	id nodeID
	at time.Time
}

func (t *table) add(now time.Time, n node) {
	if t.entries == nil {
		t.entries = make(map[netip.AddrPort]heard)
	}
	if _, ok := t.entries[n.addr]; !ok && len(t.entries) >= maxTable {
		oldest := n.addr
		at := now
		for addr, h := range t.entries {
			if !h.at.After(at) {
				oldest, at = addr, h.at
			}
		}
		delete(t.entries, oldest)
	}
	t.entries[n.addr] = heard{n.id, now}
}

// closest returns up to limit nodes, the closest to target first.
func (t *table) closest(target infoHash, limit int) []node {
	nodes := make([]node, 0, len(t.entries))
	for addr, h := range t.entries {
		nodes = append(nodes, node{h.id, addr})
	}
	slices.SortFunc(nodes, func(a, b node) int {
		return cmp.Or(distanceCompare(target, a.id, b.id), a.addr.Compare(b.addr))
	})
	return nodes[:min(len(nodes), limit)]
}

// recent returns the addresses, the last one to answer first.
func (t *table) recent() []netip.AddrPort {
	addrs := make([]netip.AddrPort, 0, len(t.entries))
	for addr := range t.entries {
		addrs = append(addrs, addr)
	}
	slices.SortFunc(addrs, func(a, b netip.AddrPort) int {
		return cmp.Or(t.entries[b].at.Compare(t.entries[a].at), a.Compare(b))
	})
	return addrs
}
