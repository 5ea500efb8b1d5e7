package hostdns

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A host without anything, as a minimal container is.
func TestHostsInContainer(t *testing.T) {
	root, file := makeHosts(t, usersLines)
	h := New(Config{Network: "home", Interface: "credant0", Domain: "home.internal", Root: root, Record: root + "/state/home/resolver.json"})
	entry := func(addr string) []Entry {
		return []Entry{{Addr: netip.MustParseAddr(addr), Names: []string{"nas.home.internal"}}}
	}
	stop := startRun(t, h)
	h.Set(addrPorts("10.20.0.1:53"), entry("10.20.0.7"))
	holds(t, file.path, "10.20.0.7\tnas.home.internal nas\n")
	if s := inMode(t, h, ModeHosts); s.Why == "" || s.Lacks == "" || len(s.Servers) > 0 {
		t.Errorf("status %+v", s)
	}
	h.Set(addrPorts("10.20.0.1:53"), entry("10.20.0.8"))
	holds(t, file.path, "10.20.0.8\tnas")

	t.Log("written by another program: in place, then replaced, then removed")
	must(t, os.WriteFile(file.path, []byte("127.0.0.1 localhost\n"), 0o644))
	holds(t, file.path, "127.0.0.1 localhost\n"+beginMark("home"))
	write(t, root+"/etc/new", "127.0.0.2 localhost\n")
	must(t, os.Rename(root+"/etc/new", file.path))
	holds(t, file.path, "127.0.0.2 localhost\n"+beginMark("home"))
	must(t, os.Remove(file.path))
	holds(t, file.path, "10.20.0.8\tnas")
	must(t, os.WriteFile(file.path, []byte(usersLines), 0o644))
	holds(t, file.path, "10.20.0.8\tnas")

	stop(ErrKeep)
	holds(t, file.path, "10.20.0.8\tnas")
	t.Log("the next one leaves it until it knows the names")
	h = New(Config{Network: "home", Interface: "credant0", Domain: "home.internal", Root: root, Record: root + "/state/home/resolver.json"})
	h.Set(addrPorts("10.20.0.1:53"), nil)
	stop = startRun(t, h)
	inMode(t, h, ModeHosts)
	holds(t, file.path, "10.20.0.8\tnas")
	h.Set(addrPorts("10.20.0.1:53"), entry("10.20.0.9"))
	holds(t, file.path, "10.20.0.9\tnas")
	stop(ErrKeep)

	t.Log("the next one is told off")
	h = New(Config{Network: "home", Interface: "credant0", Domain: "home.internal", Mode: ModeOff, Root: root, Record: root + "/state/home/resolver.json"})
	stop = startRun(t, h)
	inMode(t, h, ModeOff)
	if got := read(t, file.path); got != usersLines {
		t.Errorf("it is %s", got)
	}
	stop(nil)
}

// Without a record the marks tell what to clean.
func TestCleanWithoutRecord(t *testing.T) {
	root, file := makeHosts(t, usersLines)
	_, _, err := file.apply(t.Context(), someEntries("home", 3))
	must(t, err)
	must(t, os.WriteFile(root+"/state/home/resolver.json", []byte("{"), 0o600))
	removed, err := Clean(root, "home", root+"/state/home/resolver.json")
	if err == nil || len(removed) != 1 {
		t.Errorf("removed %q, %v", removed, err)
	}
	if got := read(t, file.path); got != usersLines {
		t.Errorf("it is %s", got)
	}
	if removed, err := Clean(root+"/nowhere", "home", root+"/nowhere/state/home/resolver.json"); err != nil || len(removed) > 0 {
		t.Errorf("removed %q, %v, where nothing is", removed, err)
	}
}

func holds(t *testing.T, path, text string) {
	t.Helper()
	eventually(t, path+" holds "+text, func() error {
		b, err := os.ReadFile(path)
		if err == nil && !strings.Contains(string(b), text) {
			err = os.ErrNotExist
		}
		return err
	})
}

// A look at /etc/hosts that finds everything as it should be calls for no other.
func TestLookAtHostsIsNoChange(t *testing.T) {
	_, h := makeHosts(t, usersLines)
	w, err := newWatcher()
	must(t, err)
	defer w.close()
	w.set([]string{h.path})
	changes := func() (n int) { // the kernel has them before the call that makes them returns
		b := make([]byte, 16<<10)
		for {
			size, err := unix.Read(w.fd, b)
			if errors.Is(err, unix.EAGAIN) {
				return n
			}
			must(t, err)
			if w.concerns(b[:size]) {
				n++
			}
		}
	}
	entries := someEntries("home", 3)
	_, _, err = h.apply(t.Context(), entries)
	must(t, err)
	if changes() == 0 {
		t.Error("a write is not seen")
	}
	for range 3 {
		if did, _, err := h.apply(t.Context(), entries); err != nil || did {
			t.Fatalf("the same again: %v, %v", did, err)
		}
	}
	if changes() > 0 {
		t.Error("a look counts as a change")
	}
}
