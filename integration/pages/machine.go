package pages

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/credant/credant/integration/image"
)

// releaseVersion is what pages call the version of a release.
const releaseVersion = "v1.0.0"

// A machine is the other scene: "server", a Debian with systemd and nothing of ours, with a release unpacked in /root. It
// has no network but its own loopback. All pages of this scene share it, one after the other, so each leaves it as it was.
type machine struct{ booted *image.Machine }

// newMachine boots it; it goes with the test.
func newMachine(t *testing.T, programs string) *machine {
	t.Helper()
	image.Need(t)
	release := t.TempDir()
	files := filepath.Join(release, "files")
	must(t, makeRelease(t.Context(), programs, release, files))
	packed := filepath.Join(release, "files.tar")
	out, err := exec.CommandContext(t.Context(), "tar", "-C", files, "-cf", packed, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("pack the release: %v: %s", err, out)
	}
	m := &machine{image.Boot(t, image.Config{})}
	m.booted.Put(t, packed, "/root/files.tar")
	m.booted.Do(t, `cd /root && tar --no-same-owner -xf files.tar && rm files.tar
		printf '#!/bin/sh\nexec "$@"\n' >/usr/local/bin/sudo && chmod 755 /usr/local/bin/sudo
		echo 'APT::Get::Assume-Yes "true";' >/etc/apt/apt.conf.d/99pages
		hostnamectl --transient hostname server && hostname server`)
	return m
}

// makeRelease makes what "make packages" makes, of the programs under test and as little as pages need.
func makeRelease(ctx context.Context, programs, work, out string) error {
	arch := runtime.GOARCH
	built := filepath.Join(work, "programs")
	if err := os.MkdirAll(built, 0o755); err != nil {
		return fmt.Errorf("make a folder for programs: %w", err)
	}
	if err := os.Symlink(programs, filepath.Join(built, arch)); err != nil {
		return fmt.Errorf("link programs: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "run", ".", "-version", releaseVersion, "-out", out, "-formats", "deb", "-arch", arch, "-programs", built)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1767225600") // also where git knows nothing
	cmd.Dir = "../../deploy/packages"
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make a release: %w\n%s", err, said)
	}
	return nil
}

func (m *machine) do(ctx context.Context, st step) error {
	if st.host != "server" {
		return fmt.Errorf("no host is called %q in this scene", st.host)
	}
	if st.file != "" {
		st.command = fmt.Sprintf("mkdir -p -m 755 %s && (umask 077; cat >%s <<'END OF FILE'\n%sEND OF FILE\n)",
			quote(filepath.Dir(st.file)), quote(st.file), st.content)
	}
	ctx, cancel := context.WithTimeout(ctx, machineLimit)
	defer cancel()
	return persist(ctx, st, func() error {
		r, err := m.booted.Run(ctx, script(st))
		switch {
		case err != nil:
			return err
		case r.Code != st.code:
			return fmt.Errorf("exit code %d, where the page has %d; it printed:\n%s", r.Code, st.code, r.Stdout)
		case st.hidden:
			return nil
		}
		if lacks := missing(st.shown, r.Stdout); lacks != "" {
			return fmt.Errorf("this line of the page is not printed:\n  %s\nprinted:\n%s", lacks, r.Stdout)
		}
		return nil
	})
}

// machineLimit bounds a command in emulation.
const machineLimit = 10 * time.Minute

// script is a command with a shell around it like the one of somebody who has logged in.
func script(st step) string {
	shell := "exec 2>&1 </dev/null; cd /root; export HOME=/root DEBIAN_FRONTEND=noninteractive TERM=dumb NO_COLOR=1 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin\n"
	if !asksPassphrase(st) {
		return shell + st.command
	}
	// Nobody is asked without a terminal. Who types waits to be asked.
	return shell + `set -o pipefail; said=$(mktemp)
		{ until grep -q -e 'Passphrase of network' -e ended $said; do sleep 0.2; done; echo ` + passphrase + `; } |
		{ script -qefc ` + quote(st.command) + ` /dev/null; code=$?; echo ended >>$said; exit $code; } | tee -a $said`
}
