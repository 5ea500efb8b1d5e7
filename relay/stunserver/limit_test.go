package stunserver

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

func TestLimit(t *testing.T) {
	var l limiter
	count := func(at time.Time, source string) (n int) {
		for l.take(at, netip.MustParseAddr(source)) {
			n++
		}
		return n
	}
	for _, c := range []struct {
		after  time.Duration
		source string
		want   int
	}{
		{0, "192.0.2.1", answersAtOnce},
		{0, "192.0.2.2", answersAtOnce},
		{0, "2001:db8::1", answersAtOnce},
		{0, "2001:db8::2", 0}, // the same /64
		{0, "2001:db8:0:1::1", answersAtOnce},
		{time.Second, "192.0.2.1", answersPerSecond},
		{2 * time.Second, "2001:db8::3", answersAtOnce * 2 / 3},
		{time.Second, "192.0.2.1", 0}, // the clock does not go back
		{time.Hour, "192.0.2.1", answersAtOnce},
	} {
		if got := count(now.Add(c.after), c.source); got != c.want {
			t.Errorf("%s after %v: %d answers, want %d", c.source, c.after, got, c.want)
		}
	}
}

// A flood from invented addresses fills no memory, and a new source is still
// answered.
func TestLimitUnderFlood(t *testing.T) {
	var l limiter
	for i := range uint32(20_000) {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 10<<24|i)
		if !l.take(now, netip.AddrFrom4(a)) {
			t.Fatalf("source %d gets no answer", i)
		}
		if n := len(l.young) + len(l.old); n > 2*maxSources {
			t.Fatalf("%d sources are remembered", n)
		}
	}
}
