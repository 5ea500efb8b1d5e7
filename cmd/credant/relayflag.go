package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/relay/wire"
)

// relayExample has the form of what a relay prints.
const relayExample = "relay.example.org:3478#KEY"

// parseRelay takes what credant-relay prints after --relay. Without #KEY it is
// whoever answers there.
func parseRelay(s string) (string, error) {
	where, key, hasKey := strings.Cut(s, "#")
	if hasKey {
		if err := checkRelayKey(key); err != nil {
			return "", fmt.Errorf("%q: %w: copy the whole line that credant-relay prints, or leave #KEY out to take whoever answers there", s, err)
		}
	}
	// wire takes such an address to have no port. A person who leaves the
	// brackets out rarely means that.
	if a, err := netip.ParseAddr(where); err == nil && a.Is6() {
		return "", fmt.Errorf("%q: put an IPv6 address in brackets, such as [2001:db8::5]:%d#KEY", s, wire.DefaultPort)
	}
	if _, port, err := net.SplitHostPort(where); err == nil {
		if n, err := cli.ParsePort(port); err != nil || n == 0 {
			return "", fmt.Errorf("%q: %q is not a port: give a number from 1 to 65535, %d is the usual one", s, port, wire.DefaultPort)
		}
	}
	a, err := wire.ParseServerAddress(s)
	if err != nil {
		return "", fmt.Errorf("%q is not where a relay can be: give HOST:PORT#KEY as credant-relay prints it, such as %s", s, relayExample)
	}
	return a.String(), nil
}

func checkRelayKey(key string) error {
	const length = 52
	_, err := wire.ParseServerPublic(key)
	switch {
	case err == nil:
		return nil
	case key == "":
		return errors.New("no key stands behind the #")
	case len(key) != length:
		return fmt.Errorf("a key has %d characters, the one behind the # has %d", length, len(key))
	}
	return errors.New("what stands behind the # is no relay's key")
}

// distinctRelays leaves out relays that are named again, and refuses one that
// is named in two ways: only one of them can be right.
func distinctRelays(relays []string) ([]string, error) {
	var out []string
	for _, relay := range relays {
		if slices.Contains(out, relay) {
			continue
		}
		where, _, _ := strings.Cut(relay, "#")
		for _, other := range out {
			if w, _, _ := strings.Cut(other, "#"); strings.EqualFold(w, where) {
				return nil, fmt.Errorf("%s is named twice, with different keys: keep the line that credant-relay prints there now, and leave the other out", where)
			}
		}
		out = append(out, relay)
	}
	return out, nil
}
