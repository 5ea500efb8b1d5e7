// Package clitest is what the tests of this repository's commands have in
// common: commands for scripts (testscript) that run a program as people do.
package clitest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/credant/credant/cmd/internal/cli"
)

// Main is a TestMain's run of the tests, which fails where goroutines are left.
// It implements testscript.TestingM.
type Main struct{ M *testing.M }

// Run runs the tests and returns the exit code.
func (m Main) Run() int {
	code := m.M.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// QuickExit is a value of GORACE that keeps the race detector from waiting for
// a second at the end of each process.
const QuickExit = "atexit_sleep_ms=0"

// Exit2 is the script command `exit2 PROGRAM ARGUMENT...`: a command line that
// must be found wrong.
func Exit2(ts *testscript.TestScript, _ bool, args []string) {
	var exit *exec.ExitError
	if err := ts.Exec(args[0], args[1:]...); !errors.As(err, &exit) || exit.ExitCode() != cli.ExitUsage {
		ts.Fatalf("exit code 2 expected: %v", err)
	}
}

// WaitFor is the script command `waitfor FILE [REGEXP]`: it waits until the file
// is there and, with a pattern, has a line that matches.
func WaitFor(ts *testscript.TestScript, _ bool, args []string) {
	pattern := ""
	if len(args) > 1 {
		pattern = args[1]
	}
	want := regexp.MustCompile("(?m)" + pattern)
	Eventually(ts, args[0]+" "+pattern, func() bool {
		if pattern == "" { // a socket cannot be read
			_, err := os.Stat(ts.MkAbs(args[0]))
			return err == nil
		}
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && want.Match(b)
	})
}

// Eventually looks again and again, for 20 seconds.
func Eventually(ts *testscript.TestScript, what string, done func() bool) {
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("waited for %s for 20 s in vain", what)
		}
	}
}
