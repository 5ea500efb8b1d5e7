package service

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/credant/credant/deploy"
)

const openRCScript = "/etc/init.d/credant"

type openRC struct {
	host Host
	runs bool
}

func (openRC) Name() string { return "OpenRC" }

// Unit is the script for the network default, and a link to it for the others.
func (openRC) Unit(network string) string {
	if network == "default" {
		return "credant"
	}
	return "credant." + network
}

func (o openRC) StartLine(network string) string {
	return "sudo rc-service " + o.Unit(network) + " start"
}

func (o openRC) LogLine(network string) string {
	conf, _ := o.host.read(o.conf(network))
	state := DefaultStateDir
	for line := range strings.Lines(conf) {
		if dir, ok := strings.CutPrefix(strings.TrimSpace(line), "credant_state_dir="); ok {
			state = strings.Trim(dir, `'"`)
		}
	}
	return "sudo tail " + filepath.Join(state, network, "log")
}

func (openRC) StateDir() string         { return DefaultStateDir }
func (openRC) Credential(string) string { return "" }

func (o openRC) link(network string) string { return "/etc/init.d/" + o.Unit(network) }
func (o openRC) conf(network string) string { return "/etc/conf.d/" + o.Unit(network) }

func (o openRC) State(ctx context.Context, network string) State {
	state := State{Enabled: o.host.has("/etc/runlevels/default/" + o.Unit(network))}
	if o.runs && o.host.has(o.link(network)) {
		_, err := o.host.command(ctx, "rc-service", "--quiet", o.Unit(network), "status")
		state.Active = err == nil
	}
	return state
}

func (o openRC) Networks() []string {
	links, _ := filepath.Glob(o.host.path("/etc/runlevels/default/credant*")) // the pattern is well-formed
	var networks []string
	for _, l := range links {
		name, ok := strings.CutPrefix(filepath.Base(l), "credant.")
		switch {
		case ok:
			networks = append(networks, name)
		case filepath.Base(l) == "credant":
			networks = append(networks, "default")
		}
	}
	return networks
}

func (o openRC) Install(ctx context.Context, opt Options) ([]Step, error) {
	steps, err := o.host.fileStep(openRCScript, deploy.OpenRCScript, 0o755)
	if err != nil {
		return nil, err
	}
	conf, err := o.confStep(opt)
	if err != nil {
		return nil, err
	}
	steps = append(steps, conf...)
	unit, link := o.Unit(opt.Network), o.link(opt.Network)
	if link != openRCScript && !o.host.has(link) {
		steps = append(steps, Step{"link " + link, func(context.Context) error {
			if err := os.Symlink("credant", o.host.path(link)); err != nil {
				return fmt.Errorf("link the service: %w", err)
			}
			return nil
		}})
	}
	changed := len(steps) > 0 || opt.Restart
	state := o.State(ctx, opt.Network)
	if !state.Enabled {
		steps = append(steps, o.host.commandStep("enable "+unit, "rc-update", "add", unit, "default"))
	}
	switch {
	case opt.NoStart || !o.runs || state.Active && !changed:
	case state.Active:
		steps = append(steps, o.start("restart", opt.Network))
	default:
		steps = append(steps, o.start("start", opt.Network))
	}
	return steps, nil
}

// confStep tells the script of another state folder: its log is in there.
func (o openRC) confStep(opt Options) ([]Step, error) {
	if opt.State == "" || opt.State == DefaultStateDir {
		return o.host.removeStep(o.conf(opt.Network))
	}
	quoted := "'" + strings.ReplaceAll(opt.State, "'", `'\''`) + "'"
	return o.host.fileStep(o.conf(opt.Network), "credant_state_dir="+quoted+"\n", 0o644)
}

func (o openRC) start(verb, network string) Step {
	text := verb + " " + o.Unit(network)
	return Step{text, func(ctx context.Context) error {
		if _, err := o.host.command(ctx, "rc-service", o.Unit(network), verb); err != nil {
			return fmt.Errorf("%s: %w: see %q", text, err, o.LogLine(network))
		}
		return nil
	}}
}

func (o openRC) Uninstall(ctx context.Context, network string) ([]Step, error) {
	unit := o.Unit(network)
	var steps []Step
	state := o.State(ctx, network)
	if state.Active {
		steps = append(steps, o.host.commandStep("stop "+unit, "rc-service", unit, "stop"))
	}
	if state.Enabled {
		steps = append(steps, o.host.commandStep("disable "+unit, "rc-update", "del", unit, "default"))
	}
	conf, err := o.host.removeStep(o.conf(network))
	if err != nil {
		return nil, err
	}
	steps = append(steps, conf...)
	if link := o.link(network); link != openRCScript {
		if to, err := os.Readlink(o.host.path(link)); err == nil && filepath.Base(to) == "credant" {
			steps = append(steps, Step{"remove " + link, func(context.Context) error { return o.host.remove(link) }})
		}
	}
	if others := slices.DeleteFunc(o.Networks(), func(n string) bool { return n == network }); len(others) == 0 {
		script, err := o.host.removeStep(openRCScript)
		if err != nil {
			return nil, err
		}
		steps = append(steps, script...)
	}
	return steps, nil
}

func (o openRC) Stop(ctx context.Context, network string) error {
	_, err := o.host.command(ctx, "rc-service", o.Unit(network), "stop")
	return err
}
