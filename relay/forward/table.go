package forward

import (
	"iter"
	"sync/atomic"
)

// table finds flows. Any number of workers look up without a lock while one
// writer at a time, who holds the Forwarder's mutex, changes it.
type table struct {
	hasher hasher
	chains atomic.Pointer[[]chain] // a power of two of them
	count  int
}

type chain = atomic.Pointer[node]

// A node is never changed but for next: a reader that stands on one which was
// taken out still finds its way to the end.
type node struct {
	key  key
	flow *flow
	next atomic.Pointer[node]
}

const firstChains = 64

func newTable() *table {
	t := &table{hasher: newHasher()}
	t.clear()
	return t
}

func (t *table) clear() {
	chains := make([]chain, firstChains)
	t.chains.Store(&chains)
	t.count = 0
}

func (t *table) find(k key) *flow {
	chains := *t.chains.Load()
	for n := chains[t.hasher.hash(k)&uint64(len(chains)-1)].Load(); n != nil; n = n.next.Load() {
		if n.key == k {
			return n.flow
		}
	}
	return nil
}

// insert adds a flow under a key that is not there.
func (t *table) insert(k key, f *flow) {
	chains := *t.chains.Load()
	if t.count >= len(chains) {
		chains = t.grow(chains)
	}
	push(&chains[t.hasher.hash(k)&uint64(len(chains)-1)], k, f)
	t.count++
}

func push(c *chain, k key, f *flow) {
	n := &node{key: k, flow: f}
	n.next.Store(c.Load())
	c.Store(n)
}

// grow builds the chains anew, of new nodes: readers may still be on the old.
func (t *table) grow(old []chain) []chain {
	chains := make([]chain, 2*len(old))
	for i := range old {
		for n := old[i].Load(); n != nil; n = n.next.Load() {
			push(&chains[t.hasher.hash(n.key)&uint64(len(chains)-1)], n.key, n.flow)
		}
	}
	t.chains.Store(&chains)
	return chains
}

func (t *table) remove(k key) {
	chains := *t.chains.Load()
	link := &chains[t.hasher.hash(k)&uint64(len(chains)-1)]
	for n := link.Load(); n != nil; link, n = &n.next, n.next.Load() {
		if n.key == k {
			link.Store(n.next.Load())
			t.count--
			return
		}
	}
}

// all yields every flow. Without the mutex it may miss what is added meanwhile.
func (t *table) all() iter.Seq2[key, *flow] {
	return func(yield func(key, *flow) bool) {
		chains := *t.chains.Load()
		for i := range chains {
			for n := chains[i].Load(); n != nil; n = n.next.Load() {
				if !yield(n.key, n.flow) {
					return
				}
			}
		}
	}
}
