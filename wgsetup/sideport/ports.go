package sideport

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
)

// lowestPort is above the ports that services are registered on in numbers.
const lowestPort = 10000

// RandomPort returns a port that the kernel gives nobody by itself: outside
// the ephemeral range and not reserved. Whether it is free is for the caller
// to try.
func RandomPort() uint16 {
	ephemeral, _ := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	reserved, _ := os.ReadFile("/proc/sys/net/ipv4/ip_local_reserved_ports")
	return randomPort(string(ephemeral), string(reserved), rand.IntN)
}

func randomPort(ephemeral, reserved string, intN func(int) int) uint16 {
	var taken [1 << 16]bool
	mark := func(first, last int) {
		for p := max(first, 0); p <= min(last, 65535); p++ {
			taken[p] = true
		}
	}
	mark(0, lowestPort-1)
	first, last := 32768, 60999 // the kernel's default
	if f := strings.Fields(ephemeral); len(f) == 2 {
		if a, b, ok := portRange(f[0] + "-" + f[1]); ok {
			first, last = a, b
		}
	}
	mark(first, last)
	for item := range strings.SplitSeq(reserved, ",") {
		if a, b, ok := portRange(item); ok {
			mark(a, b)
		}
	}
	var free []uint16
	for p, t := range taken {
		if !t {
			free = append(free, uint16(p))
		}
	}
	if len(free) == 0 {
		// The host calls everything ephemeral: a port of ours can then only
		// be one of those.
		return uint16(lowestPort + intN(1<<16-lowestPort))
	}
	return free[intN(len(free))]
}

// portRange parses "N" or "N-M".
func portRange(s string) (first, last int, ok bool) {
	a, b, isRange := strings.Cut(strings.TrimSpace(s), "-")
	first, err := strconv.Atoi(a)
	if err != nil {
		return 0, 0, false
	}
	if !isRange {
		return first, first, true
	}
	last, err = strconv.Atoi(b)
	return first, last, err == nil
}
