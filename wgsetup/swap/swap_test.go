package swap

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const ms = time.Millisecond

var (
	relay  = path{latency: [2]time.Duration{30 * ms, 30 * ms}}
	direct = path{latency: [2]time.Duration{ms, ms}}
	far    = path{latency: [2]time.Duration{150 * ms, 120 * ms}}
	other  = path{latency: [2]time.Duration{8 * ms, 5 * ms}}
)

var seedFlag = flag.Uint64("seed", 0, "run the random swap of this seed only (0: many, each of its own)")

// Nothing is lost and both stay, whatever is on its way.
func TestNothingIsLost(t *testing.T) {
	for _, paths := range []struct {
		name     string
		old, new path
	}{
		{"relay to direct", relay, direct},
		{"direct to relay", direct, relay},
		{"direct to direct", other, direct},
		{"far relay to direct", far, direct},
		{"relay to relay", far, relay},
	} {
		rtt := max(paths.old.rtt(), paths.new.rtt())
		for _, redirects := range []bool{true, false} {
			for _, rate := range []int{0, 200, 1000} {
				for _, start := range [][2]time.Duration{{0, 0}, {0, rtt / 3}, {rtt, 0}, {0, never}} {
					if rate == 0 && start[1] == never {
						continue // a side alone on an idle path is never heard
					}
					name := fmt.Sprintf("%s/redirects=%t/rate=%d/start=%v", paths.name, redirects, rate, start)
					t.Run(name, func(t *testing.T) {
						c := setup{
							old: paths.old, new: paths.new, rate: [2]int{rate, rate}, start: start,
							redirects: [2]bool{redirects, redirects}, loaded: [2]bool{rate > 0, rate > 0},
							nftables: 50 * ms, netlink: ms,
						}
						r := c.run(t, rand.New(rand.NewPCG(1, 1)))
						r.mustStay(t, c)
						t.Logf("stable after %v", r.stable)
					})
				}
			}
		}
	}
}

// Whatever the paths, the load, what the sides can and know of it, and when
// they begin: nothing is lost, and both stay where it flows.
func TestRandomSwaps(t *testing.T) {
	seeds := []uint64{*seedFlag}
	if *seedFlag == 0 {
		seeds = make([]uint64, 400)
		for i := range seeds {
			seeds[i] = rand.Uint64()
		}
	}
	for _, seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 0))
		c := randomSetup(rng)
		r := c.run(t, rng)
		r.mustStay(t, c)
		if t.Failed() {
			t.Fatalf("seed %d: %s: %+v", seed, c, r)
		}
	}
}

func randomSetup(rng *rand.Rand) setup {
	randomPath := func() path {
		latency := func() time.Duration { return time.Duration(rng.ExpFloat64() * float64(25*ms)) }
		p := path{latency: [2]time.Duration{latency(), latency()}}
		p.jitter = time.Duration(rng.Float64() * 0.3 * float64(p.rtt()))
		if rng.IntN(3) == 0 {
			p.loss = rng.Float64() * 0.05
		}
		return p
	}
	c := setup{old: randomPath(), new: randomPath(), nftables: 50 * ms, netlink: 500 * time.Microsecond}
	for side := range c.rate {
		c.rate[side] = []int{0, 10, 200, 1000}[rng.IntN(4)]
		c.redirects[side] = rng.IntN(2) == 0
	}
	// What flows is a guess, which may be wrong either way.
	loaded := c.rate != [2]int{}
	for side := range c.loaded {
		c.loaded[side] = loaded != (rng.IntN(8) == 0)
	}
	later := rng.IntN(2)
	c.start[later] = time.Duration(rng.Float64() * float64(max(c.old.rtt(), c.new.rtt())))
	if rng.IntN(4) == 0 && c.rate[later] > 0 && c.rate[1-later] > 0 {
		c.start[later] = never
	}
	return c
}

// A new path that carries nothing in one direction or both is given up by the
// side that hears nothing, and the other follows.
func TestDeadPath(t *testing.T) {
	for _, redirects := range []bool{true, false} {
		for _, rate := range []int{0, 200, 1000} {
			for _, dead := range [][2]bool{{true, true}, {true, false}, {false, true}} {
				for _, start := range [][2]time.Duration{{0, 0}, {0, 40 * ms}, {0, never}} {
					t.Run(fmt.Sprintf("redirects=%t/rate=%d/dead=%v/start=%v", redirects, rate, dead, start), func(t *testing.T) {
						c := setup{
							old: relay, new: direct, rate: [2]int{rate, rate}, start: start,
							redirects: [2]bool{redirects, redirects}, loaded: [2]bool{rate > 0, rate > 0},
							nftables: 50 * ms, netlink: ms,
						}
						c.new.dead = dead
						r := c.run(t, rand.New(rand.NewPCG(1, 1)))
						if r.outcomes[0] != WentBack && r.outcomes[1] != WentBack {
							t.Errorf("%s and %s", r.outcomes[0], r.outcomes[1])
						}
						for side, hole := range r.hole {
							if hole > 2200*ms {
								t.Errorf("side %d lost packets for %v", side, hole)
							}
							if r.endpoints[side] != r.old && (rate > 0 || r.outcomes[side] == WentBack) {
								t.Errorf("side %d ended on the new path", side)
							}
						}
						t.Logf("packets lost for %v", r.hole)
					})
				}
			}
		}
	}
}

var (
	from      = netip.MustParseAddrPort("192.0.2.9:20000")
	to        = netip.MustParseAddrPort("[2001:db8::1]:51820")
	elsewhere = netip.MustParseAddrPort("198.51.100.1:1")
)

// step is a look and the actions that follow it.
type step struct {
	at       time.Duration
	endpoint netip.AddrPort
	received int64
	want     []Action
}

func TestSteps(t *testing.T) {
	set, back, nudge := SetEndpoint{to}, SetEndpoint{from}, Nudge{}
	for name, c := range map[string]struct {
		config  Config
		steps   []step
		outcome Outcome
	}{
		"redirected": {Config{RTT: 20 * ms, CanRedirect: true, Loaded: true}, []step{
			{0, from, 0, []Action{set, nudge}},
			{20 * ms, to, 10, nil},
			{40 * ms, from, 20, []Action{set}},
			{260 * ms, to, 30, []Action{nudge}},
			{1020 * ms, to, 40, []Action{nudge}}, // a second after the first look
			{1070 * ms, to, 50, nil},             // the redirect may still be there
			{1130 * ms, to, 60, nil},
			{1150 * ms, to, 70, nil},
			{2020 * ms, to, 70, nil},
		}, Stayed},
		"redirected slowly": {Config{RTT: 20 * ms, CanRedirect: true, Loaded: true}, []step{
			{0, from, 0, []Action{set, nudge}},
			{900 * ms, to, 10, []Action{nudge}},
			{1899 * ms, from, 20, []Action{set, nudge}},
			{1950 * ms, from, 30, []Action{set, nudge}}, // set before, but not done yet
			{2100 * ms, to, 60, nil},
			{2120 * ms, to, 70, nil},
			{2900 * ms, to, 70, nil},
		}, Stayed},
		"never heard": {Config{RTT: 20 * ms, CanRedirect: true, Loaded: true}, []step{
			{0, from, 0, []Action{set, nudge}},
			{0, to, 0, nil},
			{1000 * ms, to, 40, []Action{nudge}},
			{1110 * ms, to, 60, nil},
			{1130 * ms, to, 60, nil},
			{1150 * ms, to, 60, nil},
			{1900 * ms, to, 60, []Action{nudge}},
			{2000 * ms, to, 60, []Action{back}},
		}, WentBack},
		"never looked": {Config{RTT: 20 * ms, CanRedirect: true, Loaded: true}, []step{
			{0, from, 0, []Action{set, nudge}},
			{0, to, 0, nil},
			{60_000 * ms, to, 40, []Action{nudge}},
			{60_100 * ms, to, 40, nil},
			{60_500 * ms, to, 40, []Action{nudge}},
			{61_000 * ms, to, 40, []Action{nudge}},
			{61_500 * ms, to, 64, nil},
		}, Stayed},
		"hardly looked": {Config{RTT: 20 * ms, CanRedirect: true, Loaded: true}, []step{
			{0, from, 0, []Action{set, nudge}},
			{0, to, 0, nil},
			{1400 * ms, to, 40, []Action{nudge}},
			{1500 * ms, to, 40, nil},
			{2000 * ms, to, 40, []Action{nudge}},
			{2010 * ms, to, 40, nil},
			{2020 * ms, to, 40, []Action{back}},
		}, WentBack},
		"the peer keeps to the old path": {Config{RTT: 20 * ms, CanRedirect: true, Loaded: true}, []step{
			{0, from, 0, []Action{set, nudge}},
			{0, to, 0, nil},
			{1000 * ms, to, 40, []Action{nudge}},
			{1120 * ms, from, 60, []Action{back}},
		}, WentBack},
		"a long way": {Config{RTT: 500 * ms, CanRedirect: true, Loaded: true}, []step{
			{0, from, 0, []Action{set, nudge}},
			{0, to, 0, nil},
			{1900 * ms, to, 10, []Action{nudge}},
			{1999 * ms, from, 10, []Action{set}},
			{2000 * ms, to, 10, []Action{nudge}},
			{2010 * ms, from, 10, []Action{back}},
		}, WentBack},
		"repeated": {Config{RTT: 20 * ms, Loaded: true}, []step{
			{0, from, 0, []Action{set, nudge}},
			{3 * ms, from, 10, []Action{set}},
			{6 * ms, to, 20, []Action{set}},
			{54 * ms, to, 40, []Action{set, nudge}}, // quiet for 51 ms
			{60 * ms, to, 50, nil},
			{70 * ms, from, 60, []Action{set}}, // a straggler
			{80 * ms, to, 60, nil},
			{90 * ms, to, 70, nil},
			{2000 * ms, to, 70, nil},
		}, Stayed},
		"idle": {Config{RTT: 20 * ms, CanRedirect: true}, []step{
			{0, from, 0, []Action{set, nudge}},
			{20 * ms, to, 0, nil},
			{40 * ms, to, 32, nil},
			{250 * ms, to, 32, []Action{nudge}},
			{2000 * ms, to, 32, nil},
		}, Stayed},
		"not idle after all": {Config{RTT: 20 * ms, CanRedirect: true}, []step{
			{0, from, 0, []Action{set, nudge}},
			{20 * ms, from, 32, []Action{set}},
			{20 * ms, to, 32, nil},
			{1010 * ms, to, 32, []Action{nudge}},
			{1020 * ms, to, 32, []Action{nudge}},
			{1130 * ms, to, 32, nil},
			{1140 * ms, to, 64, nil},
			{2020 * ms, to, 64, nil},
		}, Stayed},
		"the peer is elsewhere": {Config{RTT: 20 * ms, CanRedirect: true, Loaded: true}, []step{
			{0, from, 0, []Action{set, nudge}},
			{20 * ms, elsewhere, 32, nil},
		}, Roamed},
		"elsewhere before it began": {Config{}, []step{
			{0, elsewhere, 0, nil},
		}, Roamed},
	} {
		t.Run(name, func(t *testing.T) {
			c.config.From, c.config.To = from, to
			s := New(epoch, c.config)
			for _, step := range c.steps {
				now := epoch.Add(step.at)
				s.Looked(now, step.endpoint, step.received)
				if diff := cmp.Diff(step.want, s.Advance(now), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
					t.Errorf("after %v (-want +got):\n%s", step.at, diff)
				}
				if _, done := s.Done(); !done && !s.Next().After(now) {
					t.Errorf("after %v: next is not later", step.at)
				}
			}
			if outcome, done := s.Done(); outcome != c.outcome || done != (c.outcome != 0) {
				t.Errorf("ended: %t, %s", done, outcome)
			}
			if s.Redirects() {
				t.Error("redirects for ever")
			}
		})
	}
}

// A redirect is there before the endpoint moves, and only while packets flow.
func TestRedirects(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   bool
	}{
		{Config{CanRedirect: true, Loaded: true}, true},
		{Config{CanRedirect: true}, false},
		{Config{Loaded: true}, false},
	} {
		s := New(epoch, c.config)
		if got := s.Redirects(); got != c.want {
			t.Errorf("%+v: %t before it begins", c.config, got)
		}
		s.Advance(epoch)
		if got := s.Redirects(); got != c.want {
			t.Errorf("%+v: %t", c.config, got)
		}
	}
	s := New(epoch, Config{From: from, To: to, CanRedirect: true})
	s.Advance(epoch)
	s.Looked(epoch.Add(20*ms), from, 1)
	s.Advance(epoch.Add(20 * ms))
	if !s.Redirects() {
		t.Error("no redirect although packets flow")
	}
}

func TestAbandon(t *testing.T) {
	s := New(epoch, Config{From: from, To: to, CanRedirect: true, Loaded: true})
	s.Advance(epoch)
	now := epoch.Add(300 * ms)
	s.Abandon(now)
	if !s.Next().Equal(now) {
		t.Errorf("next %v", s.Next())
	}
	if diff := cmp.Diff([]Action{SetEndpoint{from}}, s.Advance(now), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Error(diff)
	}
	if outcome, done := s.Done(); !done || outcome != WentBack || s.Redirects() {
		t.Errorf("%s, %t", outcome, done)
	}
	s.Abandon(now)
	if actions := s.Advance(now); actions != nil {
		t.Errorf("after its end: %v", actions)
	}
}
