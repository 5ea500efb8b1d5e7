package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/deploy/service"
	"github.com/spf13/cobra"
)

// downLimit is how long a daemon may take to clean up after itself.
const downLimit = 20 * time.Second

func (p *program) downCommand() *cobra.Command {
	return &cobra.Command{
		Use:        "down",
		SuggestFor: []string{"stop", "disconnect", "logout"},

		Short: "Take the network down, and keep its keys",
		Long: `Take the network down on this host: end the daemon and take its interface,
addresses, routes and firewall rules away. Without a daemon, what one left is
taken away. The keys stay, so the next up needs no passphrase, and the other
nodes expect this one back; "credant leave" is for good.`,
		Example: `  sudo credant down
  sudo credant down --network home`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.resolveRunning(cmd); err != nil {
				return err
			}
			return p.down(cmd.Context())
		},
	}
}

func (p *program) down(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("only root may take a network down: run \"sudo %s\"", p.withNetwork("credant down"))
	}
	if manager, state := p.serviceState(ctx); manager != nil && state.Active && p.set.socket == p.socketOf(p.set.network) {
		return p.stopService(ctx, manager, state)
	}
	status, err := p.statusNow(ctx)
	if errors.Is(err, localapi.ErrNotRunning) {
		return p.cleanUp()
	}
	ctx, cancel := context.WithTimeout(ctx, downLimit)
	defer cancel()
	switch err := p.client().Down(ctx); {
	case errors.Is(err, localapi.ErrNotRunning): // ended since it was asked
		return p.cleanUp()
	case errors.Is(err, context.DeadlineExceeded) && status.PID != 0:
		return fmt.Errorf("the daemon does not end: end its process with \"sudo kill %d\" and run down again", status.PID)
	case err != nil:
		return err
	}
	if status.Interface == "" {
		fmt.Fprintf(p.stdout, "Network %s is down.\n", p.set.network)
		return nil
	}
	fmt.Fprintf(p.stdout, "Network %s is down, %s is gone.\n", status.Network, status.Interface)
	return nil
}

// stopService lets the service manager end the daemon, which it would start
// again otherwise.
func (p *program) stopService(ctx context.Context, manager service.Manager, state service.State) error {
	if err := manager.Stop(ctx, p.set.network); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "Network %s is down.\n", p.set.network)
	if state.Enabled {
		fmt.Fprintf(p.stdout, "It starts again with this host; %q ends that.\n", "sudo "+p.withNetwork("credant service uninstall"))
	}
	return nil
}

// cleanUp takes away what a daemon that ended without an orderly down has left.
func (p *program) cleanUp() error {
	if p.origins["socket"] != "" && p.origins["network"] == "" {
		return fmt.Errorf("no daemon answers at %s: add --network NAME to clear what one has left behind", p.set.socket)
	}
	if s := p.socketOf(p.set.network); s != p.set.socket && answers(s) {
		return fmt.Errorf("no daemon answers at %s, but one does at %s: leave --socket out", p.set.socket, s)
	}
	removed, err := p.node.clean(p.set.network)
	for _, what := range removed {
		fmt.Fprintf(p.stdout, "Removed %s.\n", what)
	}
	if err != nil {
		return err
	}
	_ = os.Remove(p.set.socket) // nobody answers there; often it is not there either
	if len(removed) == 0 {
		fmt.Fprintf(p.stdout, "Network %s is not up here: nothing to take down.\n", p.set.network)
	}
	return nil
}
