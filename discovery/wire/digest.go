package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire/codec"
)

const (
	// MaxEntries is how many entries a Digest or a Want has at most: with the
	// rest of the signal, what fits SignalSize.
	MaxEntries = 64
	// MaxSums is how many sums a Digest has at most.
	MaxSums = 128

	nodeHashLabel = "credant/1/gossip-node"
	sumLabel      = "credant/1/gossip-sum"
)

// NodeHash is what gossip calls a node by, in few bytes: the first 8 of
// SHA-256 over a label and the node key.
type NodeHash uint64

// LastHash is the highest NodeHash.
const LastHash NodeHash = math.MaxUint64

// HashNode returns the hash of a node.
func HashNode(node keys.NodePublic) NodeHash {
	h := sha256.Sum256(append([]byte(nodeHashLabel), node[:]...))
	return NodeHash(binary.BigEndian.Uint64(h[:]))
}

// Entry names one record: whose, and which.
type Entry struct {
	Node NodeHash
	Seq  uint64
}

// Digest tells what records the sender has, in one of three ways.
//
// Sums tell everything at a glance: all hashes are cut into as many equal
// ranges as there are sums, a power of two, and each sum is SumEntries of the
// records in its range. Where two nodes have the same sums, they have the same
// records.
//
// Entries with a range, From to Last inclusive, are all that the sender has in
// it, so what is not among them it lacks. Without a range (Last is 0) they are
// some of what it has.
type Digest struct {
	Sums       []uint64
	From, Last NodeHash
	Entries    []Entry // in ascending order of Node
	// Follow asks to be told the news at once: the sender has few others who
	// could.
	Follow bool
}

// Want asks for the records of nodes, where the receiver has newer ones than
// the entries say. A sequence number of 0: any.
type Want struct {
	Entries []Entry // in ascending order of Node
}

// SumEntries is the sum of records, given in ascending order of Node: the
// first 8 bytes of SHA-256 over a label and each entry's hash and number.
func SumEntries(entries []Entry) uint64 {
	h := sha256.New()
	_, _ = h.Write([]byte(sumLabel))
	var b [entrySize]byte
	for _, e := range entries {
		_, _ = h.Write(appendEntry(b[:0], e))
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}

const (
	sumSize   = 8
	entrySize = 16
)

func appendEntry(b []byte, e Entry) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(e.Node))
	return binary.BigEndian.AppendUint64(b, e.Seq)
}

type digestCBOR struct {
	Sums    codec.Blob `cbor:"1,keyasint,omitempty"`
	From    uint64     `cbor:"2,keyasint,omitempty"`
	Last    uint64     `cbor:"3,keyasint,omitempty"`
	Entries codec.Blob `cbor:"4,keyasint,omitempty"`
	Follow  bool       `cbor:"5,keyasint,omitempty"`
}

type wantCBOR struct {
	Entries codec.Blob `cbor:"1,keyasint,omitempty"`
}

func (d Digest) encode() *digestCBOR {
	c := &digestCBOR{From: uint64(d.From), Last: uint64(d.Last), Entries: encodeEntries(d.Entries), Follow: d.Follow}
	for _, s := range d.Sums {
		c.Sums = binary.BigEndian.AppendUint64(c.Sums, s)
	}
	return c
}

func (w Want) encode() *wantCBOR { return &wantCBOR{encodeEntries(w.Entries)} }

func encodeEntries(entries []Entry) (b []byte) {
	for _, e := range entries {
		b = appendEntry(b, e)
	}
	return b
}

func (c digestCBOR) decode() (*Digest, error) {
	if len(c.Sums)%sumSize != 0 || len(c.Sums) > MaxSums*sumSize {
		return nil, fmt.Errorf("sums of %d bytes: %w", len(c.Sums), ErrEncoding)
	}
	d := &Digest{From: NodeHash(c.From), Last: NodeHash(c.Last), Follow: c.Follow}
	for b := c.Sums; len(b) > 0; b = b[sumSize:] {
		d.Sums = append(d.Sums, binary.BigEndian.Uint64(b))
	}
	var err error
	d.Entries, err = decodeEntries(c.Entries)
	return d, err
}

func (c wantCBOR) decode() (*Want, error) {
	entries, err := decodeEntries(c.Entries)
	return &Want{entries}, err
}

func decodeEntries(b []byte) (entries []Entry, err error) {
	if len(b)%entrySize != 0 || len(b) > MaxEntries*entrySize {
		return nil, fmt.Errorf("entries of %d bytes: %w", len(b), ErrEncoding)
	}
	for ; len(b) > 0; b = b[entrySize:] {
		entries = append(entries, Entry{NodeHash(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint64(b[8:])})
	}
	return entries, nil
}

func (d Digest) check() error {
	if n := len(d.Sums); n > 0 {
		switch {
		case n > MaxSums || bits.OnesCount(uint(n)) != 1:
			return fmt.Errorf("%d sums: %w", n, ErrBound)
		case d.From != 0 || d.Last != 0 || len(d.Entries) > 0:
			return fmt.Errorf("sums beside entries: %w", ErrBound)
		}
		return nil
	}
	switch {
	case d.From > d.Last:
		return fmt.Errorf("range %x to %x: %w", d.From, d.Last, ErrBound)
	case d.Last == 0 && len(d.Entries) == 0:
		return fmt.Errorf("digest of nothing: %w", ErrMissing)
	}
	for _, e := range d.Entries {
		switch {
		case d.Last != 0 && (e.Node < d.From || e.Node > d.Last):
			return fmt.Errorf("entry %x beyond the range: %w", e.Node, ErrBound)
		case e.Seq == 0:
			return fmt.Errorf("sequence number: %w", ErrMissing)
		}
	}
	return checkEntries(d.Entries)
}

func (w Want) check() error {
	if len(w.Entries) == 0 {
		return fmt.Errorf("wanted entries: %w", ErrMissing)
	}
	return checkEntries(w.Entries)
}

func checkEntries(entries []Entry) error {
	if len(entries) > MaxEntries {
		return fmt.Errorf("%d entries: %w", len(entries), ErrBound)
	}
	for i, e := range entries {
		if i > 0 && e.Node <= entries[i-1].Node {
			return fmt.Errorf("entries out of order: %w", ErrBound)
		}
	}
	return nil
}
