package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/credant/credant/control/localapi"
	"github.com/credant/credant/integration/lab"
	"github.com/credant/credant/integration/member"
)

// A show is one run of the demo.
type show struct {
	page
	binary     string
	internet   *lab.Lab
	stun       *lab.STUNServer
	alice, bob *member.Member
}

// happening is an event at one of the members.
type happening struct {
	localapi.Event
	who *member.Member
}

func (s *show) play(ctx context.Context) error {
	if err := s.build(ctx); err != nil {
		return err
	}
	happenings := make(chan happening)
	if err := s.join(ctx, s.alice, happenings); err != nil {
		return err
	}
	// Alice waits before Bob comes: only so is there something for him to find at once.
	err := s.follow(ctx, happenings, "to join the DHT", func(h happening) bool {
		return h.Kind == "source" && strings.HasPrefix(h.Text, "DHT")
	})
	if err != nil {
		return err
	}
	came := time.Now()
	if err := s.join(ctx, s.bob, happenings); err != nil {
		return err
	}
	ready := map[*member.Member]bool{}
	err = s.follow(ctx, happenings, "to meet", func(h happening) bool {
		if h.Ready {
			ready[h.who] = true
		}
		return len(ready) == 2
	})
	if err != nil {
		return err
	}
	s.say("\nThey met, with nothing but the passphrase, %.1f s after bob came.", time.Since(came).Seconds())

	code, err := s.command(ctx, s.bob.Host, s.binary, "ping", "alice", "-c", "3", "-i", "0.3", "--network", s.bob.Network)
	if err != nil {
		return err
	}
	status, err := s.alice.Client().Status(ctx)
	if err != nil {
		return err
	}
	// WireGuard's own tool, which knows nothing of CredAnt.
	if _, err := s.command(ctx, s.alice.Host, "wg", "show", status.Interface); err != nil {
		return err
	}
	if _, err := s.command(ctx, s.alice.Host, s.binary, "status", "--network", s.alice.Network); err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("alice did not answer bob's ping (exit code %d)", code)
	}
	return errors.Join(s.alice.Stop(ctx, syscall.SIGINT), s.bob.Stop(ctx, syscall.SIGINT))
}

// end takes everything down.
func (s *show) end() error {
	if s.internet == nil {
		return nil
	}
	var err error
	if s.stun != nil {
		err = s.stun.Close()
	}
	err = errors.Join(err, s.internet.Close())
	s.say("\nAll taken down again, after %.0f s.", time.Since(s.began).Seconds())
	return err
}

// build makes the little internet and draws it.
func (s *show) build(ctx context.Context) error {
	s.internet = lab.New()
	home := s.internet.NAT("home", lab.PortRestricted.HidePort())
	cafe := s.internet.NAT("cafe", lab.AddressRestricted.HidePort())
	dhtHost, stunHost := s.internet.Host("dht"), s.internet.Host("stun")
	dhtHost.Addresses, stunHost.Addresses = 16, 2
	alice, bob := home.Host("alice"), cafe.Host("bob")
	alice.Firewall, bob.Firewall = true, true
	if err := s.internet.Build(); err != nil {
		return err
	}
	draw := func(name string, addr netip.Addr, what string) { s.say("  %-7s%-13s%s", name, addr, what) }
	s.say("Two machines, one passphrase, and nothing else in common:\n")
	draw("alice", alice.IPv4()[0], "drops at its firewall what it did not ask for")
	s.say("    |")
	draw("home", home.PublicIPv4(), "a NAT: hides ports, filters by address and port")
	s.say("    |")
	s.say("  internet            a BitTorrent DHT: 16 libtorrent nodes, which know nothing")
	s.say("    |                 of CredAnt; a STUN server")
	draw("cafe", cafe.PublicIPv4(), "a NAT: hides ports, filters by address")
	s.say("    |")
	draw("bob", bob.IPv4()[0], "drops at its firewall what it did not ask for")
	s.say("")

	dht, err := dhtHost.StartDHT(ctx)
	if err != nil {
		return err
	}
	if s.stun, err = stunHost.StartSTUN(); err != nil {
		return err
	}
	s.happens("", "the internet is ready")
	newMember := func(h *lab.Host) *member.Member {
		return &member.Member{
			Host: h, Binary: s.binary, Network: "demo",
			Flags: []string{
				"--dht-bootstrap", dht.Bootstrap.String(),
				"--stun", s.stun.Addr[0].String(), "--stun", s.stun.Addr[1].String(),
			},
		}
	}
	s.alice, s.bob = newMember(alice), newMember(bob)
	return nil
}

// join starts a member and sends what happens there.
func (s *show) join(ctx context.Context, m *member.Member, to chan<- happening) error {
	s.say("\n%s# credant up --network %s", m.Host.Name, m.Network)
	if err := m.Start(); err != nil {
		return err
	}
	status, err := m.WaitUp(ctx)
	if err != nil {
		return err
	}
	s.happens(m.Host.Name, fmt.Sprintf("%s is up: %s WireGuard, UDP port %d", status.Interface, status.Backend, status.Port))
	s.happens(m.Host.Name, "addresses "+strings.Join(status.Self.Addresses, " "))
	s.happens(m.Host.Name, "check words "+strings.Join(status.CheckWords, " "))
	go func() {
		_ = m.Client().Events(ctx, func(e localapi.Event) bool {
			select {
			case to <- happening{e, m}:
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
	patience, cancel := context.WithTimeoutCause(ctx, time.Minute, fmt.Errorf("it took more than a minute %s", what))
	defer cancel()
	for {
		select {
		case h := <-happenings:
			s.happens(h.who.Host.Name, h.Text)
			if enough(h) {
				return nil
			}
		case <-patience.Done():
			return context.Cause(patience)
		}
	}
}

// command runs a program on a host and shows what it prints.
func (s *show) command(ctx context.Context, h *lab.Host, args ...string) (code int, err error) {
	result, err := h.Run(ctx, args...)
	if args[0] == s.binary {
		args[0] = "credant"
	}
	s.say("\n%s# %s\n%s", h.Name, strings.Join(args, " "), strings.TrimRight(result.Output, "\n"))
	return result.Code, err
}
