package dns

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/credant/credant/dns/zone"
)

const (
	// Each node asks its own server, so other machines ask for a look by hand and no more. All of them share this.
	remoteRate, remoteBurst = 100, 200
	// Connections at a time: of this host, where a resolver has a few, and of all others.
	maxLocalConnections, maxRemoteConnections = 64, 8
	// idleConnection is how long a connection may be silent or stuck (RFC 7766, Section 6.2.3: a few seconds).
	idleConnection = 10 * time.Second
	// maxQueries of a connection.
	maxQueries = 1000
	// afterError keeps a socket that only gives errors from taking a core.
	afterError = 100 * time.Millisecond
)

// limits says who may ask, and how much.
type limits struct {
	remote *rate.Limiter

	mu                 sync.Mutex
	locals, remoteOnes int
}

func newLimits() *limits {
	return &limits{remote: rate.NewLimiter(remoteRate, remoteBurst)}
}

// mayAsk tells whether a query from there is answered.
func (l *limits) mayAsk(from netip.AddrPort, to netip.Addr, t *zone.Table, now time.Time) bool {
	if !known(from, to, t) {
		return false
	}
	return isLocal(from.Addr(), to) || l.remote.AllowN(now, 1)
}

// known tells a source on this host or in the overlay, which is where the tunnel proves a source, from all others.
func known(from netip.AddrPort, to netip.Addr, t *zone.Table) bool {
	return from.Port() != 0 && (isLocal(from.Addr(), to) || t.Covers(from.Addr()))
}

// isLocal: the host asks itself from the address that it asks, unless told otherwise.
func isLocal(from, to netip.Addr) bool { return from.IsLoopback() || from == to }

func (l *limits) mayConnect(from netip.AddrPort, local bool, t *zone.Table) bool {
	if from.Port() == 0 || !local && !t.Covers(from.Addr()) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	count, limit := &l.locals, maxLocalConnections
	if !local {
		count, limit = &l.remoteOnes, maxRemoteConnections
	}
	if *count >= limit {
		return false
	}
	*count++
	return true
}

func (l *limits) disconnected(local bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if local {
		l.locals--
	} else {
		l.remoteOnes--
	}
}
