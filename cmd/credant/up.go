package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/control/localapi"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (p *program) upCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Join the network and stay in it",
		Long: `Join the network of a passphrase, and stay in it in the background. The first
time the passphrase is asked for; afterwards its key is stored and none is
needed.

Each setting may also come from the environment (CREDANT_NO_DHT=true) or from
/etc/credant/NETWORK.toml (no-dht = true); a flag wins over the environment, and
the environment over the file.

The KEY of a relay proves that it is the one you mean, and not somebody else at
its address. No relay can read what it carries, with a key or without.`,
		Example: `  sudo credant up
  sudo credant up --network home --passphrase-file /root/home.passphrase
  sudo credant up --no-dht --bootstrap vpn.example.org:23000
  sudo credant up --relay 203.0.113.5:3478#KEY
  sudo credant up --foreground --log-level debug`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.resolve(cmd); err != nil {
				return err
			}
			if err := p.checkSettings(); err != nil {
				return err
			}
			p.set.nameOrigin = cmp.Or(p.set.nameOrigin, p.origins["name"])
			return p.up(cmd.Context())
		},
	}
	p.flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != "network" && f.Name != "socket" {
			cmd.Flags().AddFlag(f)
		}
	})
	cmd.Flags().SortFlags = false
	cli.Complete(cmd, "backend", backends...)
	cli.Complete(cmd, "dns", dnsModes...)
	cli.Complete(cmd, "log-level", cli.LogLevels...)
	return cmd
}

// checkSettings refuses settings that contradict each other.
func (p *program) checkSettings() error {
	relays, err := distinctRelays(p.set.relays)
	if err != nil {
		return cli.Usagef("%s: %v", p.origins["relay"], err)
	}
	p.set.relays = relays
	return nil
}

func (p *program) up(ctx context.Context) error {
	if p.set.readyFD != 0 { // started below: all is checked and stored
		return p.foreground(ctx)
	}
	if err := p.node.preflight(p.set.config(nil)); err != nil {
		return err
	}
	status, err := p.statusNow(ctx)
	running := err == nil
	if !running && !errors.Is(err, localapi.ErrNotRunning) {
		return err
	}
	manager, _ := p.serviceState(ctx)
	if manager != nil && !running && !p.set.foreground && p.set.socket == p.socketOf(p.set.network) {
		return fmt.Errorf("network %s is a service of %s: start it with %q, or end that with %q", p.set.network, manager.Name(), manager.StartLine(p.set.network), "sudo "+p.withNetwork("credant service uninstall"))
	}
	if err := p.join(ctx, running); err != nil {
		return err
	}
	switch {
	case running && p.set.foreground:
		return fmt.Errorf("network %s is up already (process %d): take it down first with %q", p.set.network, status.PID, "sudo "+p.withNetwork("credant down"))
	case running:
		as, other := "", "take it down first: sudo "+p.withNetwork("credant down")
		if manager != nil {
			as, other = " as a service of "+manager.Name(), "add them to sudo "+p.withNetwork("credant service install")
		}
		writeWrapped(p.stdout, 0, fmt.Sprintf("Network %s is up already%s; nothing was changed. To give it other settings, %s", p.set.network, as, other))
		fmt.Fprintln(p.stdout)
		return renderStatus(p.stdout, status, time.Now(), p.colours(p.stdout), false)
	case p.set.foreground:
		return p.foreground(ctx)
	}
	if err := p.startDaemon(ctx); err != nil {
		return err
	}
	status, err = p.statusNow(ctx)
	if err != nil {
		return p.notUp(err)
	}
	renderUp(p.stdout, status, p.colours(p.stdout))
	if !isTerminal(p.stdout) {
		return nil
	}
	return p.follow(ctx, status.Started)
}

// statusNow asks the daemon, which answers at once or is stuck.
func (p *program) statusNow(ctx context.Context) (localapi.Status, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Second,
		fmt.Errorf("the daemon at %s does not answer: see its log, or end its process and run up again", p.set.socket))
	defer cancel()
	s, err := p.client().Status(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = context.Cause(ctx)
	}
	return s, err
}

// renderUp says what came up and what happens next.
func renderUp(w io.Writer, s localapi.Status, st style) {
	head := "Network " + s.Network + " is up: "
	writeHanging(w, st.bold(head), head, interfaceLine(s))
	fmt.Fprintln(w)
	for _, f := range selfFields(s) {
		f.write(w, st)
	}
	fmt.Fprintln(w)
	writeNotices(w, s.Notices, st)
	switch ready := usable(s.Peers); {
	case ready > 0:
		fmt.Fprintf(w, "%s reachable already: \"credant status\" lists them.\n", plural(ready, "node is", "nodes are"))
	default:
		writeWrapped(w, 0, searching(s.Sources)+` "credant status" shows who was found.`)
	}
}
