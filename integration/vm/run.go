package vm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Job is one command to run in a guest of its own.
type Job struct {
	Args []string // the command and its arguments; the command is looked up in the guest's PATH
	Dir  string   // where it runs; empty is the caller's directory
	Env  []string // empty is the caller's environment

	// Results is a host directory that the guest may write to, at the same path. Empty: nothing can be handed out
	// but the output.
	Results string

	Stdout, Stderr io.Writer // nil discards
	Memory         int       // MiB; zero is 2048
	CPUs           int       // zero is 1; see Processor
	// Silence is how long a guest that works may be silent, zero the constant. See Run.
	Silence time.Duration
}

// Run boots the guest, runs the job and returns its exit code. An error means that the guest did not get so far as
// to report one: the context ended, or the kernel stopped, in which case the error quotes its console. A guest that
// hangs, whatever its job does, is the emulator's failing: it is killed, and booted once more with a word on Stderr.
func (j Job) Run(ctx context.Context) (int, error) {
	kernel, err := FindKernel()
	if err != nil {
		return 0, err
	}
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return 0, fmt.Errorf("find QEMU: %w (run integration/deps)", err)
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return 0, fmt.Errorf("find busybox: %w (run integration/deps)", err)
	}
	if j.Results != "" {
		if j.Results, err = filepath.Abs(j.Results); err != nil {
			return 0, fmt.Errorf("find results directory: %w", err)
		}
	}

	dir, err := os.MkdirTemp("", "credant-vm-")
	if err != nil {
		return 0, fmt.Errorf("make directory for the guest: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := j.prepare(dir, kernel, busybox); err != nil {
		return 0, err
	}
	return j.run(ctx, qemu, dir, kernel)
}

// run boots once, or twice if the guest hangs.
func (j Job) run(ctx context.Context, qemu, dir string, kernel Kernel) (int, error) {
	code, err := j.boot(ctx, qemu, dir, kernel)
	if !errors.Is(err, ErrSilent) {
		return code, err
	}
	if j.Stderr != nil {
		fmt.Fprintf(j.Stderr, "\n==== vm: %v\n==== vm: THE EMULATOR HUNG, no test did: all of the job runs once more, in a new guest ====\n\n", err)
	}
	return j.boot(ctx, qemu, dir, kernel)
}

// prepare lays out dir: initrd for QEMU, and share/, which the guest sees as /run/vm.
func (j Job) prepare(dir string, kernel Kernel, busybox string) error {
	initrd, err := os.Create(filepath.Join(dir, "initrd"))
	if err != nil {
		return fmt.Errorf("create RAM disk: %w", err)
	}
	defer initrd.Close()
	if err := WriteInitramfs(initrd, kernel, busybox, bootModules, initScript); err != nil {
		return err
	}
	script, err := j.script()
	if err != nil {
		return err
	}
	share := filepath.Join(dir, "share")
	if err := os.Mkdir(share, 0o755); err != nil {
		return fmt.Errorf("make shared directory: %w", err)
	}
	if err := os.WriteFile(filepath.Join(share, "init"), initScript, 0o755); err != nil {
		return fmt.Errorf("write init: %w", err)
	}
	if err := os.WriteFile(filepath.Join(share, "job"), []byte(script), 0o600); err != nil {
		return fmt.Errorf("write job: %w", err)
	}
	return nil
}

// script is the job as a shell reads it.
func (j Job) script() (string, error) {
	if len(j.Args) == 0 {
		return "", errors.New("run job: no command given")
	}
	dir, env := j.Dir, j.Env
	if dir == "" {
		var err error
		if dir, err = os.Getwd(); err != nil {
			return "", fmt.Errorf("find working directory: %w", err)
		}
	}
	if env == nil {
		env = os.Environ()
	}
	env = append(env[:len(env):len(env)], "CREDANT_VM=1")
	if j.Results != "" {
		env = append(env, "CREDANT_VM_RESULTS="+j.Results)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "cd %s && exec env -i", quote(dir))
	for _, word := range env {
		b.WriteString(" " + quote(word))
	}
	for _, word := range j.Args {
		b.WriteString(" " + quote(word))
	}
	b.WriteString("\n")
	return b.String(), nil
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// arguments are QEMU's. File descriptors 3 to 6 are the host's ends of output, error, exit code and signs of life.
func (j Job) arguments(dir string, kernel Kernel) []string {
	memory, cpus := j.Memory, j.CPUs
	if memory == 0 {
		memory = 2048
	}
	if cpus == 0 {
		cpus = 1
	}
	line := "console=ttyS0 " + Emulated + " credant.modules=" + kernel.Dir
	if j.Results != "" {
		line += " credant.results=" + j.Results
	}
	args := append(Processor(cpus),
		"-m", strconv.Itoa(memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-kernel", filepath.Join(kernel.Dir, "vmlinuz"), "-initrd", filepath.Join(dir, "initrd"), "-append", line,
		"-device", "virtio-serial-pci",
	)
	share := func(tag, path, options string) {
		args = append(args,
			"-fsdev", "local,id="+tag+",path="+strings.ReplaceAll(path, ",", ",,")+",security_model=none,multidevs=remap"+options,
			"-device", "virtio-9p-pci,fsdev="+tag+",mount_tag="+tag)
	}
	share("host", "/", ",readonly=on")
	share("job", filepath.Join(dir, "share"), ",readonly=on")
	if j.Results != "" {
		share("results", j.Results, "")
	}
	for i := 1; i <= 4; i++ {
		args = append(args,
			"-add-fd", fmt.Sprintf("fd=%d,set=%d", 2+i, i),
			"-chardev", fmt.Sprintf("file,id=port%d,path=/dev/fdset/%d,append=on", i, i),
			"-device", fmt.Sprintf("virtserialport,chardev=port%d,nr=%d", i, i))
	}
	return args
}

// boot runs QEMU until it ends, the context does, or the guest hangs.
func (j Job) boot(ctx context.Context, qemu, dir string, kernel Kernel) (int, error) {
	var console, code bytes.Buffer
	ctx, alive, stop := AwaitSilence(ctx, cmp.Or(j.Silence, Silence))
	defer stop()
	cmd := exec.CommandContext(ctx, qemu, j.arguments(dir, kernel)...)
	cmd.Stdout = io.MultiWriter(&console, alive)
	cmd.Stderr = cmd.Stdout
	cmd.WaitDelay = 5 * time.Second
	// The guest must not outlive its runner, whatever ends that.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	var copying sync.WaitGroup
	var ends []io.Closer
	closeEnds := func() {
		for _, end := range ends {
			_ = end.Close()
		}
	}
	for _, w := range []io.Writer{j.Stdout, j.Stderr, &code, alive} {
		r, end, err := os.Pipe()
		if err != nil {
			closeEnds()
			return 0, fmt.Errorf("make pipe: %w", err)
		}
		ends = append(ends, end)
		cmd.ExtraFiles = append(cmd.ExtraFiles, end)
		if w == nil {
			w = io.Discard
		}
		copying.Go(func() {
			defer r.Close()
			// A reader that went away must not stop the guest.
			if _, err := io.Copy(w, r); err != nil {
				_, _ = io.Copy(io.Discard, r)
			}
		})
	}

	// Pdeathsig is sent when the thread that started the child ends, so that thread is kept.
	runtime.LockOSThread()
	err := cmd.Start()
	closeEnds()
	if err == nil {
		err = cmd.Wait()
	}
	runtime.UnlockOSThread()
	copying.Wait()

	if ctx.Err() != nil {
		return 0, fmt.Errorf("run in the VM: %w; its console: %s", context.Cause(ctx), lastLines(console.Bytes(), 20))
	}
	if err != nil {
		return 0, fmt.Errorf("run QEMU: %w; its console: %s", err, lastLines(console.Bytes(), 20))
	}
	exit, err := strconv.Atoi(strings.TrimSpace(code.String()))
	if err != nil {
		return 0, fmt.Errorf("run in the VM: the guest ended without an exit code; its console: %s", lastLines(console.Bytes(), 20))
	}
	return exit, nil
}

func lastLines(b []byte, n int) []byte {
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-n):], []byte("\n"))
}
