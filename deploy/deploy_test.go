package deploy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/credant/credant/integration/strict"
)

// relayUnit is a copy of the relay's unit whose programs exist on every host.
func relayUnit(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		strict.Skip(t, "systemd-analyze is not installed")
	}
	b, err := os.ReadFile("credant-relay.service")
	if err != nil {
		t.Fatal(err)
	}
	const program = "/usr/local/bin/credant-relay"
	if !bytes.Contains(b, []byte("\nExecStart="+program+"\n")) {
		t.Fatalf("the unit does not start %s", program)
	}
	path := filepath.Join(t.TempDir(), "credant-relay.service")
	if err := os.WriteFile(path, bytes.ReplaceAll(b, []byte("="+program), []byte("=/bin/true")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRelayUnit(t *testing.T) {
	path := relayUnit(t)
	// What systemd does not understand it ignores, and says so here alone.
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// The relay reads what strangers send: it gets as little of the host as systemd
// can arrange. An ordinary service has an exposure of 9.6.
func TestRelayUnitIsSandboxed(t *testing.T) {
	path := relayUnit(t)
	out, err := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=15", path).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: exposure over 1.5: %v\n%s", err, out)
	}
}
