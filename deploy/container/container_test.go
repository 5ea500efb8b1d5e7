package container

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/credant/credant/integration/strict"
)

// container is what the Containerfile asks for.
type container struct {
	copies     [][2]string // from the release's folder, to
	owners     map[string]string
	user       string
	volumes    []string
	ports      []string
	entrypoint []string
}

// parse reads the instructions that the file uses, and refuses others: whoever
// adds one says here what it means.
func parse(t *testing.T, text string) container {
	t.Helper()
	c := container{owners: map[string]string{}}
	from := 0
	for line := range strings.Lines(text) {
		fields := strings.Fields(strings.ReplaceAll(line, "${TARGETARCH}", "amd64"))
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		args := fields[1:]
		switch fields[0] {
		case "FROM":
			from++
			if from > 1 || !slices.Equal(args, []string{"scratch"}) {
				t.Errorf("%s: everything in the image is ours", line)
			}
		case "ARG", "LABEL", "STOPSIGNAL":
		case "COPY":
			owner := "0:0"
			if v, ok := strings.CutPrefix(args[0], "--chown="); ok {
				owner, args = v, args[1:]
			}
			if len(args) != 2 {
				t.Fatalf("%s", line)
			}
			c.copies = append(c.copies, [2]string(args))
			c.owners[args[1]] = owner
		case "USER":
			c.user = args[0]
		case "VOLUME":
			c.volumes = append(c.volumes, args...)
		case "EXPOSE":
			c.ports = append(c.ports, args...)
		case "ENTRYPOINT":
			if err := json.Unmarshal([]byte(strings.Join(args, " ")), &c.entrypoint); err != nil {
				t.Fatalf("%s: %v: there is no shell in the image to read it", line, err)
			}
		default:
			t.Fatalf("%q is an instruction that this test does not know", line)
		}
	}
	return c
}

func read(t *testing.T) container {
	t.Helper()
	b, err := os.ReadFile("Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(b))
}

func TestStructure(t *testing.T) {
	c := read(t)
	if c.user != "65532:65532" {
		t.Errorf("it runs as %q: numbers, for there are no names in the image, and not root's", c.user)
	}
	if !slices.Equal(c.entrypoint, []string{"/usr/bin/credant-relay"}) {
		t.Errorf("it starts %q", c.entrypoint)
	}
	if !slices.Equal(c.ports, []string{"3478/udp", "3479/udp", "20000-21023/udp"}) {
		t.Errorf("its ports are %q", c.ports)
	}
	if !slices.Equal(c.volumes, []string{"/var/lib/credant-relay"}) || c.owners[c.volumes[0]] != c.user {
		t.Errorf("the key is kept in %q, of %q", c.volumes, c.owners)
	}
	if c.owners["/usr/bin/credant-relay"] != "0:0" {
		t.Error("the relay could rewrite its own program")
	}
}

// lay copies what the Containerfile copies, from a folder like a release's.
func lay(t *testing.T, c container, program string) (root string) {
	t.Helper()
	root = t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	sources := map[string]string{
		"share/LICENSE":                "../../LICENSE",
		"container/state":              "state",
		"programs/amd64/credant-relay": program,
	}
	for _, pair := range c.copies {
		source, ok := sources[pair[0]]
		if !ok {
			t.Fatalf("a release has no %s", pair[0])
		}
		to := filepath.Join(root, pair[1])
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-r", source, to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if out, err := exec.Command("chown", "-R", c.owners[pair[1]], to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return root
}

// The relay runs in the image's files, in nothing but them, as the image's user.
func TestRunsInItsLayout(t *testing.T) {
	if os.Geteuid() != 0 {
		strict.Skip(t, "only root can change its root: run as root")
	}
	for _, tool := range []string{"chroot", "ip", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			strict.Skip(t, tool+" is not installed: run integration/deps")
		}
	}
	program := os.Getenv("CREDANT_RELAY_BIN")
	if program == "" {
		program = filepath.Join(t.TempDir(), "credant-relay")
		build := exec.Command("go", "build", "-o", program, "../../cmd/credant-relay")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	c := read(t)
	root := lay(t, c, program)

	cmd := exec.Command("unshare", "--net", "--mount", "sh", "-c",
		`ip link set lo up && ip address add 203.0.113.5/32 dev lo && mount --bind "$0" "$0" && mount -o remount,bind,nosuid,nodev "$0" && exec chroot --userspec="$1" "$0" "$2" --no-dht --grace 0s`,
		root, c.user, c.entrypoint[0])
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 10 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(3*time.Minute, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	var said strings.Builder
	serves := false
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		fmt.Fprintln(&said, lines.Text())
		if !serves && strings.Contains(lines.Text(), "--relay 203.0.113.5:3478#") {
			serves = true
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
	}
	_ = cmd.Wait()
	if !serves {
		t.Fatalf("it does not serve: %s%s", said.String(), stderr.String())
	}
	var keys []string
	err = filepath.WalkDir(filepath.Join(root, "var/lib/credant-relay"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "README" {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		keys = append(keys, fmt.Sprintf("%v %d", info.Mode(), info.Sys().(*syscall.Stat_t).Uid))
		return nil
	})
	if err != nil || len(keys) == 0 {
		t.Fatalf("no key is kept: %v", err)
	}
	for _, key := range keys {
		if key != "-rw------- 65532" {
			t.Errorf("a key's file is %s", key)
		}
	}
}
