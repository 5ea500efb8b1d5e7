package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/control/localapi"
	"github.com/spf13/cobra"
)

func (p *program) blockCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "block [NODE]",
		Short: "Have nothing to do with a node, or list those",
		Long: `Have nothing to do with a node from now on, also after restarts: this node takes
no packet, no record and no route of it, and does not answer it. Only this node
does so: the others decide for themselves. NODE is a name, an id or the beginning
of it, or an overlay address; a node that is not there now is named by its whole
id. Without NODE, list the nodes that are blocked.

Who knows the passphrase can come back as a new node, with another id. To keep
somebody out who knows it, choose another passphrase.`,
		Example: `  sudo credant block old-laptop
  credant block
  sudo credant unblock old-laptop`,
		Args: atMostOneNode,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.resolveRunning(cmd); err != nil {
				return err
			}
			if len(args) == 0 {
				return p.listBlocked(cmd.Context(), asJSON)
			}
			n, err := p.shut(cmd.Context(), "block", args[0], p.client().Block)
			if err != nil {
				return err
			}
			fmt.Fprintf(p.stdout, "%s is blocked on this node. To let it in again: sudo %s %s\n", blockedName(n), p.withNetwork("credant unblock"), n.ID)
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return p.nodeNames(cmd, args), cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the list as JSON")
	return cmd
}

func (p *program) unblockCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unblock NODE",
		Short: "Let a blocked node in again",
		Long: `Let a node in again that "credant block" has shut out. NODE is the name that it
had then, or its id or the beginning of it.`,
		Example: `  sudo credant unblock old-laptop`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return cli.Usagef("unblock needs one node: \"credant block\" lists those that are blocked")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.resolveRunning(cmd); err != nil {
				return err
			}
			n, err := p.shut(cmd.Context(), "unblock", args[0], p.client().Unblock)
			if err != nil {
				return err
			}
			fmt.Fprintf(p.stdout, "%s may connect again.\n", blockedName(n))
			return nil
		},
	}
}

func atMostOneNode(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return cli.Usagef("give one node at a time")
	}
	return nil
}

func (p *program) shut(ctx context.Context, command, node string, ask func(context.Context, string) (localapi.BlockedNode, error)) (localapi.BlockedNode, error) {
	if os.Geteuid() != 0 {
		return localapi.BlockedNode{}, fmt.Errorf("only root may say which nodes are blocked: run \"sudo %s %s\"", p.withNetwork("credant "+command), node)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	n, err := ask(ctx, node)
	return n, p.notUp(err)
}

func blockedName(n localapi.BlockedNode) string {
	if n.Name == "" {
		return n.ID
	}
	return printable(n.Name) + " (id " + n.ID + ")"
}

func (p *program) listBlocked(ctx context.Context, asJSON bool) error {
	s, err := p.statusNow(ctx)
	if err != nil {
		return p.notUp(err)
	}
	if asJSON {
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(s.Blocked)
	}
	writeBlocked(p.stdout, s.Blocked, time.Now())
	return nil
}

func writeBlocked(w io.Writer, all []localapi.BlockedNode, now time.Time) {
	if len(all) == 0 {
		fmt.Fprintln(w, "No node is blocked.")
		return
	}
	fmt.Fprintf(w, "%-16s  %-12s  %s\n", "ID", "FOR", "NAME")
	for _, n := range all {
		name := printable(n.Name)
		if name == "" {
			name = "-"
		}
		fmt.Fprintf(w, "%-16s  %-12s  %s\n", printable(n.ID), span(now.Sub(n.Since)), name)
	}
}
