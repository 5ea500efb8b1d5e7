package mainline

import (
	"net/netip"
	"time"
)

// What a serving node spends on those who ask, in bytes: queryCost for each query and
// the length of the answer. Sources can be forged, so this is also what a host
// that never asked can be sent: 4 kB/s. Several members behind one address that poll
// fast stay far under it.
const (
	queryCost = 100
	// signedPutCost, instead, makes a signature to verify as dear as the largest answer.
	signedPutCost = 1000

	addressRate, addressBurst = 4 << 10, 32 << 10 // of an IPv4 address or IPv6 /64
	prefixRate, prefixBurst   = 16 << 10, 128 << 10
	totalRate, totalBurst     = 512 << 10, 1 << 20

	maxAddressBudgets = 8192
	maxPrefixBudgets  = 4096
)

// limits are the budgets of all who ask.
type limits struct {
	address, prefix budgets
	total           bucket
}

func newLimits() *limits {
	return &limits{
		address: newBudgets(addressRate, addressBurst, maxAddressBudgets),
		prefix:  newBudgets(prefixRate, prefixBurst, maxPrefixBudgets),
		total:   bucket{rate: totalRate, burst: totalBurst, level: totalBurst},
	}
}

// buckets returns what an answer to from is paid out of, or false when one of them
// lacks what the longest may cost. A query that is refused costs nothing, so that who
// asks too often still gets some answers.
func (l *limits) buckets(now time.Time, from netip.Addr) (purse, bool) {
	p := purse{l.address.of(now, sourceHost(from)), l.prefix.of(now, sourcePrefix(from)), &l.total}
	for _, b := range p {
		if !b.has(now, queryCost+maxAnswer) {
			return p, false
		}
	}
	return p, true
}

// A purse is the buckets that pay for one query.
type purse [3]*bucket

func (p purse) pay(n int) {
	for _, b := range p {
		b.level -= float64(n)
	}
}

// sourceHost is what one host can be presumed to have to itself.
func sourceHost(a netip.Addr) netip.Prefix { return masked(a, 32, 64) }

// sourcePrefix is what one customer can easily have.
func sourcePrefix(a netip.Addr) netip.Prefix { return masked(a, 24, 48) }

func masked(a netip.Addr, bits4, bits6 int) netip.Prefix {
	bits := bits6
	if a.Is4() {
		bits = bits4
	}
	p, _ := a.WithZone("").Prefix(bits) // zero for no address, which is as good a key
	return p
}

// A bucket holds bytes to spend.
type bucket struct {
	rate, burst, level float64 // bytes a second, at most, now
	at                 time.Time
}

func (b *bucket) has(now time.Time, n int) bool {
	if d := now.Sub(b.at); d > 0 {
		b.level = min(b.burst, b.level+b.rate*d.Seconds())
	}
	b.at = now
	return b.level >= float64(n)
}

// budgets are buckets of one size by source, so many that those in use fit. Whom
// there is no room for shares one.
type budgets struct {
	rate, burst float64
	limit       int
	bySource    aged[netip.Prefix, bucket]
	others      bucket
}

func newBudgets(rate, burst float64, limit int) budgets {
	return budgets{rate: rate, burst: burst, limit: limit, others: bucket{rate: rate, burst: burst, level: burst}}
}

func (b *budgets) of(now time.Time, source netip.Prefix) *bucket {
	if b.bySource.get(source) == nil && b.bySource.len() >= b.limit {
		// A bucket left alone for so long is full, and needs no remembering.
		oldest := b.bySource.oldest()
		if now.Sub(oldest.at).Seconds() < b.burst/b.rate {
			return &b.others
		}
		b.bySource.remove(oldest)
	}
	e := b.bySource.touch(now, source)
	if e.value.rate == 0 {
		e.value = bucket{rate: b.rate, burst: b.burst, level: b.burst, at: now}
	}
	return &e.value
}
