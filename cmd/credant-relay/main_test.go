package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/control/relayd"
)

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"credant-relay": relayMain})
}

// relayMain is the real program, whose settings file lies elsewhere and whose
// output goes to a file besides, so that scripts can wait for it.
func relayMain() {
	work := os.Getenv("WORK")
	p := &program{
		args: os.Args[1:], stdout: os.Stdout, stderr: os.Stderr,
		environ: os.Environ(), etc: filepath.Join(work, "etc"), relay: relayd.Run,
	}
	if name := os.Getenv("TEST_OUTPUT"); name != "" {
		f, err := os.Create(filepath.Join(work, name))
		if err != nil {
			panic(err)
		}
		p.stdout, p.stderr = io.MultiWriter(os.Stdout, f), io.MultiWriter(os.Stderr, f)
		if err := os.WriteFile(filepath.Join(work, "pid"), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
			panic(err)
		}
	}
	os.Exit(p.execute(untilSignal()))
}

type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// TestScripts runs credant-relay as people do, on loopback addresses that no
// other test uses.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit2":   exit2,
			"waitfor": waitFor,
			"signal":  signalRelay,
		},
		Setup: func(e *testscript.Env) error {
			// The race detector waits for a second at the end of each process else.
			e.Setenv("GORACE", "atexit_sleep_ms=0")
			e.Setenv("STATE", filepath.Join(e.WorkDir, "state"))
			e.Setenv("CREDANT_RELAY_STATE_DIR", filepath.Join(e.WorkDir, "state"))
			e.Setenv("ADDRESS", fmt.Sprintf("127.%d.%d.%d", 64+rand.IntN(64), rand.IntN(256), 1+rand.IntN(254)))
			return os.Mkdir(filepath.Join(e.WorkDir, "etc"), 0o755)
		},
	})
}

// exit2 runs a command that must find its usage wrong.
func exit2(ts *testscript.TestScript, _ bool, args []string) {
	var exit *exec.ExitError
	if err := ts.Exec(args[0], args[1:]...); !errors.As(err, &exit) || exit.ExitCode() != cli.ExitUsage {
		ts.Fatalf("exit code 2 expected: %v", err)
	}
}

// waitFor waits until a file has a line that matches.
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile("(?m)" + args[1])
	eventually(ts, args[1], func() bool {
		b, _ := os.ReadFile(ts.MkAbs(args[0]))
		return want.Match(b)
	})
}

// signalRelay sends a signal to the relay in the background.
func signalRelay(ts *testscript.TestScript, _ bool, args []string) {
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile("pid")))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, map[string]syscall.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}[args[0]]))
}

func eventually(ts *testscript.TestScript, what string, done func() bool) {
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("waited for %s for 20 s in vain", what)
		}
	}
}
