// Command demo shows, on this one machine and as it happens, what CredAnt is for: two machines behind two NATs, which
// share nothing but a passphrase, find each other through a BitTorrent DHT and talk over WireGuard. All of it takes
// place in network namespaces that vanish afterwards.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	binary := flags.String("credant", "bin/credant", "the credant to show")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return errors.New("network namespaces need root: run it with sudo, or on a machine of your own")
	}
	path, err := filepath.Abs(*binary)
	if err != nil {
		return fmt.Errorf("find credant: %w", err)
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("find credant: %w: run \"make build\" first", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Minute, errors.New("five minutes are over"))
	defer cancel()
	s := &show{page: page{out: stdout, began: time.Now()}, binary: path}
	return errors.Join(s.play(ctx), s.end())
}
