package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/spf13/cobra"
)

func (p *program) statusCommand() *cobra.Command {
	var opts statusOptions
	cmd := &cobra.Command{
		Use:        "status",
		SuggestFor: []string{"peers", "nodes", "list", "show", "info"},

		Short: "Show the network, its nodes and the paths to them",
		Long: `Show this node, the others and how they are reached:

  direct      straight through the internet
  lan         over the local network
  relay       through a relay
  connecting  known, a path is being looked for
  offline     it does not answer

Below them stand the ways in which nodes are searched for, and the relays that
are used. The network id is what credant-relay takes as --allow; it lets nobody
in.`,
		Example: `  credant status
  credant status --verbose
  credant status --json | jq '.peers[].path'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.resolveRunning(cmd); err != nil {
				return err
			}
			if opts.watch {
				return p.watchStatus(cmd.Context(), opts)
			}
			return p.showStatus(cmd.Context(), opts)
		},
	}
	cmd.Flags().BoolVar(&opts.json, "json", false, "print JSON; its fields are only ever added to")
	cmd.Flags().BoolVarP(&opts.verbose, "verbose", "v", false, "show ids, traffic, candidates and dropped datagrams as well")
	cmd.Flags().BoolVarP(&opts.watch, "watch", "w", false, "show it anew each second until Ctrl-C")
	return cmd
}

type statusOptions struct{ json, verbose, watch bool }

func (p *program) showStatus(ctx context.Context, opts statusOptions) error {
	s, err := p.statusNow(ctx)
	if err != nil {
		return p.notUp(err)
	}
	return p.printStatus(s, opts)
}

func (p *program) printStatus(s localapi.Status, opts statusOptions) error {
	if !opts.json {
		return renderStatus(p.stdout, s, time.Now(), p.colours(p.stdout), opts.verbose)
	}
	enc := json.NewEncoder(p.stdout)
	if !opts.watch { // a stream is one value a line
		enc.SetIndent("", "  ")
	}
	return enc.Encode(s)
}

func (p *program) watchStatus(ctx context.Context, opts statusOptions) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		s, err := p.statusNow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return p.notUp(err)
		}
		if isTerminal(p.stdout) && !opts.json {
			fmt.Fprint(p.stdout, "\x1b[H\x1b[2J") // home, clear
		}
		if err := p.printStatus(s, opts); err != nil {
			return err
		}
		if !isTerminal(p.stdout) && !opts.json {
			fmt.Fprintln(p.stdout)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
