package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A host without DNS is warned of once, whatever fails to resolve and how often; what
// fails later is news, and so is the end of it.
func TestLookupsTellOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := &lookups{log: slog.New(slog.NewTextHandler(&out, nil)), failed: make(map[string]error)}
		said := func(what string, times int) {
			t.Helper()
			time.Sleep(2 * lookupsSettle)
			synctest.Wait()
			l.mu.Lock()
			defer l.mu.Unlock()
			if got := strings.Count(out.String(), "level=WARN") + strings.Count(out.String(), "level=INFO"); got != times || !strings.Contains(out.String(), what) {
				t.Errorf("want %q among %d lines: %s", what, times, &out)
			}
			out.Reset()
		}
		refused := errors.New("connection refused")
		for range 3 {
			for i := range 10 {
				l.note(fmt.Sprintf("host%d.example.org", i), refused)
			}
			time.Sleep(lookupsSettle / 10)
		}
		said("host9.example.org", 1)
		l.note("host1.example.org", nil)
		l.note("host1.example.org", refused)
		said("", 0)
		l.note("relay.example.org", refused)
		said("relay.example.org", 1)
		for i := range 10 {
			l.note(fmt.Sprintf("host%d.example.org", i), nil)
		}
		said("", 0)
		l.note("relay.example.org", nil)
		said("resolve again", 1)
		for i := range 10 * maxLookups {
			l.note(fmt.Sprintf("host%d.example.org", i), refused)
		}
		if len(l.failed) > maxLookups {
			t.Errorf("%d names are kept", len(l.failed))
		}
		said("is there DNS?", 1)
		l.note("host2.example.org", nil)
		for i := range 2 * maxLookups { // such as relays of one day each
			name := fmt.Sprintf("relay%d.example.org", i)
			l.note(name, refused)
			time.Sleep(2 * lookupsSettle)
			l.note(name, nil)
		}
		if len(l.told) > maxLookups {
			t.Errorf("%d names are remembered as told", len(l.told))
		}
	})
}

// The end of the daemon is no failure.
func TestLookupsOfTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := &lookups{resolver: &net.Resolver{PreferGo: true}, log: slog.New(slog.DiscardHandler), failed: make(map[string]error)}
	if _, err := l.LookupNetIP(ctx, "ip", "host.example.org"); err == nil || len(l.failed) > 0 {
		t.Errorf("%v, kept %v", err, l.failed)
	}
}
