package spk

import (
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The test's own program plays the relay: the scripts look for a process by its
// program, which a shell script has not.
func TestMain(m *testing.M) {
	switch os.Getenv("CREDANT_TEST_RELAY") {
	case "serve":
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		_, _ = os.Stdout.WriteString("give to nodes:  --relay 203.0.113.5:3478#KEY\n")
		<-stop
		os.Exit(0)
	case "fail":
		_, _ = os.Stderr.WriteString("credant-relay: listen on UDP port 3478: it is taken\n")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// nas is a folder with what DSM gives a package's scripts.
type nas struct {
	t      *testing.T
	folder string
	env    []string
}

func newNAS(t *testing.T, program string) nas {
	t.Helper()
	n := nas{t: t, folder: t.TempDir()}
	for _, sub := range []string{"target/bin", "var", "run"} {
		if err := os.MkdirAll(filepath.Join(n.folder, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.folder, "target/bin", program), b, 0o755); err != nil {
		t.Fatal(err)
	}
	n.env = append(os.Environ(),
		"SYNOPKG_PKGDEST="+filepath.Join(n.folder, "target"),
		"SYNOPKG_PKGVAR="+filepath.Join(n.folder, "var"),
		"SYNOPKG_TEMP_LOGFILE="+filepath.Join(n.folder, "said"),
		"CREDANT_RUN="+filepath.Join(n.folder, "run"))
	return n
}

// run runs a script and returns its exit code.
func (n nas) run(text string, env []string, args ...string) int {
	n.t.Helper()
	path := filepath.Join(n.folder, "script")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
	cmd := exec.Command("sh", append([]string{path}, args...)...)
	cmd.Env = append(n.env, env...)
	if err := cmd.Run(); cmd.ProcessState == nil {
		n.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

func (n nas) said() string {
	b, _ := os.ReadFile(filepath.Join(n.folder, "said"))
	return string(b)
}

func TestRelayStartsAndStops(t *testing.T) {
	n := newNAS(t, "credant-relay")
	serve := []string{"CREDANT_TEST_RELAY=serve"}
	t.Cleanup(func() { n.run(relayStartStopStatus, nil, "stop") })
	for _, step := range []struct {
		action string
		want   int
	}{
		{"status", 3},
		{"start", 0},
		{"status", 0},
		{"start", 0}, // it runs already
		{"stop", 0},
		{"status", 3},
		{"stop", 0},
		{"nonsense", 1},
	} {
		if got := n.run(relayStartStopStatus, serve, step.action); got != step.want {
			t.Fatalf("%s: exit code %d, want %d", step.action, got, step.want)
		}
	}
}

// After a reboot the number of the process may be another's.
func TestRelayOfAnotherNumber(t *testing.T) {
	n := newNAS(t, "credant-relay")
	if err := os.WriteFile(filepath.Join(n.folder, "var/pid"), []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := n.run(relayStartStopStatus, nil, "status"); got != 3 {
		t.Errorf("status with the number of another process: exit code %d, want 3", got)
	}
	if got := n.run(relayStartStopStatus, nil, "stop"); got != 0 {
		t.Errorf("stop: exit code %d", got)
	}
}

func TestRelayThatFails(t *testing.T) {
	n := newNAS(t, "credant-relay")
	if got := n.run(relayStartStopStatus, []string{"CREDANT_TEST_RELAY=fail"}, "start"); got != 1 {
		t.Errorf("start: exit code %d, want 1", got)
	}
	if !strings.Contains(n.said(), "it is taken") {
		t.Errorf("Package Center is told %q", n.said())
	}
}

// Nobody could take a network down once the program is gone.
func TestStaysWhileNetworkIsUp(t *testing.T) {
	n := newNAS(t, "credant")
	if got := n.run(credantPreuninst, nil); got != 0 {
		t.Errorf("without networks: exit code %d", got)
	}
	socket, err := net.Listen("unix", filepath.Join(n.folder, "run/home.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if got := n.run(credantPreuninst, nil); got == 0 {
		t.Error("the package goes while a network is up")
	}
	if !strings.Contains(n.said(), "home") || !strings.Contains(n.said(), "credant-dsm stop") {
		t.Errorf("Package Center is told %q", n.said())
	}
	if got := n.run(credantPreuninst, []string{"SYNOPKG_PKG_STATUS=UPGRADE"}); got != 0 {
		t.Errorf("an upgrade: exit code %d", got)
	}
}

func TestPostinstSaysWhatIsNext(t *testing.T) {
	n := newNAS(t, "credant")
	for status, want := range map[string]string{"INSTALL": "Task Scheduler", "UPGRADE": "credant-dsm restart"} {
		if got := n.run(credantPostinst, []string{"SYNOPKG_PKG_STATUS=" + status}); got != 0 || !strings.Contains(n.said(), want) {
			t.Errorf("%s: exit code %d, says %q", status, got, n.said())
		}
	}
}
