package relay

import (
	"sync/atomic"
	"time"
)

// minBurst is what every bucket lets through at once: a batch of 64 full
// packets that the kernel has merged into one read counts as one.
const minBurst = 128 << 10

// burstTime is how much of its rate a bucket saves up: a quarter of a second
// lets TCP find the rate without losing whole windows.
const burstTime = time.Second / 4

// Bucket is a token bucket counted in bytes, which any number of forwarders
// take from without a lock. The zero Bucket lets everything pass.
//
// It keeps one number, the time at which it will be full again (the virtual
// scheduling form of the generic cell rate algorithm), so a take is one
// compare-and-swap.
type Bucket struct {
	rate  atomic.Uint64 // bytes a second, 0: no limit
	depth atomic.Int64  // nanoseconds that the rate needs for the burst
	full  atomic.Int64  // when it is full again
}

// NewBucket returns a full bucket of so many bytes a second; 0 is no limit.
func NewBucket(rate uint64) *Bucket {
	b := new(Bucket)
	b.SetRate(rate)
	return b
}

// SetRate changes the rate under forwarders that take.
func (b *Bucket) SetRate(rate uint64) {
	depth := int64(burstTime)
	if rate > 0 && rate < uint64(minBurst*time.Second/burstTime) {
		depth = cost(minBurst, rate)
	}
	b.depth.Store(depth)
	b.rate.Store(rate)
}

// Rate is the rate in bytes a second; 0 is no limit.
func (b *Bucket) Rate() uint64 { return b.rate.Load() }

// Take spends n bytes if they are there. Time is nanoseconds of any clock that
// does not go back and is not negative, the same one for all who take.
func (b *Bucket) Take(nanoseconds int64, n int) bool {
	rate := b.rate.Load()
	if rate == 0 {
		return true
	}
	spend := cost(n, rate)
	limit := nanoseconds + b.depth.Load()
	for {
		full := b.full.Load()
		next := max(full, nanoseconds) + spend
		if next > limit {
			return false
		}
		if b.full.CompareAndSwap(full, next) {
			return true
		}
	}
}

// giveBack returns n bytes that were taken and not used.
func (b *Bucket) giveBack(n int) {
	if rate := b.rate.Load(); rate != 0 {
		b.full.Add(-cost(n, rate))
	}
}

// TakeAll spends n bytes of every bucket, or of none. They stand from the
// narrowest to the widest, so that who is over a limit of his own costs those
// he shares the wider ones with nothing.
func TakeAll(buckets []*Bucket, nanoseconds int64, n int) bool {
	for i, b := range buckets {
		if b.Take(nanoseconds, n) {
			continue
		}
		for _, taken := range buckets[:i] {
			taken.giveBack(n)
		}
		return false
	}
	return true
}

// cost is the time in which rate refills n bytes, rounded up so that no packet
// is free.
func cost(n int, rate uint64) int64 {
	bytes := uint64(min(max(n, 0), 1<<30))
	return int64((bytes*uint64(time.Second) + rate - 1) / rate)
}
