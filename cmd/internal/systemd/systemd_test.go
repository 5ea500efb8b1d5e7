package systemd

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestNotifier(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	n := NewNotifier(path)
	n.Send("READY=1")
	n.Status("two\nlines")
	b := make([]byte, 100)
	for _, want := range []string{"READY=1", "STATUS=two lines"} {
		if got, err := manager.Read(b); err != nil || string(b[:got]) != want {
			t.Errorf("the manager heard %q, %v, want %q", b[:got], err, want)
		}
	}
	// Without a manager, or with one that is gone, nothing happens.
	NewNotifier("").Send("READY=1")
	NewNotifier(path + ".gone").Send("READY=1")
	if !n.Listens() || NewNotifier("").Listens() {
		t.Error("who listens is told wrongly")
	}
}

// A manager that is busy hears later that the program is ready: it would end one of which it did not hear.
func TestReadyWaitsForABusyManager(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	before := 0
	for ; before < 10_000; before++ { // until its queue is full
		c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		_, err = c.Write([]byte("x"))
		c.Close()
		if err != nil {
			break
		}
	}
	said := make(chan struct{})
	go func() {
		defer close(said)
		NewNotifier(path).Ready("STATUS=here")
	}()
	time.Sleep(300 * time.Millisecond) // the manager has other things to do
	b := make([]byte, 100)
	_ = manager.SetReadDeadline(time.Now().Add(30 * time.Second))
	for {
		n, err := manager.Read(b)
		if err != nil {
			t.Fatalf("the manager heard nothing after %d others: %v", before, err)
		}
		if string(b[:n]) == "READY=1\nSTATUS=here" {
			break
		}
	}
	<-said
}

func TestWatchdog(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"", "", 0},
		{"240000000", "", 2 * time.Minute},
		{"240000000", own, 2 * time.Minute},
		{"240000000", "1", 0},
		{"0", own, 0},
		{"-5", own, 0},
		{"many", own, 0},
		{"99999999999999999", own, 0},
	} {
		env := map[string]string{"WATCHDOG_USEC": c.usec, "WATCHDOG_PID": c.pid}
		if got := Watchdog(func(name string) string { return env[name] }); got != c.want {
			t.Errorf("%q for %q: %v, want %v", c.usec, c.pid, got, c.want)
		}
	}
}

func TestIsJournal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	stream := fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	if !IsJournal(f, stream) {
		t.Error("the stream was not recognised")
	}
	var other strings.Builder
	if IsJournal(f, "") || IsJournal(f, "1:2") || IsJournal(&other, stream) {
		t.Error("something else was taken for the stream")
	}
}

func TestJournalWriter(t *testing.T) {
	var out strings.Builder
	w := JournalWriter{To: &out, Program: "credant"}
	log := slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: WithoutTime}))
	log.Debug("a", "text", "two\nlines")
	log.Info("b")
	log.Warn("c", "times", 2)
	log.WithGroup("g").Error("d", "time", 5)
	fmt.Fprint(w, "credant: warning: e\ncredant: f\ng\n")
	want := `<7>msg=a text="two\nlines"
<6>msg=b
<4>msg=c times=2
<3>msg=d g.time=5
<4>credant: warning: e
<3>credant: f
g
`
	if out.String() != want {
		t.Errorf("the journal got\n%s, want\n%s", out.String(), want)
	}
}

func TestCredential(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "credant.home.passphrase")
	if err := os.WriteFile(path, []byte("secret"), 0o400); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ dir, name, want string }{
		{dir, "credant.home.passphrase", path},
		{dir, "credant.away.passphrase", ""},
		{"", "credant.home.passphrase", ""},
	} {
		if got := Credential(c.dir, c.name); got != c.want {
			t.Errorf("%s in %q: %q, want %q", c.name, c.dir, got, c.want)
		}
	}
}
