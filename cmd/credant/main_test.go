package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/credant/credant/cmd/internal/cli"
	"github.com/credant/credant/cmd/internal/clitest"
	"github.com/credant/credant/control"
	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/deploy/service"
	"github.com/credant/credant/discovery/keys"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(clitest.Main{M: m}, map[string]func(){
		"credant": func() {
			if slices.Equal(os.Args[1:], []string{control.DeriveCommand}) {
				deriveFast()
				return
			}
			p := &program{
				stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
				environ: os.Environ(),
				etc:     os.Getenv("TEST_ETC"),
				run:     os.Getenv("TEST_RUN"),
				node:    thisNode,
				host:    service.Host{Root: os.Getenv("TEST_ROOT"), Program: "/usr/local/bin/credant"},
			}
			p.node.preflight = func(control.Config) error { return nil }
			p.node.run = runStub
			p.node.clean = cleanStub
			p.node.deleteState = control.DeleteState
			os.Exit(p.execute(cli.UntilSignal(), os.Args[1:]))
		},
	})
}

// TestScripts runs credant as people do. The commands are the real ones; in
// place of the daemon stands runStub, which the scripts direct by TEST_DAEMON.
func TestScripts(t *testing.T) {
	clitest.RunScripts(t, signalDaemon, func(e *testscript.Env) error {
		// A socket's path has at most 107 bytes.
		run, err := os.MkdirTemp("", "credant")
		if err != nil {
			return err
		}
		e.Defer(func() { endDaemons(run); os.RemoveAll(run) })
		for _, dir := range []string{"etc", "state"} {
			if err := os.Mkdir(filepath.Join(e.WorkDir, dir), 0o755); err != nil {
				return err
			}
		}
		e.Setenv("TEST_RUN", run)
		e.Setenv("TEST_ETC", filepath.Join(e.WorkDir, "etc"))
		e.Setenv("TEST_ROOT", filepath.Join(e.WorkDir, "root"))
		e.Setenv("CREDANT_STATE_DIR", filepath.Join(e.WorkDir, "state"))
		e.Setenv("RUN", run)
		e.Setenv("STATE", filepath.Join(e.WorkDir, "state"))
		return nil
	})
}

// deriveFast stands in for Argon2id, which takes seconds under the race
// detector, each time that a script gives a passphrase.
func deriveFast() {
	request, err := io.ReadAll(os.Stdin)
	if err != nil {
		os.Exit(cli.ExitFailed)
	}
	sum := sha256.Sum256(request)
	fmt.Println(base64.StdEncoding.EncodeToString(sum[:]))
}

func TestDeriveKey(t *testing.T) {
	var stdout, stderr strings.Builder
	request := strings.NewReader(`{"network":"home","passphrase":"` + base64.StdEncoding.EncodeToString([]byte(goodPassphrase)) + `"}`)
	if code := run(t.Context(), []string{control.DeriveCommand}, request, &stdout, &stderr); code != cli.ExitDone {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	want, err := keys.DeriveNetworkKey([]byte(goodPassphrase), "home")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(stdout.String()); got != base64.StdEncoding.EncodeToString(want.Bytes()) {
		t.Error("another key than the one that package keys derives")
	}
}

// signalDaemon sends TERM, USR1 or KILL to the daemon of a network and waits
// until it has gone.
func signalDaemon(ts *testscript.TestScript, _ bool, args []string) {
	socket := filepath.Join(ts.Getenv("TEST_RUN"), args[1]+".sock")
	s, err := localapi.NewClient(socket).Status(context.Background())
	ts.Check(err)
	sig := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "USR1": syscall.SIGUSR1, "KILL": syscall.SIGKILL}[args[0]]
	ts.Check(syscall.Kill(s.PID, sig))
	clitest.Eventually(ts, "the daemon to end", func() bool { return !answers(socket) })
}

// endDaemons ends what a script that failed has left running.
func endDaemons(run string) {
	sockets, _ := filepath.Glob(filepath.Join(run, "*.sock"))
	for _, s := range sockets {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		_ = localapi.NewClient(s).Down(ctx)
		cancel()
	}
}

// runStub behaves towards the commands as control.Run does, with a status from
// a file instead of a network.
func runStub(ctx context.Context, c control.Config, ready func()) error {
	for _, entry := range os.Environ() {
		if strings.HasPrefix(entry, "CREDANT_PASSPHRASE") && slices.Contains(os.Args, "--ready-fd=3") {
			return fmt.Errorf("the daemon was given %s", entry)
		}
	}
	c.Log.Info("stub started", "network", c.Network, "name", c.Name)
	switch os.Getenv("TEST_DAEMON") {
	case "fails":
		return errors.New("open the device: no such luck: buy a better one")
	case "crashes":
		panic("a bug")
	case "dies":
		os.Exit(3)
	case "hangs":
		<-ctx.Done()
		c.Log.Info("stub ended", "cause", context.Cause(ctx))
		return ctx.Err()
	}
	l, err := localapi.Listen(c.Socket)
	if err != nil {
		return err
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := &stub{config: c, down: cancel, status: sampleStatus(c)}
	if file := os.Getenv("TEST_STATUS"); file != "" {
		b, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(b, &d.status)
		}
		if err != nil {
			return err
		}
		d.status.PID = os.Getpid()
	}
	ready()
	err = localapi.Serve(ctx, l, d)
	c.Log.Info("stub ended", "cause", context.Cause(ctx))
	return err
}

// cleanStub takes away the file NETWORK.left beside the default sockets.
func cleanStub(network string) ([]string, error) {
	err := os.Remove(filepath.Join(os.Getenv("TEST_RUN"), network+".left"))
	if err != nil {
		return nil, nil
	}
	return []string{"interface credant0"}, nil
}

type stub struct {
	localapi.Blocker
	config control.Config
	status localapi.Status
	down   func()
	pings  atomic.Int32
}

func sampleStatus(c control.Config) localapi.Status {
	return localapi.Status{
		Version: c.Version, Backend: "kernel", Network: c.Network, Interface: "credant0", Port: c.Port,
		CheckWords: []string{"canyon", "lunar", "pretzel"}, PID: os.Getpid(),
		Self: localapi.Self{Name: c.Name, ID: "aaaaaaaaaaaaaaaa", Addresses: []string{"10.77.3.9", "fd3a::9"}},
		Peers: []localapi.Peer{{
			Name: "nas", ID: "nnnnnnnnnnnnnnnn", Addresses: []string{"10.77.18.4", "fd3a::4"},
			Path: "direct", Endpoint: "203.0.113.9:23456",
		}},
		Sources: map[string]localapi.Source{"dht": {State: "working", Nodes: 41}, "lan": {State: "working"}},
	}
}

func (s *stub) Status() localapi.Status { return s.status }
func (s *stub) Down()                   { s.down() }

func (s *stub) Ping(_ context.Context, node string) (localapi.PingReply, error) {
	for _, p := range s.status.Peers {
		if p.Name != node && p.ID != node && p.Addresses[0] != node && p.Addresses[1] != node {
			continue
		}
		r := localapi.PingReply{Node: p.Name, ID: p.ID, Address: p.Addresses[0], Path: p.Path, Endpoint: p.Endpoint}
		if p.Path == "offline" {
			r.Error = p.Reason
			return r, nil
		}
		if s.pings.Add(1)%8 == 0 {
			_ = os.WriteFile(filepath.Join(os.Getenv("TEST_RUN"), "pinged"), nil, 0o600) // scripts wait for it
		}
		r.OK, r.RTTMillis = true, 12.34
		return r, nil
	}
	return localapi.PingReply{}, fmt.Errorf("no node %q in this network: known are nas", node)
}

func (s *stub) Events(ctx context.Context) ([]localapi.Event, <-chan localapi.Event) {
	past := []localapi.Event{{Time: time.Now(), Kind: "source", Text: "asking 41 nodes of the DHT"}}
	c := make(chan localapi.Event, 1)
	if os.Getenv("TEST_DAEMON") == "alone" {
		context.AfterFunc(ctx, func() { close(c) })
		return past, c
	}
	c <- localapi.Event{Time: time.Now(), Kind: "handshake", Text: "nas is reachable at 10.77.18.4, direct", Peer: "nas", Ready: true}
	close(c)
	return past, c
}

func (s *stub) Rename(_ context.Context, name string) (localapi.OwnNames, error) {
	if s.config.NameOrigin != "" {
		return localapi.OwnNames{}, fmt.Errorf("this node's name is set by %s: change it there", s.config.NameOrigin)
	}
	return localapi.OwnNames{Name: name}, nil
}

func (s *stub) AddAlias(_ context.Context, alias string) (localapi.OwnNames, error) {
	return localapi.OwnNames{Name: "box", Aliases: []string{"files", alias}, Note: "another node asks for it too"}, nil
}

func (s *stub) RemoveAlias(context.Context, string) (localapi.OwnNames, error) {
	return localapi.OwnNames{Name: "box"}, nil
}

func (s *stub) Forget(_ context.Context, node string) (localapi.Forgotten, error) {
	if node != "nas" {
		return localapi.Forgotten{}, fmt.Errorf("no node %q in this network", node)
	}
	return localapi.Forgotten{Name: node, ID: "nnnnnnnnnnnnnnnn"}, nil
}

func (s *stub) Leave(context.Context) (localapi.Left, func(), error) {
	return localapi.Left{Told: 1, Folder: filepath.Join(s.config.StateDir, s.config.Network)}, func() {
		_ = control.DeleteState(s.config.StateDir, s.config.Network)
		s.down()
	}, nil
}
