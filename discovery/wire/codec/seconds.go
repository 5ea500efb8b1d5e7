package codec

import "time"

// Seconds is a duration in whole seconds, rounded up: an age only grows.
type Seconds uint32

// Longest is the longest duration that Seconds holds.
const Longest = time.Duration(1<<32-1) * time.Second

// NewSeconds takes what is below zero or above Longest for that.
func NewSeconds(d time.Duration) Seconds {
	d = min(max(d, 0), Longest)
	return Seconds((d + time.Second - 1) / time.Second)
}

// Duration is s as a duration.
func (s Seconds) Duration() time.Duration { return time.Duration(s) * time.Second }
