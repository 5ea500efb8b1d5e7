package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/control/relayd"
	"github.com/credant/credant/discovery/keys"
)

// settings is everything that the relay can be told. docs/credant-relay.toml
// explains each under the same name.
type settings struct {
	config string // empty: the default file, which may be absent

	allow     []keys.NetworkID
	port      uint16
	stunPort  uint16
	ports     relayd.PortRange
	listen    []netip.Addr
	advertise []string
	stateDir  string

	dhtBootstrap []string
	noDHT        bool
	noAnnounce   bool

	metrics   string
	grace     time.Duration
	logLevel  slog.Level
	logFormat string

	stranger, member relayd.Quota // of the file alone
}

// flagSet returns the flags that fill s. Each exists once, under one name on
// the command line, in the environment and in the settings file.
func (s *settings) flagSet() *pflag.FlagSet {
	*s = settings{
		port: relayd.DefaultPort, stunPort: relayd.DefaultSTUNPort, ports: relayd.DefaultPorts,
		stateDir: relayd.DefaultStateDir, grace: relayd.DefaultGrace, logFormat: "text",
	}
	fs := pflag.NewFlagSet("credant-relay", pflag.ContinueOnError)
	fs.SortFlags = false
	text := func(v any) string { return fmt.Sprint(v) }

	cli.Many(fs, "allow", &s.allow, "NETWORK-ID", parseNetworkID, "serve only this network; \"credant status\" shows its id; repeatable")
	cli.Many(fs, "advertise", &s.advertise, "HOST", parseHost, "name or address by which nodes reach this host, where it is not one of its own; repeatable")
	cli.Many(fs, "listen", &s.listen, "ADDRESS", parseAddress, "own address to serve on (default those that the host has); repeatable")
	cli.One(fs, "port", &s.port, "PORT", text(s.port), parsePort, "UDP port for relay frames, STUN and DHT")
	cli.One(fs, "stun-port", &s.stunPort, "PORT", text(s.stunPort), cli.ParsePort, "second UDP port of the STUN server, 0 for none")
	cli.One(fs, "ports", &s.ports, "FIRST-LAST", text(s.ports), parsePorts, "UDP ports to relay on")
	cli.Many(fs, "dht-bootstrap", &s.dhtBootstrap, "HOST:PORT", cli.ParseHostPort("router.example.org:6881"), "DHT node to begin with instead of the public ones; repeatable")
	fs.BoolVar(&s.noDHT, "no-dht", false, "be no node of the BitTorrent DHT")
	fs.BoolVar(&s.noAnnounce, "no-announce", false, "do not let networks find this relay on the DHT")
	cli.One(fs, "metrics", &s.metrics, "HOST:PORT", "", cli.ParseHostPort("127.0.0.1:9478"), "serve metrics for Prometheus, such as on 127.0.0.1:9478")
	cli.One(fs, "grace", &s.grace, "DURATION", text(s.grace), parseGrace, "time for nodes to move away at the end")
	cli.One(fs, "log-level", &s.logLevel, "LEVEL", "info", cli.ParseLevel, "debug, info, warn or error")
	cli.One(fs, "log-format", &s.logFormat, "FORMAT", s.logFormat, cli.OneOf(logFormats...), "text or json")
	cli.One(fs, "state-dir", &s.stateDir, "PATH", s.stateDir, cli.ParsePath, "where the relay's key is kept; it must be writable")
	cli.One(fs, "config", &s.config, "FILE", "", cli.ParsePath, "settings file (default /etc/credant-relay.toml)")
	return fs
}

// quotaSet are the settings of the file's tables [stranger] and [member].
func (s *settings) quotaSet() *pflag.FlagSet {
	fs := pflag.NewFlagSet("quotas", pflag.ContinueOnError)
	for table, q := range map[string]*relayd.Quota{"stranger.": &s.stranger, "member.": &s.member} {
		share := func(of string, to *relayd.Share) {
			cli.One(fs, table+of+"-registrations", &to.Registrations, "NUMBER", "", parseCount, "")
			cli.One(fs, table+of+"-allocations", &to.Allocations, "NUMBER", "", parseCount, "")
			cli.One(fs, table+of+"-requests", &to.Requests, "NUMBER", "", parseCount, "")
			cli.One(fs, table+of+"-rate", &to.Bytes, "RATE", "", parseRate, "")
		}
		share("network", &q.Network)
		share("source", &q.Source)
		cli.One(fs, table+"pair-rate", &q.PairBytes, "RATE", "", parseRate, "")
	}
	return fs
}

const variables = "CREDANT_RELAY" // prefix of the environment's

// resolve collects the settings from command line, environment and file. It may
// be called again, after the file has changed.
func (p *program) resolve() (settings, error) {
	var s settings
	flags := s.flagSet()
	layers := cli.Layers{
		Flags: flags, FileOnly: s.quotaSet(),
		Refused: map[string]string{"config": "this is the file that config names"},
	}
	if err := flags.Parse(cli.Arguments(p.flags)); err != nil {
		return s, err // no value that was accepted once is refused
	}
	if err := layers.FromEnvironment(variables, p.getenv); err != nil {
		return s, err
	}
	path := s.config
	if path == "" {
		path = filepath.Join(p.etc, "credant-relay.toml")
	}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && s.config == "":
		return s, nil
	case errors.Is(err, fs.ErrPermission):
		return s, fmt.Errorf("read the settings: %w: let the relay's user read it (sudo chmod a+r %s); it holds no secret", err, path)
	case err != nil:
		return s, fmt.Errorf("read the settings: %w: name a file that is there with --config", err)
	}
	return s, layers.FromFile(path, b)
}

// relay is what the daemon is started with, but for its log.
func (s settings) relay() relayd.Config {
	return relayd.Config{
		Version:      cli.Version(version),
		Listen:       s.listen,
		Port:         s.port,
		STUNPort:     s.stunPort,
		Ports:        s.ports,
		Advertise:    s.advertise,
		Allow:        s.allow,
		Stranger:     s.stranger,
		Member:       s.member,
		DHTBootstrap: s.dhtBootstrap,
		NoDHT:        s.noDHT,
		NoAnnounce:   s.noAnnounce,
		StateDir:     s.stateDir,
		Metrics:      s.metrics,
		Grace:        s.grace,
		LogLevel:     s.logLevel,
	}
}
