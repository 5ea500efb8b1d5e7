package main

import (
	"fmt"

	"github.com/credant/credant/discovery/keys"
	"github.com/spf13/cobra"
)

func (p *program) newCommand() *cobra.Command {
	var quiet bool
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Make a passphrase for a new network",
		Long: `Make a passphrase of six random words, and say what to type on the machines that
are to share a network. Nothing is stored or started.`,
		Example: `  credant new
  credant new --network home
  credant new --quiet > passphrase`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.resolve(cmd); err != nil {
				return err
			}
			pass, err := keys.NewPassphrase()
			if err != nil {
				return err
			}
			if quiet {
				_, err = fmt.Fprintln(p.stdout, pass)
				return err
			}
			_, err = fmt.Fprintf(p.stdout, `The passphrase of network %s:

    %s

Whoever knows it is a member, so keep it like a key. On this machine, and then
on each of the others, run

    sudo %s

and type it when asked. Where nobody can type, put it into a file that only root
can read and run

    sudo %s --passphrase-file FILE

Each machine shows three check words. They are the same wherever the passphrase
was typed without a mistake.
`, p.set.network, pass, p.withNetwork("credant up"), p.withNetwork("credant up"))
			return err
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print the passphrase alone")
	return cmd
}
