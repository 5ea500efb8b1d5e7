package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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

// Usagef makes an error after which report points to --help.
func Usagef(format string, args ...any) error {
	return usageError{fmt.Sprintf(format, args...)}
}

// ErrSaid ends a command whose output has said already why it failed.
var ErrSaid = errors.New("failed")

// report prints the error of a command as one line and returns the exit code.
func report(stderr io.Writer, cmd *cobra.Command, err error) int {
	program := cmd.Root().Name()
	var usage usageError
	switch {
	case err == nil:
		return ExitDone
	case errors.Is(err, ErrSaid):
		return ExitFailed
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

// flagError turns the flag library's errors into usage errors in our words.
func flagError(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	var unknown *pflag.NotExistError
	var alone *pflag.ValueRequiredError
	switch {
	case errors.As(err, &invalid):
		return badValue("--"+invalid.GetFlag().Name, invalid.GetFlag(), invalid.GetValue(), errors.Unwrap(invalid))
	case errors.As(err, &alone):
		return Usagef("--%s needs a value: %s", alone.GetFlag().Name, alone.GetFlag().Value.Type())
	case errors.As(err, &unknown):
		return unknownFlag(cmd, unknown)
	}
	return usageError{err.Error()}
}

func unknownFlag(cmd *cobra.Command, err *pflag.NotExistError) error {
	name := err.GetSpecifiedName()
	word := "--" + name
	if letters := err.GetSpecifiedShortnames(); letters != "" {
		word = "-" + name
		name = letters // whoever writes -relay means --relay
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, "--"+f.Name)
		}
	})
	var near []string
	if len(name) > 1 {
		near = Nearest("--"+name, names)
	}
	return Usagef("unknown flag %s%s", word, DidYouMean(near))
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

// noArguments refuses words where a command takes none.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usagef("unexpected argument %q", args[0])
	}
	return nil
}

// knownCommand is the Args of a root command: it is reached with arguments
// only where none of the commands matched.
func knownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return unknownCommand(root, args[0])
}

func unknownCommand(root *cobra.Command, word string) error {
	var names []string
	for _, c := range root.Commands() {
		if !c.IsAvailableCommand() {
			continue
		}
		if slices.Contains(c.SuggestFor, word) {
			return Usagef("unknown command %q%s", word, DidYouMean([]string{c.Name()}))
		}
		names = append(names, c.Name())
	}
	return Usagef("unknown command %q%s", word, DidYouMean(Nearest(word, names)))
}
