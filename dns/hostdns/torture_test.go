package hostdns

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// writerEnv makes this binary a daemon that changes its block under this root
// without end.
const writerEnv = "CREDANT_TEST_HOSTS_WRITER"

const usersLines = "127.0.0.1 localhost\n# kept by hand\n192.0.2.1 printer.office.example printer\n"

func writeHostsForEver(root string) {
	h := newHostsFile(root, "home", "home.internal", root+"/state/home/resolver.json")
	h.step = func(string) { time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond) }
	fmt.Println("ready")
	for {
		if _, _, err := h.apply(context.Background(), someEntries("home", rand.IntN(400))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func someEntries(network string, n int) (entries []Entry) {
	for i := range n {
		addr := netip.AddrFrom4([4]byte{10, 20, byte(i >> 8), byte(i)})
		entries = append(entries, Entry{Addr: addr, Names: []string{fmt.Sprintf("node%d-%d.%s.internal", i, rand.IntN(1000), network)}})
	}
	return entries
}

func makeHosts(t *testing.T, text string) (root string, h hostsFile) {
	t.Helper()
	root = t.TempDir()
	write(t, root+"/etc/hosts", text)
	must(t, os.MkdirAll(root+"/state/home", 0o700))
	return root, newHostsFile(root, "home", "home.internal", root+"/state/home/resolver.json")
}

// A daemon that is killed while it writes, again and again, costs nobody a line.
func TestKilledWriters(t *testing.T) {
	const below = "198.51.100.1 written.below.example\n"
	root, h := makeHosts(t, usersLines)
	for round := range 30 {
		c := exec.Command("/proc/self/exe")
		c.Env = append(os.Environ(), writerEnv+"="+root)
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := c.StdoutPipe()
		must(t, err)
		must(t, c.Start())
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
			t.Fatalf("the writer said %q: %v", line, err)
		}
		time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond)
		must(t, c.Process.Kill())
		_ = c.Wait() // "signal: killed"

		must(t, h.finish(t.Context()))
		text := read(t, h.path)
		if round == 10 { // from now on the block is in the middle
			text += below
			must(t, os.WriteFile(h.path, []byte(text), 0o644))
		}
		before, after := splitHosts([]byte(text), "home", "home.internal")
		want := usersLines
		if round >= 10 {
			want += below
		}
		if got := string(before) + string(after); got != want {
			t.Fatalf("round %d: the others' lines are\n%s", round, got)
		}
		if n := strings.Count(text, "# BEGIN"); n > 1 || n != strings.Count(text, "# END") {
			t.Fatalf("round %d: the block is torn:\n%s", round, text)
		}
	}
	if _, err := Clean(root, "home", root+"/state/home/resolver.json"); err != nil {
		t.Fatal(err)
	}
	if got := read(t, h.path); got != usersLines+below {
		t.Errorf("cleaned: %s", got)
	}
}

// Whatever part of a write reached the disk, the next start finishes it.
func TestTornWrites(t *testing.T) {
	old := []byte(usersLines)
	small := editHosts(old, "home", "home.internal", []string{"10.20.0.7\tnas.home.internal nas"})
	large := editHosts(append(small, "192.0.2.8 below\n"...), "home", "home.internal", []string{"10.20.0.7\tnas.home.internal nas", "10.20.0.8\ttv.home.internal tv"})
	for _, j := range []journal{{old, small}, {small, old}, {small, large}, {large, small}, {large, old}, {nil, small}} {
		_, h := makeHosts(t, "")
		for cut := 0; cut <= max(len(j.Have), len(j.Want)); cut += 1 + rand.IntN(25) {
			torn := append([]byte(nil), j.Want[:min(cut, len(j.Want))]...)
			if len(j.Have) > len(torn) {
				torn = append(torn, j.Have[len(torn):]...)
			}
			zeros := append(append([]byte(nil), j.Want[:min(cut, len(j.Want))]...), make([]byte, 10)...)
			for _, text := range [][]byte{torn, zeros, j.Have[:min(cut, len(j.Have))]} {
				must(t, os.WriteFile(h.path, text, 0o644))
				path := journalFor(t, h)
				must(t, writeJournal(path, j))
				must(t, h.finish(t.Context()))
				got := read(t, h.path)
				if got != string(j.Want) && !bytes.Equal(text, j.Have) {
					t.Fatalf("after %d of %q over %q: %q", cut, j.Want, j.Have, got)
				}
				if _, err := os.Stat(path); err == nil {
					t.Fatal("the journal is still there")
				}
			}
		}
	}
}

func journalFor(t *testing.T, h hostsFile) string {
	t.Helper()
	f, err := os.Open(h.path)
	must(t, err)
	defer f.Close()
	path, err := h.journalPath(f)
	must(t, err)
	return path
}

// Who rewrote the file since the crash is right.
func TestJournalIsOutdated(t *testing.T) {
	_, h := makeHosts(t, "127.0.0.1 localhost\n192.0.2.3 new.example\n")
	must(t, writeJournal(journalFor(t, h), journal{Have: []byte(usersLines), Want: []byte(usersLines + "# END credant home\n")}))
	must(t, h.finish(t.Context()))
	if got := read(t, h.path); got != "127.0.0.1 localhost\n192.0.2.3 new.example\n" {
		t.Errorf("it is %s", got)
	}
	must(t, os.WriteFile(journalFor(t, h), []byte(`{"have":"MTI`), 0o600))
	must(t, h.finish(t.Context()))
	if left, _ := filepath.Glob(h.journal + "/hosts-*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// Two networks write the same file at once.
func TestTwoNetworksAtOnce(t *testing.T) {
	root, home := makeHosts(t, usersLines)
	must(t, os.MkdirAll(root+"/state/work", 0o700))
	work := newHostsFile(root, "work", "work.internal", root+"/state/work/resolver.json")
	done := make(chan error, 2)
	for _, h := range []hostsFile{home, work} {
		go func() {
			for range 100 {
				if _, _, err := h.apply(t.Context(), someEntries(h.network, rand.IntN(50))); err != nil {
					done <- err
					return
				}
			}
			_, _, err := h.apply(t.Context(), []Entry{{Addr: netip.MustParseAddr("10.20.0.7"), Names: []string{"nas." + h.domain}}})
			done <- err
		}()
	}
	must(t, <-done)
	must(t, <-done)
	text := read(t, home.path)
	if strings.Count(text, " nas\n") != 1 || !strings.Contains(text, "nas.home.internal") || !strings.Contains(text, "nas.work.internal") {
		t.Errorf("the two are %s", text)
	}
	for _, h := range []hostsFile{home, work} {
		_, _, err := h.apply(t.Context(), nil)
		must(t, err)
	}
	if got := read(t, home.path); got != usersLines {
		t.Errorf("in the end it is %s", got)
	}
}

// In containers /etc/hosts is a mount: it is the same file before and after.
func TestHostsIsWrittenInPlace(t *testing.T) {
	_, h := makeHosts(t, "127.0.0.1 localhost") // no end of line
	before, err := os.Stat(h.path)
	must(t, err)
	var touched []string
	h.step = func(step string) { touched = append(touched, step) }
	entries := []Entry{{Addr: netip.MustParseAddr("10.20.0.7"), Names: []string{"nas.home.internal"}}}
	changed, _, err := h.apply(t.Context(), entries)
	must(t, err)
	if !changed || len(touched) == 0 {
		t.Error("nothing was written")
	}
	touched = nil
	if changed, _, err = h.apply(t.Context(), entries); err != nil || changed || touched != nil {
		t.Errorf("the second time: %v, %v, %v", changed, touched, err)
	}
	after, err := os.Stat(h.path)
	must(t, err)
	if !os.SameFile(before, after) {
		t.Error("another file is in its place")
	}
	want := "127.0.0.1 localhost\n" + beginMark("home") + unended + "\n10.20.0.7\tnas.home.internal nas\n" + endMark("home") + "\n"
	if got := read(t, h.path); got != want {
		t.Errorf("it is %s", got)
	}
	_, _, err = h.apply(t.Context(), nil)
	must(t, err)
	if got := read(t, h.path); got != "127.0.0.1 localhost" {
		t.Errorf("in the end it is %q", got)
	}
}

// Where the disk of /etc/hosts is full, the file stays as it was; where the one of the
// copy is, names are not added, but are taken away.
func TestFullDisks(t *testing.T) {
	if !inHost(t) {
		return
	}
	for _, full := range []string{"/etc", "/state"} {
		root, h := makeHosts(t, usersLines)
		must(t, os.MkdirAll(root+"/small", 0o700))
		must(t, unix.Mount("tmpfs", root+"/small", "tmpfs", 0, "size=256k"))
		must(t, os.CopyFS(root+"/small", os.DirFS(root+full)))
		must(t, unix.Mount(root+"/small", root+full, "", unix.MS_BIND, ""))
		t.Cleanup(func() {
			for _, dir := range []string{full, "/small"} {
				must(t, unix.Unmount(root+dir, unix.MNT_DETACH))
			}
		})
		must(t, os.WriteFile(root+full+"/fill", nil, 0o600))
		fill := func() {
			f, err := os.OpenFile(root+full+"/fill", os.O_WRONLY|os.O_APPEND, 0)
			must(t, err)
			for err == nil {
				_, err = f.Write(make([]byte, 4096))
			}
			must(t, f.Close())
		}
		_, _, err := h.apply(t.Context(), someEntries("home", 3))
		must(t, err)
		few := read(t, h.path)
		fill()
		errs := map[string]bool{}
		for range 3 {
			_, _, err := h.apply(t.Context(), someEntries("home", 400))
			if !errors.Is(err, unix.ENOSPC) {
				t.Fatalf("%s is full: %v", full, err)
			}
			errs[err.Error()] = true
		}
		if got := read(t, h.path); got != few {
			t.Errorf("%s is full: the file is\n%s", full, got)
		}
		if len(errs) != 1 {
			t.Errorf("%s is full, said each time anew: %v", full, errs)
		}
		_, _, err = h.apply(t.Context(), nil)
		must(t, err)
		if got := read(t, h.path); got != usersLines {
			t.Errorf("%s is full: in the end it is\n%s", full, got)
		}
		if left, _ := filepath.Glob(h.journal + "/.*journal*"); len(left) > 0 {
			t.Errorf("%s is full: left %q", full, left)
		}
	}
}
