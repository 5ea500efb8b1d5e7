package natpunch

import (
	"math/rand/v2"
	"testing"
)

func TestWindow(t *testing.T) {
	var w window
	for i, step := range []struct {
		n    uint64
		want bool
	}{
		{0, false},
		{5, true},
		{5, false},
		{4, true},
		{4, false},
		{1, true},
		{0, false},
		{68, true},
		{5, false},
		{6, true},
		{4, false},
		{1000, true},
		{936, false},
		{937, true},
		{1<<64 - 1, true},
		{1<<64 - 1, false},
		{1<<64 - 2, true},
		{1000, false},
	} {
		if got := w.accept(step.n); got != step.want {
			t.Errorf("step %d: accept(%d) = %v, want %v", i, step.n, got, step.want)
		}
	}
}

// Against a map that remembers everything.
func TestWindowRandom(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		var w window
		seen := map[uint64]bool{}
		var highest, at uint64
		for range 500 {
			at += uint64(rng.IntN(5))
			n := at - min(at, uint64(rng.IntN(80)))
			want := n > 0 && !seen[n] && n+windowSize > highest
			if got := w.accept(n); got != want {
				t.Fatalf("seed %d: accept(%d) = %v with highest %d, want %v", seed, n, got, highest, want)
			}
			if want {
				seen[n], highest = true, max(highest, n)
			}
		}
	}
}
