package main

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/control/relayd"
	"github.com/credant/credant/discovery/keys"
	"github.com/credant/credant/relay/wire"
)

func parseNetworkID(s string) (keys.NetworkID, error) {
	id, err := keys.ParseNetworkID(s)
	if err != nil {
		return id, fmt.Errorf("%q is no network id: give the 52 characters that \"credant status\" shows as network id", s)
	}
	return id, nil
}

func parsePort(s string) (uint16, error) {
	n, err := cli.ParsePort(s)
	if err == nil && n == 0 {
		err = fmt.Errorf("%q is not a port: give a number from 1 to 65535", s)
	}
	return n, err
}

func parsePorts(s string) (relayd.PortRange, error) {
	r, err := relayd.ParsePortRange(s)
	if err != nil {
		return r, fmt.Errorf("%q is no range of ports: give FIRST-LAST, such as %v", s, relayd.DefaultPorts)
	}
	return r, nil
}

func parseAddress(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return a, fmt.Errorf("%q is not an address: give one of this host, such as 203.0.113.5; --port sets the port", s)
	case a.IsUnspecified():
		return a, fmt.Errorf("%s: leave --listen out to serve on the addresses that the host has", s)
	}
	return a, nil
}

// parseHost takes what the --relay line will hold.
func parseHost(s string) (string, error) {
	a, err := wire.ParseServerAddress(net.JoinHostPort(strings.Trim(s, "[]"), "1"))
	if err != nil {
		return "", fmt.Errorf("%q is no host: give a name or an address, without a port", s)
	}
	return a.Host, nil
}

var logFormats = []string{"text", "json"}

// maxGrace keeps a service manager from killing the relay while it waits.
const maxGrace = 10 * time.Minute

// parseGrace takes seconds or a Go duration.
func parseGrace(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if n, nerr := strconv.ParseUint(s, 10, 16); nerr == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d < 0 || d > maxGrace {
		return 0, fmt.Errorf("%q is no time: give seconds from 0 to %.0f, such as 5s", s, maxGrace.Seconds())
	}
	return d, nil
}

func parseCount(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a number: give 1 or more", s)
	}
	return int(n), nil
}

// rates are bits a second, as networks are sold.
var rates = []struct {
	unit string
	bits uint64
}{{"Gbit/s", 1e9}, {"Mbit/s", 1e6}, {"kbit/s", 1e3}}

// parseRate reads a rate into bytes a second.
func parseRate(s string) (uint64, error) {
	for _, r := range rates {
		number, ok := strings.CutSuffix(s, r.unit)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if bytes := n * float64(r.bits) / 8; err == nil && bytes >= 1 && bytes <= 1e12 {
			return uint64(bytes), nil
		}
	}
	return 0, fmt.Errorf("%q is no rate: give one such as \"10 Mbit/s\"", s)
}
