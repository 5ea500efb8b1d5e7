package main

import (
	"log/slog"
	"net/netip"

	"github.com/credant/credant/cmd/internal/cli"
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

	name      string
	iface     string
	port      uint16
	ips       []netip.Addr
	subnet    netip.Prefix
	ephemeral bool
	backend   string
	dns       string

	bootstrap     []string
	relays        []string
	dhtBootstrap  []string
	stun          []string
	noSTUN        bool
	noDHT         bool
	noLAN         bool
	noPublicRelay bool
	noPortMapping bool
	noSpray       bool

	routes routeSettings

	foreground bool
	logLevel   slog.Level

	// Set by `up` when it starts itself, see background.go.
	readyFD int
	logFile string
	// nameOrigin is where the name was set.
	nameOrigin string
}

// flagSet returns the flags that fill s. Each exists once, under one name on
// the command line, in the environment and in the settings file.
func (s *settings) flagSet() *pflag.FlagSet {
	*s = settings{network: "default", stateDir: control.DefaultStateDir, backend: "auto", dns: "auto"}
	fs := pflag.NewFlagSet("credant", pflag.ContinueOnError)
	fs.SortFlags = false

	cli.One(fs, "network", &s.network, "NAME", "", parseNetwork, "name of the network (default \"default\")")
	cli.One(fs, "socket", &s.socket, "PATH", "", parseSocket, "socket of its daemon (default /run/credant/NAME.sock)")

	cli.One(fs, "passphrase-file", &s.passphraseFile, "FILE", "", parseSource, "read the passphrase from FILE, - for standard input")
	fs.BoolVar(&s.weakPassphrase, "weak-passphrase", false, "accept a passphrase that can be guessed")
	cli.One(fs, "name", &s.name, "NAME", "", parseNodeName, "name of this node (default the host's)")
	cli.One(fs, "interface", &s.iface, "NAME", "", parseInterface, "name of the interface (default the first free credantN)")
	cli.One(fs, "port", &s.port, "PORT", "", cli.ParsePort, "UDP port towards the internet (default random, then kept)")
	cli.Many(fs, "ip", &s.ips, "ADDRESS", parseOverlay, "overlay address of this node, IPv4 or IPv6 (default from its key); repeatable")
	cli.One(fs, "subnet", &s.subnet, "PREFIX", "", parseSubnet, "overlay IPv4 prefix of the network (default from its key)")
	fs.BoolVar(&s.ephemeral, "ephemeral", false, "let the others forget this node an hour after it is gone")
	cli.One(fs, "dns", &s.dns, "MODE", "auto", cli.OneOf(dnsModes...), "how this host finds nodes by name: auto, resolved, resolvconf, hosts or off")
	cli.Many(fs, "bootstrap", &s.bootstrap, "HOST:PORT", cli.ParseHostPort("vpn.example.org:23000"), "where a node of the network can be reached; repeatable")
	cli.Many(fs, "relay", &s.relays, "HOST:PORT#KEY", parseRelay, "relay to use, as credant-relay prints it; without #KEY, whoever answers there; repeatable")
	fs.BoolVar(&s.noPublicRelay, "no-public-relay", false, "use no relay that serves everyone")
	cli.Many(fs, "dht-bootstrap", &s.dhtBootstrap, "HOST:PORT", cli.ParseHostPort("router.example.org:6881"), "DHT node to begin with instead of the public ones; repeatable")
	cli.Many(fs, "stun", &s.stun, "HOST:PORT", cli.ParseHostPort("stun.example.org:3478"), "STUN server to ask instead of the public ones; repeatable")
	fs.BoolVar(&s.noSTUN, "no-stun", false, "ask no STUN server")
	fs.BoolVar(&s.noPortMapping, "no-port-mapping", false, "ask no router to forward the port")
	fs.BoolVar(&s.noSpray, "no-spray", false, "open a path by one port at a time, where the NAT in between takes many guesses")
	fs.BoolVar(&s.noDHT, "no-dht", false, "do not search on the BitTorrent DHT")
	fs.BoolVar(&s.noLAN, "no-lan", false, "do not search on the local network")
	s.routes.addTo(fs)
	cli.One(fs, "backend", &s.backend, "KIND", "auto", cli.OneOf(backends...), "WireGuard to use: auto, kernel or embedded")
	cli.One(fs, "state-dir", &s.stateDir, "PATH", control.DefaultStateDir, cli.ParsePath, "where keys are kept")
	fs.BoolVar(&s.foreground, "foreground", false, "stay in the foreground and log to standard error")
	cli.One(fs, "log-level", &s.logLevel, "LEVEL", "info", cli.ParseLevel, "debug, info, warn or error")

	fs.IntVar(&s.readyFD, "ready-fd", 0, "")
	cli.One(fs, "log-file", &s.logFile, "PATH", "", cli.ParsePath, "")
	fs.StringVar(&s.nameOrigin, "name-origin", "", "")
	for _, internal := range []string{"ready-fd", "log-file", "name-origin"} {
		fs.Lookup(internal).Hidden = true
	}
	return fs
}

// config is what the daemon is started with.
func (s *settings) config(log *slog.Logger) control.Config {
	return control.Config{
		Version:       cli.Version(version),
		Network:       s.network,
		Name:          s.name,
		NameOrigin:    s.nameOrigin,
		Ephemeral:     s.ephemeral,
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
		NoPortMapping: s.noPortMapping,
		NoSpray:       s.noSpray,
		NoLAN:         s.noLAN,
		RouteConfig:   s.routes.config(),
		Backend:       s.backend,
		DNS:           s.dns,
		StateDir:      s.stateDir,
		Socket:        s.socket,
		Log:           log,
	}
}
