package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/deploy"
	"github.com/credant/credant/deploy/service"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (p *program) serviceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service COMMAND",
		Short: "Let the network start with this host",
		Long: `Make the network a service of systemd, OpenRC or OpenWrt's procd: it starts with
the host, is started again should it crash, and is upgraded without a lost
packet on the kernel's WireGuard.`,
		Example: `  sudo credant service install --network home
  sudo credant service uninstall --network home`,
	}
	cmd.AddCommand(p.serviceInstallCommand(), p.serviceUninstallCommand())
	return cmd
}

func (p *program) serviceInstallCommand() *cobra.Command {
	var noStart bool
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Start the network now and with the host",
		Long: `Make the network a service, and start it. The settings given are written to
/etc/credant/NETWORK.toml, beside what stands there already; the passphrase is
asked for once, and only its key is kept. Doing it again changes nothing, or
what is given anew. A network that is up already is taken over as it is.`,
		Example: `  sudo credant service install
  sudo credant service install --network home --name nas --port 23456
  sudo credant service install --network home --passphrase-file - --no-start`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.resolve(cmd); err != nil {
				return err
			}
			if err := p.checkSettings(); err != nil {
				return err
			}
			return p.serviceInstall(cmd.Context(), noStart)
		},
	}
	cmd.Flags().BoolVar(&noStart, "no-start", false, "let it begin with the next start of the host")
	p.flags.VisitAll(func(f *pflag.Flag) {
		if !slices.Contains([]string{"network", "socket", "foreground"}, f.Name) {
			cmd.Flags().AddFlag(f)
		}
	})
	cmd.Flags().SortFlags = false
	cli.Complete(cmd, "backend", backends...)
	cli.Complete(cmd, "log-level", cli.LogLevels...)
	return cmd
}

func (p *program) serviceUninstallCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "uninstall",
		Short: "Stop the network, and start it no more with the host",
		Long: `Stop the network's service, and take away what "credant service install" has put
in place for it. The keys and the settings stay.`,
		Example: `  sudo credant service uninstall --network home`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.fromEnvironment(cmd); err != nil {
				return err
			}
			return p.serviceUninstall(cmd.Context())
		},
	}
}

// manager finds what starts programs on this host.
func (p *program) manager(offline bool) (service.Manager, error) {
	m, err := service.Detect(p.host, offline)
	if errors.Is(err, service.ErrNone) {
		return nil, fmt.Errorf("%w: let whatever starts programs here run %q, and end it with SIGTERM, or with SIGUSR1 to go on after an upgrade", err, p.withNetwork("credant up --foreground"))
	}
	return m, err
}

// serviceState is what a service manager knows of this network; a nil manager:
// it is no service.
func (p *program) serviceState(ctx context.Context) (service.Manager, service.State) {
	m, err := service.Detect(p.host, false)
	if err != nil {
		return nil, service.State{}
	}
	state := m.State(ctx, p.set.network)
	if !state.Enabled && !state.Active {
		return nil, service.State{}
	}
	return m, state
}

// ownProgram is the path of this program, where it may be started as root from
// now on.
func ownProgram() (string, error) {
	path, err := os.Executable()
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return "", fmt.Errorf("find the own program for the service: %w: put it at /usr/local/bin/credant and run that", err)
	}
	if path == deploy.Program {
		return path, nil
	}
	return path, trustedProgram(path)
}

func trustedProgram(path string) error {
	const mend = "put it in place with \"sudo install %s /usr/local/bin/credant\" and run that"
	for _, fleeting := range []string{"/tmp/", "/var/tmp/", "/dev/shm/", "/run/"} {
		if strings.HasPrefix(path, fleeting) {
			return fmt.Errorf("%s may be gone when the host starts again: "+mend, path, path)
		}
	}
	fi, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("look at the own program: %w", err)
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 || fi.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("others than root can change %s, which the service would run as root: "+mend, path, path)
	}
	return nil
}
