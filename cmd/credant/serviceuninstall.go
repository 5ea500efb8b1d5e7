package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/deploy/service"
)

func (p *program) serviceUninstall(ctx context.Context) error {
	manager, err := p.manager(true)
	if err != nil {
		return err
	}
	if p.origins["network"] == "" {
		switch networks := manager.Networks(); len(networks) {
		case 0:
		case 1:
			p.set.network = networks[0]
		default:
			return cli.Usagef("several networks are services here: name one of %s with --network", strings.Join(networks, ", "))
		}
	}
	network := p.set.network
	plan, err := manager.Uninstall(ctx, network)
	if err != nil {
		return err
	}
	if len(plan) == 0 {
		fmt.Fprintf(p.stdout, "Network %s is no service of %s: nothing to remove.\n", network, manager.Name())
		return nil
	}
	if p.host.Root == "" && os.Geteuid() != 0 {
		return fmt.Errorf("only root may remove a service: run \"sudo %s\"", p.withNetwork("credant service uninstall"))
	}
	err = service.Apply(ctx, plan, func(s service.Step) { fmt.Fprintf(p.stdout, "%s: %s\n", manager.Name(), s) })
	if err != nil {
		return err
	}
	kept := ""
	if _, err := os.Stat(p.settingsOf(network)); err == nil {
		kept = " and settings (" + p.settingsOf(network) + ")"
	}
	fmt.Fprintf(p.stdout, "Network %s starts no more with this host. Its keys%s are kept; %q makes it a service again.\n",
		network, kept, "sudo "+p.withNetwork("credant service install"))
	return nil
}

// endService removes the service of a network that this host has left: without a
// key it would fail with each start of the host.
func (p *program) endService(ctx context.Context) error {
	manager, _ := p.serviceState(ctx)
	if manager == nil || p.set.socket != p.socketOf(p.set.network) {
		return nil
	}
	plan, err := manager.Uninstall(ctx, p.set.network)
	if err != nil {
		return err
	}
	return service.Apply(ctx, plan, func(s service.Step) { fmt.Fprintf(p.stdout, "%s: %s\n", manager.Name(), s) })
}
