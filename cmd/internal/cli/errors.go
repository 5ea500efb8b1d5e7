package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit codes.
const (
	ExitDone   = 0
	ExitFailed = 1
	ExitUsage  = 2
)

// usageError is a command line, a variable or a settings file that is wrong in
// itself, whatever the state of the machine.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// Usagef makes an error after which Report points to --help.
func Usagef(format string, args ...any) error {
	return usageError{fmt.Sprintf(format, args...)}
}

// Report prints the error of a command as one line and returns the exit code.
func Report(stderr io.Writer, cmd *cobra.Command, err error) int {
	program := cmd.Root().Name()
	var usage usageError
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "%s: %s: see %q\n", program, oneLine(usage.text), cmd.CommandPath()+" --help")
		return ExitUsage
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(stderr, "%s: interrupted\n", program)
		return ExitFailed
	}
	fmt.Fprintf(stderr, "%s: %s\n", program, oneLine(err.Error()))
	return ExitFailed
}

func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// FlagError turns the flag library's errors into usage errors in our words.
func FlagError(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	var unknown *pflag.NotExistError
	switch {
	case errors.As(err, &invalid):
		return badValue("--"+invalid.GetFlag().Name, invalid.GetFlag(), invalid.GetValue(), errors.Unwrap(invalid))
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, "--"+f.Name)
			}
		})
		return Usagef("unknown flag --%s%s", unknown.GetSpecifiedName(), DidYouMean(Nearest("--"+unknown.GetSpecifiedName(), names)))
	}
	return usageError{err.Error()}
}

// badValue says that a setting cannot have this value; origin is the flag, the
// variable or the line that it came from.
func badValue(origin string, f *pflag.Flag, value string, err error) error {
	switch f.Value.Type() {
	case "bool":
		return Usagef("%s: %q is neither true nor false", origin, value)
	case "count", "int":
		return Usagef("%s: %q is not a whole number", origin, value)
	}
	return Usagef("%s: %v", origin, err)
}

// NoArguments refuses words where a command takes none.
func NoArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usagef("unexpected argument %q", args[0])
	}
	return nil
}

// KnownCommand is the Args of a root command: it is reached with arguments
// only where none of the commands matched.
func KnownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return unknownCommand(root, args[0])
}

func unknownCommand(root *cobra.Command, word string) error {
	var names []string
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return Usagef("unknown command %q%s", word, DidYouMean(Nearest(word, names)))
}
