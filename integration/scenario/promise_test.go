package scenario

import (
	"slices"
	"testing"
	"time"
)

// patience is how long anything is waited for at least: a busy machine takes many times as long as an idle one. What is
// promised to take less is measured, by soon.
const patience = time.Minute

// tries is how often a promised time is measured at most.
const tries = 5

// soon measures what is promised to take no longer than limit, until it does. A busy machine makes a try slower than the
// programs are, and none makes one quicker.
func soon(t *testing.T, limit time.Duration, what string, measure func() time.Duration) {
	t.Helper()
	var took []time.Duration
	for len(took) < tries {
		one := measure()
		if t.Failed() {
			return
		}
		t.Logf("%s: %v", what, one.Round(time.Millisecond))
		if one <= scaled(limit) {
			return
		}
		took = append(took, one)
	}
	t.Errorf("%s took %v in %d tries, want %v", what, slices.Min(took), tries, scaled(limit))
}
