package relayd

import (
	"fmt"
	"reflect"
	"slices"
	"time"
)

// changes says in words how next differs from c: what takes effect at once, and
// what does at the next start alone.
func (c Config) changes(next Config) (now, restart []string) {
	if !sameSet(c.Allow, next.Allow) {
		now = append(now, fmt.Sprintf("allow: %s before, %s now", servedWords(len(c.Allow)), servedWords(len(next.Allow))))
	}
	if c.Stranger != next.Stranger {
		now = append(now, "quota of strangers")
	}
	if c.Member != next.Member {
		now = append(now, "quota of members")
	}
	if c.NoAnnounce != next.NoAnnounce {
		now = append(now, "no-announce")
	}
	if c.LogLevel != next.LogLevel {
		now = append(now, fmt.Sprintf("log-level: %v before, %v now", c.LogLevel, next.LogLevel))
	}
	if c.Grace != next.Grace {
		now = append(now, "grace")
	}
	for _, s := range []struct {
		name     string
		old, new any
	}{
		{"listen", c.Listen, next.Listen},
		{"port", c.Port, next.Port},
		{"stun-port", c.STUNPort, next.STUNPort},
		{"ports", c.Ports, next.Ports},
		{"advertise", c.Advertise, next.Advertise},
		{"dht-bootstrap", c.DHTBootstrap, next.DHTBootstrap},
		{"no-dht", c.NoDHT, next.NoDHT},
		{"state-dir", c.StateDir, next.StateDir},
		{"metrics", c.Metrics, next.Metrics},
	} {
		if !reflect.DeepEqual(s.old, s.new) {
			restart = append(restart, s.name)
		}
	}
	return now, restart
}

// reread takes over of c what needs no restart.
func (c Config) reread(next Config) Config {
	c.Allow, c.Stranger, c.Member = next.Allow, next.Stranger, next.Member
	c.NoAnnounce, c.LogLevel, c.Grace = next.NoAnnounce, next.LogLevel, next.Grace
	return c
}

func sameSet[T comparable](a, b []T) bool {
	within := func(x, y []T) bool {
		return !slices.ContainsFunc(x, func(v T) bool { return !slices.Contains(y, v) })
	}
	return within(a, b) && within(b, a)
}

func servedWords(networks int) string {
	switch networks {
	case 0:
		return "everyone"
	case 1:
		return "1 network"
	}
	return fmt.Sprintf("%d networks", networks)
}

// reload takes over settings that were read again, and says what came of it.
func (d *daemon) reload(now time.Time, next Config) {
	next, err := next.withDefaults()
	if err != nil {
		d.log.Error("settings not reread", "err", err)
		return
	}
	changed, restart := d.config.changes(next)
	d.config = d.config.reread(next)
	d.engine.Reconfigure(now, d.config.engine(d.identity, nil))
	d.announced.set(d.config)
	if d.dht != nil {
		d.dht.kick()
	}
	if d.config.Level != nil {
		d.config.Level.Set(d.config.LogLevel)
	}
	d.log.Info("settings reread", "changed", listOr(changed, "nothing"), "needs-restart", listOr(restart, "nothing"))
}
