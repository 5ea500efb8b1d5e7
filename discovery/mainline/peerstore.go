package mainline

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// What a serving node keeps of others' announces in one family. An address and a
// port are 20 to 40 times as many bytes here as in a datagram: about 5 MB in all.
const (
	peerExpiry       = 30 * time.Minute
	maxPeers         = 16384
	maxPeersOfHash   = 256
	maxPeersOfSource = 512 // of a /24 or /48, under all hashes
	// maxPeersOfBoth, of one source under one hash, leaves room for others there.
	maxPeersOfBoth = 64
)

// A peerKey keeps apart who is behind one address, unlike the library's store.
type peerKey struct {
	hash infoHash
	addr netip.AddrPort
}

// peerStore is who announced what. The zero value is ready.
type peerStore struct {
	peers    aged[peerKey, struct{}]
	ofHash   map[infoHash][]netip.AddrPort // in the order of announcing
	ofSource map[netip.Prefix]int
}

// add keeps an announce, and reports whether there was room.
func (s *peerStore) add(now time.Time, hash infoHash, addr netip.AddrPort) bool {
	s.expire(now)
	if s.ofHash == nil {
		s.ofHash = make(map[infoHash][]netip.AddrPort)
		s.ofSource = make(map[netip.Prefix]int)
	}
	key := peerKey{hash, addr}
	if s.peers.get(key) != nil {
		s.peers.touch(now, key)
		list := s.ofHash[hash]
		i := slices.Index(list, addr)
		s.ofHash[hash] = append(slices.Delete(list, i, i+1), addr)
		return true
	}
	source := sourcePrefix(addr.Addr())
	if s.ofSource[source] >= maxPeersOfSource || s.ofBoth(hash, source) >= maxPeersOfBoth {
		return false
	}
	if list := s.ofHash[hash]; len(list) >= maxPeersOfHash {
		s.remove(s.peers.get(peerKey{hash, list[0]}))
	}
	if s.peers.len() >= maxPeers {
		s.remove(s.peers.oldest())
	}
	s.peers.touch(now, key)
	s.ofHash[hash] = append(s.ofHash[hash], addr)
	s.ofSource[source]++
	return true
}

func (s *peerStore) ofBoth(hash infoHash, source netip.Prefix) int {
	n := 0
	for _, a := range s.ofHash[hash] {
		if source.Contains(a.Addr()) {
			n++
		}
	}
	return n
}

func (s *peerStore) expire(now time.Time) {
	for e := s.peers.oldest(); e != nil && now.Sub(e.at) >= peerExpiry; e = s.peers.oldest() {
		s.remove(e)
	}
}

func (s *peerStore) remove(e *agedEntry[peerKey, struct{}]) {
	s.peers.remove(e)
	hash, addr := e.key.hash, e.key.addr
	list := s.ofHash[hash]
	if i := slices.Index(list, addr); len(list) > 1 {
		s.ofHash[hash] = slices.Delete(list, i, i+1)
	} else {
		delete(s.ofHash, hash)
	}
	source := sourcePrefix(addr.Addr())
	if s.ofSource[source]--; s.ofSource[source] == 0 {
		delete(s.ofSource, source)
	}
}

// some returns up to n of those who announced hash, others each time, that asker can
// do something with.
func (s *peerStore) some(now time.Time, hash infoHash, asker netip.Addr, n int) []netip.AddrPort {
	s.expire(now)
	list := s.ofHash[hash]
	var out []netip.AddrPort
	for _, i := range rand.Perm(len(list)) {
		if len(out) == n {
			break
		}
		if useful(asker, list[i].Addr()) {
			out = append(out, list[i])
		}
	}
	return out
}

// useful reports whether asker may be told of a: not of an address that is inside
// somebody's network, unless it is inside one itself.
func useful(asker, a netip.Addr) bool { return public(a) || !public(asker) }
