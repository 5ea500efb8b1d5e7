// Command vmrun runs a command under Debian's stock kernel in QEMU; package vm says how.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/credant/credant/integration/vm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmrun:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (int, error) {
	flags := flag.NewFlagSet("vmrun", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: vmrun [flags] -- COMMAND [ARGUMENT...]")
		flags.PrintDefaults()
	}
	job := vm.Job{Stdout: stdout, Stderr: stderr}
	timeout := flags.Duration("timeout", 10*time.Minute, "kill the guest after this time")
	flags.StringVar(&job.Results, "results", "", "a directory that the command may write to, under the same path")
	flags.IntVar(&job.Memory, "memory", 0, "the guest's memory in MiB (default 2048)")
	flags.IntVar(&job.CPUs, "cpus", 0, "the guest's processors (default 1)")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0, nil
		}
		return 2, nil
	}
	if job.Args = flags.Args(); len(job.Args) == 0 {
		flags.Usage()
		return 2, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, *timeout, fmt.Errorf("no end within %v", *timeout))
	defer cancel()
	return job.Run(ctx)
}
