package image

import (
	"context"
	"fmt"
	"io"
	"os"
	"testing"
	"time"
)

// A Result is what a script left.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Run runs a script as root in bash to its end, or kills it when the context ends, which is an error that says what was
// printed until then. An exit code other than 0 is none.
func (m *Machine) Run(ctx context.Context, script string) (Result, error) {
	n, answer := m.channel.next()
	name := m.path("share", fmt.Sprint(n))
	if err := os.WriteFile(name+".sh", []byte(script+"\n"), 0o600); err != nil {
		return Result{}, fmt.Errorf("write script: %w", err)
	}
	code, err := m.channel.run(ctx, n, answer)
	stdout, _ := os.ReadFile(name + ".out")
	stderr, _ := os.ReadFile(name + ".err")
	r := Result{Stdout: string(stdout), Stderr: string(stderr), Code: code}
	if err != nil {
		return r, fmt.Errorf("run in the machine: %w; script: %s; its output: %s%s", err, script, stdout, stderr)
	}
	for _, ending := range []string{".sh", ".out", ".err", ".pid"} {
		_ = os.Remove(name + ending)
	}
	return r, nil
}

// doLimit is for scripts that wait for nothing of their own.
const doLimit = 10 * time.Minute

// Do runs a script and returns its standard output. An exit code other than 0 fails the test.
func (m *Machine) Do(t testing.TB, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), doLimit)
	defer cancel()
	r, err := m.Run(ctx, script)
	if err != nil {
		t.Fatal(err)
	}
	if r.Code != 0 {
		t.Fatalf("exit code %d of script:\n%s\nits output:\n%s%s", r.Code, script, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// Await runs a script again and again until it exits with 0, and returns its standard output; after the limit the test
// fails.
func (m *Machine) Await(t testing.TB, limit time.Duration, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var last Result
	for {
		r, err := m.Run(ctx, script)
		if err == nil && r.Code == 0 {
			return r.Stdout
		}
		if err == nil {
			last = r
		}
		select {
		case <-ctx.Done():
			t.Fatalf("after %v still exit code %d of script:\n%s\nits output:\n%s%s", limit, last.Code, script, last.Stdout, last.Stderr)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// Put copies a file of the host into the machine, with its mode, and makes the directories above it.
func (m *Machine) Put(t testing.TB, from, to string) {
	t.Helper()
	name := fmt.Sprintf("put-%d", m.channel.number())
	if err := copyFile(from, m.path("share", name)); err != nil {
		t.Fatal(err)
	}
	name = "/run/image/" + name
	m.Do(t, fmt.Sprintf("install -D -m $(stat -c %%a %[1]s) %[1]s %[2]s && rm %[1]s", name, quote(to)))
}

// copyFile makes a file with the content and mode of another.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("open file for the machine: %w", err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return fmt.Errorf("look at file for the machine: %w", err)
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return fmt.Errorf("make file for the machine: %w", err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return fmt.Errorf("copy file for the machine: %w", err)
	}
	return nil
}
