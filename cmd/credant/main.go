// The number of processors is not worth a look each second in a daemon that is
// idle nearly always.
//
//go:debug updatemaxprocs=0

package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// version is stamped by the build: -ldflags "-X main.version=1.2.3".
var version string

func main() {
	os.Exit(run(untilSignal(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// untilSignal ends with SIGINT or SIGTERM. The first signal begins the orderly
// end; the next one is left to the system, which ends the process at once.
func untilSignal() context.Context {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx
}

// run carries out one command line and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{
		stdin:   stdin,
		stdout:  stdout,
		stderr:  stderr,
		environ: os.Environ(),
		etc:     "/etc/credant",
		run:     "/run/credant",
		node:    thisNode,
	}
	return p.execute(ctx, args)
}
