package vm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/credant/credant/integration/strict"
)

func TestModulesAreOrderedByNeed(t *testing.T) {
	const (
		dep = `kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko kernel/fs/fscache/fscache.ko kernel/fs/netfs/netfs.ko
kernel/net/9p/9pnet_virtio.ko: kernel/net/9p/9pnet.ko kernel/drivers/virtio/virtio.ko
kernel/net/9p/9pnet.ko:
`
		builtin = "kernel/fs/overlayfs/over-lay.ko\n"
	)
	got, err := orderModules(dep, builtin, []string{"9pnet_virtio", "over_lay", "9p"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"kernel/drivers/virtio/virtio.ko", "kernel/net/9p/9pnet.ko", "kernel/net/9p/9pnet_virtio.ko",
		"kernel/fs/netfs/netfs.ko", "kernel/fs/fscache/fscache.ko", "kernel/fs/9p/9p.ko",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if _, err := orderModules(dep, builtin, []string{"nonesuch"}); err == nil {
		t.Error("a module that the kernel lacks was found")
	}
}

func TestJobIsQuotedForTheShell(t *testing.T) {
	got, err := Job{Args: []string{"echo", "it's $HOME"}, Dir: "/a b", Env: []string{"X=1 2"}}.script()
	if err != nil {
		t.Fatal(err)
	}
	want := `cd '/a b' && exec env -i 'X=1 2' 'CREDANT_VM=1' 'echo' 'it'\''s $HOME'` + "\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("script (-want +got):\n%s", diff)
	}
}

// The runner's own promise: output apart from errors, the exit code, results, modules on demand, host files untouched.
func TestRun(t *testing.T) {
	needKernel(t)
	results := t.TempDir()
	outside := filepath.Join(t.TempDir(), "written-in-the-guest")
	var stdout, stderr bytes.Buffer
	code, err := Job{
		Args: []string{"sh", "-c", `
			echo out; echo err >&2
			echo result >"$CREDANT_VM_RESULTS/file"
			echo lost >"$1" && ip link add wg0 type wireguard && ip link add v0 type veth peer v1 && nft add table inet t || exit 1
			exit 7`, "sh", outside},
		Results: results, Stdout: &stdout, Stderr: &stderr,
	}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if code != 7 || stdout.String() != "out\n" || stderr.String() != "err\n" {
		t.Errorf("exit code %d, output %q, errors %q", code, stdout.String(), stderr.String())
	}
	if got, err := os.ReadFile(filepath.Join(results, "file")); err != nil || string(got) != "result\n" {
		t.Errorf("result file: %q, %v", got, err)
	}
	if _, err := os.Stat(outside); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the guest wrote to the host's files: %v", err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	needKernel(t)
	timeout := errors.New("time is up")
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, timeout)
	defer cancel()
	if _, err := (Job{Args: []string{"sleep", "60"}}).Run(ctx); !errors.Is(err, timeout) {
		t.Errorf("error %v, want %v", err, timeout)
	}
}

// A guest that hangs is booted once more, with a word about it, and once only. QEMU is a script here.
func TestHangingGuestIsBootedOnceMore(t *testing.T) {
	for _, c := range []struct {
		name, script string
		code         int
		err          error
		stdout       string
		said         int
	}{
		{
			"hangs once", "[ -e once ] || { >once; echo begun; exec sleep 600; }; echo out >&3; echo 7 >&5",
			7, nil, "out\n", 1,
		},
		{"hangs twice", "echo out >&3; exec sleep 600", 0, ErrSilent, "out\nout\n", 1},
		// A job that is silent itself is none of that, nor is one that fails.
		{"fails", "for i in $(seq 80); do sleep 0.1; echo alive >&6; done; echo 1 >&5", 1, nil, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			qemu := filepath.Join(dir, "qemu")
			if err := os.WriteFile(qemu, []byte("#!/bin/sh\ncd "+dir+"\n"+c.script), 0o755); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			job := Job{Args: []string{"true"}, Silence: 5 * time.Second, Stdout: &stdout, Stderr: &stderr}
			code, err := job.run(t.Context(), qemu, dir, Kernel{})
			if !errors.Is(err, c.err) || code != c.code || stdout.String() != c.stdout {
				t.Errorf("exit code %d, output %q, %v", code, stdout.String(), err)
			}
			if said := strings.Count(stderr.String(), "THE EMULATOR HUNG"); said != c.said {
				t.Errorf("said %d times that it hung: %s", said, stderr.String())
			}
		})
	}
}

func needKernel(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		strict.Skip(t, "QEMU must read the whole host: run as root")
	}
	if _, err := FindKernel(); err != nil {
		strict.Skip(t, err.Error())
	}
}
