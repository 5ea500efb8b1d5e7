package hostdns

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	var p pace
	now := time.Unix(1e9, 0)
	for range burst {
		p.repaired(now)
	}
	if p.wait() != settle {
		t.Errorf("wait of %v in a burst", p.wait())
	}
	for range 100 {
		now = now.Add(p.wait())
		p.repaired(now)
	}
	if p.wait() != maxSettle {
		t.Errorf("wait of %v in a fight", p.wait())
	}
	p.repaired(now.Add(2 * time.Minute))
	if p.wait() != settle {
		t.Errorf("wait of %v after peace", p.wait())
	}

	var sum time.Duration
	for range 20 {
		sum += p.retry()
	}
	if p.retry() != maxRetry || sum < time.Hour/2 {
		t.Errorf("twenty tries in %v", sum)
	}
	p.succeeded()
	if p.retry() != minRetry {
		t.Error("a success does not begin anew")
	}
}
