package natpunch

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/credant/credant/discovery/wire"
)

// sizedPath is a path between two agents that drops what is longer than it carries.
type sizedPath struct {
	t      *testing.T
	now    time.Time
	agents [2]*Agent
	addrs  [2]netip.AddrPort
	mtu    [2]int // of IP packets, by sender
	loss   float64
	rng    *rand.Rand
	flight []sizedFlight
	told   [2][]MTU
	large  [2]int // datagrams longer than a check that were sent
}

type sizedFlight struct {
	at   time.Time
	to   int
	data []byte
}

const sizedDelay = 20 * time.Millisecond

func newSizedPath(t *testing.T, mtu int, addrs ...string) *sizedPath {
	t.Helper()
	p := &sizedPath{t: t, now: time.Unix(1000, 0), mtu: [2]int{mtu, mtu}, rng: rand.New(rand.NewPCG(1, uint64(mtu)))}
	if addrs == nil {
		addrs = []string{"5.0.1.1:1", "5.0.2.1:2"}
	}
	pairs := [2]Peer{}
	pairs[0].Pair, pairs[1].Pair = simPairs(simKey(1), simKey(2), 0)
	for i := range 2 {
		p.addrs[i] = netip.MustParseAddrPort(addrs[i])
		p.agents[i] = NewAgent(AgentConfig{Self: simKey(i + 1), MaxPayload: 1452, Rand: rand.NewChaCha8([32]byte{byte(i)})})
		addr := p.addrs[i].Addr()
		p.agents[i].SetLocal(p.now, Local{
			Candidates: []wire.Candidate{{Type: wire.Host, Addr: p.addrs[i]}},
			Prefixes:   []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())},
			HasIPv4:    addr.Is4(), HasIPv6: addr.Is6(),
		})
	}
	for i := range 2 {
		peer := pairs[i]
		peer.Node = simKey(2 - i)
		peer.Candidates = []wire.Candidate{{Type: wire.Host, Addr: p.addrs[1-i]}}
		p.agents[i].SetPeer(p.now, peer)
	}
	return p
}

// run lets time pass.
func (p *sizedPath) run(d time.Duration) {
	p.t.Helper()
	for end := p.now.Add(d); ; {
		for i, a := range p.agents {
			for _, x := range a.Advance(p.now) {
				p.perform(i, x)
			}
		}
		next := end
		for _, a := range p.agents {
			if at, ok := a.Next(); ok && at.Before(next) {
				next = at
			}
		}
		for _, f := range p.flight {
			if f.at.Before(next) {
				next = f.at
			}
		}
		if !next.Before(end) {
			p.now = end
			return
		}
		if next.After(p.now) {
			p.now = next
		}
		p.flight = slices.DeleteFunc(p.flight, func(f sizedFlight) bool {
			if f.at.After(p.now) {
				return false
			}
			p.agents[f.to].Receive(p.now, p.addrs[1-f.to], f.data)
			return true
		})
	}
}

func (p *sizedPath) perform(i int, x Action) {
	switch x := x.(type) {
	case Send:
		headers := 48
		if x.To.Addr().Is4() {
			headers = 28
		}
		if len(x.Data) > wire.CheckSize {
			p.large[i]++
		}
		if len(x.Data)+headers > p.mtu[i] || p.rng.Float64() < p.loss {
			return
		}
		p.flight = append(p.flight, sizedFlight{p.now.Add(sizedDelay), 1 - i, x.Data})
	case MTU:
		p.told[i] = append(p.told[i], x)
	case Lost:
		p.t.Errorf("%v: agent %d lost its path: %s", p.now, i, x.Reason)
	}
}

func (p *sizedPath) size(i int) int { return p.agents[i].PathMTU(simKey(2 - i)) }

// use lets time pass with traffic.
func (p *sizedPath) use(d time.Duration) {
	for end := p.now.Add(d); p.now.Before(end); p.run(2 * time.Second) {
		for i, a := range p.agents {
			a.Used(p.now, simKey(2-i))
		}
	}
}

// A path that carries the longest datagram costs one probe, once.
func TestWidePathCostsOneProbe(t *testing.T) {
	p := newSizedPath(t, 1500)
	p.run(time.Hour)
	for i := range 2 {
		if p.size(i) != 1452 || p.large[i] != 1 || len(p.told[i]) != 1 {
			t.Errorf("agent %d: %d bytes by %d probes, told %v; want 1452 by one", i, p.size(i), p.large[i], p.told[i])
		}
	}
}

// On every narrower path the size that is told is one that passes and, of those that
// are tried, the longest; large packets are held back within a second, and small ones
// never fail.
func TestNarrowPaths(t *testing.T) {
	for _, family := range [][]string{nil, {"[2001:db8:1::1]:1", "[2001:db8:2::1]:2"}} {
		headers := 28
		if family != nil {
			headers = 48
		}
		for mtu := minPacket; mtu <= 1500; mtu += 4 {
			p := newSizedPath(t, mtu, family...)
			p.run(2 * time.Second)
			if family == nil && mtu < 1480 || family != nil && mtu < 1500 {
				if len(p.told[0]) == 0 || p.told[0][0].Size+headers > mtu {
					t.Errorf("MTU %d: told %v after two seconds, want something that passes", mtu, p.told[0])
				}
			}
			p.run(20 * time.Second)
			want := 1452
			if 1452+headers > mtu {
				want = 0
				for _, s := range packetSizes {
					if s <= mtu {
						want = s - headers
					}
				}
			}
			for i := range 2 {
				if p.size(i) != want {
					t.Errorf("MTU %d, agent %d: %d bytes, want %d; told %v", mtu, i, p.size(i), want, p.told[i])
				}
				if p.large[i] > 5*maxProbes {
					t.Errorf("MTU %d, agent %d: %d probes", mtu, i, p.large[i])
				}
			}
		}
	}
}

// The two directions may differ.
func TestNarrowOneWay(t *testing.T) {
	p := newSizedPath(t, 1500)
	p.mtu[0] = 1400
	p.run(20 * time.Second)
	if p.size(0) != 1372 || p.size(1) != 1452 {
		t.Errorf("%d and %d bytes, want 1372 and 1452", p.size(0), p.size(1))
	}
}

// A path that becomes narrower is found out while it is used, one that becomes wider
// too, and neither costs anything when it is not.
func TestPathMTUChanges(t *testing.T) {
	p := newSizedPath(t, 1500)
	p.run(20 * time.Second)
	p.mtu = [2]int{1300, 1300}
	p.run(time.Hour)
	if p.size(0) != 1452 || p.large[0] != 1 {
		t.Errorf("%d bytes, %d probes while the path is not used, want 1452 and 1", p.size(0), p.large[0])
	}
	p.use(10 * time.Second)
	if p.size(0) != 1272 || p.size(1) != 1272 {
		t.Errorf("%d and %d bytes after it became narrow, want 1272", p.size(0), p.size(1))
	}
	p.mtu = [2]int{1500, 1500}
	p.use(11 * time.Minute)
	if p.size(0) != 1452 || p.size(1) != 1452 {
		t.Errorf("%d and %d bytes after it became wide, want 1452", p.size(0), p.size(1))
	}
	before := p.large[0]
	p.use(10 * time.Minute)
	if n := p.large[0] - before; n > 11 {
		t.Errorf("%d probes in ten minutes of use, want about one a minute", n)
	}
}

// Loss makes a search longer and may make it end lower, but never higher.
func TestPathMTUUnderLoss(t *testing.T) {
	right := 0
	for seed := range uint64(40) {
		p := newSizedPath(t, 1400)
		p.rng, p.loss = rand.New(rand.NewPCG(seed, 7)), 0.1
		p.run(time.Minute)
		for i := range 2 {
			if s := p.size(i); s > 1372 {
				t.Errorf("seed %d: %d bytes on a path of 1372", seed, s)
			} else if s == 1372 {
				right++
			}
		}
	}
	if right < 70 {
		t.Errorf("%d of 80 searches found the size, want nearly all", right)
	}
}

// An ICMP error speeds the search up; a forged one costs a probe or two.
func TestPacketTooBig(t *testing.T) {
	p := newSizedPath(t, 1400)
	for len(p.agents[0].peers[simKey(2)].mtu.sizes) == 0 || p.agents[0].peers[simKey(2)].mtu.tries == 0 {
		p.run(10 * time.Millisecond)
	}
	began := p.now
	p.agents[0].PacketTooBig(p.now, p.addrs[1], 1400)
	for p.size(0) != 1372 {
		p.run(10 * time.Millisecond)
		if p.now.Sub(began) > 2*time.Second {
			t.Fatalf("%d bytes two seconds after the hint, want 1372", p.size(0))
		}
	}
	if took := p.now.Sub(began); took > 100*time.Millisecond {
		t.Errorf("it took %v, want little more than a round trip", took)
	}
	p.run(10 * time.Second)
	for _, forged := range []int{0, 1, 68, 1280, 1399, 1400, 9000, 1 << 30} {
		before := p.large[0]
		p.agents[0].PacketTooBig(p.now, p.addrs[1], forged)
		p.agents[0].PacketTooBig(p.now, netip.MustParseAddrPort("5.0.9.9:9"), forged)
		p.run(10 * time.Second)
		if p.size(0) != 1372 || p.large[0]-before > 2 {
			t.Errorf("forged %d: %d bytes after %d probes", forged, p.size(0), p.large[0]-before)
		}
	}
}

// A check that is longer than others and not a probe is dropped, and a probe moves
// nothing: not the path, not what is known of the peer's needs.
func TestSizedChecksSayNothingElse(t *testing.T) {
	p := newSizedPath(t, 1500)
	p.run(time.Second)
	pair, _ := simPairs(simKey(1), simKey(2), 0)
	long, err := sealSized(&pair, check{Type: ping, Number: 1 << 40, ID: transactionID{1}}, 500)
	if err != nil {
		t.Fatal(err)
	}
	if reason := p.agents[1].Receive(p.now, p.addrs[0], long); reason != wire.DropReason(wire.ErrSize) {
		t.Errorf("a long ping: %q", reason)
	}
	if _, err := parseCheck(appendCheck(nil, check{Type: ping, Number: 1, Sized: true, Nominated: true})); err == nil {
		t.Error("a probe that nominates is accepted")
	}
	before, _ := p.agents[1].Path(simKey(1))
	elsewhere := netip.MustParseAddrPort("5.0.1.1:777")
	probe, err := sealSized(&pair, check{Type: ping, Number: 1 << 41, ID: transactionID{2}, Sized: true}, 1452)
	if err != nil {
		t.Fatal(err)
	}
	if reason := p.agents[1].Receive(p.now, elsewhere, probe); reason != "" {
		t.Errorf("a probe: %q", reason)
	}
	p.run(time.Second)
	if after, _ := p.agents[1].Path(simKey(1)); after != before {
		t.Errorf("the path is %v after a probe, before it was %v", after, before)
	}
	if c := p.agents[1].peers[simKey(1)]; c.find(netip.Addr{}, elsewhere) != nil {
		t.Error("a probe taught an address")
	}
}
