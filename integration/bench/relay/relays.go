package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"time"

	"golang.org/x/sys/unix"

	"github.com/credant/credant/relay"
	"github.com/credant/credant/relay/forward"
)

const relayPort = 20000

// A contender is a relay that runs.
type contender struct {
	name    string
	process *exec.Cmd
	flows   []flow
	dir     string // of its own, or empty
}

// A flow is a pair of clients, each with its socket and where it sends.
type flow struct {
	alice, bob     *net.UDPConn
	toAlice, toBob netip.AddrPort // where bob, and alice, send
	header         []byte         // what alice's datagrams begin with, and those to her
}

// cpu returns what the process has used so far.
func (c *contender) cpu() (time.Duration, error) {
	// The process's CPU clock, as clock_getcpuclockid(3) makes its id.
	const schedClock = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^c.process.Process.Pid<<3|schedClock), &t); err != nil {
		return 0, fmt.Errorf("read CPU time of %s: %w", c.name, err)
	}
	return time.Duration(t.Nano()), nil
}

func (c *contender) stop() {
	if c.process != nil {
		_ = c.process.Process.Signal(unix.SIGTERM)
		_ = c.process.Wait()
	}
	for _, f := range c.flows {
		_ = f.alice.Close()
		_ = f.bob.Close()
	}
	if c.dir != "" {
		_ = os.RemoveAll(c.dir)
	}
}

// openFlows opens the clients' sockets.
func openFlows(w world, n int) (flows []flow, err error) {
	for range n {
		var f flow
		if f.alice, err = listen(w.alice, alice); err == nil {
			f.bob, err = listen(w.bob, bob)
		}
		if err != nil {
			return nil, err
		}
		flows = append(flows, f)
	}
	return flows, nil
}

func listen(s space, addr netip.Addr) (c *net.UDPConn, err error) {
	err = s.do(func() error {
		c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
		return err
	})
	return c, err
}

func localAddr(c *net.UDPConn) netip.AddrPort {
	a := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// startOwn starts one of the relays that are in this program.
func startOwn(w world, name string, pairs int, more ...string) (*contender, error) {
	flows, err := openFlows(w, pairs)
	if err != nil {
		return nil, err
	}
	c := &contender{name: name, flows: flows}
	var sides [][2]netip.AddrPort
	for i := range flows {
		sides = append(sides, [2]netip.AddrPort{localAddr(flows[i].alice), localAddr(flows[i].bob)})
		flows[i].toBob = netip.AddrPortFrom(relayAlice, relayPort)
		flows[i].toAlice = netip.AddrPortFrom(relayBob, relayPort)
		if name == "simple" {
			flows[i].toBob = netip.AddrPortFrom(relayAlice, relayPort+1)
			flows[i].toAlice = netip.AddrPortFrom(relayBob, relayPort+1)
		}
	}
	arg, err := json.Marshal(sides)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe", append([]string{"-as", name, "-sides", string(arg)}, more...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := w.relay.do(cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c.process = cmd
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		c.stop()
		return nil, fmt.Errorf("start %s: it said %q: %w", name, line, err)
	}
	return c, nil
}

// startCoturn starts turnserver, with an allocation and a channel for each pair.
func startCoturn(w world, pairs int) (*contender, error) {
	path, err := exec.LookPath("turnserver")
	if err != nil {
		return nil, fmt.Errorf("find coturn: %w (\"make deps\" installs it)", err)
	}
	c := &contender{name: "coturn"}
	if c.dir, err = os.MkdirTemp("", "bench-relay"); err != nil {
		return nil, err
	}
	if c.flows, err = openFlows(w, pairs); err != nil {
		c.stop()
		return nil, err
	}
	// No accounts and no encryption; all else as it comes.
	cmd := exec.Command(path, "-n", "--no-auth", "--no-tls", "--no-dtls", "--no-cli",
		"-L", relayAlice.String(), "-E", relayBob.String(), "-p", "3478",
		"--log-file", filepath.Join(c.dir, "log"), "--simple-log",
		"--pidfile", filepath.Join(c.dir, "pid"), "--userdb", filepath.Join(c.dir, "db"))
	cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
	if err := w.relay.do(cmd.Start); err != nil {
		c.stop()
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	c.process = cmd
	server := netip.AddrPortFrom(relayAlice, 3478)
	for i := range c.flows {
		f := &c.flows[i]
		relayed, channel, err := allocate(f.alice, server, localAddr(f.bob))
		if err != nil {
			c.stop()
			return nil, fmt.Errorf("allocate at %s: %w", path, err)
		}
		f.toBob, f.toAlice, f.header = server, relayed, channel
	}
	return c, nil
}

// runAs is what the processes of startOwn do, until they are told to end.
func runAs(ctx context.Context, name, arg string, profile string) error {
	var sides [][2]netip.AddrPort
	if err := json.Unmarshal([]byte(arg), &sides); err != nil {
		return fmt.Errorf("read sides: %w", err)
	}
	if name == "simple" {
		return runSimple(ctx, sides)
	}
	if profile != "" {
		out, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer out.Close()
		if err := pprof.StartCPUProfile(out); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	f := forward.New(forward.Config{Addrs: []netip.Addr{relayAlice, relayBob}})
	if err := f.Open(relayPort); err != nil {
		return err
	}
	network := relay.NewBucket(1 << 40)
	for _, s := range sides {
		pair, a, b := relay.NewBucket(1<<40), relay.NewBucket(1<<40), relay.NewBucket(1<<40)
		atAlice, atBob := netip.AddrPortFrom(relayAlice, relayPort), netip.AddrPortFrom(relayBob, relayPort)
		for _, flow := range []relay.Flow{
			{FlowKey: relay.FlowKey{At: atAlice, Source: s[0]}, From: atBob, To: s[1], Buckets: []*relay.Bucket{pair, a, network}},
			{FlowKey: relay.FlowKey{At: atBob, Source: s[1]}, From: atAlice, To: s[0], Buckets: []*relay.Bucket{pair, b, network}},
		} {
			if err := f.Install(flow); err != nil {
				return err
			}
		}
	}
	fmt.Println("ready")
	err := f.Run(ctx)
	for reason, n := range f.Drops() {
		if n > 0 {
			fmt.Fprintf(os.Stderr, "credant dropped %d: %s\n", n, reason)
		}
	}
	return err
}

// runSimple forwards one datagram at a time.
func runSimple(ctx context.Context, sides [][2]netip.AddrPort) error {
	var conns [2]*net.UDPConn
	for i, addr := range []netip.Addr{relayAlice, relayBob} {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, relayPort+1)))
		if err != nil {
			return err
		}
		if err := c.SetReadBuffer(2 << 20); err != nil {
			return err
		}
		conns[i] = c
	}
	for i, in := range conns {
		to := make(map[netip.AddrPort]netip.AddrPort)
		for _, s := range sides {
			to[s[i]] = s[1-i]
		}
		out := conns[1-i]
		go func() {
			b := make([]byte, 1<<16)
			for {
				n, from, err := in.ReadFromUDPAddrPort(b)
				if err != nil {
					return
				}
				if t, ok := to[netip.AddrPortFrom(from.Addr().Unmap(), from.Port())]; ok {
					_, _ = out.WriteToUDPAddrPort(b[:n], t)
				}
			}
		}()
	}
	fmt.Println("ready")
	<-ctx.Done()
	for _, c := range conns {
		_ = c.Close()
	}
	return nil
}
