package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/control"
	"github.com/credant/credant/discovery/keys"
)

var (
	backends = []string{"auto", "kernel", "embedded"}
	dnsModes = []string{"auto", "resolved", "resolvconf", "hosts", "off"}
)

func parseNetwork(s string) (string, error) {
	if err := keys.ValidNetworkName(s); err != nil {
		return "", fmt.Errorf("%q: %w", s, err)
	}
	return s, nil
}

func parseNodeName(s string) (string, error) { return s, control.ValidNodeName(s) }

func parseInterface(s string) (string, error) {
	// The kernel's own rule (dev_valid_name): 15 bytes, no slash, colon or space.
	if s == "" || len(s) > 15 || s == "." || s == ".." || strings.ContainsAny(s, "/: \t\r\n") {
		return "", fmt.Errorf("%q is no name for an interface: give up to 15 characters such as credant0", s)
	}
	return s, nil
}

func parseOverlay(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	a = a.Unmap()
	if err != nil || a.Zone() != "" || !a.IsGlobalUnicast() {
		return a, fmt.Errorf("%q is not an address that a node can have: give one of the network, such as 10.20.0.5", s)
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

// parseSocket is cli.ParsePath for a name that unix(7) has room for.
func parseSocket(s string) (string, error) {
	path, err := cli.ParsePath(s)
	if err == nil && len(path) > 107 {
		err = errors.New("the path of a socket has at most 107 bytes: give a shorter one")
	}
	return path, err
}

// parseSource is cli.ParsePath, with - for standard input.
func parseSource(s string) (string, error) {
	if s == "-" {
		return s, nil
	}
	return cli.ParsePath(s)
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
