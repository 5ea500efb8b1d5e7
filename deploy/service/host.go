package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Host is the machine that gets the service.
type Host struct {
	Root    string // in front of every path; "" is the host's own
	Program string // absolute path of credant, as the service shall start it; Install needs it
	// Run runs a program and returns what it printed, also with an error. Nil:
	// the system does.
	Run func(ctx context.Context, name string, args ...string) (string, error)
}

func (h Host) path(p string) string { return filepath.Join(h.Root, p) }

func (h Host) has(p string) bool {
	_, err := os.Lstat(h.path(p))
	return err == nil
}

// read returns a file's text; one that is not there is empty.
func (h Host) read(p string) (string, error) {
	b, err := os.ReadFile(h.path(p))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read what is installed: %w", err)
	}
	return string(b), nil
}

// write replaces a file at once: a service manager may read at any time.
func (h Host) write(p, text string, mode fs.FileMode) error {
	path := h.path(p)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the folder of %s: %w", p, err)
	}
	temporary := path + ".credant-new"
	err := os.WriteFile(temporary, []byte(text), mode)
	if err == nil {
		err = os.Chmod(temporary, mode) // whatever the umask is
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		_ = os.Remove(temporary)
		return fmt.Errorf("write %s: %w", p, err)
	}
	return nil
}

func (h Host) remove(p string) error {
	if err := os.Remove(h.path(p)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", p, err)
	}
	return nil
}

// command runs a program; its error has what was printed.
func (h Host) command(ctx context.Context, name string, args ...string) (string, error) {
	run := h.Run
	if run == nil {
		run = func(ctx context.Context, name string, args ...string) (string, error) {
			out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
			return string(out), err
		}
	}
	out, err := run(ctx, name, args...)
	out = strings.TrimSpace(out)
	if err != nil {
		err = fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
		if out != "" {
			err = fmt.Errorf("%w: %s", err, out)
		}
	}
	return out, err
}
