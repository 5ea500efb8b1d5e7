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

// RunScripts runs the scripts of testdata/script as people type them. They have
// the commands `exit2 PROGRAM ARGUMENT...`, `waitfor FILE [REGEXP]`, and signal;
// setup prepares the folder of each.
func RunScripts(t *testing.T, signal func(*testscript.TestScript, bool, []string), setup func(*testscript.Env) error) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit2": exit2, "waitfor": waitFor, "signal": signal,
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("GORACE", QuickExit)
			return setup(e)
		},
	})
}

// exit2 runs a command line that must be found wrong.
func exit2(ts *testscript.TestScript, _ bool, args []string) {
	var exit *exec.ExitError
	if err := ts.Exec(args[0], args[1:]...); !errors.As(err, &exit) || exit.ExitCode() != cli.ExitUsage {
		ts.Fatalf("exit code 2 expected: %v", err)
	}
}

// waitFor waits until the file is there and, with a pattern, has a line that
// matches.
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
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
