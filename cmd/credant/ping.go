package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/control/localapi"
	"github.com/spf13/cobra"
)

func (p *program) pingCommand() *cobra.Command {
	var opts pingOptions
	cmd := &cobra.Command{
		Use:   "ping NODE",
		Short: "Reach another node through the tunnel",
		Long: `Send echo requests through the tunnel to another node and say which path they
take. NODE is its name, its id or the beginning of it, or one of its overlay
addresses. Exits with 1 when no answer comes.`,
		Example: `  credant ping nas
  credant ping -c 3 10.77.18.4
  credant ping -c 1 --json nas`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return cli.Usagef("ping needs one node: its name, its id or its address")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.resolveRunning(cmd); err != nil {
				return err
			}
			return p.ping(cmd.Context(), args[0], opts)
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return p.nodeNames(cmd, args), cobra.ShellCompDirectiveNoFileComp
		},
	}
	opts.interval = time.Second
	cli.OneP(cmd.Flags(), "count", "c", &opts.count, "N", "", parseCount, "stop after N requests (default until Ctrl-C)")
	cli.OneP(cmd.Flags(), "interval", "i", &opts.interval, "SECONDS", "1", parseInterval, "time between two requests")
	cmd.Flags().BoolVar(&opts.json, "json", false, "print each reply as one line of JSON")
	return cmd
}

type pingOptions struct {
	count    int // 0: until Ctrl-C
	interval time.Duration
	json     bool
}

func (p *program) ping(ctx context.Context, node string, opts pingOptions) error {
	var sum pingSummary
	next := time.NewTimer(0)
	defer next.Stop()
	for opts.count == 0 || sum.sent < opts.count {
		select {
		case <-ctx.Done():
		case <-next.C:
		}
		if ctx.Err() != nil {
			break
		}
		next.Reset(opts.interval)
		reply, err := p.client().Ping(ctx, node)
		if ctx.Err() != nil { // the one on its way does not count
			break
		}
		if err != nil {
			return p.notFound(ctx, node, p.notUp(err))
		}
		sum.add(reply)
		if err := p.showReply(reply, opts.json); err != nil {
			return err
		}
	}
	if !opts.json {
		fmt.Fprintln(p.stdout, sum)
	}
	if sum.answered == 0 {
		return cli.ErrSaid
	}
	return nil
}

func (p *program) showReply(r localapi.PingReply, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(p.stdout).Encode(r)
	}
	_, err := fmt.Fprintln(p.stdout, replyLine(r))
	return err
}

func replyLine(r localapi.PingReply) string {
	node := printable(r.Node)
	if node == "" {
		node = r.ID
	}
	if !r.OK {
		line := fmt.Sprintf("no answer from %s (%s): %s", node, r.Address, r.Path)
		if r.Error != "" {
			line += ", " + printable(r.Error)
		}
		return line
	}
	line := fmt.Sprintf("reply from %s (%s): %s %s", node, r.Address, millis(r.RTTMillis), r.Path)
	if r.Endpoint != "" {
		line += " " + r.Endpoint
	}
	return line
}

type pingSummary struct {
	sent, answered   int
	least, sum, most float64 // milliseconds
}

func (s *pingSummary) add(r localapi.PingReply) {
	s.sent++
	if !r.OK {
		return
	}
	if s.answered == 0 || r.RTTMillis < s.least {
		s.least = r.RTTMillis
	}
	s.most = max(s.most, r.RTTMillis)
	s.sum += r.RTTMillis
	s.answered++
}

func (s pingSummary) String() string {
	line := fmt.Sprintf("%d sent, %d answered", s.sent, s.answered)
	if s.answered > 0 {
		line += fmt.Sprintf(": shortest %s, mean %s, longest %s", millis(s.least), millis(s.sum/float64(s.answered)), millis(s.most))
	}
	return line
}
