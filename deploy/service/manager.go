package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/credant/credant/deploy"
)

// DefaultStateDir is the state folder that the files of package deploy know.
const DefaultStateDir = "/var/lib/credant"

// Credential is the name under which a service manager hands a network's
// passphrase over.
func Credential(network string) string { return "credant." + network + ".passphrase" }

// Options are what the service of a network needs besides its settings file.
type Options struct {
	Network string
	Folders []string // besides DefaultStateDir and /run, where it writes: state, socket
	State   string   // state folder; empty: DefaultStateDir
	Restart bool     // settings have changed: a service that runs takes them
	NoStart bool     // leave it stopped
}

// State is what a service manager knows of a network.
type State struct {
	Enabled bool // starts with the host
	Active  bool // runs, or is about to
}

// Manager is what starts programs on a host.
type Manager interface {
	Name() string
	// Unit is what the network is called there.
	Unit(network string) string
	State(ctx context.Context, network string) State
	// Networks lists those that start with the host.
	Networks() []string
	Install(ctx context.Context, o Options) ([]Step, error)
	Uninstall(ctx context.Context, network string) ([]Step, error)
	// StateDir is where keys are kept on such hosts, unless told otherwise.
	StateDir() string
	// Credential is where the passphrase of a network lies ready for the service;
	// empty: nowhere.
	Credential(network string) string
	// Stop stops the service until the host starts again.
	Stop(ctx context.Context, network string) error
	// StartLine is what a person types to start it, and LogLine to see what it said.
	StartLine(network string) string
	LogLine(network string) string
}

// Step is one change of the host.
type Step struct {
	Text string // "enable credant@home"
	do   func(context.Context) error
}

func (s Step) String() string { return s.Text }

// Apply carries the steps out in their order, up to the first that does not work.
func Apply(ctx context.Context, steps []Step, done func(Step)) error {
	for _, s := range steps {
		if err := s.do(ctx); err != nil {
			return err
		}
		done(s)
	}
	return nil
}

// ErrNone is no error of a host: it has no service manager known here.
var ErrNone = errors.New("none of systemd, OpenRC and procd runs on this host")

// Detect finds the host's service manager. offline also takes one that is
// installed and does not run, as in an image that is being built.
func Detect(h Host, offline bool) (Manager, error) {
	switch {
	case h.has("/run/systemd/system"):
		return systemd{h, true}, nil
	case h.has("/run/openrc/softlevel"):
		return openRC{h, true}, nil
	case h.has("/sbin/procd") && h.has("/etc/rc.common"):
		return procd{h, h.has("/var/run/ubus") || h.has("/var/run/ubus.sock")}, nil
	case offline && (h.has("/usr/lib/systemd/systemd") || h.has("/lib/systemd/systemd")):
		return systemd{h, false}, nil
	case offline && h.has("/sbin/openrc-run"):
		return openRC{h, false}, nil
	}
	return nil, ErrNone
}

// fileStep is what it takes for a file of ours to be in place, if anything.
func (h Host) fileStep(p, text string, mode fs.FileMode) ([]Step, error) {
	text = marked(strings.ReplaceAll(text, deploy.Program, h.Program))
	there, err := h.read(p)
	if err != nil || there == text || h.has(p) && !ownFile(there) {
		return nil, err
	}
	return []Step{{"write " + p, func(context.Context) error { return h.write(p, text, mode) }}}, nil
}

// removeStep removes a file that is ours.
func (h Host) removeStep(p string) ([]Step, error) {
	there, err := h.read(p)
	if err != nil || !ownFile(there) {
		return nil, err
	}
	return []Step{{"remove " + p, func(context.Context) error { return h.remove(p) }}}, nil
}

// commandStep runs a program.
func (h Host) commandStep(text, name string, args ...string) Step {
	return Step{text, func(ctx context.Context) error {
		if _, err := h.command(ctx, name, args...); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
		return nil
	}}
}
