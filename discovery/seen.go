package discovery

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
)

// seen remembers the latest datagrams that opened, by what they begin with (the
// nonce) and where they came from. Nobody sends the same bytes twice, so a copy
// is dropped for a fiftieth of what it costs to verify two signatures.
//
// It saves work and decides nothing: a copy that it does not know of changes
// nothing either. The source is part of the entry because otherwise whoever is
// quick could send a copy first and have the original dropped.
type seen struct {
	seed   maphash.Seed
	hashes [1024]uint64 // by their lowest bits; a newer one takes the place
}

// seenPrefix is header and nonce.
const seenPrefix = 2 + 24

func newSeen() seen { return seen{seed: maphash.MakeSeed()} }

func (s *seen) hash(from netip.AddrPort, datagram []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	addr := from.Addr().As16()
	h.Write(datagram[:min(len(datagram), seenPrefix)])
	h.Write(addr[:])
	h.Write(binary.BigEndian.AppendUint16(nil, from.Port()))
	return h.Sum64() | 1 // an empty place is 0
}

func (s *seen) has(hash uint64) bool { return *s.place(hash) == hash }

func (s *seen) add(hash uint64) { *s.place(hash) = hash }

// place skips the lowest bit, which is always set.
func (s *seen) place(hash uint64) *uint64 {
	return &s.hashes[hash>>1%uint64(len(s.hashes))]
}
