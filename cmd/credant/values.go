package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/credant/credant/control"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

// value is a flag whose text is understood, or refused, when it is set. It
// implements pflag.Value.
type value[T any] struct {
	target *T
	kind   string // how --help names the value
	parse  func(string) (T, error)
	text   string
}

func (v *value[T]) Set(s string) error {
	t, err := v.parse(s)
	if err != nil {
		return err
	}
	*v.target, v.text = t, s
	return nil
}

func (v *value[T]) String() string { return v.text }
func (v *value[T]) Type() string   { return v.kind }

// values is a flag that can be given again and again. It implements
// pflag.Value.
type values[T any] struct {
	target *[]T
	kind   string
	parse  func(string) (T, error)
	texts  []string
}

func (v *values[T]) Set(s string) error {
	t, err := v.parse(s)
	if err != nil {
		return err
	}
	*v.target, v.texts = append(*v.target, t), append(v.texts, s)
	return nil
}

func (v *values[T]) String() string { return strings.Join(v.texts, ",") }
func (v *values[T]) Type() string   { return v.kind }
func (v *values[T]) list() []string { return slices.Clone(v.texts) }

// repeatable is implemented by the flags that take a list.
type repeatable interface{ list() []string }

func parseNetwork(s string) (string, error) {
	if err := keys.ValidNetworkName(s); err != nil {
		return "", fmt.Errorf("%q: %w", s, err)
	}
	return s, nil
}

func parseNodeName(s string) (string, error) { return s, control.ValidNodeName(s) }

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is not a port: give a number up to 65535", s)
	}
	return uint16(n), nil
}

func parseInterface(s string) (string, error) {
	// The kernel's own rule (dev_valid_name): 15 bytes, no slash, colon or space.
	if s == "" || len(s) > 15 || s == "." || s == ".." || strings.ContainsAny(s, "/: \t\r\n") {
		return "", fmt.Errorf("%q is no name for an interface: give up to 15 characters such as credant0", s)
	}
	return s, nil
}

func parseIPv4(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return a, fmt.Errorf("%q is not an address: give one such as 10.20.0.5", s)
	case !a.Is4():
		return a, fmt.Errorf("%s: only the IPv4 address can be chosen, the IPv6 address follows from the node's key", s)
	}
	return a, nil
}

func parseSubnet(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() {
		return netip.Prefix{}, fmt.Errorf("%q is not an IPv4 prefix: give one such as 10.20.0.0/16", s)
	}
	return p.Masked(), nil
}

func parseHostPort(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err == nil && host == "" {
		err = errors.New("no host")
	}
	if n, perr := strconv.ParseUint(port, 10, 16); err == nil && (perr != nil || n == 0) {
		err = errors.New("no port")
	}
	if err != nil {
		return "", fmt.Errorf("%q: give HOST:PORT, such as vpn.example.org:23000 or [2001:db8::1]:23000", s)
	}
	return s, nil
}

func parseRelay(s string) (string, error) {
	_, err := wire.ParseServerAddress(s)
	return s, err
}

func parsePath(s string) (string, error) {
	if s == "" {
		return "", errors.New("the path is empty")
	}
	return filepath.Abs(s)
}

// parseSocket is parsePath for a name that unix(7) has room for.
func parseSocket(s string) (string, error) {
	path, err := parsePath(s)
	if err == nil && len(path) > 107 {
		err = errors.New("the path of a socket has at most 107 bytes: give a shorter one")
	}
	return path, err
}

// parseSource is parsePath, with - for standard input.
func parseSource(s string) (string, error) {
	if s == "-" {
		return s, nil
	}
	return parsePath(s)
}

func parseLevel(s string) (slog.Level, error) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	l, ok := levels[s]
	if !ok {
		return 0, fmt.Errorf("%q: give debug, info, warn or error", s)
	}
	return l, nil
}

func parseBackend(s string) (string, error) {
	switch s {
	case "auto", "kernel", "embedded":
		return s, nil
	}
	return "", fmt.Errorf("%q: give auto, kernel or embedded", s)
}

func parseCount(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is not a number of requests: give 1 or more", s)
	}
	return n, nil
}

// parseInterval takes seconds, as ping(8) does, or a Go duration.
func parseInterval(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		var seconds float64
		if seconds, err = strconv.ParseFloat(s, 64); err == nil {
			d = time.Duration(seconds * float64(time.Second))
		}
	}
	if err != nil || d < 10*time.Millisecond || d > time.Hour {
		return 0, fmt.Errorf("%q: give seconds, from 0.01 to 3600", s)
	}
	return d, nil
}
