package discovery

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/discovery/keys"
)

var (
	seedFlag = flag.Uint64("seed", 0, "run random worlds of this seed only (0: a range)")
	runsFlag = flag.Int("runs", 200, "how many random worlds to run")
)

// Two members on a network that loses, doubles and reorders, behind NATs or
// not, always meet, and never do both of them start the handshake. Where nothing
// is lost exactly one of them does.
func TestRandomWorlds(t *testing.T) {
	silent, starts := 0, 0
	seeds := *runsFlag
	first := uint64(1)
	if *seedFlag != 0 {
		first, seeds = *seedFlag, 1
	}
	for seed := first; seed < first+uint64(seeds); seed++ {
		n := randomWorld(t, seed)
		if n == 0 {
			silent++
		}
		starts += n
		if t.Failed() {
			t.Fatalf("again with: go test -run %s -seed %d", t.Name(), seed)
		}
	}
	// The last ready of an exchange may be lost with all its copies; then the
	// owner's fallback starts. It must stay the exception.
	if silent*50 > seeds {
		t.Errorf("in %d of %d worlds nobody starts", silent, seeds)
	}
}

func randomWorld(t *testing.T, seed uint64) (starts int) {
	w := newWorld(t, seed)
	key := networkKey(t, 1)
	w.minDelay = time.Duration(1+w.rng.IntN(150)) * time.Millisecond
	w.maxDelay = w.minDelay
	lossless := w.rng.IntN(2) == 0
	if w.rng.IntN(2) == 0 {
		w.maxDelay += time.Duration(w.rng.IntN(200)) * time.Millisecond
		w.double = 0.1
	}
	if !lossless {
		w.loss = w.rng.Float64() * 0.3
	}
	a, b := w.add(key, addrA), w.add(key, addrB)
	both := false
	for _, h := range []*host{a, b} {
		if w.rng.IntN(2) == 0 {
			h.behindNAT()
			both = true
		}
	}
	sources := []Source{SourceDHT, SourceStatic, SourceCache}
	// Each side polls each second from a time of its own, and the other follows
	// within a round trip often enough for greetings that cross.
	spread := 10 * time.Millisecond << w.rng.IntN(10)
	type poller struct {
		h, other *host
		src      Source
		next     time.Duration
	}
	pollers := []*poller{
		{a, b, sources[w.rng.IntN(3)], time.Duration(w.rng.Int64N(int64(spread)))},
		{b, a, sources[w.rng.IntN(3)], time.Duration(w.rng.Int64N(int64(spread)))},
	}
	if !both && w.rng.IntN(4) == 0 {
		pollers = pollers[:1] // one side knows nothing
	}
	met := func() bool { return len(a.met(b.id(), true)) > 0 && len(b.met(a.id(), true)) > 0 }
	const patience = time.Minute
	for w.now < patience && !met() {
		p := pollers[0]
		if len(pollers) > 1 && pollers[1].next < p.next {
			p = pollers[1]
		}
		w.run(p.next, met)
		if !met() {
			p.h.hint(p.src, p.other.addr)
			p.next += time.Second
		}
	}
	what := fmt.Sprintf("seed %d: delay %v to %v, loss %.0f %%", seed, w.minDelay, w.maxDelay, 100*w.loss)
	if !met() {
		t.Errorf("%s: not met within %v", what, patience)
		return 0
	}
	at := w.now
	w.run(w.now+8*time.Second, nil) // exchanges that crossed come to their end
	starts = a.starts(b.id()) + b.starts(a.id())
	if starts > 1 {
		t.Errorf("%s: %d and %d starts", what, a.starts(b.id()), b.starts(a.id()))
	}
	if lossless {
		if starts != 1 {
			t.Errorf("%s: %d starts, want one", what, starts)
		}
		// A hello each second may find the other's NAT closed; the next does not.
		if limit := spread + time.Second + 3*w.maxDelay; at > limit {
			t.Errorf("%s: met only after %v, want %v", what, at, limit)
		}
	}
	if rtt := a.mets[0].RTT; rtt < 2*w.minDelay {
		t.Errorf("%s: round trip %v", what, rtt)
	}
	return starts
}

// Greetings that cross: in whatever order the confirms, their copies and the
// readies arrive, exactly one side starts.
func TestCrossedGreetings(t *testing.T) {
	// An event is the arrival of a message of one side's exchange. The ready that
	// counts may answer the confirm or its copy.
	type event struct {
		side int
		kind string
	}
	kinds := []string{"confirm", "copy", "ready to confirm", "ready to copy"}
	allowed := func(e event, past []event) bool {
		has := func(kind string) bool { return slices.Contains(past, event{e.side, kind}) }
		switch e.kind {
		case "confirm":
			return !has("confirm")
		case "copy":
			return has("confirm") && !has("copy")
		case "ready to confirm":
			return has("confirm") && !has("ready to confirm") && !has("ready to copy")
		default:
			return has("copy") && !has("ready to confirm") && !has("ready to copy")
		}
	}

	w := newWorld(t, 1)
	now, probe := time.Unix(1000, 0), keys.ProbePublic{9}
	nodes := [2]keys.NodePublic{w.nodeKey().Public(), w.nodeKey().Public()}
	play := func(order []event) (starts int) {
		sides := [2]*members{newMembers(), newMembers()}
		saysStarts := make(map[event]bool)
		for _, e := range order {
			self, other := e.side, 1-e.side
			switch e.kind {
			case "confirm":
				sides[other].confirmed(now, nodes[self], probe)
				fallthrough
			case "copy":
				saysStarts[event{self, "ready to " + e.kind}] = sides[other].started(now, nodes[self], probe)
			default:
				if sides[self].starts(now, nodes[self], nodes[other], probe, saysStarts[e]) {
					starts++
				}
			}
		}
		return starts
	}

	orders := 0
	var try func(past []event)
	try = func(past []event) {
		readies := 0
		for _, e := range past {
			if strings.HasPrefix(e.kind, "ready") {
				readies++
			}
		}
		if readies == 2 {
			orders++
			if n := play(past); n != 1 {
				t.Errorf("%v: %d starts", past, n)
			}
			return
		}
		for side := range 2 {
			for _, kind := range kinds {
				if e := (event{side, kind}); allowed(e, past) {
					try(append(slices.Clone(past), e))
				}
			}
		}
	}
	try(nil)
	if orders < 50 {
		t.Errorf("tried %d orders only", orders)
	}
}
