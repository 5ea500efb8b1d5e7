package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/cmd/internal/clitest"
)

// patience is how long a test waits for what comes soon, on a machine that has much else to do.
const patience = time.Minute

// terminal is a pseudo-terminal with credant running on it.
type terminal struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd
	read   chan struct{} // closed when all output was read

	mu     sync.Mutex
	output bytes.Buffer
}

// onTerminal starts credant on a terminal of its own; env is added to an
// environment like that of the scripts.
func onTerminal(t *testing.T, env []string, args ...string) *terminal {
	t.Helper()
	program, err := exec.LookPath("credant") // testscript.Main put it there
	if err != nil {
		t.Fatal(err)
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	tm := &terminal{t: t, master: master, read: make(chan struct{})}
	tm.cmd = exec.Command(program, args...)
	tm.cmd.Env = append(os.Environ(), env...)
	tm.cmd.Stdin, tm.cmd.Stdout, tm.cmd.Stderr = slave, slave, slave
	tm.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := tm.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(tm.read)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			tm.mu.Lock()
			tm.output.Write(buf[:n])
			tm.mu.Unlock()
			if err != nil { // EIO once the other end is closed
				return
			}
		}
	}()
	return tm
}

func (tm *terminal) text() string {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	return strings.ReplaceAll(tm.output.String(), "\r\n", "\n")
}

// expect waits until the terminal shows the text.
func (tm *terminal) expect(want string) {
	tm.t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(tm.text(), want); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			tm.t.Fatalf("the terminal does not show %q but\n%s", want, tm.text())
		}
	}
}

func (tm *terminal) enter(keys string) {
	tm.t.Helper()
	if _, err := tm.master.WriteString(keys); err != nil {
		tm.t.Fatal(err)
	}
}

// ends waits for the end of the command and returns its exit code.
func (tm *terminal) ends() int {
	tm.t.Helper()
	kill := time.AfterFunc(2*patience, func() { _ = tm.cmd.Process.Kill() })
	defer kill.Stop()
	_ = tm.cmd.Wait() // the code tells
	<-tm.read
	return tm.cmd.ProcessState.ExitCode()
}

func (tm *terminal) echoes() bool {
	tm.t.Helper()
	attr, err := unix.IoctlGetTermios(int(tm.master.Fd()), unix.TCGETS)
	if err != nil {
		tm.t.Fatal(err)
	}
	return attr.Lflag&unix.ECHO != 0
}

// sandbox is an environment with folders of its own, whose daemons end with
// the test.
func sandbox(t *testing.T) []string {
	t.Helper()
	run, err := os.MkdirTemp("", "credant") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		endDaemons(run)
		os.RemoveAll(run)
	})
	return []string{
		"GORACE=" + clitest.QuickExit, "TEST_RUN=" + run, "TEST_ETC=" + filepath.Join(run, "etc"),
		"CREDANT_STATE_DIR=" + filepath.Join(run, "state"),
		"TERM=xterm", "NO_COLOR=",
	}
}

const goodPassphrase = "brunt-clavicle-strewn-ooze-gumball-tartan"

func TestPassphraseIsTypedWithoutEcho(t *testing.T) {
	tm := onTerminal(t, sandbox(t), "up")
	tm.expect("makes one): ")
	if tm.echoes() {
		t.Error("the terminal echoes while the passphrase is typed")
	}
	tm.enter(goodPassphrase + "\n")
	if code := tm.ends(); code != cli.ExitDone {
		t.Errorf("exit code %d", code)
	}
	if text := tm.text(); strings.Contains(text, goodPassphrase) || !strings.Contains(text, "canyon lunar pretzel") {
		t.Errorf("the terminal shows\n%s", text)
	}
}

func TestInterruptedPromptGivesTheEchoBack(t *testing.T) {
	tm := onTerminal(t, sandbox(t), "up")
	tm.expect("makes one): ")
	tm.enter("half\x03")
	tm.expect("credant: interrupted")
	if code := tm.ends(); code != cli.ExitFailed {
		t.Errorf("exit code %d", code)
	}
	if !tm.echoes() {
		t.Error("the terminal was left without echo")
	}
}

func TestUpFollowsUntilTheFirstNode(t *testing.T) {
	env := append(sandbox(t), "CREDANT_PASSPHRASE="+goodPassphrase)
	tm := onTerminal(t, env, "up", "--network", "home")
	if code := tm.ends(); code != cli.ExitDone {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{
		"\x1b[1mNetwork home is up: \x1b[0mcredant0", // coloured: it is a terminal
		"asking 41 nodes of the DHT\n",
		"nas is reachable at 10.77.18.4, direct\n",
		`try "credant ping nas --network home".`,
	} {
		if !strings.Contains(tm.text(), want) {
			t.Errorf("%q is missing in\n%s", want, tm.text())
		}
	}
}

func TestInterruptEndsOnlyTheDisplay(t *testing.T) {
	env := append(sandbox(t), "CREDANT_PASSPHRASE="+goodPassphrase, "TEST_DAEMON=alone", "NO_COLOR=1")
	tm := onTerminal(t, env, "up")
	tm.expect("asking 41 nodes of the DHT")
	tm.enter("\x03")
	if code := tm.ends(); code != cli.ExitDone {
		t.Errorf("exit code %d", code)
	}
	if want := `The network stays up until "sudo credant down"`; !strings.Contains(tm.text(), want) {
		t.Errorf("%q is missing in\n%s", want, tm.text())
	}
	if strings.Contains(tm.text(), "\x1b[") {
		t.Errorf("colours in spite of NO_COLOR:\n%q", tm.text())
	}
	again := onTerminal(t, env, "status")
	if code := again.ends(); code != cli.ExitDone {
		t.Errorf("the network is not up any more:\n%s", again.text())
	}
}

func TestInterruptBeforeTheInterfaceIsUpEndsTheDaemon(t *testing.T) {
	env := append(sandbox(t), "CREDANT_PASSPHRASE="+goodPassphrase, "TEST_DAEMON=hangs")
	tm := onTerminal(t, env, "up")
	state := strings.TrimPrefix(env[3], "CREDANT_STATE_DIR=")
	logged := func() string {
		b, _ := os.ReadFile(filepath.Join(state, "default", "log"))
		return string(b)
	}
	for end := time.Now().Add(patience); !strings.Contains(logged(), "stub started"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the daemon was not started")
		}
	}
	tm.enter("\x03")
	if code := tm.ends(); code != cli.ExitFailed {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(logged(), "stub ended") {
		t.Errorf("the daemon did not end; its log:\n%s", logged())
	}
}

func TestWatchShowsUntilInterrupted(t *testing.T) {
	env := append(sandbox(t), "CREDANT_PASSPHRASE="+goodPassphrase, "NO_COLOR=1")
	if tm := onTerminal(t, env, "up"); tm.ends() != cli.ExitDone {
		t.Fatal(tm.text())
	}
	tm := onTerminal(t, env, "status", "--watch")
	tm.expect("203.0.113.9:23456")
	tm.expect("\x1b[H\x1b[2J")
	tm.enter("\x03")
	if code := tm.ends(); code != cli.ExitDone {
		t.Errorf("exit code %d", code)
	}
}
