package control

import (
	"context"
	"strings"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/discovery"
)

const (
	watchEarly   = 200 * time.Millisecond // while somebody may be looking on
	watchLate    = 5 * time.Second
	watchedEarly = 2 * time.Minute
)

// watchSources tells as events what the sources begin and stop doing, until
// ctx ends.
func (d *daemon) watchSources(ctx context.Context) error {
	told := make(map[string]string)
	began := time.Now()
	every := time.NewTicker(watchEarly)
	defer every.Stop()
	for {
		if d.sources.dht != nil {
			d.tell(told, "DHT", d.sources.dht.Status())
		}
		if d.sources.lan != nil {
			d.tell(told, "LAN", d.sources.lan.Status())
		}
		if d.sources.static != nil {
			d.tell(told, "given addresses", d.sources.static.Status())
		}
		if time.Since(began) > watchedEarly {
			every.Reset(watchLate)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
	}
}

// tell makes an event of a status that differs from the last one in its state
// or in the first word of its detail: numbers alone are no news.
func (d *daemon) tell(told map[string]string, name string, s discovery.SourceStatus) {
	what, _, _ := strings.Cut(s.Detail, " ")
	news := string(s.State) + " " + what
	if told[name] == news {
		return
	}
	told[name] = news
	if s.State == discovery.StateStarting && what == "starting" {
		return // nothing to tell yet
	}
	text := s.Detail
	if s.State == discovery.StateFailing {
		text = s.LastError
	}
	if text != "" {
		d.events.add(localapi.Event{Kind: "source", Text: name + ": " + text})
	}
}
