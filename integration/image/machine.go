package image

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/integration/strict"
	"github.com/credant/credant/integration/vm"
)

// A Config says what machine to boot. The zero value is one without a network, of 1 GiB and one processor.
type Config struct {
	// LAN is the built lab's router on whose LAN eth0 is. Its address there is what LANAddress says.
	LAN *lab.Router
	// Seed is what a first boot finds on a NoCloud disk: user-data, meta-data, vendor-data, network-config, by name.
	// Without any, cloud-init is off and eth0 gets LANAddress.
	Seed map[string]string
	// Credentials are systemd's, given as a hypervisor does, in the SMBIOS tables.
	Credentials map[string]string
	// Files are there from the start: the host's files by their names in /run/image.
	Files map[string]string
	// Clock is what the machine's clock shows when it is switched on; zero is the right time.
	Clock  time.Time
	Memory int // MiB; zero is 1024
	CPUs   int // zero is 1; see package vm
}

// A Machine is a guest that was switched on. Its methods may be called at the same time, but for Reboot and Close.
type Machine struct {
	dir     string // share/, shared with the guest, and what only QEMU needs
	own     *lab.Lab
	qemu    *lab.Process
	channel *channel
}

// Boot boots a machine for the length of the test, or skips it where that is impossible.
func Boot(t testing.TB, c Config) *Machine {
	t.Helper()
	Need(t)
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	m, err := Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.TellWhy(t)
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// bootLimit is for a boot that joins two networks, which derives two keys, on a machine that is busy with other tests.
const bootLimit = 20 * time.Minute

// Need skips the test unless a machine can be booted here.
func Need(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		strict.Skip(t, "a machine in QEMU has a lab and a disk that only root may make: run as root")
	}
	if _, err := findDisk(); err != nil {
		strict.Skip(t, err.Error())
	}
	if _, err := vm.FindKernel(); err != nil {
		strict.Skip(t, err.Error())
	}
}

// Start boots a machine and returns once its services are up. The context bounds that; the machine lives until Close,
// or until this process ends.
func Start(ctx context.Context, c Config) (*Machine, error) {
	disk, err := findDisk()
	if err != nil {
		return nil, err
	}
	kernel, err := vm.FindKernel()
	if err != nil {
		return nil, err
	}
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return nil, fmt.Errorf("find QEMU: %w (run integration/deps)", err)
	}
	m := &Machine{}
	// Short and outside of the tests' directories: the path of a socket has 108 bytes.
	if m.dir, err = os.MkdirTemp("", "credant-image-"); err != nil {
		return nil, fmt.Errorf("make directory for the machine: %w", err)
	}
	if err := m.start(ctx, c, qemu, disk, kernel); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (m *Machine) start(ctx context.Context, c Config, qemu, disk string, kernel vm.Kernel) error {
	if err := m.lay(c, kernel); err != nil {
		return err
	}
	node, err := m.plug(ctx, c)
	if err != nil {
		return err
	}
	arguments := append([]string{qemu}, m.arguments(c, disk, kernel)...)
	err = m.switchOn(ctx, node, arguments)
	if errors.Is(err, vm.ErrSilent) {
		fmt.Fprintf(os.Stderr, "\n==== image: %v\n==== image: THE EMULATOR HUNG, no test did: it is switched on once more ====\n\n", err)
		m.switchOff()
		err = m.switchOn(ctx, node, arguments)
	}
	if err == nil {
		err = m.settle(ctx)
	}
	if err != nil {
		return fmt.Errorf("boot machine: %w; its console: %s", err, m.Console())
	}
	return nil
}

// switchOn starts QEMU and returns when the agent answers, or, with vm.ErrSilent, when the machine hangs before that.
func (m *Machine) switchOn(ctx context.Context, node *lab.Node, arguments []string) error {
	ctx, alive, stop := vm.AwaitSilence(ctx, vm.Silence)
	defer stop()
	var err error
	if m.qemu, err = node.Start(lab.Program{Args: arguments, Env: []string{"TMPDIR=" + m.dir}, Output: alive}); err != nil {
		return err
	}
	if m.channel, err = dial(ctx, m.path("channel"), m.qemu.Done()); err != nil {
		return err
	}
	return m.channel.awaitReady(ctx)
}

func (m *Machine) switchOff() {
	if m.qemu != nil {
		m.qemu.Kill()
	}
	if m.channel != nil {
		m.channel.close()
	}
	_ = os.Remove(m.path("channel"))
}

func (m *Machine) path(name ...string) string {
	return filepath.Join(append([]string{m.dir}, name...)...)
}

// settle waits until the agent answers and every service has started, or failed, which is for the tests to judge.
func (m *Machine) settle(ctx context.Context) error {
	if err := m.channel.awaitReady(ctx); err != nil {
		return err
	}
	_, err := m.Run(ctx, "systemctl is-system-running --wait")
	return err
}

// Reboot restarts the machine in the orderly way and waits until it is up again, at most as long as Boot does.
func (m *Machine) Reboot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	m.channel.expectReboot()
	if _, err := m.Run(ctx, "systemctl --no-block reboot"); err != nil && !errors.Is(err, errRebooted) {
		return fmt.Errorf("reboot: %w", err)
	}
	if err := m.settle(ctx); err != nil {
		return fmt.Errorf("reboot: %w; the console: %s", err, m.Console())
	}
	return nil
}

// Console is the last of what the machine wrote there.
func (m *Machine) Console() string {
	if m.qemu == nil {
		return ""
	}
	text := m.qemu.Output()
	return text[max(0, len(text)-8192):]
}

// TellWhy logs, for a test that failed, what the machine has to say: call it at the end of each that shares one.
func (m *Machine) TellWhy(t testing.TB) {
	if !t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute)
	defer cancel()
	r, err := m.Run(ctx, "systemctl --failed --no-legend --plain; journalctl --no-pager -b -n 120 -o short-monotonic")
	t.Logf("the journal's end (%v):\n%s\nthe console's:\n%s", err, r.Stdout, m.Console())
}

// Close switches the machine off, without asking it, and removes what it left.
func (m *Machine) Close() error {
	m.switchOff()
	var err error
	if m.own != nil {
		err = m.own.Close()
	}
	if e := os.RemoveAll(m.dir); e != nil {
		err = errors.Join(err, fmt.Errorf("remove the machine's directory: %w", e))
	}
	return err
}

// quote is a word for the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
