package main

import (
	"log/slog"
	"net/netip"

	"github.com/credant/credant/control"
	"github.com/spf13/pflag"
)

// settings is everything that `up` can be told; the other commands use network
// and socket of it. docs/reference.toml explains each under the same name.
type settings struct {
	network string
	socket  string // empty: the network's default

	passphraseFile string // "-" is standard input
	weakPassphrase bool
	stateDir       string

	name    string
	iface   string
	port    uint16
	ips     []netip.Addr
	subnet  netip.Prefix
	backend string

	bootstrap     []string
	relays        []string
	dhtBootstrap  []string
	stun          []string
	noSTUN        bool
	noDHT         bool
	noLAN         bool
	noPublicRelay bool

	foreground bool
	logLevel   slog.Level

	// Set by `up` when it starts itself, see background.go.
	readyFD int
	logFile string
}

// flagSet returns the flags that fill s. Each exists once, under one name on
// the command line, in the environment and in the settings file.
func (s *settings) flagSet() *pflag.FlagSet {
	*s = settings{network: "default", stateDir: control.DefaultStateDir, backend: "auto"}
	fs := pflag.NewFlagSet("credant", pflag.ContinueOnError)
	fs.SortFlags = false

	one(fs, "network", &s.network, "NAME", "default", parseNetwork, "name of the network")
	one(fs, "socket", &s.socket, "PATH", "", parseSocket, "socket of its daemon (default /run/credant/NAME.sock)")

	one(fs, "passphrase-file", &s.passphraseFile, "FILE", "", parseSource, "read the passphrase from FILE, - for standard input")
	fs.BoolVar(&s.weakPassphrase, "weak-passphrase", false, "accept a passphrase that can be guessed")
	one(fs, "name", &s.name, "NAME", "", parseNodeName, "name of this node (default the host's)")
	one(fs, "interface", &s.iface, "NAME", "", parseInterface, "name of the interface (default the first free credantN)")
	one(fs, "port", &s.port, "PORT", "", parsePort, "UDP port towards the internet (default random, then kept)")
	many(fs, "ip", &s.ips, "ADDRESS", parseIPv4, "overlay IPv4 address of this node (default from its key)")
	one(fs, "subnet", &s.subnet, "PREFIX", "", parseSubnet, "overlay IPv4 prefix of the network (default from its key)")
	many(fs, "bootstrap", &s.bootstrap, "HOST:PORT", parseHostPort, "where a node of the network can be reached; repeatable")
	many(fs, "relay", &s.relays, "HOST:PORT#KEY", parseRelay, "relay to use, as it prints it; repeatable")
	fs.BoolVar(&s.noPublicRelay, "no-public-relay", false, "use no relay that serves everyone")
	many(fs, "dht-bootstrap", &s.dhtBootstrap, "HOST:PORT", parseHostPort, "DHT node to begin with instead of the public ones; repeatable")
	many(fs, "stun", &s.stun, "HOST:PORT", parseHostPort, "STUN server to ask instead of the public ones; repeatable")
	fs.BoolVar(&s.noSTUN, "no-stun", false, "ask no STUN server")
	fs.BoolVar(&s.noDHT, "no-dht", false, "do not search on the BitTorrent DHT")
	fs.BoolVar(&s.noLAN, "no-lan", false, "do not search on the local network")
	one(fs, "backend", &s.backend, "KIND", "auto", parseBackend, "WireGuard to use: auto, kernel or embedded")
	one(fs, "state-dir", &s.stateDir, "PATH", control.DefaultStateDir, parsePath, "where keys are kept")
	fs.BoolVar(&s.foreground, "foreground", false, "stay in the foreground and log to standard error")
	one(fs, "log-level", &s.logLevel, "LEVEL", "info", parseLevel, "debug, info, warn or error")

	fs.IntVar(&s.readyFD, "ready-fd", 0, "")
	one(fs, "log-file", &s.logFile, "PATH", "", parsePath, "")
	for _, internal := range []string{"ready-fd", "log-file"} {
		fs.Lookup(internal).Hidden = true
	}
	return fs
}

// one adds a flag with one value. def is what --help shows as the default;
// the value itself is already in target.
func one[T any](fs *pflag.FlagSet, name string, target *T, kind, def string, parse func(string) (T, error), usage string) {
	fs.Var(&value[T]{target: target, kind: kind, parse: parse, text: def}, name, usage)
}

func many[T any](fs *pflag.FlagSet, name string, target *[]T, kind string, parse func(string) (T, error), usage string) {
	fs.Var(&values[T]{target: target, kind: kind, parse: parse}, name, usage)
}

// config is what the daemon is started with.
func (s *settings) config(log *slog.Logger) control.Config {
	return control.Config{
		Version:       versionString(),
		Network:       s.network,
		Name:          s.name,
		Interface:     s.iface,
		Port:          s.port,
		IPs:           s.ips,
		Subnet:        s.subnet,
		Bootstrap:     s.bootstrap,
		Relays:        s.relays,
		NoPublicRelay: s.noPublicRelay,
		DHTBootstrap:  s.dhtBootstrap,
		STUN:          s.stun,
		NoSTUN:        s.noSTUN,
		NoDHT:         s.noDHT,
		NoLAN:         s.noLAN,
		Backend:       s.backend,
		StateDir:      s.stateDir,
		Socket:        s.socket,
		Log:           log,
	}
}

// arguments are those with which another credant gets the same settings,
// wherever these came from.
func arguments(fs *pflag.FlagSet, except ...string) []string {
	var args []string
	fs.VisitAll(func(f *pflag.Flag) {
		for _, name := range except {
			if f.Name == name {
				return
			}
		}
		if !f.Changed || f.Hidden {
			return
		}
		texts := []string{f.Value.String()}
		if l, ok := f.Value.(repeatable); ok {
			texts = l.list()
		}
		for _, t := range texts {
			args = append(args, "--"+f.Name+"="+t)
		}
	})
	return args
}
