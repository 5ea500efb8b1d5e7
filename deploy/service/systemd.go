package service

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/credant/credant/deploy"
)

const (
	systemdTemplate = "credant@.service"
	systemdFolder   = "/etc/systemd/system"
)

// systemdPackaged is where a package puts the template.
var systemdPackaged = []string{"/usr/lib/systemd/system", "/lib/systemd/system"}

type systemd struct {
	host Host
	runs bool
}

func (systemd) Name() string                    { return "systemd" }
func (systemd) Unit(network string) string      { return "credant@" + network }
func (systemd) StartLine(network string) string { return "sudo systemctl start credant@" + network }
func (systemd) LogLine(network string) string   { return "journalctl -u credant@" + network }

func (systemd) StateDir() string { return DefaultStateDir }

func (s systemd) Credential(network string) string {
	for _, store := range []string{"/etc/credstore", "/run/credstore", "/usr/lib/credstore", "/run/credentials/@system"} {
		if path := filepath.Join(store, Credential(network)); s.host.has(path) {
			return path
		}
	}
	return ""
}

// link is what enables a network.
func (s systemd) link(network string) string {
	return filepath.Join(systemdFolder, "multi-user.target.wants", s.Unit(network)+".service")
}

func (s systemd) dropIn(network string) string {
	return filepath.Join(systemdFolder, s.Unit(network)+".service.d", "credant.conf")
}

func (s systemd) State(ctx context.Context, network string) State {
	state := State{Enabled: s.host.has(s.link(network))}
	if s.runs {
		word, _ := s.host.command(ctx, "systemctl", "is-active", s.Unit(network)) // the word says all
		state.Active = slices.Contains([]string{"active", "activating", "reloading"}, word)
	}
	return state
}

func (s systemd) Networks() []string {
	links, _ := filepath.Glob(s.host.path(s.link("*"))) // the pattern is well-formed
	var networks []string
	for _, l := range links {
		_, name, _ := strings.Cut(filepath.Base(l), "@")
		networks = append(networks, strings.TrimSuffix(name, ".service"))
	}
	return networks
}

func (s systemd) packaged() bool {
	return slices.ContainsFunc(systemdPackaged, func(folder string) bool {
		return s.host.has(filepath.Join(folder, systemdTemplate))
	})
}

func (s systemd) Install(ctx context.Context, o Options) ([]Step, error) {
	unit := filepath.Join(systemdFolder, systemdTemplate)
	var steps []Step
	var err error
	if s.packaged() {
		steps, err = s.host.removeStep(unit) // of a time before the package
	} else {
		steps, err = s.host.fileStep(unit, deploy.SystemdUnit, 0o644)
	}
	if err != nil {
		return nil, err
	}
	files, err := s.folders(o)
	if err != nil {
		return nil, err
	}
	steps = append(steps, files...)
	changed := len(steps) > 0 || o.Restart
	if len(steps) > 0 && s.runs {
		steps = append(steps, s.host.commandStep("reload systemd", "systemctl", "daemon-reload"))
	}
	state := s.State(ctx, o.Network)
	if !state.Enabled {
		steps = append(steps, s.host.commandStep("enable "+s.Unit(o.Network), "systemctl", "enable", s.Unit(o.Network)))
	}
	switch {
	case o.NoStart || !s.runs || state.Active && !changed:
	case state.Active:
		steps = append(steps, s.start("restart", o.Network))
	default:
		steps = append(steps, s.start("start", o.Network))
	}
	return steps, nil
}

// folders lets the sandbox write where the settings want it to.
func (s systemd) folders(o Options) ([]Step, error) {
	path := s.dropIn(o.Network)
	if len(o.Folders) == 0 {
		return s.host.removeStep(path)
	}
	text := "[Service]\n"
	for _, f := range o.Folders {
		// Percent signs begin specifiers, and a space another path.
		text += fmt.Sprintf("ReadWritePaths=\"-%s\"\n", strings.NewReplacer("%", "%%", `\`, `\\`, `"`, `\"`).Replace(f))
	}
	return s.host.fileStep(path, text, 0o644)
}

// start says why a start has failed, as far as the service did.
func (s systemd) start(verb, network string) Step {
	text := verb + " " + s.Unit(network)
	return Step{text, func(ctx context.Context) error {
		_, err := s.host.command(ctx, "systemctl", verb, s.Unit(network))
		if err == nil {
			return nil
		}
		said, _ := s.host.command(ctx, "journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=20", "--unit="+s.Unit(network))
		if last := lastWords(said); last != "" {
			return fmt.Errorf("%s: %s: see %q", text, last, s.LogLine(network))
		}
		return fmt.Errorf("%s: %w: see %q", text, err, s.LogLine(network))
	}}
}

// lastWords is the error with which credant ended last, in what it logged.
func lastWords(log string) string {
	lines := strings.Split(log, "\n")
	for _, l := range slices.Backward(lines) {
		if said, ok := strings.CutPrefix(l, "credant: "); ok && !strings.HasPrefix(said, "warning: ") {
			return said
		}
	}
	return ""
}

func (s systemd) Uninstall(ctx context.Context, network string) ([]Step, error) {
	var steps []Step
	state := s.State(ctx, network)
	if state.Active {
		steps = append(steps, s.host.commandStep("stop "+s.Unit(network), "systemctl", "stop", s.Unit(network)))
	}
	if state.Enabled {
		steps = append(steps, s.host.commandStep("disable "+s.Unit(network), "systemctl", "disable", s.Unit(network)))
	}
	files, err := s.host.removeStep(s.dropIn(network))
	if err != nil {
		return nil, err
	}
	if others := slices.DeleteFunc(s.Networks(), func(n string) bool { return n == network }); len(others) == 0 {
		unit, err := s.host.removeStep(filepath.Join(systemdFolder, systemdTemplate))
		if err != nil {
			return nil, err
		}
		files = append(files, unit...)
	}
	steps = append(steps, files...)
	if len(files) > 0 && s.runs {
		steps = append(steps, s.host.commandStep("reload systemd", "systemctl", "daemon-reload"))
	}
	return steps, nil
}

func (s systemd) Stop(ctx context.Context, network string) error {
	_, err := s.host.command(ctx, "systemctl", "stop", s.Unit(network))
	return err
}
