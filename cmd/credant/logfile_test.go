package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLogStaysSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := openLog(path, 1000)
	if err != nil {
		t.Fatal(err)
	}
	line := []byte(strings.Repeat("x", 99) + "\n")
	for range 55 {
		if _, err := l.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"log": 500, "log.1": 1000} {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(path), name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, bytes.Repeat(line, want/len(line))) {
			t.Errorf("%s has %d bytes, want %d", name, len(b), want)
		}
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
}

func TestLastWords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("credant: an older error\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ logged, want string }{
		{"", ""},
		{"level=INFO msg=started\ncredant: no device: load the module\n", "no device: load the module"},
		{"credant: warning: all can read it\nlevel=INFO msg=started\n", "the daemon ended (level=INFO msg=started): see " + path},
		{"level=INFO msg=started\npanic: a bug [recovered]\n\ngoroutine 1 [running]:\nmain.main()\n", "the daemon crashed (panic: a bug [recovered]): see " + path},
		{"fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1\n", "the daemon crashed (fatal error: all goroutines are asleep - deadlock!): see " + path},
		{strings.Repeat("noise\n", 50_000) + "credant: the end\n", "the end"},
	}
	for _, tt := range tests {
		l, err := openLog(path, maxLog)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Write([]byte(tt.logged)); err != nil {
			t.Fatal(err)
		}
		if got := l.lastWords(); got != tt.want {
			t.Errorf("%.60q: %q, want %q", tt.logged, got, tt.want)
		}
		l.Close()
	}
}
