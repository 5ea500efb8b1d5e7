package localapi

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/credant/credant/integration/strict"
	"github.com/google/go-cmp/cmp"
)

// stub is a daemon that knows one node.
type stub struct {
	Membership
	status Status
	events chan Event
	down   chan struct{}
}

func (s *stub) Status() Status { return s.status }

func (s *stub) Ping(_ context.Context, node string) (PingReply, error) {
	if node != "nas" {
		return PingReply{}, errors.New("no node " + node)
	}
	return PingReply{Node: "nas", OK: true, RTTMillis: 1.5}, nil
}

func (s *stub) Down() { close(s.down) }

func (s *stub) Events(ctx context.Context) ([]Event, <-chan Event) {
	return []Event{{Kind: "met", Text: "past"}}, s.events
}

// serve runs a server until the test's end and returns its socket.
func serve(t *testing.T, s *stub) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "api") // short: a socket's path has 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, l, s)
		l.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if s.down != nil {
		go func() { <-s.down; cancel() }()
	}
	return socket
}

func TestRoundTrips(t *testing.T) {
	ctx := context.Background()
	s := &stub{status: Status{Network: "home", Peers: []Peer{{Name: "nas", Path: "direct"}}, Drops: map[string]uint64{"seal": 3}}, events: make(chan Event, 1), down: make(chan struct{})}
	c := NewClient(serve(t, s))

	got, err := c.Status(ctx)
	if err != nil || cmp.Diff(s.status, got) != "" {
		t.Errorf("status: %v\n%s", err, cmp.Diff(s.status, got))
	}
	if r, err := c.Ping(ctx, "nas"); err != nil || !r.OK || r.RTTMillis != 1.5 {
		t.Errorf("ping: %+v, %v", r, err)
	}
	if _, err := c.Ping(ctx, "a/b?&"); err == nil || err.Error() != "no node a/b?&" {
		t.Errorf("ping of nobody: %v", err)
	}
	s.events <- Event{Text: "now"}
	var texts []string
	err = c.Events(ctx, func(e Event) bool {
		texts = append(texts, e.Text)
		return len(texts) < 2
	})
	if err != nil || cmp.Diff([]string{"past", "now"}, texts) != "" {
		t.Errorf("events: %v, %v", texts, err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := c.Down(ctx); err != nil {
		t.Errorf("down: %v", err)
	}
	if _, err := c.Status(ctx); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after down: %v, want ErrNotRunning", err)
	}
}

// Down returns only when the daemon has closed the socket, not when it begins to
// clean up: the next up would find its port and interface in use.
func TestDownWaitsForTheEnd(t *testing.T) {
	l, err := Listen(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := &stub{down: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	served, returned := make(chan error, 1), make(chan error, 1)
	go func() { served <- Serve(ctx, l, s) }()
	go func() { returned <- NewClient(l.Addr().String()).Down(t.Context()) }()
	<-s.down
	cancel()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-returned:
		t.Errorf("returned while the daemon cleans up: %v", err)
	case <-time.After(100 * time.Millisecond): // several of its looks
	}
	l.Close()
	if err := <-returned; err != nil {
		t.Error(err)
	}
}

func TestListenDoesNotDisturb(t *testing.T) {
	socket := serve(t, &stub{})
	if _, err := Listen(socket); err == nil || !strings.Contains(err.Error(), "already answers") {
		t.Errorf("a second daemon: %v", err)
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil {
		t.Error("a file that is no socket was replaced")
	}
	// One that nobody answers at, as after a crash.
	dead := filepath.Join(filepath.Dir(socket), "dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	again, err := Listen(dead)
	if err != nil {
		t.Fatalf("a dead socket is in the way: %v", err)
	}
	defer again.Close()
	if fi, err := os.Stat(dead); err != nil || fi.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, error %v, want 0660", fi.Mode(), err)
	}
}

const downAsNobody = "CREDANT_TEST_DOWN_AS_NOBODY"

// Whoever is not root may read and change nothing, whatever the socket's mode.
func TestOnlyRootTakesDown(t *testing.T) {
	if socket := os.Getenv(downAsNobody); socket != "" {
		if _, err := NewClient(socket).Status(context.Background()); err != nil {
			t.Errorf("reading: %v", err)
		}
		err := NewClient(socket).Down(context.Background())
		if err == nil || !strings.Contains(err.Error(), "only root") {
			t.Errorf("taking down: %v", err)
		}
		return
	}
	if os.Getuid() != 0 {
		strict.Skip(t, "only root can become nobody")
	}
	s := &stub{down: make(chan struct{})}
	socket := serve(t, s)
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(filepath.Dir(socket), "test")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-test.run=^TestOnlyRootTakesDown$")
	cmd.Dir = "/"
	cmd.Env = []string{downAsNobody + "=" + socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
	select {
	case <-s.down:
		t.Error("nobody took the network down")
	default:
	}
}
