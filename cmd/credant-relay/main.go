package main

import (
	"context"
	"io"
	"os"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/control/relayd"
)

// version is stamped by the build: -ldflags "-X main.version=1.2.3".
var version string

func main() {
	os.Exit(run(cli.UntilSignal(), os.Args[1:], os.Stdout, os.Stderr))
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
