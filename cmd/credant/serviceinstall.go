package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/deploy/service"
)

func (p *program) serviceInstall(ctx context.Context, noStart bool) error {
	if p.host.Program == "" {
		program, err := ownProgram()
		if err != nil {
			return err
		}
		p.host.Program = program
	}
	manager, err := p.manager(noStart)
	if err != nil {
		return err
	}
	if dir := manager.StateDir(); p.origins["state-dir"] == "" && dir != p.set.stateDir {
		if err := p.flags.Set("state-dir", dir); err != nil {
			return err
		}
		p.origins["state-dir"] = "--state-dir" // to be kept as if it were given
	}
	if !noStart { // an image that is being built may lack what the host will have
		if err := p.node.preflight(p.set.config(nil)); err != nil {
			return err
		}
	}
	settings, err := p.planSettings()
	if err != nil {
		return err
	}
	status, err := p.statusNow(ctx)
	running := err == nil
	if !running && !errors.Is(err, localapi.ErrNotRunning) {
		return err
	}
	if err := p.joinService(ctx, manager, running); err != nil {
		return err
	}
	state := manager.State(ctx, p.set.network)
	plan, err := manager.Install(ctx, service.Options{
		Network: p.set.network, State: p.set.stateDir, Folders: p.serviceFolders(),
		Restart: len(settings.added) > 0, NoStart: noStart,
	})
	if err != nil {
		return err
	}
	if len(plan) == 0 && len(settings.added) == 0 {
		fmt.Fprintf(p.stdout, "Network %s is a service of %s already; nothing was changed.\n", p.set.network, manager.Name())
	}
	if err := settings.write(); err != nil {
		return err
	}
	for _, line := range settings.added {
		fmt.Fprintf(p.stdout, "%s: %s\n", settings.path, line)
	}
	if running && !state.Active && !noStart {
		if err := p.takeOver(ctx, status); err != nil {
			return err
		}
	}
	err = service.Apply(ctx, plan, func(s service.Step) { fmt.Fprintf(p.stdout, "%s: %s\n", manager.Name(), s) })
	if err != nil {
		return err
	}
	if noStart && !state.Active {
		fmt.Fprintf(p.stdout, "\nNetwork %s starts with this host. To start it now: %s\n", p.set.network, manager.StartLine(p.set.network))
		return nil
	}
	return p.showService(ctx, manager)
}

// joinService asks for the passphrase, unless the service will find it among its
// credentials.
func (p *program) joinService(ctx context.Context, manager service.Manager, running bool) error {
	given := p.set.passphraseFile != "" || p.getenv("CREDANT_PASSPHRASE") != ""
	stored, err := p.node.hasKey(p.set.stateDir, p.set.network)
	if err != nil {
		return err
	}
	if store := manager.Credential(p.set.network); store != "" && !stored && !given {
		fmt.Fprintf(p.stdout, "The passphrase is read from %s when it starts.\n", store)
		return nil
	}
	return p.join(ctx, running && stored)
}

// serviceFolders are those that a sandbox has to leave open besides the default
// ones.
func (p *program) serviceFolders() []string {
	var folders []string
	if p.set.stateDir != service.DefaultStateDir {
		folders = append(folders, p.set.stateDir)
	}
	if dir := filepath.Dir(p.set.socket); dir != p.run && !strings.HasPrefix(dir+"/", "/run/") && !strings.HasPrefix(dir+"/", "/var/run/") {
		folders = append(folders, dir)
	}
	return folders
}

// handOver is how long a daemon in the background may take to let go.
const handOver = 20 * time.Second

// takeOver lets the daemon that `up` has started leave everything for the
// service to adopt.
func (p *program) takeOver(ctx context.Context, status localapi.Status) error {
	fmt.Fprintf(p.stdout, "Network %s is up in the background: the service takes it over. Of the settings it was started with, the service has those that stand in %s.\n", p.set.network, p.settingsOf(p.set.network))
	if status.PID <= 1 {
		return fmt.Errorf("the daemon at %s does not tell its process: end it with %q first", p.set.socket, "sudo "+p.withNetwork("credant down"))
	}
	if err := syscall.Kill(status.PID, syscall.SIGUSR1); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ask process %d to let go of the network: %w", status.PID, err)
	}
	return p.wait(ctx, handOver, func() bool { return !answers(p.set.socket) },
		fmt.Errorf("process %d does not let go of network %s: end it with %q and install again", status.PID, p.set.network, fmt.Sprintf("sudo kill %d", status.PID)))
}

// showService waits for the daemon and shows what came up.
func (p *program) showService(ctx context.Context, manager service.Manager) error {
	var status localapi.Status
	answered := func() bool {
		var err error
		status, err = p.statusNow(ctx)
		return err == nil
	}
	late := fmt.Errorf("network %s was started and is not up yet: see %q", p.set.network, manager.LogLine(p.set.network))
	if err := p.wait(ctx, readyLimit, answered, late); err != nil {
		return err
	}
	fmt.Fprintln(p.stdout)
	renderUp(p.stdout, status, p.colours(p.stdout))
	fmt.Fprintf(p.stdout, "It starts with this host. Its log: %s\n", manager.LogLine(p.set.network))
	return nil
}

// wait looks until something is so, or returns late.
func (p *program) wait(ctx context.Context, limit time.Duration, so func() bool, late error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, late)
	defer cancel()
	for {
		if so() {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
