package relay

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// In any span a bucket lets through its burst and what its rate gives in it, and
// nearly all of that to someone who always asks.
func TestBucketRate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, rate := range []uint64{1e3, 1e6, 125e6, 1.25e9} {
		b := NewBucket(rate)
		burst := max(float64(rate)*burstTime.Seconds(), minBurst)
		var passed float64
		now := int64(rng.Uint32())
		start := now
		for now-start < int64(20*time.Second) {
			n := 32 + rng.IntN(1400)
			if rng.IntN(10) == 0 {
				n = 64 << 10
			}
			if b.Take(now, n) {
				passed += float64(n)
			}
			now += rng.Int64N(max(2*int64(n)*int64(time.Second)/int64(rate)/2, 2))
		}
		most := burst + float64(rate)*float64(now-start)/1e9
		if passed > most || passed < 0.9*(most-burst) {
			t.Errorf("rate %d: %.0f bytes passed, want up to %.0f", rate, passed, most)
		}
	}
}

func TestBucketZero(t *testing.T) {
	var b Bucket
	for range 1000 {
		if !b.Take(0, 1<<20) {
			t.Fatal("a bucket without a rate refused")
		}
	}
	b.SetRate(1000)
	if b.Take(0, minBurst+1) || !b.Take(0, minBurst) || b.Take(0, 1) {
		t.Error("a bucket holds another burst than it should")
	}
	if !b.Take(int64(time.Second), 1000) || b.Take(int64(time.Second), 1) {
		t.Error("a second refilled something else than the rate")
	}
}

// What the widest bucket refuses costs the narrow ones nothing.
func TestTakeAllTakesAllOrNothing(t *testing.T) {
	pair, network := NewBucket(1e6), NewBucket(1e3)
	buckets := []*Bucket{pair, network}
	if !TakeAll(buckets, 0, minBurst) {
		t.Fatal("full buckets refused")
	}
	for range 1000 {
		if TakeAll(buckets, 0, 1400) {
			t.Fatal("an empty bucket gave")
		}
	}
	if !pair.Take(0, 250000-minBurst) || pair.Take(0, 1) {
		t.Error("a refused take changed the pair's bucket")
	}
}

// Many takers together get no more than one would.
func TestBucketConcurrent(t *testing.T) {
	b := NewBucket(1e6)
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5000 {
				if b.Take(1, 100) {
					passed.Add(100)
				}
			}
		})
	}
	wg.Wait()
	if got := passed.Load(); got != 250000 {
		t.Errorf("%d bytes passed, want 250000", got)
	}
}

func BenchmarkBucketTake(b *testing.B) {
	bucket := NewBucket(1.25e9)
	now := int64(0)
	for b.Loop() {
		now += 100
		bucket.Take(now, 100)
	}
}

func BenchmarkTakeAll(b *testing.B) {
	buckets := []*Bucket{NewBucket(1.25e8), NewBucket(1.25e9), NewBucket(1.25e9)}
	now := int64(0)
	for b.Loop() {
		now += 1000
		TakeAll(buckets, now, 100)
	}
}

func BenchmarkBucketContended(b *testing.B) {
	bucket := NewBucket(1.25e9)
	b.RunParallel(func(pb *testing.PB) {
		now := int64(0)
		for pb.Next() {
			now += 100
			bucket.Take(now, 100)
		}
	})
}
