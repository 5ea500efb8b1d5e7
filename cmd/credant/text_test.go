package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/credant/credant/cmd/internal/cli"
)

func TestUnits(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{millis(0.414), "0.41 ms"},
		{millis(9.96), "10.0 ms"},
		{millis(12.34), "12.3 ms"},
		{millis(99.6), "100 ms"},
		{millis(9999.4), "9999 ms"},
		{millis(12345), "12 s"},
		{span(-time.Second), "0 s"},
		{span(59 * time.Second), "59 s"},
		{span(61 * time.Minute), "1 h 1 min"},
		{span(2 * time.Hour), "2 h"},
		{span(25 * time.Hour), "1 day"},
		{span(1000 * time.Hour), "41 days"},
		{octets(0), "0 B"},
		{octets(1023), "1023 B"},
		{octets(1024), "1 KiB"},
		{octets(1234567), "1.18 MiB"},
		{octets(1 << 50), "1024 TiB"},
		{shorten("short", 5), "short"},
		{shorten("longer-name", 7), "lon…ame"},
		{shorten("longer-name", 6), "lon…me"},
		{printable("a\x1b[2J\u202eb"), "a?[2J?b"},
		{listed([]string{"a", "b", "c"}, 2), "a, b and 1 more"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}

func TestWrap(t *testing.T) {
	got := wrap("one two  three\nfour abcdefghijklmn", 8)
	want := []string{"one two", "three", "four", "abcdefgh", "ijklmn"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Each --help fits the width, ends with a line break and shows an example.
func TestHelpFits(t *testing.T) {
	for _, command := range []string{"", "new", "up", "down", "status", "ping", "version", "help"} {
		var out bytes.Buffer
		args := append(strings.Fields(command), "--help")
		if code := run(t.Context(), args, strings.NewReader(""), &out, &out); code != cli.ExitDone {
			t.Errorf("%s: exit code %d", command, code)
		}
		t.Run(command, func(t *testing.T) { fits(t, out.String()) })
		if !strings.Contains(out.String(), "Examples:\n") {
			t.Errorf("%s: no example in\n%s", command, out.String())
		}
	}
}
