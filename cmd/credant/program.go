package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/cmd/internal/systemd"
	"github.com/credant/credant/control"
	"github.com/credant/credant/deploy/service"
	"github.com/credant/credant/discovery/keys"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// program is one run of credant with everything that it takes from the system,
// so that tests can give it another one.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string // NAME=VALUE
	etc            string   // folder of the settings files
	run            string   // folder of the default sockets
	node           node
	host           service.Host // whose service manager is asked
	journal        bool         // what goes to stderr is kept by systemd's journal

	set     settings          // what was asked for, once resolve has run
	flags   *pflag.FlagSet    // every setting, whichever command shows it
	origins map[string]string // setting to where its value came from, for errors
}

// node is what the commands need of package control.
type node struct {
	preflight func(control.Config) error
	hasKey    func(stateDir, network string) (bool, error)
	join      func(ctx context.Context, stateDir, network string, passphrase []byte) (keys.NetworkKey, error)
	run       func(ctx context.Context, c control.Config, ready func()) error
	clean     func(network string) (removed []string, err error)
	// deleteState deletes what is kept of a network that is not up.
	deleteState func(stateDir, network string) error
	netcheck    func(context.Context, control.NetcheckConfig) (control.NetcheckReport, error)
}

var thisNode = node{
	preflight:   control.Preflight,
	hasKey:      control.HasKey,
	join:        control.Join,
	run:         control.Run,
	clean:       control.Clean,
	deleteState: control.DeleteState,
	netcheck:    control.Netcheck,
}

func (p *program) execute(ctx context.Context, args []string) int {
	if p.journal = systemd.IsJournal(p.stderr, p.getenv("JOURNAL_STREAM")); p.journal {
		p.stderr = systemd.JournalWriter{To: p.stderr, Program: "credant"}
	}
	code := cli.Run(ctx, p.rootCommand(), args, p.stdin, p.stdout, p.stderr)
	if code == cli.ExitUsage && systemd.NewNotifier(p.getenv("NOTIFY_SOCKET")).Listens() {
		return exitConfig
	}
	return code
}

// exitConfig is EX_CONFIG of sysexits.h: what was given to a service is wrong,
// and trying again does not mend it. A panic ends a Go program with 2, which
// means wrong usage to people alone.
const exitConfig = 78

func (p *program) rootCommand() *cobra.Command {
	p.flags = p.set.flagSet()
	root := &cobra.Command{
		Use:   "credant COMMAND",
		Short: "One passphrase, one private network",
		Long: `CredAnt joins machines to one encrypted private network. Type the same
passphrase on each of them: they find each other and connect, with no account
and no server.`,
		Example: `  credant new                 make a passphrase
  sudo credant up             join the network with it, on every machine
  credant status              see who is there
  credant ping nas            reach another node through the tunnel
  credant netcheck            look at the NATs around this host
  sudo credant down           take it down, and keep its keys`,

		DisableFlagsInUseLine: true,

		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().AddFlag(p.flags.Lookup("network"))
	root.PersistentFlags().AddFlag(p.flags.Lookup("socket"))
	_ = root.RegisterFlagCompletionFunc("network", p.networkNames) // fails only for a flag that is not there
	root.AddCommand(
		p.newCommand(),
		p.upCommand(),
		p.downCommand(),
		p.statusCommand(),
		p.pingCommand(),
		p.dnsCommand(),
		p.renameCommand(),
		p.forgetCommand(),
		p.leaveCommand(),
		p.blockCommand(),
		p.unblockCommand(),
		p.netcheckCommand(),
		p.serviceCommand(),
		p.deriveKeyCommand(),
	)
	cli.Finish(root, versionLine(), "up")
	return root
}

// socketOf is where the daemon of a network listens unless told otherwise.
func (p *program) socketOf(network string) string {
	return filepath.Join(p.run, network+".sock")
}

func (p *program) getenv(name string) string { return cli.Getenv(p.environ, name) }

func (p *program) warn(format string, args ...any) {
	fmt.Fprintf(p.stderr, "credant: warning: "+format+"\n", args...)
}

// colours tells whether what is written to w may be coloured.
func (p *program) colours(w io.Writer) style {
	return style(isTerminal(w) && p.getenv("NO_COLOR") == "" && p.getenv("TERM") != "dumb")
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
