package control

import (
	"context"
	"fmt"
	"testing"

	"github.com/credant/credant/control/localapi"
)

func TestEventsAreRememberedAndHandedOn(t *testing.T) {
	l := newEventLog()
	for i := range eventsKept + 10 {
		l.add(localapi.Event{Text: fmt.Sprint(i)})
	}
	ctx, cancel := context.WithCancel(context.Background())
	past, events := l.watch(ctx)
	if len(past) != eventsKept || past[0].Text != "10" || past[0].Time.IsZero() {
		t.Errorf("%d events are remembered, the first is %+v", len(past), past[0])
	}
	l.add(localapi.Event{Text: "new"})
	if e := <-events; e.Text != "new" {
		t.Errorf("got %q", e.Text)
	}
	cancel()
	if _, open := <-events; open {
		t.Error("the channel stays open after the context's end")
	}
}

func TestSlowWatcherIsLetGo(t *testing.T) {
	l := newEventLog()
	_, events := l.watch(context.Background())
	for range eventBacklog + 1 {
		l.add(localapi.Event{})
	}
	n := 0
	for range events {
		n++
	}
	if n != eventBacklog || len(l.watchers) != 0 {
		t.Errorf("read %d, %d watchers are left", n, len(l.watchers))
	}
}

func TestWatchersAreBounded(t *testing.T) {
	l := newEventLog()
	for range maxWatchers {
		l.watch(context.Background())
	}
	if _, events := l.watch(context.Background()); len(l.watchers) != maxWatchers {
		t.Errorf("%d watchers", len(l.watchers))
	} else if _, open := <-events; open {
		t.Error("one too many is served")
	}
}
