package natpunch

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// Over networks that lose up to a third of all datagrams, mix them up, and have
// NATs without a way for some ports, and in processes that are held up for
// seconds, nothing is told wrong, and little stays unknown.
func TestProbeOnRoughNetworks(t *testing.T) {
	const seeds = 300
	behaviors := []Behavior{EndpointIndependent, AddressDependent, AddressAndPortDependent}
	for _, tt := range []struct {
		loss    float64
		stalls  time.Duration
		unknown float64 // the share that may be
	}{
		{0, 0, 0},
		{0, 4 * time.Second, 0.01},
		{0.1, 0, 0.01},
		{0.2, 0, 0.03},
		{0.2, 5 * time.Second, 0.05},
		{0.3, 5 * time.Second, 0.2},
	} {
		t.Run(fmt.Sprintf("loss %v, stalls each %v", tt.loss, tt.stalls), func(t *testing.T) {
			asked, unknown := 0, make(map[string]int)
			for seed := range uint64(seeds) {
				rng := rand.New(rand.NewPCG(seed, 77))
				nat := &probeNAT{mapping: behaviors[seed%3], filtering: behaviors[seed/3%3], hairpin: seed%2 == 0}
				dependent := nat.mapping > EndpointIndependent
				step := 0
				switch {
				case dependent && seed%2 == 0:
					nat.pick, step = sequential(30000, func() int { return 1 }), 1
				case dependent:
					nat.pick = randomIn(rng, 1024, 65535)
				default:
					nat.pick = hashed(128)
				}
				servers := serverPairs()
				w := &probeWorld{t: t, servers: servers, loss: tt.loss, stalls: tt.stalls, jitter: 60 * time.Millisecond, rng: rng, nat: nat}
				p := NewProbe(configOf(servers, natInner))
				got, took := w.run(p)
				judge := func(name string, known, right bool) {
					asked++
					if !known {
						unknown[name]++
					} else if !right {
						t.Errorf("seed %d: %s is wrong: %+v", seed, name, got)
					}
				}
				judge("mapping", got.Mapping != UnknownBehavior, got.Mapping == nat.mapping)
				judge("filtering", got.Filtering != UnknownBehavior, got.Filtering == nat.filtering)
				if !dependent {
					judge("hairpinning", got.Hairpin != nil, got.Hairpin != nil && *got.Hairpin == nat.hairpin)
				} else {
					judge("step", got.Step != 0 || step == 0, got.Step == step)
				}
				if w.nat.mapping == EndpointIndependent && len(nat.mappings) > maxProbeSessions || p.Sessions() > maxProbeSessions {
					t.Errorf("seed %d: %d mappings, %d sessions", seed, len(nat.mappings), p.Sessions())
				}
				if took > time.Minute {
					t.Errorf("seed %d: took %v", seed, took)
				}
			}
			all := 0
			for _, n := range unknown {
				all += n
			}
			t.Logf("unknown: %v of %d", unknown, asked)
			if float64(all) > tt.unknown*float64(asked) {
				t.Errorf("unknown: %v of %d", unknown, asked)
			}
		})
	}
}

// So it is with lifetimes: never longer than true, seldom shorter, and whoever
// does not know says why.
func TestProbeLifetimeOnRoughNetworks(t *testing.T) {
	const seeds = 144
	for _, tt := range []struct {
		loss   float64
		stalls time.Duration
		right  float64 // the share that has to be
	}{
		{0, 0, 1},
		{0, 8 * time.Second, 0.95},
		{0.1, 0, 0.98},
		{0.2, 0, 0.95},
		{0.2, 8 * time.Second, 0.9},
		{0.3, 8 * time.Second, 0.6},
	} {
		t.Run(fmt.Sprintf("loss %v, stalls each %v", tt.loss, tt.stalls), func(t *testing.T) {
			right, short, none := 0, 0, 0
			for seed := range uint64(seeds) {
				rng := rand.New(rand.NewPCG(seed, 78))
				nat := &probeNAT{mapping: EndpointIndependent, filtering: AddressAndPortDependent, pick: hashed(128)}
				if seed%3 == 0 {
					nat.mapping, nat.pick = AddressAndPortDependent, randomIn(rng, 1024, 65535)
				}
				x := []struct{ lives, want time.Duration }{
					{17 * time.Second, 15 * time.Second},
					{28 * time.Second, 25 * time.Second},
					{35 * time.Second, 30 * time.Second},
					{2 * time.Minute, time.Minute},
				}[seed%4]
				nat.lifetime = x.lives
				servers := serverPairs()
				w := &probeWorld{t: t, servers: servers, loss: tt.loss, stalls: tt.stalls, jitter: 300 * time.Millisecond, rng: rng, nat: nat}
				c := configOf(servers, natInner)
				c.Lifetime = time.Minute
				p := NewProbe(c)
				got, took := w.run(p)
				switch {
				case got.Lifetime == x.want && got.LifetimeDetail == "":
					right++
				case got.Lifetime > nat.lifetime:
					t.Errorf("seed %d: %v where mappings live %v", seed, got.Lifetime, nat.lifetime)
				case got.Lifetime == 0 && got.LifetimeDetail == "":
					t.Errorf("seed %d: unknown, and does not say why: %+v", seed, got)
				case got.Lifetime == 0:
					none++
				default:
					short++
				}
				if took > 5*time.Minute || p.Sessions() > maxProbeSessions {
					t.Errorf("seed %d: took %v, %d sessions", seed, took, p.Sessions())
				}
			}
			t.Logf("right %d, short %d, unknown %d of %d", right, short, none, seeds)
			if float64(right) < tt.right*seeds {
				t.Errorf("right %d, short %d, unknown %d of %d", right, short, none, seeds)
			}
		})
	}
}
