package member

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/integration/lab"
)

// Passphrase is a good one, for networks that live for a minute.
const Passphrase = "unstamped-gallery-oxidize-blinks-perky-overhung"

// A Member is one host's part in a network. Host, Binary and Network must be set.
type Member struct {
	Host    *lab.Host
	Binary  string
	Network string

	Passphrase string   // empty: Passphrase
	Unnamed    bool     // up is given no name: the node's is the machine's, or what it was renamed to
	Joined     bool     // the host has the network's key stored: up is given no passphrase
	Flags      []string // of every up, besides --network, --name, --passphrase-file and --foreground
	Env        []string // of every credant
	Log        io.Writer

	daemon *lab.Process
}

// Start starts "credant up --foreground" with more flags and returns at once.
func (m *Member) Start(flags ...string) error {
	passphrase := m.Passphrase
	if passphrase == "" {
		passphrase = Passphrase
	}
	args := []string{"up", "--foreground"}
	if !m.Unnamed {
		args = append(args, "--name", m.Host.Name)
	}
	if !m.Joined {
		args = append(args, "--passphrase-file", "-")
	}
	p, err := m.Host.Start(lab.Program{
		Args:  m.command(append(append(args, m.Flags...), flags...)...),
		Env:   m.Env,
		Stdin: strings.NewReader(passphrase + "\n"), Output: m.Log,
	})
	if err != nil {
		return err
	}
	m.daemon = p
	return nil
}

func (m *Member) command(args ...string) []string {
	return append([]string{m.Binary, args[0], "--network", m.Network}, args[1:]...)
}

// Run runs another command of credant for this network to its end.
func (m *Member) Run(ctx context.Context, args ...string) (lab.Result, error) {
	return m.Host.RunProgram(ctx, lab.Program{Args: m.command(args...), Env: m.Env})
}

// Daemon is the program that Start started last, or nil.
func (m *Member) Daemon() *lab.Process { return m.daemon }

// Client returns a client of the daemon's local API that works outside of the host.
func (m *Member) Client() *localapi.Client {
	return localapi.NewClient(fmt.Sprintf("/proc/%d/root/run/credant/%s.sock", m.daemon.PID(), m.Network))
}

// WaitUp waits until the daemon answers, or has ended, which is an error.
func (m *Member) WaitUp(ctx context.Context) (localapi.Status, error) {
	for {
		status, err := m.Client().Status(ctx)
		if err == nil {
			return status, nil
		}
		select {
		case <-m.daemon.Done():
			return status, fmt.Errorf("wait for %s: it ended; its output: %s", m.daemon.Name, m.daemon.Output())
		case <-ctx.Done():
			return status, fmt.Errorf("wait for %s: %w; its output: %s", m.daemon.Name, err, m.daemon.Output())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Status runs "credant status --json".
func (m *Member) Status(ctx context.Context) (localapi.Status, error) {
	var status localapi.Status
	result, err := m.Run(ctx, "status", "--json")
	if err != nil {
		return status, err
	}
	if result.Code != 0 {
		return status, fmt.Errorf("run status on %s: exit code %d: %s", m.Host.Name, result.Code, result.Output)
	}
	if err := json.Unmarshal([]byte(result.Stdout), &status); err != nil {
		return status, fmt.Errorf("read status of %s: %w: %s", m.Host.Name, err, result.Stdout)
	}
	return status, nil
}

// Ping runs "credant ping NODE -c 1 --json". No answer, or no such node yet, is a reply whose OK is false.
func (m *Member) Ping(ctx context.Context, node string) (localapi.PingReply, error) {
	var reply localapi.PingReply
	result, err := m.Run(ctx, "ping", node, "-c", "1", "--json")
	if err != nil {
		return reply, err
	}
	if result.Stdout != "" {
		if err := json.Unmarshal([]byte(result.Stdout), &reply); err != nil {
			return reply, fmt.Errorf("read ping of %s: %w: %s", m.Host.Name, err, result.Stdout)
		}
	} else {
		reply.Error = result.Output
	}
	if reply.OK != (result.Code == 0) {
		return reply, fmt.Errorf("ping %s from %s: exit code %d with %s", node, m.Host.Name, result.Code, result.Output)
	}
	return reply, nil
}

// lostAfter is when the first echo counts as lost and the next is sent; each further one is given twice as long, up to
// lostAtLast: credant waits five seconds for each, and a busy machine takes a while to start it.
func lostAfter() time.Duration {
	if os.Getenv("CREDANT_VM") != "" {
		return lostAtLast // everything takes many times as long there
	}
	return 1500 * time.Millisecond
}

const lostAtLast = 6 * time.Second

// AwaitPing asks again and again until an answer comes or the context ends, which is an error that says why.
func (m *Member) AwaitPing(ctx context.Context, node string) (localapi.PingReply, error) {
	for patience := lostAfter(); ; patience = min(2*patience, lostAtLast) {
		one, cancel := context.WithTimeout(ctx, patience)
		reply, err := m.Ping(one, node)
		lost := one.Err() != nil
		cancel()
		if err == nil && reply.OK {
			return reply, nil
		}
		if ctx.Err() != nil {
			return reply, fmt.Errorf("wait for an answer of %s to %s: %w; last: %+v", node, m.Host.Name, context.Cause(ctx), reply)
		}
		if err != nil && !lost {
			return reply, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop ends the daemon by a signal and waits for its end; the exit code must be 0.
func (m *Member) Stop(ctx context.Context, sig syscall.Signal) error {
	if err := m.daemon.Signal(sig); err != nil {
		return err
	}
	code, err := m.daemon.Wait(ctx)
	if err == nil && code != 0 {
		err = fmt.Errorf("stop %s: exit code %d; its output: %s", m.daemon.Name, code, m.daemon.Output())
	}
	return err
}
