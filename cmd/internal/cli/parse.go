package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// LogLevels are the words that ParseLevel takes.
var LogLevels = []string{"debug", "info", "warn", "error"}

// ParseLevel reads how much is logged.
func ParseLevel(s string) (slog.Level, error) {
	levels := []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}
	i := slices.Index(LogLevels, s)
	if i < 0 {
		return 0, notAmong(s, LogLevels)
	}
	return levels[i], nil
}

// OneOf reads one of the words.
func OneOf(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !slices.Contains(words, s) {
			return "", notAmong(s, words)
		}
		return s, nil
	}
}

func notAmong(s string, words []string) error {
	last := len(words) - 1
	return fmt.Errorf("%q: give %s or %s", s, strings.Join(words[:last], ", "), words[last])
}

// ParsePath reads the name of a file, and makes it absolute: the value may be
// used where another folder is the current one.
func ParsePath(s string) (string, error) {
	if s == "" {
		return "", errors.New("the path is empty")
	}
	return filepath.Abs(s)
}

// ParsePort reads a UDP port. What 0 means is the caller's matter.
func ParsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is not a port: give a number up to 65535", s)
	}
	return uint16(n), nil
}

// ParseHostPort reads where something can be reached. example is shown to who
// gave something else.
func ParseHostPort(example string) func(string) (string, error) {
	_, port, _ := net.SplitHostPort(example)
	return func(s string) (string, error) {
		host, p, err := net.SplitHostPort(s)
		n, portErr := strconv.ParseUint(p, 10, 16)
		if err != nil || !validHost(host) || portErr != nil || n == 0 {
			return "", fmt.Errorf("%q: give HOST:PORT, such as %s or [2001:db8::1]:%s", s, example, port)
		}
		return s, nil
	}
}

// validHost refuses what is neither a name nor an address, such as the
// beginning of a URL. It need not be right about names that do not exist.
func validHost(s string) bool {
	return s != "" && len(s) <= 253 && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`/@#"'\`, r)
	})
}
