package natpunch

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v2"
)

func serverPairs() []*probeServer {
	return []*probeServer{newProbeServer("198.51.100.1", "198.51.100.2"), newProbeServer("203.0.113.3", "203.0.113.4")}
}

func configOf(servers []*probeServer, own netip.Addr) ProbeConfig {
	c := ProbeConfig{Own: []netip.Addr{own}}
	for _, s := range servers {
		c.Servers = append(c.Servers, s.primary())
	}
	return c
}

// Every combination of the knobs is told, over a network that loses nothing, in
// a few seconds and within the budget.
func TestProbeTellsEveryNAT(t *testing.T) {
	rng := func() *rand.Rand { return rand.New(rand.NewPCG(7, 7)) } // the same in whichever order the cases come
	behaviors := []Behavior{EndpointIndependent, AddressDependent, AddressAndPortDependent}
	picks := map[string]struct {
		pick      func() func(uint16, func(uint16) bool) uint16
		preserved bool
		step      int
		block     [2]uint16
	}{
		"preserved":     {func() func(uint16, func(uint16) bool) uint16 { return preserved }, true, 0, [2]uint16{}},
		"random":        {func() func(uint16, func(uint16) bool) uint16 { return randomIn(rng(), 1024, 65535) }, false, 0, [2]uint16{}},
		"block":         {func() func(uint16, func(uint16) bool) uint16 { return randomIn(rng(), 40000, 40999) }, false, 0, [2]uint16{40000, 40999}},
		"sequential":    {func() func(uint16, func(uint16) bool) uint16 { return sequential(30000, func() int { return 1 }) }, false, 1, [2]uint16{}},
		"in twos, down": {func() func(uint16, func(uint16) bool) uint16 { return sequential(30000, func() int { return -2 }) }, false, -2, [2]uint16{}},
	}
	for _, m := range behaviors {
		for _, f := range behaviors {
			for name, pick := range picks {
				for _, hairpin := range []bool{false, true} {
					t.Run(fmt.Sprintf("%v mapping, %v filtering, %s ports, hairpinning %v", m, f, name, hairpin), func(t *testing.T) {
						servers := serverPairs()
						w := &probeWorld{t: t, servers: servers, nat: &probeNAT{mapping: m, filtering: f, pick: pick.pick(), hairpin: hairpin}}
						p := NewProbe(configOf(servers, natInner))
						got, took := w.run(p)
						if got.Mapping != m {
							t.Errorf("mapping %v", got.Mapping)
						}
						if got.Filtering != f {
							t.Errorf("filtering %v", got.Filtering)
						}
						if got.Translated == nil || !*got.Translated {
							t.Error("no NAT is seen")
						}
						if got.PortPreserved == nil || *got.PortPreserved != pick.preserved {
							t.Errorf("preserved %v", got.PortPreserved)
						}
						if m == EndpointIndependent && (got.Hairpin == nil || *got.Hairpin != hairpin) {
							t.Errorf("hairpinning %v", got.Hairpin)
						}
						step, block := pick.step, pick.block
						if m == EndpointIndependent {
							step, block = 0, [2]uint16{}
						}
						if got.Step != step {
							t.Errorf("step %d, want %d", got.Step, step)
						}
						if inBlock(got.Low, got.High) != (block[0] != 0) {
							t.Errorf("block %d-%d, want %d-%d", got.Low, got.High, block[0], block[1])
						}
						if n := len(w.nat.mappings); n > maxProbeSessions || n > p.Sessions() {
							t.Errorf("%d mappings at the router, %d counted", n, p.Sessions())
						}
						if took > 8*time.Second {
							t.Errorf("took %v", took)
						}
					})
				}
			}
		}
	}
}

// inBlock: of ports picked at random from 40000 to 40999, most must be in.
func inBlock(low, high uint16) bool {
	return low >= 39800 && low <= 40250 && high >= 40750 && high <= 41200
}

func TestProbeWithoutNAT(t *testing.T) {
	servers := serverPairs()
	w := &probeWorld{t: t, servers: servers}
	got, took := w.run(NewProbe(configOf(servers, natOuter)))
	if got.Mapping != EndpointIndependent || got.Filtering != EndpointIndependent || got.Translated == nil || *got.Translated || got.Hairpin != nil {
		t.Errorf("%+v", got)
	}
	if took > time.Second {
		t.Errorf("took %v where all is answered", took)
	}
	if got.Detail != "no NAT: this host has a public address" {
		t.Error(got.Detail)
	}
}

// What servers cannot tell stays unknown, and nothing is told wrong.
func TestProbeWithPoorServers(t *testing.T) {
	nat := func() *probeNAT {
		return &probeNAT{mapping: EndpointIndependent, filtering: AddressDependent, pick: preserved}
	}
	tests := map[string]struct {
		servers   func() []*probeServer
		mapping   Behavior
		filtering Behavior
	}{
		"no servers": {func() []*probeServer { return nil }, UnknownBehavior, UnknownBehavior},
		"none answers": {func() []*probeServer {
			s := serverPairs()
			s[0].deaf, s[1].deaf = true, true
			return s
		}, UnknownBehavior, UnknownBehavior},
		"two ordinary ones": {func() []*probeServer {
			s := serverPairs()
			s[0].plain, s[1].plain = true, true
			return s
		}, EndpointIndependent, UnknownBehavior},
		"one ordinary one": {func() []*probeServer {
			s := serverPairs()[:1]
			s[0].plain = true
			return s
		}, UnknownBehavior, UnknownBehavior},
		"one that is whole": {func() []*probeServer { return serverPairs()[:1] }, EndpointIndependent, AddressDependent},
		"the first ignores CHANGE-REQUEST": {func() []*probeServer {
			s := serverPairs()
			s[0].ignores = true
			return s
		}, EndpointIndependent, AddressDependent},
		"all ignore CHANGE-REQUEST": {func() []*probeServer {
			s := serverPairs()
			s[0].ignores, s[1].ignores = true, true
			return s
		}, EndpointIndependent, UnknownBehavior},
		"the first sends nothing from elsewhere": {func() []*probeServer {
			s := serverPairs()
			s[0].mute = true
			return s
		}, EndpointIndependent, AddressDependent},
		"the first has no other address": {func() []*probeServer {
			s := serverPairs()
			s[0].noOther = true
			return s
		}, EndpointIndependent, AddressDependent},
		"the first is dead": {func() []*probeServer {
			s := serverPairs()
			s[0].deaf = true
			return s
		}, EndpointIndependent, AddressDependent},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			servers := tt.servers()
			w := &probeWorld{t: t, servers: servers, nat: nat()}
			got, took := w.run(NewProbe(configOf(servers, natInner)))
			if got.Mapping != tt.mapping || got.Filtering != tt.filtering {
				t.Errorf("mapping %v, filtering %v; want %v, %v", got.Mapping, got.Filtering, tt.mapping, tt.filtering)
			}
			if took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestProbeMeasuresLifetime(t *testing.T) {
	tests := []struct {
		nat, limit, want time.Duration
		atMost           time.Duration
	}{
		{15500 * time.Millisecond, 2 * time.Minute, 15 * time.Second, 40 * time.Second},
		{29 * time.Second, 2 * time.Minute, 25 * time.Second, time.Minute},
		{8 * time.Second, time.Minute, 5 * time.Second, 30 * time.Second},
		{2 * time.Minute, time.Minute, time.Minute, 80 * time.Second},
		{100 * time.Second, 5 * time.Minute, 90 * time.Second, 4 * time.Minute},
		{3 * time.Second, time.Minute, 0, 30 * time.Second},
	}
	for _, tt := range tests {
		for _, m := range []Behavior{EndpointIndependent, AddressAndPortDependent} {
			t.Run(fmt.Sprintf("%v, %v, up to %v", m, tt.nat, tt.limit), func(t *testing.T) {
				servers := serverPairs()
				rng := rand.New(rand.NewPCG(3, 3))
				w := &probeWorld{t: t, servers: servers, nat: &probeNAT{
					mapping: m, filtering: AddressAndPortDependent, pick: randomIn(rng, 1024, 65535), lifetime: tt.nat,
				}}
				c := configOf(servers, natInner)
				c.Lifetime = tt.limit
				p := NewProbe(c)
				got, took := w.run(p)
				if got.Lifetime != tt.want {
					t.Errorf("lifetime %v, want %v", got.Lifetime, tt.want)
				}
				if took > tt.atMost {
					t.Errorf("took %v", took)
				}
				if len(w.nat.mappings) > maxProbeSessions {
					t.Errorf("%d mappings", len(w.nat.mappings))
				}
			})
		}
	}
}

func TestProbeWithoutResponsePort(t *testing.T) {
	servers := serverPairs()
	servers[0].noResponse = true
	w := &probeWorld{t: t, servers: servers, nat: &probeNAT{mapping: EndpointIndependent, filtering: AddressAndPortDependent, pick: preserved}}
	c := configOf(servers, natInner)
	c.Lifetime = time.Minute
	if got, took := w.run(NewProbe(c)); got.Lifetime != 0 || took > 10*time.Second {
		t.Errorf("lifetime %v after %v", got.Lifetime, took)
	}
}

// Over a network that loses a tenth of all datagrams, most runs tell the truth,
// and none fails to end.
func TestProbeWithLoss(t *testing.T) {
	right := 0
	const runs = 300
	for seed := range uint64(runs) {
		servers := serverPairs()
		w := &probeWorld{t: t, servers: servers, loss: 0.1, rng: rand.New(rand.NewPCG(seed, 9)), nat: &probeNAT{
			mapping: EndpointIndependent, filtering: AddressAndPortDependent, pick: preserved, hairpin: true,
		}}
		got, _ := w.run(NewProbe(configOf(servers, natInner)))
		if got.Mapping == EndpointIndependent && got.Filtering == AddressAndPortDependent && got.Hairpin != nil && *got.Hairpin {
			right++
		}
		if got.Mapping > EndpointIndependent {
			t.Errorf("seed %d: %+v", seed, got)
		}
	}
	if right < runs*9/10 {
		t.Errorf("right in %d of %d runs", right, runs)
	}
}

func TestStepOf(t *testing.T) {
	for _, tt := range []struct {
		ports []uint16
		step  int
		even  bool
	}{
		{nil, 0, false},
		{[]uint16{1, 2, 3}, 0, false}, // too few
		{[]uint16{1000, 1001, 1002, 1003}, 1, true},
		{[]uint16{1000, 998, 996, 994}, -2, true},
		{[]uint16{1000, 1002, 1006, 1008}, 2, false},   // another host in between
		{[]uint16{1000, 1003, 1005, 1012}, 1, false},   // several
		{[]uint16{65534, 65535, 1024, 1025}, 1, false}, // the end of the range
		{[]uint16{1000, 1001, 5000, 1002}, 0, false},   // two leaps
		{[]uint16{1000, 1001, 1000, 1001}, 0, false},   // to and fro
		{[]uint16{1000, 1033, 1066, 1099}, 0, false},   // too wide
		{[]uint16{1000, 1000, 1000, 1000}, 0, false},   // one mapping
		{[]uint16{40000, 12, 50000, 33}, 0, false},     // random
		{[]uint16{1000, 1032, 1064, 1096, 1128}, 32, true},
	} {
		if step, even := stepOf(tt.ports); step != tt.step || even != tt.even {
			t.Errorf("%v: step %d, even %v; want %d, %v", tt.ports, step, even, tt.step, tt.even)
		}
	}
}

// Ports that are random in all of the range are never taken for sequential, nor
// for a block.
func TestRandomPortsAreNoBlock(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for range 20_000 {
		ports := make([]uint16, pickSamples)
		for i := range ports {
			ports[i] = 1024 + uint16(rng.UintN(64512))
		}
		if step, _ := stepOf(ports); step != 0 {
			t.Errorf("%v: step %d", ports, step)
		}
		if low, high := blockOf(ports); low != 0 || high != 0 {
			t.Errorf("%v: block %d-%d", ports, low, high)
		}
	}
}

// Nobody but who was asked is believed, and what comes twice is dropped.
func TestProbeReceive(t *testing.T) {
	servers := serverPairs()
	p := NewProbe(configOf(servers, natInner))
	p.Opened(7, 1) // never asked for
	a := p.Advance(epoch)
	if len(a.Open) != 1 || len(a.Send) != 0 {
		t.Fatalf("first %+v", a)
	}
	p.Opened(a.Open[0], 20000)
	a = p.Advance(epoch)
	if len(a.Send) != 2 {
		t.Fatalf("then %+v", a)
	}
	answer := bindingResponse(a.Send[0].Data, mapped1)
	for _, tt := range []struct {
		name string
		port int
		from netip.AddrPort
		data []byte
		want string
	}{
		{"another port", 1, a.Send[0].To, answer, "unsolicited"},
		{"another sender", 0, server4, answer, "unsolicited"},
		{"the request itself", 0, a.Send[0].To, a.Send[0].Data, "unsolicited"},
		{"another family", 0, a.Send[0].To, bindingResponse(a.Send[0].Data, netip.MustParseAddrPort("[2001:db8::1]:5")), "unsolicited"},
		{"no STUN", 0, a.Send[0].To, []byte("hello"), "malformed"},
		{"much", 0, a.Send[0].To, make([]byte, maxSTUN+1), "oversized"},
		{"the answer", 0, a.Send[0].To, answer, ""},
		{"the answer, again", 0, a.Send[0].To, answer, "unsolicited"},
	} {
		if tt.name == "the answer, again" {
			p.Advance(epoch)
		}
		if got := p.Receive(tt.port, tt.from, tt.data); got != tt.want {
			t.Errorf("%s: dropped %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A port that cannot be opened ends what needs it.
func TestProbeWithoutPorts(t *testing.T) {
	p := NewProbe(configOf(serverPairs(), natInner))
	now := epoch
	for range 1000 {
		for _, i := range p.Advance(now).Open {
			p.Opened(i, 0)
		}
		if p.Done() {
			if got := p.Result(); got.Servers != 0 {
				t.Errorf("%+v", got)
			}
			return
		}
		if next, ok := p.Next(); !ok {
			t.Fatal("it waits for nothing")
		} else if next.After(now) {
			now = next
		}
	}
	t.Error("it does not end")
}

// Whatever comes, it does not crash, sends to nobody but servers, their other
// addresses and the own mapping, and keeps its budget.
func FuzzProbeReceive(f *testing.F) {
	f.Add([]byte{0, 1}, []byte("x"))
	m := stun.MustBuild(stun.BindingSuccess, &stun.XORMappedAddress{IP: mapped1.Addr().AsSlice(), Port: 41000})
	f.Add([]byte{0, 0, 0, 0}, m.Raw)
	f.Fuzz(func(t *testing.T, script, data []byte) {
		if len(script) > 200 {
			return
		}
		c := configOf(serverPairs(), natInner)
		c.Lifetime = 30 * time.Second
		p := NewProbe(c)
		now := epoch
		var last ProbeSend
		for _, b := range script {
			a := p.Advance(now)
			for _, i := range a.Open {
				p.Opened(i, uint16(b)*100+uint16(i))
			}
			if n := len(a.Send); n > 0 {
				last = a.Send[n-1]
			}
			if len(last.Data) >= 20 && len(data) >= 20 {
				copy(data[8:20], last.Data[8:20])
			}
			p.Receive(int(b)%4, last.To, data)
			if p.Sessions() > maxProbeSessions {
				t.Fatalf("%d sessions", p.Sessions())
			}
			now = now.Add(time.Duration(b) * 10 * time.Millisecond)
		}
	})
}
