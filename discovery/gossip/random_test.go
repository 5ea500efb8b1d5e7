package gossip

import (
	"flag"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/discovery/wire"
)

var (
	seedFlag = flag.Uint64("seed", 0, "run random worlds of this seed only (0: a range)")
	runsFlag = flag.Int("runs", 24, "how many random worlds to run")
)

// Whatever happened before, once nodes can speak to each other in some shape,
// all come to have the newest record of each that any of them has.
func TestRandomWorlds(t *testing.T) {
	first, runs := uint64(1), *runsFlag
	if *seedFlag != 0 {
		first, runs = *seedFlag, 1
	}
	for seed := first; seed < first+uint64(runs); seed++ {
		randomWorld(t, seed)
		if t.Failed() {
			t.Fatalf("again with: go test -run %s -seed %d", t.Name(), seed)
		}
	}
}

func randomWorld(t *testing.T, seed uint64) {
	w := newWorld(t, seed)
	w.meets = false // the test alone makes paths
	w.terse = seed%2 == 0
	w.delay = time.Duration(1+w.rng.IntN(100)) * time.Millisecond
	w.loss = w.rng.Float64() * 0.4
	n := 2 + w.rng.IntN(12)
	if seed%12 == 0 {
		n = 80 // more than one page
	}
	for range n {
		w.add()
	}
	any := func() *host { return w.hosts[w.rng.IntN(n)] }
	for range 10 * n {
		switch w.rng.IntN(10) {
		case 0:
			if h := any(); h.up {
				h.publish()
			}
		case 1:
			any().stop()
		case 2:
			if h := any(); !h.up {
				h.start()
			}
		case 3, 4:
			w.disconnect(any(), any())
		default:
			w.connect(any(), any())
		}
		w.run(time.Duration(w.rng.Int64N(int64(3*time.Second))), nil)
	}

	// The reference: of each node the newest that anybody who is up has.
	var up []*host
	newest := make(map[keys.NodePublic]uint64)
	for _, h := range w.hosts {
		if !h.up {
			continue
		}
		up = append(up, h)
		newest[h.node] = h.record.Seq
		for _, m := range h.book.All() {
			newest[m.Record.Node] = max(newest[m.Record.Node], m.Record.Seq)
		}
	}
	w.loss /= 4
	// A tree joins them, and some more paths.
	for i, h := range up[min(1, len(up)):] {
		w.connect(h, up[w.rng.IntN(i+1)])
		w.connect(h, up[w.rng.IntN(len(up))])
	}
	missing := func() (n int) {
		for _, h := range up {
			for node, seq := range newest {
				if m, ok := h.book.Get(node); node != h.node && (!ok || m.Record.Seq != seq) {
					n++
				}
			}
		}
		return n
	}
	start := w.now
	for missing() > 0 && w.now.Sub(start) < 2*time.Minute {
		w.run(100*time.Millisecond, nil)
	}
	if missing() > 0 {
		t.Errorf("seed %d: of %d hosts and %d records %d are missing after 2 minutes, loss %.0f %%",
			seed, len(up), len(newest), missing(), 100*w.loss)
	} else if took := w.now.Sub(start); took > time.Minute && testing.Verbose() {
		t.Logf("seed %d: %d hosts took %v, loss %.0f %%", seed, len(up), took, 100*w.loss)
	}
	w.run(time.Minute, nil)
	for _, h := range up {
		checkOffered(t, h.g)
		for node := range newest {
			if node != h.node && h.g.set.seq(wire.HashNode(node)) != newest[node] {
				t.Errorf("seed %d: gossip knows another record than the Book", seed)
			}
		}
	}
}
