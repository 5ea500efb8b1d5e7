package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// lookups asks the host's resolver for the names of DHT nodes, STUN servers and
// relays. A host without DNS resolves none of them: that is said once for all.
type lookups struct {
	resolver *net.Resolver
	log      *slog.Logger

	mu     sync.Mutex
	failed map[string]error // by name, as of its last look-up
	told   []string         // names that the log has, until all resolve; maxLookups at most
	settle *time.Timer      // nil: nothing to tell
}

// lookupsSettle lets the others fail too, which are asked side by side and end with
// the same time-out.
const lookupsSettle = time.Second

func (d *daemon) newLookups() *lookups {
	return &lookups{resolver: d.resolver(), log: d.log, failed: make(map[string]error)}
}

// LookupNetIP is net.Resolver's.
func (l *lookups) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	addrs, err := l.resolver.LookupNetIP(ctx, network, host)
	if !errors.Is(ctx.Err(), context.Canceled) {
		l.note(host, err)
	}
	return addrs, err
}

func (l *lookups) lookupIP(ctx context.Context, host string) ([]netip.Addr, error) {
	return l.LookupNetIP(ctx, "ip", host)
}

// note takes how a look-up went. The names are those that the user gave, or the
// program's own, and a relay's, so they are few.
func (l *lookups) note(host string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if (l.failed[host] != nil) == (err != nil) || len(l.failed) >= maxLookups && err != nil {
		return
	}
	if err != nil {
		l.failed[host] = err
		l.log.Debug("host name does not resolve", "addr", host, "err", err)
	} else {
		delete(l.failed, host)
	}
	if l.settle == nil {
		l.settle = time.AfterFunc(lookupsSettle, l.tell)
	} else {
		l.settle.Reset(lookupsSettle)
	}
}

// maxLookups bounds the names that are remembered: relays that are found may have any.
const maxLookups = 64

// tell says what does not resolve, where that is more than before, and when all of
// it does again.
func (l *lookups) tell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle = nil
	var first error
	news := false
	for _, host := range slices.Sorted(maps.Keys(l.failed)) {
		if !slices.Contains(l.told, host) && len(l.told) < maxLookups {
			l.told, news = append(l.told, host), true
		}
		if first == nil {
			first = l.failed[host]
		}
	}
	switch {
	case news:
		l.log.Warn("host names do not resolve", "addr", l.told,
			"err", fmt.Errorf("%w: is there DNS? See /etc/resolv.conf; members on the LAN and at addresses that are given in numbers are found without", first))
	case len(l.failed) == 0 && len(l.told) > 0:
		l.told = nil
		l.log.Info("host names resolve again")
	}
}
