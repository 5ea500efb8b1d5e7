package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/cmd/internal/clitest"
	"github.com/credant/credant/control/relayd"
)

func TestMain(m *testing.M) {
	testscript.Main(clitest.Main{M: m}, map[string]func(){"credant-relay": relayMain})
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
	os.Exit(p.execute(cli.UntilSignal()))
}

// TestScripts runs credant-relay as people do, on loopback addresses that no
// other test uses.
func TestScripts(t *testing.T) {
	clitest.RunScripts(t, signalRelay, func(e *testscript.Env) error {
		e.Setenv("STATE", filepath.Join(e.WorkDir, "state"))
		e.Setenv("CREDANT_RELAY_STATE_DIR", filepath.Join(e.WorkDir, "state"))
		e.Setenv("ADDRESS", fmt.Sprintf("127.%d.%d.%d", 64+rand.IntN(64), rand.IntN(256), 1+rand.IntN(254)))
		return os.Mkdir(filepath.Join(e.WorkDir, "etc"), 0o755)
	})
}

// signalRelay sends a signal to the relay in the background.
func signalRelay(ts *testscript.TestScript, _ bool, args []string) {
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile("pid")))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, map[string]syscall.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}[args[0]]))
}
