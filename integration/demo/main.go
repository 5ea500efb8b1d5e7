// Command demo shows, on this one machine and as it happens, what CredAnt is for: two machines behind two NATs, which
// share nothing but a passphrase, find each other through a BitTorrent DHT and talk over WireGuard. All of it takes
// place in network namespaces that vanish afterwards.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/integration/member"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	binary := flags.String("credant", "bin/credant", "the credant to show")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return errors.New("network namespaces need root: run it with sudo, or in a virtual machine of your own")
	}
	path, err := filepath.Abs(*binary)
	if err != nil {
		return fmt.Errorf("find credant: %w", err)
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("find credant: %w: run make build first", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("a minute is over"))
	defer cancel()

	s := &show{out: stdout, binary: path, began: time.Now()}
	defer func() { err = errors.Join(err, s.end()) }()
	return s.play(ctx)
}

// A show is one run of the demo.
type show struct {
	out    io.Writer
	binary string
	began  time.Time

	internet   *lab.Lab
	alice, bob *member.Member
}

func (s *show) play(ctx context.Context) error {
	if err := s.build(ctx); err != nil {
		return err
	}
	defer s.internet.Close()

	happenings := make(chan happening)
	if err := s.join(ctx, s.alice, happenings); err != nil {
		return err
	}
	// Alice must be waiting before Bob comes, or there would be nothing for him to find at once.
	if err := s.follow(ctx, happenings, "waiting", func(h happening) bool { return h.Kind == "source" && h.who == s.alice.Host.Name }); err != nil {
		return err
	}
	joined := time.Now()
	if err := s.join(ctx, s.bob, happenings); err != nil {
		return err
	}
	ready := map[string]bool{}
	err := s.follow(ctx, happenings, "to meet", func(h happening) bool {
		ready[h.who] = ready[h.who] || h.Ready
		return len(ready) == 2 && ready[s.alice.Host.Name] && ready[s.bob.Host.Name]
	})
	if err != nil {
		return err
	}
	s.say("  They met %.1f s after bob came.", time.Since(joined).Seconds())

	code, err := s.command(ctx, s.bob, "ping", "alice", "-c", "3", "-i", "0.3")
	if err != nil {
		return err
	}
	if _, err := s.command(ctx, s.alice, "status"); err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("alice did not answer bob's ping (exit code %d)", code)
	}
	for _, m := range []*member.Member{s.alice, s.bob} {
		if err := m.Stop(ctx, syscall.SIGINT); err != nil {
			return err
		}
	}
	return nil
}

// end says how it went: nothing of it is left by now.
func (s *show) end() error {
	if s.internet == nil {
		return nil
	}
	err := s.internet.Close()
	s.say("\nAll taken down again, after %.0f s.", time.Since(s.began).Seconds())
	return err
}

// build makes the little internet and draws it.
func (s *show) build(ctx context.Context) error {
	s.say("CredAnt: two machines, one passphrase, nothing else in common.\n")
	s.internet = lab.New()
	home := s.internet.NAT("home", lab.PortRestricted.HidePort())
	cafe := s.internet.NAT("cafe", lab.AddressRestricted.HidePort())
	dhtHost := s.internet.Host("dht")
	dhtHost.Addresses = 16
	stunHost := s.internet.Host("stun")
	stunHost.Addresses = 2
	alice, bob := home.Host("alice"), cafe.Host("bob")
	alice.Firewall, bob.Firewall = true, true
	if err := s.internet.Build(); err != nil {
		return err
	}
	s.say("  %-7s%-15s%s", "alice", alice.IPv4()[0], "a laptop with a firewall")
	s.say("    |")
	s.say("  %-7s%-15s%s", "home", home.PublicIPv4(), "a NAT: hides ports, lets in only what was asked")
	s.say("    |")
	s.say("  the internet: namespaces on this machine; a BitTorrent DHT of 16 libtorrent")
	s.say("    |           nodes that know nothing of CredAnt, and a STUN server")
	s.say("  %-7s%-15s%s", "cafe", cafe.PublicIPv4(), "another NAT: lets in only who was asked")
	s.say("    |")
	s.say("  %-7s%-15s%s\n", "bob", bob.IPv4()[0], "a laptop with a firewall")

	dht, err := dhtHost.StartDHT(ctx)
	if err != nil {
		return err
	}
	server, err := stunHost.StartSTUN()
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	s.say("%s  the DHT is ready", s.stamp())
	newMember := func(h *lab.Host) *member.Member {
		return &member.Member{
			Host: h, Binary: s.binary, Network: "demo",
			Flags: []string{"--dht-bootstrap", dht.Bootstrap.String(), "--stun", server.Addr.String()},
		}
	}
	s.alice, s.bob = newMember(alice), newMember(bob)
	return nil
}

// A happening is an event at one of the members.
type happening struct {
	localapi.Event
	who string
}

// join starts a member and sends what happens there.
func (s *show) join(ctx context.Context, m *member.Member, to chan<- happening) error {
	s.say("\n%s# credant up --network demo", m.Host.Name)
	if err := m.Start(); err != nil {
		return err
	}
	status, err := m.WaitUp(ctx)
	if err != nil {
		return err
	}
	s.say("%s  %-6s%s is up with %v, check words %v", s.stamp(), m.Host.Name, status.Interface, status.Self.Addresses, status.CheckWords)
	go func() {
		_ = m.Client().Events(ctx, func(e localapi.Event) bool {
			select {
			case to <- happening{e, m.Host.Name}:
				return true
			case <-ctx.Done():
				return false
			}
		})
	}()
	return nil
}

// follow prints what happens until it is enough.
func (s *show) follow(ctx context.Context, happenings <-chan happening, what string, enough func(happening) bool) error {
	patience, cancel := context.WithTimeoutCause(ctx, 20*time.Second, fmt.Errorf("they took more than 20 s %s", what))
	defer cancel()
	for {
		select {
		case h := <-happenings:
			s.say("%s  %-6s%s", s.stamp(), h.who, h.Text)
			if enough(h) {
				return nil
			}
		case <-patience.Done():
			return context.Cause(patience)
		}
	}
}

// command runs credant on a member and shows what it prints.
func (s *show) command(ctx context.Context, m *member.Member, args ...string) (int, error) {
	line := ""
	for _, arg := range args {
		line += " " + arg
	}
	s.say("\n%s# credant%s --network demo", m.Host.Name, line)
	result, err := m.Run(ctx, args...)
	fmt.Fprint(s.out, result.Output)
	return result.Code, err
}

func (s *show) stamp() string { return fmt.Sprintf("%5.1f s", time.Since(s.began).Seconds()) }

func (s *show) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }
