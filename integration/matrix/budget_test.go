package main

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/credant/credant/integration/lab"
)

// What one attempt to join a dependent mapping may cost the routers: docs/architecture.md says why.
const (
	mappingBudget = 300
	sessionBudget = 1100
	tried         = 10               // less than any attempt
	attempt       = 30 * time.Second // longer than one, shorter than the pause before the next
)

// A spend is what a punch left at both routers.
type spend struct {
	mappings map[netip.AddrPort]bool // at the dependent one
	sessions map[lab.Session]bool    // at the other
}

// One attempt at a dependent mapping stays within what routers can be asked to remember, whether it comes off or not.
func TestPunchStaysWithinBudget(t *testing.T) {
	for _, c := range []struct {
		name, pair        string
		severed, hopeless bool
	}{
		{"it comes off", "APDF / dependent, random", false, false},
		{"nothing arrives", "APDF / dependent, random", true, false},
		{"nothing arrives where ports are sequential", "APDF / dependent, sequential", true, false},
		{"both mappings are dependent", "dependent, random / dependent, random", true, true},
		{"both mappings are sequential", "dependent, sequential / dependent, sequential", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // it is waiting, most of the time
			p := find(t, c.pair)
			w := buildWorld(t, []pair{p})
			other, dependent := w.places[p.String()].router(0), w.places[p.String()].router(1)
			if c.severed {
				if err := w.Sever(other.PublicIPv4(), dependent.PublicIPv4()); err != nil {
					t.Fatal(err)
				}
			}
			spent := spend{mappings: map[netip.AddrPort]bool{}, sessions: map[lab.Session]bool{}}
			ctx, cancel := context.WithCancel(t.Context())
			counted := make(chan error, 1)
			go func() { counted <- spent.count(ctx, other, dependent) }()
			result, err := w.try(t.Context(), p, byRelay, false, attempt)
			cancel()
			if err := <-counted; err != nil {
				t.Fatal(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d mappings at the dependent router, %d sessions at the other; %v", len(spent.mappings), len(spent.sessions), result)
			if len(spent.mappings) > mappingBudget {
				t.Errorf("%d mappings at the dependent router, want at most %d", len(spent.mappings), mappingBudget)
			}
			if len(spent.sessions) > sessionBudget {
				t.Errorf("%d sessions at the other router, want at most %d", len(spent.sessions), sessionBudget)
			}
			if !c.hopeless && (len(spent.mappings) < tried || len(spent.sessions) < tried) {
				t.Errorf("fewer than %d mappings or sessions: was there an attempt?", tried)
			}
			if c.severed && result.Direct {
				t.Error("direct through a cut")
			}
		})
	}
}

// router is the one before a side's host, the outermost.
func (p *place) router(side int) *lab.Router { return p.sites[side].Routers[0] }

// count collects until the context ends. Linux remembers a session for 30 s at least, so looking now and then misses none.
func (s *spend) count(ctx context.Context, other, dependent *lab.Router) error {
	for {
		theirs, err := dependent.Sessions()
		if err != nil {
			return err
		}
		for _, session := range theirs {
			if session.Remote.Addr() == other.PublicIPv4() {
				s.mappings[session.Mapped] = true
			}
		}
		ours, err := other.Sessions()
		if err != nil {
			return err
		}
		for _, session := range ours {
			if session.Remote.Addr() == dependent.PublicIPv4() {
				s.sessions[session] = true
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}
