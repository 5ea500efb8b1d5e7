package embedded

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/credant/credant/wgsetup/internal/nstest"
)

// Of the sockets in the directory only our own dead ones go.
func TestRemoveDead(t *testing.T) {
	directory := t.TempDir()
	path := func(name string) string { return filepath.Join(directory, name) }
	listen := func(name string) *net.UnixListener {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path(name), Net: "unix"})
		nstest.Must(t, err)
		l.SetUnlinkOnClose(false)
		return l
	}
	for _, name := range []string{"credant0.sock", "credant1.sock", "credant12.sock", "wg0.sock", "credant3.socket"} {
		nstest.Must(t, listen(name).Close())
	}
	defer listen("credant4.sock").Close()
	nstest.Must(t, os.WriteFile(path("credant5.sock"), nil, 0o600))
	nstest.Must(t, os.Symlink(path("wg0.sock"), path("credant6.sock")))

	kept := func(name string) bool { return name == "credant1" }
	removed, err := removeDead(directory, "credant", kept)
	nstest.Must(t, err)
	if diff := cmp.Diff([]string{path("credant0.sock"), path("credant12.sock")}, removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	for _, name := range removed {
		if _, err := os.Lstat(name); err == nil {
			t.Errorf("%s is there", name)
		}
	}
	for _, name := range []string{"credant1.sock", "credant4.sock", "credant5.sock", "credant6.sock", "wg0.sock", "credant3.socket"} {
		if _, err := os.Lstat(path(name)); err != nil {
			t.Error(err)
		}
	}
	removed, err = removeDead(directory, "credant", kept)
	nstest.Must(t, err)
	if len(removed) != 0 {
		t.Errorf("removed %q the second time", removed)
	}
	if removed, err := removeDead(path("missing"), "credant", kept); err != nil || len(removed) != 0 {
		t.Errorf("without a directory: %q, %v", removed, err)
	}
}
