package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/spf13/cobra"
)

// layers are where the settings of a command come from: its flags, variables
// of the environment, and the network's settings file.
func (p *program) layers(cmd *cobra.Command) cli.Layers {
	return cli.Layers{
		Flags:  p.flags,
		Wanted: cmd.Flags(),
		Refused: map[string]string{
			"passphrase": "a passphrase does not belong here: name a file with passphrase-file",
			"network":    "the network is chosen by --network, and with it this file",
		},
		Origins: p.origins,
	}
}

// fromEnvironment takes CREDANT_NAME for each setting of the command that has
// no flag.
func (p *program) fromEnvironment(cmd *cobra.Command) error {
	p.origins = map[string]string{}
	return p.layers(cmd).FromEnvironment("CREDANT", p.getenv)
}

// fromFile takes the rest from /etc/credant/NETWORK.toml.
func (p *program) fromFile(cmd *cobra.Command) error {
	path := p.settingsOf(p.set.network)
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrPermission) && cmd.Flags().Lookup("state-dir") == nil:
		// Only `up` needs all of it; the group credant may ask for the status.
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("read the settings: %w: run this as root, with sudo", err)
	case err != nil:
		return fmt.Errorf("read the settings: %w: put a file there, or move away what is", err)
	}
	return p.layers(cmd).FromFile(path, b)
}

// settingsOf is the settings file of a network.
func (p *program) settingsOf(network string) string {
	return filepath.Join(p.etc, network+".toml")
}
