package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// goal is how many times as much coturn has to cost.
const goal = 1.6

var errMissed = errors.New("the goal is missed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := runMain(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench-relay:", err)
		os.Exit(1)
	}
}

func runMain(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("bench-relay", flag.ContinueOnError)
	as := flags.String("as", "", "be one of the relays (for its own use)")
	sides := flags.String("sides", "", "the clients of that relay")
	profile := flags.String("profile", "", "write a CPU profile of credant to this file")
	pairs := flags.Int("pairs", 8, "pairs of clients")
	rounds := flags.Int("rounds", 7, "rounds, of which the median counts")
	length := flags.Duration("length", 300*time.Millisecond, "time to measure each relay for in a round")
	only := flags.String("only", "", "measure only the loads whose names contain this")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *as != "" {
		return runAs(ctx, *as, *sides, *profile)
	}
	// Each of the four that send and receive has a thread in a system call.
	runtime.GOMAXPROCS(runtime.NumCPU() + 4)
	w, err := newWorld()
	if err != nil {
		return err
	}
	var relays []*contender
	defer func() {
		for _, c := range relays {
			c.stop()
		}
	}()
	for _, start := range []func() (*contender, error){
		func() (*contender, error) { return startCoturn(w, *pairs) },
		func() (*contender, error) { return startOwn(w, "simple", *pairs) },
		func() (*contender, error) { return startOwn(w, "credant", *pairs, "-profile", *profile) },
	} {
		c, err := start()
		if err != nil {
			return err
		}
		relays = append(relays, c)
	}
	return compare(ctx, stdout, relays, *only, *rounds, *length)
}

// loads are the rows of the table.
var loads = []struct {
	name string
	load
	judged bool
}{
	// Here every relay is woken up for each datagram, and does little else.
	{"100 B, 5k/s, one by one", load{size: 100, train: 1, burst: 1, rate: 5_000}, false},
	{"1400 B, 5k/s, one by one", load{size: 1400, train: 1, burst: 1, rate: 5_000}, false},
	{"100 B, 50k/s, bursts of 8", load{size: 100, train: 1, burst: 8, rate: 50_000}, true},
	{"1400 B, 50k/s, bursts of 8", load{size: 1400, train: 1, burst: 8, rate: 50_000}, true},
	{"100 B, all that passes", load{size: 100, train: 1, burst: 8}, true},
	{"1400 B, all that passes", load{size: 1400, train: 1, burst: 8}, true},
	{"100 B, trains of 32", load{size: 100, train: 32, rate: 100_000}, true},
	{"1400 B, trains of 32", load{size: 1400, train: 32, rate: 100_000}, true},
}

// compare measures each load with each relay in turn, several times, and prints
// the medians.
func compare(ctx context.Context, stdout io.Writer, relays []*contender, only string, rounds int, length time.Duration) error {
	t := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "CPU ns a packet\t")
	for _, c := range relays {
		fmt.Fprintf(t, "%s\t", c.name)
	}
	fmt.Fprint(t, "coturn/credant\tgoal\tpackets/s that passed\t\n")
	var missed error
	for _, l := range loads {
		if !strings.Contains(l.name, only) {
			continue
		}
		costs, rates := make([][]float64, len(relays)), make([][]float64, len(relays))
		for range rounds {
			for i, c := range relays {
				cost, rate, err := measure(ctx, c, l.load, length)
				if err != nil {
					return errors.Join(t.Flush(), fmt.Errorf("measure %s: %s: %w", c.name, l.name, err))
				}
				costs[i], rates[i] = append(costs[i], cost), append(rates[i], rate)
			}
		}
		fmt.Fprintf(t, "%s\t", l.name)
		for i := range relays {
			fmt.Fprintf(t, "%.0f\t", median(costs[i]))
		}
		ratio, verdict := median(costs[0])/median(costs[len(relays)-1]), "-"
		switch {
		case l.judged && ratio < goal:
			verdict, missed = fmt.Sprintf("%v MISSED", goal), errMissed
		case l.judged:
			verdict = fmt.Sprintf("%v", goal)
		}
		fmt.Fprintf(t, "%.1f\t%s\t", ratio, verdict)
		for i := range relays {
			fmt.Fprintf(t, "%4.0fk", median(rates[i])/1000)
		}
		fmt.Fprint(t, "\t\n")
	}
	return errors.Join(t.Flush(), missed)
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// measure returns the nanoseconds of CPU for each packet that arrived, and how
// many arrived in a second.
func measure(ctx context.Context, c *contender, l load, length time.Duration) (cost, rate float64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	directions, wait := run(ctx, c, l)
	defer func() { cancel(); wait() }()
	if _, err = take(ctx, c, directions, length/4); err != nil { // until all is in its stride
		return 0, 0, err
	}
	s, err := take(ctx, c, directions, length)
	return float64(s.cpu) / float64(s.packets), float64(s.packets) / s.time.Seconds(), err
}

type sample struct {
	packets   int64
	cpu, time time.Duration
}

// take waits for a while, and longer where others keep this machine's CPUs from
// the relay.
func take(ctx context.Context, c *contender, directions [2]*direction, length time.Duration) (s sample, err error) {
	count := func() (n int64) {
		for _, d := range directions {
			n += d.received.Load()
		}
		return n
	}
	const least, tries = 200, 20
	began, before := time.Now(), count()
	used, err := c.cpu()
	if err != nil {
		return s, err
	}
	for range tries {
		select {
		case <-time.After(length):
		case <-ctx.Done():
			return s, ctx.Err()
		}
		cpu, err := c.cpu()
		if err != nil {
			return s, err
		}
		if s = (sample{count() - before, cpu - used, time.Since(began)}); s.packets >= least {
			return s, nil
		}
	}
	return s, fmt.Errorf("%d packets arrived in %v", s.packets, s.time)
}
