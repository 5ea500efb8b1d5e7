package main

import (
	"github.com/credant/credant/control"
	"github.com/spf13/cobra"
)

// deriveKeyCommand is the child process in which the network key is derived,
// so that the daemon does not keep the memory which that takes.
func (p *program) deriveKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:    control.DeriveCommand,
		Short:  "Derive a network key (called by credant itself)",
		Hidden: true,
		RunE: func(*cobra.Command, []string) error {
			return control.DeriveKeyMain(p.stdin, p.stdout)
		},
	}
}
