package control

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/discovery"
)

// cacheFile keeps what worked, so that a warm start costs one round trip.
type cacheFile struct {
	path  string
	cache discovery.Cache // what was read, then what was last handed out to be saved

	mu  sync.Mutex
	err error // of the last read or write
}

// openCache reads the cache. One that cannot be read is a warning and an empty
// cache: everything in it can be found again.
func openCache(path string, log *slog.Logger) *cacheFile {
	cache, err := discovery.LoadCache(path)
	if err != nil {
		log.Warn("read the cache", "err", err)
	}
	return &cacheFile{path: path, cache: cache, err: err}
}

func (c *cacheFile) nodes() []netip.AddrPort { return c.cache.DHTNodes }

// addresses are where members answered last.
func (c *cacheFile) addresses() []netip.AddrPort {
	var all []netip.AddrPort
	for _, m := range c.cache.Members {
		if m.Addr.IsValid() && !slices.Contains(all, m.Addr) {
			all = append(all, m.Addr)
		}
	}
	return all
}

func (c *cacheFile) status() localapi.Source {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := localapi.Source{State: string(discovery.StateWorking), Found: len(c.cache.Members)}
	if c.err != nil {
		s.State, s.LastError = string(discovery.StateFailing), c.err.Error()
	}
	return s
}

// maxCached bounds the file: 256 records are about 250 kB.
const maxCached = 256

// remembered is what the cache should hold now: the members that have an
// address at which they answered, those that work first, and the DHT's nodes.
func (d *daemon) remembered(now time.Time) discovery.Cache {
	c := discovery.Cache{SavedAt: now, DHTNodes: d.cache.nodes()}
	if d.sources.dht != nil {
		if nodes := d.sources.dht.Nodes(); len(nodes) > 0 {
			c.DHTNodes = nodes
		}
	}
	for _, working := range []bool{true, false} {
		for _, p := range d.mesh.peers {
			if p.working() != working || !p.lastAddr.IsValid() || len(c.Members) == maxCached {
				continue
			}
			if m, ok := d.mesh.book.Get(p.node); ok {
				c.Members = append(c.Members, discovery.CachedMember{Signed: m.Signed, Age: m.AgeAt(now), Addr: p.lastAddr})
			}
		}
	}
	// Those who have left, so that somebody who was away and has not heard of it
	// does not bring them back here.
	for _, m := range d.mesh.book.All() {
		if m.Record.Departed && len(c.Members) < maxCached {
			c.Members = append(c.Members, discovery.CachedMember{Signed: m.Signed, Age: m.AgeAt(now)})
		}
	}
	d.cache.cache = c
	return c
}

// saveCache hands the cache to the saver, without waiting for the disk.
func (d *daemon) saveCache(now time.Time) {
	select {
	case <-d.saves: // what was not written yet is older
	default:
	}
	d.saves <- d.remembered(now)
}

// saver writes caches until ctx ends. An error is said once and shown.
func (d *daemon) saver(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-d.saves:
			d.cache.save(c, d.log)
		}
	}
}

func (c *cacheFile) save(cache discovery.Cache, log *slog.Logger) {
	err := cache.Save(c.path)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.err == nil {
		log.Warn("save the cache", "err", err)
	}
	c.err = err
}
