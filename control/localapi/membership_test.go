package localapi

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/credant/credant/integration/strict"
)

// members is what a daemon answers to changes.
type members struct {
	said []string
	end  func()
}

func (m *members) Rename(_ context.Context, name string) (OwnNames, error) {
	m.said = append(m.said, "rename "+name)
	return OwnNames{Name: name, Note: "taken"}, nil
}

func (m *members) AddAlias(_ context.Context, name string) (OwnNames, error) {
	m.said = append(m.said, "add "+name)
	return OwnNames{Name: "nas", Aliases: []string{name}}, nil
}

func (m *members) RemoveAlias(_ context.Context, name string) (OwnNames, error) {
	return OwnNames{}, errors.New("no extra name " + name)
}

func (m *members) Forget(_ context.Context, node string) (Forgotten, error) {
	return Forgotten{Name: node, ID: "i"}, nil
}

func (m *members) Leave(context.Context) (Left, func(), error) {
	return Left{Told: 3, Folder: "/f"}, m.end, nil
}

func TestMembershipRoundTrips(t *testing.T) {
	if os.Getuid() != 0 {
		strict.Skip(t, "only root may change a network")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := &stub{down: make(chan struct{})}
	m := &members{end: func() { close(s.down) }}
	s.Membership = m
	c := NewClient(serve(t, s))
	if n, err := c.Rename(ctx, "a b&c"); err != nil || n.Name != "a b&c" || n.Note != "taken" {
		t.Errorf("rename: %+v, %v", n, err)
	}
	if n, err := c.AddAlias(ctx, "git"); err != nil || len(n.Aliases) != 1 {
		t.Errorf("add: %+v, %v", n, err)
	}
	if _, err := c.RemoveAlias(ctx, "git"); err == nil || err.Error() != "no extra name git" {
		t.Errorf("remove: %v", err)
	}
	if f, err := c.Forget(ctx, "old"); err != nil || f.Name != "old" {
		t.Errorf("forget: %+v, %v", f, err)
	}
	if _, err := c.Rename(ctx, strings.Repeat("x", 100_000)); err == nil {
		t.Error("a very long name was passed on")
	}
	if l, err := c.Leave(ctx); err != nil || l.Told != 3 || l.Folder != "/f" {
		t.Errorf("leave: %+v, %v", l, err)
	}
	if _, err := c.Status(ctx); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after leaving: %v", err)
	}
}

const changeAsNobody = "CREDANT_TEST_CHANGE_AS_NOBODY"

// Whoever is not root changes nothing of the membership.
func TestOnlyRootChangesMembership(t *testing.T) {
	if socket := os.Getenv(changeAsNobody); socket != "" {
		c, ctx := NewClient(socket), context.Background()
		_, rename := c.Rename(ctx, "x")
		_, add := c.AddAlias(ctx, "x")
		_, remove := c.RemoveAlias(ctx, "x")
		_, forget := c.Forget(ctx, "x")
		_, leave := c.Leave(ctx)
		for i, err := range []error{rename, add, remove, forget, leave} {
			if err == nil || !strings.Contains(err.Error(), "only root") {
				t.Errorf("change %d: %v", i, err)
			}
		}
		return
	}
	if os.Getuid() != 0 {
		strict.Skip(t, "only root can become nobody")
	}
	s := &stub{Membership: &members{end: func() { t.Error("nobody left the network") }}}
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
	cmd := exec.Command(binary, "-test.run=^TestOnlyRootChangesMembership$")
	cmd.Dir = "/"
	cmd.Env = []string{changeAsNobody + "=" + socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}
