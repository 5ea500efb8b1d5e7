package main

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
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a command line, a variable or a settings file that is wrong in
// itself, whatever the state of the machine.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usagef(format string, args ...any) error {
	return usageError{fmt.Sprintf(format, args...)}
}

// errSaid ends a command whose output has said already why it failed.
var errSaid = errors.New("failed")

// report prints the error of a command as one line and returns the exit code.
func report(stderr io.Writer, cmd *cobra.Command, err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errSaid):
		return exitFailed
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "credant: %s: see %q\n", oneLine(usage.text), cmd.CommandPath()+" --help")
		return exitUsage
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "credant: interrupted")
		return exitFailed
	}
	fmt.Fprintf(stderr, "credant: %s\n", oneLine(err.Error()))
	return exitFailed
}

func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// flagError turns the flag library's errors into usage errors in our words.
func flagError(cmd *cobra.Command, err error) error {
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
		return usagef("unknown flag --%s%s", unknown.GetSpecifiedName(), didYouMean(nearest("--"+unknown.GetSpecifiedName(), names)))
	}
	return usageError{err.Error()}
}

// badValue says that a setting cannot have this value; origin is the flag, the
// variable or the line that it came from.
func badValue(origin string, f *pflag.Flag, value string, err error) error {
	switch f.Value.Type() {
	case "bool":
		return usagef("%s: %q is neither true nor false", origin, value)
	case "count", "int":
		return usagef("%s: %q is not a whole number", origin, value)
	}
	return usagef("%s: %v", origin, err)
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	return nil
}

// knownCommand is reached with arguments only where none of the commands
// matched.
func knownCommand(root *cobra.Command, args []string) error {
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
	return usagef("unknown command %q%s", word, didYouMean(nearest(word, names)))
}
