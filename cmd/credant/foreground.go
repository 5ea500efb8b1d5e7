package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/credant/credant/cmd/internal/systemd"
	"github.com/credant/credant/control"
)

// foreground is the daemon: it returns when a signal or `down` ended it.
// SIGTERM and Ctrl-C, which cancel ctx, take the network away; SIGUSR1 leaves
// it for the next start to adopt. A terminal that is closed counts as Ctrl-C,
// unless nohup(1) says otherwise.
func (p *program) foreground(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := []os.Signal{syscall.SIGUSR1}
	if !signal.Ignored(syscall.SIGHUP) {
		watched = append(watched, syscall.SIGHUP)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, watched...)
	defer signal.Stop(signals)
	go func() {
		select {
		case s := <-signals:
			if s == syscall.SIGUSR1 {
				cancel(control.ErrDetach)
			} else {
				cancel(nil)
			}
		case <-ctx.Done():
		}
	}()

	var log io.Writer = p.stderr
	if p.set.logFile != "" {
		l, err := openLog(p.set.logFile, maxLog)
		if err != nil {
			return err
		}
		defer l.Close()
		log = l
	}
	options := &slog.HandlerOptions{Level: p.set.logLevel}
	if p.journal && p.set.logFile == "" {
		options.ReplaceAttr = systemd.WithoutTime
	}
	c := p.set.config(slog.New(slog.NewTextHandler(log, options)))
	notify := systemd.NewNotifier(p.getenv("NOTIFY_SOCKET"))
	if notify.Listens() {
		c.Supervisor = p.supervisor(notify)
		stop := context.AfterFunc(ctx, func() { notify.Send("STOPPING=1") })
		defer stop()
	}
	err := p.node.run(ctx, c, func() {
		p.announce()
		notify.Ready()
	})
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		return nil // ended as it was asked to
	}
	return err
}

// supervisor lets the service manager hear that the daemon works.
func (p *program) supervisor(notify systemd.Notifier) control.Supervisor {
	return control.Supervisor{
		Every:   systemd.Watchdog(p.getenv),
		Alive:   func() { notify.Send("WATCHDOG=1") },
		Summary: notify.Status,
	}
}

// announce tells the `up` that waits for this daemon that the interface is up.
func (p *program) announce() {
	if p.set.readyFD == 0 {
		return
	}
	syscall.CloseOnExec(p.set.readyFD)
	pipe := os.NewFile(uintptr(p.set.readyFD), "ready pipe")
	if pipe == nil {
		return
	}
	defer pipe.Close()
	fmt.Fprintln(pipe, readyLine) // whoever waited may have given up
}
