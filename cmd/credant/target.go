package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/control/localapi"
	"github.com/spf13/cobra"
)

// resolve brings the settings of the command together. `up` is for the default
// network unless told otherwise.
func (p *program) resolve(cmd *cobra.Command) error {
	if err := p.fromEnvironment(cmd); err != nil {
		return err
	}
	if err := p.fromFile(cmd); err != nil {
		return err
	}
	if p.set.socket == "" {
		p.set.socket = p.socketOf(p.set.network)
	}
	return nil
}

// resolveRunning is resolve for the commands that talk to a daemon: where no
// network was named and one alone runs here, that one is meant.
func (p *program) resolveRunning(cmd *cobra.Command) error {
	if err := p.fromEnvironment(cmd); err != nil {
		return err
	}
	if p.origins["network"] == "" && p.set.socket == "" {
		networks := p.running()
		switch len(networks) {
		case 0:
		case 1:
			p.set.network = networks[0]
		default:
			return cli.Usagef("several networks are up here: name one of %s with --network", strings.Join(networks, ", "))
		}
	}
	if p.set.socket == "" {
		if err := p.fromFile(cmd); err != nil {
			return err
		}
	}
	if p.set.socket == "" {
		p.set.socket = p.socketOf(p.set.network)
	}
	return nil
}

// running lists the networks with a default socket at which somebody answers;
// where nobody answers at any of them, those that ended without an orderly
// `down`.
func (p *program) running() []string {
	sockets, _ := filepath.Glob(p.socketOf("*")) // the pattern is well-formed
	var alive, dead []string
	for _, s := range sockets {
		name := strings.TrimSuffix(filepath.Base(s), ".sock")
		if answers(s) {
			alive = append(alive, name)
		} else {
			dead = append(dead, name)
		}
	}
	if len(alive) == 0 {
		alive = dead
	}
	slices.Sort(alive)
	return alive
}

// networkNames complete --network in a shell: those that are up, and those with
// a settings file.
func (p *program) networkNames(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	names := p.running()
	files, _ := filepath.Glob(p.settingsOf("*")) // the pattern is well-formed
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".toml"); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// answers tells whether a process listens at the socket; one that we may not
// talk to counts.
func answers(socket string) bool {
	conn, err := net.Dial("unix", socket)
	if err == nil {
		conn.Close()
	}
	return err == nil || errors.Is(err, fs.ErrPermission) || os.IsPermission(err)
}

func (p *program) client() *localapi.Client { return localapi.NewClient(p.set.socket) }

// withNetwork is a command line for the network that this one is about.
func (p *program) withNetwork(command string) string {
	if p.set.network != "default" {
		command += " --network " + p.set.network
	}
	return command
}

// notUp explains ErrNotRunning; other errors are returned as they are.
func (p *program) notUp(err error) error {
	if !errors.Is(err, localapi.ErrNotRunning) {
		return err
	}
	if p.origins["socket"] != "" {
		return fmt.Errorf("no daemon answers at %s: check the path, or start one with %q", p.set.socket, "sudo "+p.withNetwork("credant up")+" --socket "+p.set.socket)
	}
	return fmt.Errorf("network %s is not up here: start it with %q", p.set.network, "sudo "+p.withNetwork("credant up"))
}
