package relay

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// PortRange is a range of UDP ports, both ends included. The zero value holds
// no port.
type PortRange struct{ First, Last uint16 }

// DefaultPorts lie outside the ephemeral range of Linux and below 32,768, where
// other systems' begin.
var DefaultPorts = PortRange{First: 20000, Last: 21023}

// ParsePortRange reads what String wrote.
func ParsePortRange(s string) (PortRange, error) {
	first, last, found := strings.Cut(s, "-")
	if !found {
		last = first
	}
	a, errA := strconv.ParseUint(first, 10, 16)
	b, errB := strconv.ParseUint(last, 10, 16)
	r := PortRange{First: uint16(a), Last: uint16(b)}
	if errA != nil || errB != nil || r.Len() == 0 {
		return PortRange{}, fmt.Errorf("parse port range %q: want FIRST-LAST, such as %v", s, DefaultPorts)
	}
	return r, nil
}

// String returns "FIRST-LAST".
func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// Len is the number of ports in r.
func (r PortRange) Len() int {
	if r.First == 0 || r.Last < r.First {
		return 0
	}
	return int(r.Last) - int(r.First) + 1
}

// Contains reports whether port is in r.
func (r PortRange) Contains(port uint16) bool {
	return r.Len() > 0 && r.First <= port && port <= r.Last
}

// portSet is a set of ports, as offsets from the first of the range. It grows
// to the highest one it held, which stays low because the lowest is always
// taken.
type portSet []uint64

func (s *portSet) add(offset int) {
	for len(*s) <= offset/64 {
		*s = append(*s, 0)
	}
	(*s)[offset/64] |= 1 << (offset % 64)
}

func (s portSet) remove(offset int) {
	if offset/64 < len(s) {
		s[offset/64] &^= 1 << (offset % 64)
	}
}

func (s portSet) has(offset int) bool {
	return offset/64 < len(s) && s[offset/64]&(1<<(offset%64)) != 0
}

func (s portSet) word(i int) uint64 {
	if i < len(s) {
		return s[i]
	}
	return 0
}

// lowestFree is the lowest offset under n that none of the sets has.
func lowestFree(n int, sets ...portSet) (offset int, ok bool) {
	for i := 0; i*64 < n; i++ {
		var used uint64
		for _, s := range sets {
			used |= s.word(i)
		}
		if used != ^uint64(0) {
			offset = i*64 + bits.TrailingZeros64(^used)
			return offset, offset < n
		}
	}
	return 0, false
}
