package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// maxLog is the size at which a log is set aside as log.1, so that a daemon
// which runs for years keeps at most twice that.
const maxLog = 4 << 20

// logFile is the log of a daemon in the background. In the daemon, standard
// error is the same file, so that a crash's trace is found there as well.
type logFile struct {
	path string
	max  int64

	mu    sync.Mutex
	file  *os.File
	begin int64 // size when it was opened
	size  int64
}

func openLog(path string, most int64) (*logFile, error) {
	l := &logFile{path: path, max: most}
	return l, l.open()
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("open the log: %w", err)
	}
	l.file, l.size, l.begin = f, fi.Size(), fi.Size()
	return nil
}

func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(b)) > l.max {
		l.rotate()
	}
	n, err := l.file.Write(b)
	l.size += int64(n)
	return n, err
}

// rotate begins a new file. Where that fails the old one goes on growing,
// which is better than to lose what it is told.
func (l *logFile) rotate() {
	old := l.file
	if os.Rename(l.path, l.path+".1") != nil || l.open() != nil {
		return
	}
	// Standard output and error follow where they were the old file.
	for _, std := range []*os.File{os.Stdout, os.Stderr} {
		if sameFile(std, old) {
			_ = unix.Dup3(int(l.file.Fd()), int(std.Fd()), 0)
		}
	}
	old.Close()
}

func sameFile(a, b *os.File) bool {
	x, errX := a.Stat()
	y, errY := b.Stat()
	return errX == nil && errY == nil && os.SameFile(x, y)
}

func (l *logFile) Close() error { return l.file.Close() }

// lastWords returns the error with which a process that logged here ended,
// since the log was opened: what it printed as its error, else the cause of
// its crash, else its last line.
func (l *logFile) lastWords() string {
	const tail = 64 << 10
	fi, err := l.file.Stat()
	if err != nil {
		return ""
	}
	from := max(l.begin, fi.Size()-tail)
	b, err := io.ReadAll(io.NewSectionReader(l.file, from, tail))
	if err != nil {
		return ""
	}
	last := ""
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		line := strings.TrimSpace(lines[i])
		if said, ok := strings.CutPrefix(line, "credant: "); ok && !strings.HasPrefix(said, "warning: ") {
			return said
		}
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return fmt.Sprintf("the daemon crashed (%s): see %s", line, l.path)
		}
		if last == "" {
			last = line
		}
	}
	if last == "" {
		return ""
	}
	return fmt.Sprintf("the daemon ended (%s): see %s", last, l.path)
}
