package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Run carries out one command line and returns the exit code. A nil stdin is
// the process's own.
func Run(ctx context.Context, root *cobra.Command, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root.SetArgs(append([]string{}, args...)) // cobra takes nil for os.Args
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	return report(stderr, cmd, err)
}

// Finish gives a root command, to which all of its own have been added, what
// every program has: help, version and completion, and errors in our words.
// version is one line; example is a command that help could explain.
func Finish(root *cobra.Command, version, example string) {
	cobra.EnableCommandSorting = false // they are listed in the order of use
	root.SilenceErrors, root.SilenceUsage = true, true
	root.Args = knownCommand
	root.Version = version
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetUsageTemplate(usageTemplate)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(helpCommand("  " + root.Name() + " help " + example))
	root.AddCommand(versionCommand(root.Name(), version), completionCommand(root.Name()), referenceCommand())
	finish(root)
	root.InitDefaultVersionFlag()
	root.Flags().Lookup("version").Usage = "say which version this is"
}

// finish does so for a command and those below it.
func finish(c *cobra.Command) {
	for _, below := range c.Commands() {
		finish(below)
	}
	if c.Args == nil && c.HasSubCommands() && !c.Runnable() {
		c.Args, c.RunE = knownCommand, func(c *cobra.Command, _ []string) error { return c.Help() }
		c.DisableFlagsInUseLine = true
	}
	if c.Args == nil {
		c.Args = noArguments
	}
	c.InitDefaultHelpFlag()
	c.Flags().Lookup("help").Usage = "explain this command"
	completeFlags(c)
	if c.ValidArgsFunction == nil && c.ValidArgs == nil {
		c.ValidArgsFunction = cobra.NoFileCompletions
	}
}

func versionCommand(program, version string) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Say which version this is",
		Example: "  " + program + " version",
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version)
			return err
		},
	}
}

// UntilSignal ends with SIGINT or SIGTERM. The first signal begins the orderly
// end; the next one is left to the system, which ends the process at once.
func UntilSignal() context.Context {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx
}

// Getenv returns the value of a variable among those written NAME=VALUE; an
// empty one counts as unset.
func Getenv(environ []string, name string) string {
	value := ""
	for _, entry := range environ {
		if n, v, _ := strings.Cut(entry, "="); n == name {
			value = v // the last one counts, as for the shell
		}
	}
	return value
}
