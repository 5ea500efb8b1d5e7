package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/credant/credant/cmd/internal/systemd"
	"github.com/credant/credant/control/relayd"
)

// serve runs the relay until ctx ends.
func (p *program) serve(ctx context.Context) error {
	s, err := p.resolve()
	if err != nil {
		return err
	}
	c := s.relay()
	c.Level = new(slog.LevelVar)
	c.Level.Set(s.logLevel)
	c.Log = slog.New(p.newHandler(s.logFormat, c.Level))
	notify := systemd.NewNotifier(p.getenv("NOTIFY_SOCKET"))
	reloads := make(chan relayd.Config)
	c.Reloads = reloads

	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	ended, end := context.WithCancel(ctx)
	reread := make(chan struct{})
	go func() {
		defer close(reread)
		p.reread(ended, hangups, reloads, c.Log)
	}()
	defer func() {
		signal.Stop(hangups)
		end()
		<-reread
	}()
	stop := context.AfterFunc(ctx, func() { notify.Send("STOPPING=1") })
	defer stop()

	return p.relay(ctx, c, func(info relayd.Info) {
		if err := info.Write(p.stdout); err != nil {
			c.Log.Warn("tell how to reach the relay", "err", err)
		}
		notify.Ready(fmt.Sprintf("STATUS=--relay %s", info.Give[0]))
	})
}

func (p *program) newHandler(format string, level slog.Leveler) slog.Handler {
	options := &slog.HandlerOptions{Level: level}
	switch {
	case format == "json":
		return slog.NewJSONHandler(p.stderr, options)
	case systemd.IsJournal(p.stderr, p.getenv("JOURNAL_STREAM")):
		options.ReplaceAttr = systemd.WithoutTime
		return slog.NewTextHandler(systemd.JournalWriter{To: p.stderr, Program: "credant-relay"}, options)
	}
	return slog.NewTextHandler(p.stderr, options)
}

// reread reads the settings again at each SIGHUP. Those that are wrong change
// nothing.
func (p *program) reread(ctx context.Context, hangups <-chan os.Signal, reloads chan<- relayd.Config, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
		}
		s, err := p.resolve()
		if err != nil {
			log.Error("settings not reread", "err", err)
			continue
		}
		select {
		case reloads <- s.relay():
		case <-ctx.Done():
			return
		}
	}
}
