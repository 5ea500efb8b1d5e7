package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/integration/member"
	"github.com/credant/credant/integration/strict"
)

var built programs

func TestMain(m *testing.M) {
	os.Exit(member.Main(m, func(_, node, relay string) error {
		built = programs{node: node, relay: relay}
		return nil
	}))
}

// buildWorld keeps a world until the test ends.
func buildWorld(t *testing.T, all []pair) *world {
	t.Helper()
	if os.Getuid() != 0 {
		strict.Skip(t, "network namespaces need root")
	}
	w, err := newWorld(t.Context(), built, all, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// sample is a little of everything.
var sample = []struct {
	pair string
	by   mode
}{
	{"public / APDF", byRelay},
	{"public / public, IPv6 only", byMember},
	{"host firewall / 15 s mappings", byMember},
	{"EIF / dependent, random", byRelay},
	{"ADF / dependent, random", byRelay},
	{"APDF / APDF", byRelay},
	{"APDF / CGNAT", byMember},
	{"APDF / dependent, sequential", byRelay},
	{"APDF / dependent, random", byRelay},
	{"one LAN / no hairpinning", byRelay},
	{"two homes below one carrier / hairpinning", byRelay},
	{"dependent, random / gateway", byRelay},
	{"dependent, random / dependent, random", byRelay},
	{"APDF / UDP blocked", byRelay},
}

// find returns the pair of that name.
func find(t *testing.T, name string) pair {
	t.Helper()
	for _, p := range pairs() {
		if p.String() == name {
			return p
		}
	}
	t.Fatalf("no pair is called %q", name)
	return pair{}
}

// Where theory says that two nodes can talk directly they do, soon and without losing a datagram on the way from the
// relay; where it says that they cannot, they are told why. "make matrix" tries every pair.
func TestMatrixSample(t *testing.T) {
	var all []pair
	for _, s := range sample {
		all = append(all, find(t, s.pair))
	}
	w := buildWorld(t, all)
	t.Run("pairs", func(t *testing.T) {
		for i, s := range sample {
			t.Run(s.pair, func(t *testing.T) {
				t.Parallel()
				w.judge(t, all[i], s.by)
			})
		}
	})
}

func (w *world) judge(t *testing.T, p pair, by mode) {
	v := theory(p)
	r, err := w.measure(t.Context(), p, by, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r)
	// A busy machine is slow now and then, and a port that has to be guessed is not met now and then; but nothing is lost.
	for range 3 {
		if lost, _ := r.lost(); r.shortfall() == "" || lost > 0 {
			break
		}
		if r, err = w.measure(t.Context(), p, by, 1); err != nil {
			t.Fatal(err)
		}
		t.Log(r)
	}
	if short := r.shortfall(); short != "" {
		t.Errorf("falls short: %s", short)
	}
	if !v.direct && !v.chance {
		w.judgeHopeless(t, r)
	}
}

// judgeHopeless holds what is said of a pair that cannot be direct.
func (w *world) judgeHopeless(t *testing.T, r row) {
	last := r.tries[0]
	if last.Direct {
		t.Error("it is direct, and theory says that it cannot be: theory is wrong")
	}
	if theory(r.pair).hopeless {
		return
	}
	if last.First != "relay" {
		t.Errorf("first ping by %q, want one by the relay", last.First)
	}
	for _, reason := range last.Reasons {
		if _, why, _ := strings.Cut(reason, "relay: "); why == "" {
			t.Errorf("%q: no reason", reason)
		}
	}
}

// What theory says of a pair does not hang on which side is named first, and one dependent mapping at most is joined.
func TestTheory(t *testing.T) {
	dependent := func(p pair) (n int) {
		for _, e := range []end{endOf(p.a), endOf(p.b)} {
			if e.dependent {
				n++
			}
		}
		return n
	}
	for _, p := range pairs() {
		v := theory(p)
		if back := theory(pair{a: p.b, b: p.a, near: p.near, deaf: p.deaf}); back != v {
			t.Errorf("%v: %v, and %v the other way round", p, v, back)
		}
		if v.why == "" {
			t.Errorf("%v: no reason", p)
		}
		if p.near != apart || p.a.UDPBlocked() || p.b.UDPBlocked() || !p.a.IPv4 || !p.b.IPv4 {
			continue
		}
		if open := endOf(p.a).open || endOf(p.b).open; v.direct != (open || dependent(p) < 2) {
			t.Errorf("%v: %v with %d dependent mappings", p, v, dependent(p))
		}
	}
}

// A row that was direct at once in each of its tries has nothing to hide, and one that was not says so.
func TestShortfall(t *testing.T) {
	fast, slow, never := try{Direct: true, Took: time.Second / 2}, try{Direct: true, Took: 4 * time.Second}, try{}
	fell := fast
	fell.Fell = "relay/relay"
	p := pair{a: find(t, "APDF / APDF").a, b: find(t, "APDF / APDF").b}
	for _, c := range []struct {
		tries []try
		want  string
	}{
		{[]try{fast, fast, fast}, ""},
		{[]try{fast, fast, slow}, "p95 4s"},
		{[]try{fast, slow, slow}, "median 4s"},
		{[]try{fast, never}, "not direct in 1 of 2 tries"},
		{[]try{fast, fell}, "not direct in 1 of 2 tries"},
	} {
		if got := (row{pair: p, by: byRelay, tries: c.tries}).shortfall(); got != c.want {
			t.Errorf("%v: %q, want %q", c.tries, got, c.want)
		}
	}
}
