package main

import (
	"context"
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/control/relayd"
	"github.com/credant/credant/relay/wire"
)

// program is one run of credant-relay with everything that it takes from the
// system, so that tests can give it another one.
type program struct {
	args           []string
	stdout, stderr io.Writer
	environ        []string       // NAME=VALUE
	etc            string         // folder of the settings file
	flags          *pflag.FlagSet // as the command line set them
	relay          func(context.Context, relayd.Config, func(relayd.Info)) error
}

func (p *program) execute(ctx context.Context) int {
	return cli.Run(ctx, p.rootCommand(), p.args, nil, p.stdout, p.stderr)
}

func (p *program) rootCommand() *cobra.Command {
	var s settings
	p.flags = s.flagSet()
	root := &cobra.Command{
		Use:   "credant-relay [FLAG]...",
		Short: "A relay for networks made with credant",
		Long: `A relay for networks made with credant. It lets their nodes find each other and
carries their traffic where no direct path is. What it carries is encrypted; it
cannot read it, and can make no member.

On a host with a public address it needs no settings: it makes its key, finds
its addresses, and prints the --relay line to give to nodes and the commands
that open the firewall.

Each setting may also come from the environment (CREDANT_RELAY_NO_DHT=true) or
from /etc/credant-relay.toml (no-dht = true); a flag wins over the environment,
and the environment over the file. SIGHUP reads the file again. SIGTERM lets
nodes move away first.`,
		Example: `  sudo credant-relay                      serve everyone
  sudo credant-relay --allow NETWORK-ID   serve one network, with more room
  sudo credant-relay key                  print the relay's key
  credant-relay --state-dir ~/relay       run as any user`,

		DisableFlagsInUseLine: true,

		RunE: func(cmd *cobra.Command, _ []string) error { return p.serve(cmd.Context()) },
	}
	p.flags.VisitAll(func(f *pflag.Flag) {
		switch f.Name {
		case "config", "state-dir":
			root.PersistentFlags().AddFlag(f)
		default:
			root.Flags().AddFlag(f)
		}
	})
	root.Flags().SortFlags = false
	cli.Complete(root, "log-level", cli.LogLevels...)
	cli.Complete(root, "log-format", logFormats...)
	root.AddCommand(p.keyCommand())
	cli.Finish(root, versionLine(), "key")
	return root
}

// keyCommand prints the key by itself, for who writes the --relay line with a
// name of the host.
func (p *program) keyCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "key",
		Short:   "Print the relay's key, and make it where there is none",
		Example: `  echo "--relay relay.example.org:3478#$(sudo credant-relay key)"`,
		RunE: func(*cobra.Command, []string) error {
			s, err := p.resolve()
			if err != nil {
				return err
			}
			key, err := relayd.Key(s.stateDir)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(p.stdout, key)
			return err
		},
	}
}

func versionLine() string {
	return fmt.Sprintf("credant-relay %s (relay frames version %d, %s, %s/%s)", cli.Version(version), wire.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func (p *program) getenv(name string) string { return cli.Getenv(p.environ, name) }
