package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/credant/credant/integration/strict"
)

// units are the systemd units, and how exposed each may be: an ordinary service is
// 9.6. The relay reads what strangers send and needs nothing of the host; a node
// changes its network, as root.
var units = []struct{ file, instance, program, threshold string }{
	{"credant-relay.service", "credant-relay.service", "/usr/local/bin/credant-relay", "15"},
	{"systemd/credant@.service", "credant@home.service", Program, "25"},
}

// unit is a copy of a unit whose programs exist on every host.
func unit(t *testing.T, file, instance, program string) string {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		strict.Skip(t, "systemd-analyze is not installed")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	if strings.Count(text, "\nExecStart="+program) != 1 {
		t.Fatalf("%s does not start %s", file, program)
	}
	path := filepath.Join(t.TempDir(), instance)
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "="+program, "=/bin/true")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUnits(t *testing.T) {
	for _, u := range units {
		t.Run(u.instance, func(t *testing.T) {
			path := unit(t, u.file, u.instance, u.program)
			// What systemd does not understand it ignores, and says so here alone.
			out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("systemd-analyze verify: %v\n%s", err, out)
			}
			out, err = exec.Command("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold="+u.threshold, path).CombinedOutput()
			if err != nil {
				t.Errorf("systemd-analyze security: exposure over %s tenths: %v\n%s", u.threshold, err, out)
			}
		})
	}
}

// The scripts start what package service replaces by the program's own path.
func TestFilesNameTheProgram(t *testing.T) {
	for name, text := range map[string]string{"unit": SystemdUnit, "OpenRC": OpenRCScript, "procd": ProcdScript} {
		if strings.Count(text, Program) != 1 {
			t.Errorf("%s names %s %d times", name, Program, strings.Count(text, Program))
		}
	}
}

func TestScripts(t *testing.T) {
	for _, script := range []string{"openrc/credant", "procd/credant"} {
		for _, shell := range [][]string{{"sh", "-n"}, {"busybox", "ash", "-n"}, {"shellcheck", "--shell=dash"}} {
			if _, err := exec.LookPath(shell[0]); err != nil {
				strict.Skip(t, shell[0]+" is not installed")
			}
			if out, err := exec.Command(shell[0], append(shell[1:], script)...).CombinedOutput(); err != nil {
				t.Errorf("%s %s: %v\n%s", strings.Join(shell, " "), script, err, out)
			}
		}
	}
}

// The script asks procd for an instance a network, and a restart for a handover.
func TestProcd(t *testing.T) {
	if _, err := exec.LookPath("busybox"); err != nil {
		strict.Skip(t, "busybox is not installed")
	}
	out, err := exec.Command("busybox", "ash", "testdata/procd.sh").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	start := "load credant\n"
	for _, network := range []string{"home", "my-barn"} {
		start += "open_instance " + network + "\n" +
			"set_param command /usr/bin/credant up --foreground --network " + network + "\n" +
			"set_param respawn 3600 3 0\nset_param term_timeout 30\nset_param stdout 1\nset_param stderr 1\nclose_instance\n"
	}
	want := start + "--\n" + start + "--\nsend_signal credant * USR1\n" + start
	if string(out) != want {
		t.Errorf("procd was asked\n%s, want\n%s", out, want)
	}
}
