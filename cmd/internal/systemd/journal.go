package systemd

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"
)

// IsJournal tells whether w leads to the journal, given the value of
// JOURNAL_STREAM: the device and inode of the stream that the manager has made.
func IsJournal(w io.Writer, stream string) bool {
	f, ok := w.(*os.File)
	if !ok || stream == "" {
		return false
	}
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return false
	}
	return stream == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// JournalWriter puts a priority in front of each line (sd-daemon(3)): of a log by
// the level that the line begins with, which it takes away; of what a command
// prints for people as an error or warning.
type JournalWriter struct {
	To      io.Writer
	Program string // as in "PROGRAM: warning: "
}

// Write takes whole lines, as slog and the commands write them.
func (j JournalWriter) Write(b []byte) (int, error) {
	var out bytes.Buffer
	for line := range bytes.Lines(b) {
		priority, rest := j.priority(line)
		out.WriteString(priority)
		out.Write(rest)
	}
	if _, err := j.To.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (j JournalWriter) priority(line []byte) (string, []byte) {
	for _, l := range []struct{ begin, priority string }{
		{"level=DEBUG ", "<7>"},
		{"level=INFO ", "<6>"},
		{"level=WARN ", "<4>"},
		{"level=ERROR ", "<3>"},
	} {
		if rest, ok := bytes.CutPrefix(line, []byte(l.begin)); ok {
			return l.priority, rest
		}
	}
	switch {
	case bytes.HasPrefix(line, []byte(j.Program+": warning: ")):
		return "<4>", line
	case bytes.HasPrefix(line, []byte(j.Program+": ")):
		return "<3>", line
	}
	return "", line
}

// WithoutTime is for slog.HandlerOptions.ReplaceAttr: the journal has the time.
func WithoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
