package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/credant/credant/cmd/internal/cli"
)

const (
	readyLine = "ready"
	// readyLimit is how long a daemon may take to bring its interface up. It
	// takes milliseconds; a machine that is busy booting takes seconds.
	readyLimit = 60 * time.Second
)

// logPath is where a daemon in the background logs.
func (p *program) logPath() string {
	return filepath.Join(p.set.stateDir, p.set.network, "log")
}

// startDaemon starts this program again as `up --foreground`, in a session of
// its own, and returns once the interface is up. A daemon that fails leaves
// its last words as the error; one that is interrupted is ended.
func (p *program) startDaemon(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the own program to start it in the background: %w: use --foreground", err)
	}
	path := p.logPath()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the state folder: %w", err)
	}
	log, err := openLog(path, maxLog)
	if err != nil {
		return err
	}
	defer log.Close()
	ready, theirs, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe to the daemon: %w", err)
	}
	defer ready.Close()

	args := []string{"up", "--foreground", "--ready-fd=3", "--log-file=" + path}
	if p.set.nameOrigin != "" {
		args = append(args, "--name-origin="+p.set.nameOrigin)
	}
	args = append(args, "--network="+p.set.network, "--socket="+p.set.socket)
	args = append(args, cli.Arguments(p.flags, "network", "socket", "foreground", "passphrase-file", "weak-passphrase")...)
	cmd := exec.Command(self, args...)
	cmd.Env = withoutPassphrase(p.environ)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log.file, log.file
	cmd.ExtraFiles = []*os.File{theirs} // its descriptor 3
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}

	said := make(chan bool, 1)
	go func() {
		b, _ := io.ReadAll(ready) // ends when the daemon has spoken, or has ended
		said <- strings.TrimSpace(string(b)) == readyLine
	}()
	limit := time.NewTimer(readyLimit)
	defer limit.Stop()
	select {
	case ok := <-said:
		if ok {
			return cmd.Process.Release()
		}
		err := cmd.Wait()
		if words := log.lastWords(); words != "" {
			return errors.New(words)
		}
		return fmt.Errorf("the daemon ended before the interface was up (%v): see %s", err, path)
	case <-ctx.Done():
		return errors.Join(ctx.Err(), stop(cmd))
	case <-limit.C:
		_ = stop(cmd) // the time that is over is the better error
		return fmt.Errorf("the interface was not up after %v, the daemon was ended: see %s", readyLimit, path)
	}
}

// stop ends a daemon as `down` would and waits until it has cleaned up.
func stop(cmd *exec.Cmd) error {
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end the daemon: %w", err)
	}
	kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	_ = cmd.Wait() // how it ended is in its log
	return nil
}

// withoutPassphrase is the environment of the daemon, which needs none: a
// process's environment can be read as long as it lives.
func withoutPassphrase(environ []string) []string {
	var out []string
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if name != "CREDANT_PASSPHRASE" && name != "CREDANT_PASSPHRASE_FILE" {
			out = append(out, entry)
		}
	}
	return out
}
