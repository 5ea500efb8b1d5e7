package control

import (
	"context"
	"sync"
	"time"

	"github.com/credant/credant/control/localapi"
)

const (
	eventsKept   = 256
	eventBacklog = 64 // a reader that is further behind is let go
	maxWatchers  = 32
)

// eventLog remembers the latest events and hands new ones to whoever watches.
type eventLog struct {
	mu       sync.Mutex
	past     []localapi.Event
	watchers map[chan localapi.Event]struct{}
}

func newEventLog() *eventLog {
	return &eventLog{watchers: make(map[chan localapi.Event]struct{})}
}

func (l *eventLog) add(e localapi.Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.past) == eventsKept {
		copy(l.past, l.past[1:])
		l.past = l.past[:eventsKept-1]
	}
	l.past = append(l.past, e)
	for w := range l.watchers {
		select {
		case w <- e:
		default:
			delete(l.watchers, w)
			close(w)
		}
	}
}

// watch returns what is remembered and a channel with what comes, which is
// closed when ctx ends, when its reader is too slow, and at once when too many
// watch already.
func (l *eventLog) watch(ctx context.Context) ([]localapi.Event, <-chan localapi.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := make(chan localapi.Event, eventBacklog)
	past := append([]localapi.Event(nil), l.past...)
	if len(l.watchers) >= maxWatchers {
		close(w)
		return past, w
	}
	l.watchers[w] = struct{}{}
	context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if _, here := l.watchers[w]; here {
			delete(l.watchers, w)
			close(w)
		}
	})
	return past, w
}
