package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/credant/credant/control/relayd"
)

// version is stamped by the build: -ldflags "-X main.version=1.2.3".
var version string

func main() {
	os.Exit(run(untilSignal(), os.Args[1:], os.Stdout, os.Stderr))
}

// untilSignal ends with SIGINT or SIGTERM. The first signal begins the orderly
// end; the next one is left to the system, which ends the process at once.
func untilSignal() context.Context {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx
}

// run carries out one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	p := &program{
		args:    args,
		stdout:  stdout,
		stderr:  stderr,
		environ: os.Environ(),
		etc:     "/etc",
		relay:   relayd.Run,
	}
	return p.execute(ctx)
}
