package main

import (
	"context"
	"fmt"
	"os"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/control/localapi"
	"github.com/spf13/cobra"
)

func (p *program) renameCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rename NAME",
		Short: "Give this node another name",
		Long: `Give this node another name, at once and on all nodes. It is kept over restarts.
Where --name, CREDANT_NAME or the settings file fix the name, it has to be
changed there.`,
		Example: `  sudo credant rename nas
  sudo credant rename nas --network home`,
		Args: exactly("rename needs one name", 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.asRoot(cmd, "rename a node", func(ctx context.Context) error {
				n, err := p.client().Rename(ctx, args[0])
				if err != nil {
					return p.notUp(err)
				}
				fmt.Fprintf(p.stdout, "This node is called %s now.\n", n.Name)
				p.sayNote(n)
				return nil
			})
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
}

func (p *program) forgetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "forget NODE",
		Short: "Take a node that is gone out of the list",
		Long: `Take a node that is gone out of what this node knows: it is no longer listed, and
its name and addresses are free here. A node that seems to be there is asked
first, which takes a few seconds, and is kept where it answers. It comes back
when it is in the network again. The other nodes keep it until a day after it
was last heard of; a node that leaves for good by "credant leave" goes from all
lists at once.`,
		Example: `  sudo credant forget old-laptop`,
		Args:    exactly("forget needs one node: its name, its id or its address", 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.asRoot(cmd, "forget a node", func(ctx context.Context) error {
				f, err := p.client().Forget(ctx, args[0])
				if err != nil {
					return p.notFound(ctx, args[0], p.notUp(err))
				}
				fmt.Fprintf(p.stdout, "Forgot %s (id %s).\n", printable(f.Name), f.ID)
				return nil
			})
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return p.nodeNames(cmd, args), cobra.ShellCompDirectiveNoFileComp
		},
	}
}

// exactly wants n arguments.
func exactly(usage string, n int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return cli.Usagef("%s", usage)
		}
		return nil
	}
}

// asRoot runs a change of the network that a daemon runs. What it is, in words,
// is for who may not.
func (p *program) asRoot(cmd *cobra.Command, what string, do func(ctx context.Context) error) error {
	if err := p.resolveRunning(cmd); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("only root may %s: run it with sudo", what)
	}
	return do(cmd.Context())
}

// sayNote shows what a person should know of a change of names.
func (p *program) sayNote(n localapi.OwnNames) {
	if n.Note != "" {
		p.warn("%s", printable(n.Note))
	}
}
