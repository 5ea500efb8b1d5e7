// The number of processors is not worth a look each second in a daemon that is
// idle nearly always.
//
//go:debug updatemaxprocs=0

package main

import (
	"context"
	"io"
	"os"

	"github.com/credant/credant/cmd/internal/cli"
)

func main() {
	os.Exit(run(cli.UntilSignal(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
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
