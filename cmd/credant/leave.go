package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/control/localapi"
	"github.com/spf13/cobra"
)

func (p *program) leaveCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "leave",
		Short: "Leave the network for good",
		Long: `Leave the network for good: tell the other nodes, so that this node's names and
addresses are free at once, take the network down, and delete its keys, its state
and its service on this host. To join again takes the passphrase, and makes a new
node. Settings in /etc/credant stay.

To go for a while, use "credant down": it keeps the keys.`,
		Example: `  sudo credant leave
  sudo credant leave --network home --yes`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.asRoot(cmd, "leave a network", func(ctx context.Context) error { return p.leave(ctx, yes) })
		},
	}
	cmd.Flags().AddFlag(p.flags.Lookup("state-dir")) // for when no daemon knows it
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (p *program) leave(ctx context.Context, yes bool) error {
	_, err := p.statusNow(ctx)
	running := err == nil
	if !running && !errors.Is(err, localapi.ErrNotRunning) {
		return err
	}
	if !running && p.origins["socket"] != "" {
		return p.notUp(err)
	}
	stored, err := p.node.hasKey(p.set.stateDir, p.set.network)
	if !running && err == nil && !stored {
		return fmt.Errorf("this host is not in network %s: there is nothing to leave", p.set.network)
	}
	if !yes {
		if err := p.confirm(ctx, fmt.Sprintf("Leave network %s and delete its keys on this host? [y/N] ", p.set.network)); err != nil {
			return err
		}
	}
	if !running {
		if err := p.leaveDown(); err != nil {
			return err
		}
		return p.endService(ctx)
	}
	limited, cancel := context.WithTimeout(ctx, downLimit)
	defer cancel()
	left, err := p.client().Leave(limited)
	if err != nil {
		return p.notUp(err)
	}
	fmt.Fprintf(p.stdout, "Left network %s; %s told.\n", p.set.network, told(left.Told))
	if _, err := os.Stat(left.Folder); err == nil {
		p.warn("%s is still there: it holds files that are not CredAnt's, or could not be deleted; see the log", left.Folder)
	}
	return p.endService(ctx)
}

// told says how many nodes know that this one has left.
func told(n int) string {
	if n == 0 {
		return "no other node was there to be"
	}
	return plural(n, "node was", "nodes were")
}

// leaveDown leaves a network that is not up: nobody can be told.
func (p *program) leaveDown() error {
	removed, err := p.node.clean(p.set.network)
	for _, what := range removed {
		fmt.Fprintf(p.stdout, "Removed %s.\n", what)
	}
	if err != nil {
		return err
	}
	if err := p.node.deleteState(p.set.stateDir, p.set.network); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "Left network %s. It was not up, so no other node was told:\nthe others list this one until a day after they last heard of it.\n", p.set.network)
	return nil
}

// confirm asks a question on the terminal. Anything but yes is an error.
func (p *program) confirm(ctx context.Context, question string) error {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return cli.Usagef("there is no terminal to ask at: add --yes")
	}
	defer tty.Close()
	fmt.Fprint(tty, question)
	typed := make(chan string, 1)
	go func() { // the read cannot be woken; the process ends with it still waiting
		line, _ := bufio.NewReader(tty).ReadString('\n')
		typed <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(tty)
		return ctx.Err()
	case answer := <-typed:
		if answer == "y" || answer == "yes" {
			return nil
		}
	}
	return errors.New("nothing was changed")
}
