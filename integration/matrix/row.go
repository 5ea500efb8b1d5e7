package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/credant/credant/integration/lab"
)

// limit is how long one try is watched.
func limit(v verdict, by mode) time.Duration {
	switch {
	case v.hopeless:
		return 3 * time.Second
	case v.direct && by == byDHT:
		return 45 * time.Second
	case v.chance:
		return 30 * time.Second
	case v.direct: // it ends when it is
		return time.Minute
	default:
		return 8 * time.Second
	}
}

// A row is a pair in one mode, tried several times.
type row struct {
	pair  pair
	by    mode
	tries []try
}

// measure fills the row.
func (w *world) measure(ctx context.Context, p pair, by mode, runs int) (row, error) {
	r := row{pair: p, by: by}
	if !theory(p).direct {
		runs = 1 // it says "no" as well as ten
	}
	for i := range runs {
		t, err := w.try(ctx, p, by, i%2 == 1, limit(theory(p), by))
		if err != nil {
			return r, fmt.Errorf("try %v by %s: %w", p, by, err)
		}
		r.tries = append(r.tries, t)
	}
	return r, nil
}

// took returns the times to direct in order, of the tries that came to it.
func (r row) took() []time.Duration {
	var all []time.Duration
	for _, t := range r.tries {
		if t.Direct && t.Fell == "" {
			all = append(all, t.Took)
		}
	}
	slices.SortFunc(all, cmp.Compare)
	return all
}

// quantile counts the tries that never were direct as endless; false: it is one of these.
func (r row) quantile(q float64) (time.Duration, bool) {
	took := r.took()
	i := int(q*float64(len(r.tries))+0.9999) - 1
	if i = max(i, 0); i < len(took) {
		return took[i], true
	}
	return 0, false
}

// lost counts the datagrams of all tries that moved.
func (r row) lost() (lost, moves int) {
	for _, t := range r.tries {
		lost += lab.Lost(t.Lost)
		if t.Moved {
			moves++
		}
	}
	return lost, moves
}

// shortfall says what is worse than promised; empty: nothing.
func (r row) shortfall() string {
	v := theory(r.pair)
	if !v.direct {
		return ""
	}
	if n := len(r.tries) - len(r.took()); n > 0 {
		return fmt.Sprintf("not direct in %d of %d tries", n, len(r.tries))
	}
	if lost, _ := r.lost(); lost > 0 {
		return fmt.Sprintf("%d datagrams lost", lost)
	}
	if r.by == byDHT {
		return "" // what the DHT costs has promises of its own
	}
	median, p95 := v.limits()
	if took, _ := r.quantile(0.5); took > median && len(r.tries) > 1 {
		return fmt.Sprintf("median %v", took.Round(time.Millisecond))
	}
	if took, _ := r.quantile(0.95); took > p95 {
		return fmt.Sprintf("p95 %v", took.Round(time.Millisecond))
	}
	return ""
}

// outcome is the row's cell in the table.
func (r row) outcome() string {
	n, all := len(r.took()), len(r.tries)
	switch {
	case all == 0:
		return "-"
	case n == 0:
		if slices.ContainsFunc(r.tries, func(t try) bool { return t.First == "relay" }) {
			return "relay"
		}
		return "no"
	case n < all:
		return fmt.Sprintf("%d of %d", n, all)
	}
	return "direct"
}

// times are the row's median and 95th percentile.
func (r row) times() string {
	if len(r.took()) == 0 {
		return ""
	}
	var parts []string
	for _, q := range []float64{0.5, 0.95} {
		took, ok := r.quantile(q)
		if !ok {
			parts = append(parts, "-")
			continue
		}
		parts = append(parts, fmt.Sprintf("%.2f", took.Seconds()))
	}
	return strings.Join(parts, " / ")
}

// swap says what the moves lost.
func (r row) swap() string {
	lost, moves := r.lost()
	if moves == 0 && lost == 0 {
		return ""
	}
	return fmt.Sprintf("%d in %d", lost, moves)
}

// writeLogs leaves what the nodes said in a folder, for whoever wants to know what took so long.
func (r row) writeLogs(dir string) error {
	for i, t := range r.tries {
		for j, text := range t.logs {
			name := fmt.Sprintf("%s-%s-%s-%d-%d.log", r.pair.a.Short, r.pair.b.Short, r.by, i+1, j+1)
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				return fmt.Errorf("write log: %w", err)
			}
		}
	}
	return nil
}

// String tells of each try.
func (r row) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v by %s: theory %s; %s %s", r.pair, r.by, theory(r.pair), r.outcome(), r.times())
	if s := r.shortfall(); s != "" {
		b.WriteString("  FALLS SHORT: " + s)
	}
	for _, t := range r.tries {
		fmt.Fprintf(&b, "\n    %v", t)
	}
	return b.String()
}
