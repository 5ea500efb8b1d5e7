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
	free := unclaimed()
	return free[rand.IntN(len(free))]
}

// RandomPorts returns up to n different ports as RandomPort does: fewer where
// there are no more.
func RandomPorts(n int) []uint16 {
	free := unclaimed()
	rand.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
	return free[:min(n, len(free))]
}

func unclaimed() []uint16 {
	ephemeral, _ := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	reserved, _ := os.ReadFile("/proc/sys/net/ipv4/ip_local_reserved_ports")
	return unclaimedPorts(string(ephemeral), string(reserved))
}

// unclaimedPorts are never none.
func unclaimedPorts(ephemeral, reserved string) []uint16 {
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
		for p := lowestPort; p < 1<<16; p++ {
			free = append(free, uint16(p))
		}
	}
	return free
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
