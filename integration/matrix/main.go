package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

var errShort = errors.New("rows fall short")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := runMain(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(1)
	}
}

func runMain(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("matrix", flag.ContinueOnError)
	var programs programs
	flags.StringVar(&programs.node, "credant", "bin/credant", "the program under test")
	flags.StringVar(&programs.relay, "credant-relay", "bin/credant-relay", "the relay")
	page := flags.String("page", "", "write the table into this page")
	runs := flags.Int("runs", 5, "tries of each pair")
	workers := flags.Int("workers", 2, "how many pairs at once")
	only := flags.String("only", "", "only pairs whose \"one / other\" matches this regular expression")
	delay := flags.Duration("delay", 0, "how long the internet takes from one end to the other")
	logs := flags.String("logs", "", "leave what nodes of rows that fall short said in this folder")
	by := flags.String("by", "relay,member,DHT", "what nodes find each other by")
	if err := flags.Parse(args); err != nil {
		return err
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("read -only: %w", err)
	}
	all := slices.DeleteFunc(pairs(), func(p pair) bool { return !pattern.MatchString(p.String()) })
	var cells []row
	for _, m := range modes {
		for _, p := range all {
			if slices.Contains(strings.Split(*by, ","), string(m)) {
				cells = append(cells, row{pair: p, by: m})
			}
		}
	}
	withDHT := slices.ContainsFunc(cells, func(r row) bool { return r.by == byDHT })
	w, err := newWorld(ctx, programs, all, *delay, withDHT)
	if err != nil {
		return err
	}
	err = w.measureAll(ctx, cells, *runs, *workers, func(r row) error {
		fmt.Fprintln(stdout, r)
		if *logs == "" || r.shortfall() == "" {
			return nil
		}
		return r.writeLogs(*logs)
	})
	err = errors.Join(err, w.close())
	text := table(all, cells, *runs)
	fmt.Fprint(stdout, "\n", text)
	if err != nil {
		return err
	}
	if *page != "" {
		if err := writePage(*page, text); err != nil {
			return err
		}
	}
	for _, r := range cells {
		if s := r.shortfall(); s != "" {
			fmt.Fprintf(stdout, "%v by %s: %s\n", r.pair, r.by, s)
			err = errShort
		}
	}
	return err
}

// measureAll fills the cells, several at once, and tells of each that is done.
func (w *world) measureAll(ctx context.Context, cells []row, runs, workers int, done func(row) error) error {
	var (
		mu      sync.Mutex
		running sync.WaitGroup
		result  error
	)
	todo := make(chan int)
	for range workers {
		running.Go(func() {
			for i := range todo {
				r, err := w.measure(ctx, cells[i].pair, cells[i].by, runs)
				mu.Lock()
				cells[i] = r
				result = errors.Join(result, err, done(r))
				mu.Unlock()
			}
		})
	}
	for i := range cells {
		if ctx.Err() != nil {
			break
		}
		todo <- i
	}
	close(todo)
	running.Wait()
	return errors.Join(result, ctx.Err())
}
