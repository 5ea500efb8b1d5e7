package portmap

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"
)

const testPort = 23456

// A run is a Mapper at work against fakes.
type run struct {
	*Mapper
	t       *testing.T
	changed chan struct{}
	saved   chan State
	stop    func()
}

// start runs a Mapper; edit may be nil.
func start(t *testing.T, edit func(*Config), gateways ...*fakeGateway) *run {
	t.Helper()
	r := &run{t: t, changed: make(chan struct{}, 100), saved: make(chan State, 100)}
	c := Config{
		Port: func() uint16 { return testPort },
		Gateways: func() ([]Gateway, error) {
			var list []Gateway
			for _, f := range gateways {
				list = append(list, f.gateway())
			}
			return list, nil
		},
		Save:    func(s State) { r.saved <- s },
		Changed: func() { r.changed <- struct{}{} },
		Log:     slog.New(slog.DiscardHandler),
	}
	if edit != nil {
		edit(&c)
	}
	r.Mapper = New(c)
	r.pace.renewMin, r.pace.retryMin, r.pace.kickMin = 100*time.Millisecond, 100*time.Millisecond, 0
	// On a busy machine the better answer comes when it comes, and so does the last one.
	r.pace.lead, r.pace.leadUPnP, r.pace.giveBack = patience, patience, patience
	for _, f := range gateways {
		if f.silent || f.deaf || f.noPCP && f.noNATPMP { // nothing better than UPnP can come
			r.pace.leadUPnP = 0
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(r.stop)
	return r
}

// until waits until a condition holds, looking whenever something changed and now and then.
func (r *run) until(what string, holds func() bool) {
	r.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-r.changed:
		case <-tick.C:
		case <-deadline:
			status, _ := json.Marshal(r.Status())
			r.t.Fatalf("%s: not within %v; mappings %+v, status %s", what, patience, r.Mappings(), status)
		}
	}
}

// mapping waits for the one mapping.
func (r *run) mapping() Mapping {
	r.t.Helper()
	r.until("a mapping", func() bool { return len(r.Mappings()) == 1 })
	return r.Mappings()[0]
}

// fault waits for what status says against a protocol.
func (r *run) fault(p Protocol) string {
	r.t.Helper()
	var found ProtocolReport
	r.until("an error of "+string(p), func() bool {
		for _, g := range r.Status().Gateways {
			for _, report := range g.Protocols {
				if report.Protocol == p && report.Error != "" {
					found = report
				}
			}
		}
		return found.Error != ""
	})
	return found.Error
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// The best protocol that a gateway speaks is used, and only that; what is mapped is gone at the end.
func TestBestProtocol(t *testing.T) {
	for _, c := range []struct {
		want Protocol
		edit func(*fakeGateway)
	}{
		{PCP, func(*fakeGateway) {}},
		{PCP, func(f *fakeGateway) { f.noNATPMP, f.igd.off = true, true }},
		{NATPMP, func(f *fakeGateway) { f.noPCP = true }},
		{IGD2, func(f *fakeGateway) { f.noPCP, f.noNATPMP = true, true }},
		{IGD1, func(f *fakeGateway) { f.silent, f.igd.services = true, []string{wanIP1} }},
		{IGD1, func(f *fakeGateway) { f.silent, f.igd.services = true, []string{wanPPP1} }},
		{IGD1, func(f *fakeGateway) { f.silent, f.igd.services = true, []string{legacyIP1} }},
		{IGD2, func(f *fakeGateway) { f.silent, f.igd.services = true, []string{wanPPP1, wanIP1, wanIP2} }},
	} {
		t.Run(string(c.want), func(t *testing.T) {
			t.Parallel()
			f := newFakeGateway(t)
			c.edit(f)
			f.start()
			r := start(t, nil, f)
			m := r.mapping()
			if m.Protocol != c.want || m.External != addrPort("5.0.0.2:23456") || m.Nested || m.Pinhole ||
				m.Lifetime != wantedLifetime || m.Expires.IsZero() || m.Gateway != f.addr {
				t.Errorf("mapping is %+v, want one by %s", m, c.want)
			}
			_, byPort := f.mapped(testPort)
			_, byIGD := f.igd.entry(testPort)
			if byPort == byIGD || byIGD != c.want.upnp() {
				t.Errorf("mapped by PCP or NAT-PMP: %v, by UPnP: %v", byPort, byIGD)
			}
			r.stop()
			_, byPort = f.mapped(testPort)
			_, byIGD = f.igd.entry(testPort)
			if byPort || byIGD {
				t.Error("the mapping is there after the end")
			}
			if len(r.Mappings()) != 0 {
				t.Error("a mapping is shown after the end")
			}
		})
	}
}

func TestNoGateway(t *testing.T) {
	t.Parallel()
	f := newFakeGateway(t)
	f.silent, f.igd.off = true, true
	f.start()
	r := start(t, nil, f)
	r.until("the reports", func() bool { s := r.Status(); return len(s.Gateways) == 1 && len(s.Gateways[0].Protocols) == 4 })
	for _, p := range r.Status().Gateways[0].Protocols {
		if p.Spoken || p.Error == "" {
			t.Errorf("of a silent gateway: %+v", p)
		}
	}
	if len(r.Mappings()) != 0 {
		t.Error("a silent gateway maps something")
	}
}

func TestNoRoute(t *testing.T) {
	fail := make(chan struct{}, 1)
	start(t, func(c *Config) {
		c.Gateways = func() ([]Gateway, error) {
			select {
			case fail <- struct{}{}:
			default:
			}
			return nil, errors.New("no routes")
		}
	})
	<-fail
}

// Gateways come and go, and WireGuard's port changes.
func TestHostChanged(t *testing.T) {
	t.Parallel()
	first, second := newFakeGateway(t).start(), newFakeGateway(t)
	second.external = netip.MustParseAddr("5.0.1.2")
	second.start()
	current, port := make(chan *fakeGateway, 1), make(chan uint16, 1)
	current <- first
	port <- testPort
	r := start(t, func(c *Config) {
		c.Gateways = func() ([]Gateway, error) {
			f := <-current
			current <- f
			return []Gateway{f.gateway()}, nil
		}
		c.Port = func() uint16 {
			p := <-port
			port <- p
			return p
		}
	})
	if m := r.mapping(); m.Gateway != first.addr {
		t.Fatalf("mapped by %v", m.Gateway)
	}
	<-current
	current <- second
	r.HostChanged()
	r.until("a mapping on the other gateway", func() bool {
		m := r.Mappings()
		return len(m) == 1 && m[0].External == addrPort("5.0.1.2:23456")
	})
	r.until("the first one's mapping deleted", func() bool { _, there := first.mapped(testPort); return !there })

	<-port
	port <- testPort + 1
	r.HostChanged()
	r.until("a mapping of the other port", func() bool { _, there := second.mapped(testPort + 1); return there })
	if _, there := second.mapped(testPort); there {
		t.Error("the old port is still mapped")
	}
}

// A mapping is renewed at half of its life, for as long as it takes.
func TestRenew(t *testing.T) {
	for _, p := range []Protocol{PCP, NATPMP} {
		t.Run(string(p), func(t *testing.T) {
			t.Parallel()
			f := newFakeGateway(t)
			f.igd.off, f.noPCP, f.lifetime = true, p == NATPMP, time.Second
			f.start()
			r := start(t, nil, f)
			first := r.mapping()
			r.until("a renewal", func() bool { m, _ := f.mapped(testPort); return m.made >= 3 })
			if m := r.mapping(); !m.Expires.After(first.Expires) || m.External != first.External {
				t.Errorf("after %+v comes %+v", first, m)
			}
		})
	}
}

// Restarted, a host asks for the same port under the same nonce, even after a crash.
func TestRestart(t *testing.T) {
	t.Parallel()
	f := newFakeGateway(t)
	f.strictNonce, f.noNATPMP, f.igd.off = true, true, true
	f.start()
	r := start(t, nil, f)
	r.mapping()
	var state State
	r.until("the state saved", func() bool {
		select {
		case state = <-r.saved:
			return true
		default:
			return false
		}
	})
	// The first one crashes: it deletes nothing.
	f.change(func() { f.silent = true })
	r.stop()
	f.change(func() { f.silent = false })

	b, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	var read State
	if err := json.Unmarshal(b, &read); err != nil {
		t.Fatal(err)
	}
	again := start(t, func(c *Config) { c.State = read }, f)
	if m := again.mapping(); m.Protocol != PCP {
		t.Errorf("mapped by %s", m.Protocol)
	}
	again.stop()

	// With another port, the mapping of the old one is deleted.
	f.change(func() { f.mappings[testPort] = &fakeMapping{nonce: [12]byte(read.Leases[0].Nonce), external: testPort} })
	third := start(t, func(c *Config) { c.State, c.Port = read, func() uint16 { return testPort + 1 } }, f)
	third.until("the other port", func() bool { _, there := f.mapped(testPort + 1); return there })
	if _, there := f.mapped(testPort); there {
		t.Error("what a crash left is still mapped")
	}
}

// What a next process is to go on with stays on the gateway, and is asked for by it.
func TestLeave(t *testing.T) {
	t.Parallel()
	f := newFakeGateway(t)
	f.igd.off = true
	f.start()
	var state State
	var causes []error
	r := start(t, func(c *Config) {
		c.Save = func(s State) { state = s } // read after the end only
		c.Leave = func(cause error) bool { causes = append(causes, cause); return true }
	}, f)
	first := r.mapping()
	r.stop()
	if _, there := f.mapped(testPort); !there || !slices.Equal(causes, []error{context.Canceled}) {
		t.Fatalf("still mapped: %v; causes %v", there, causes)
	}
	again := start(t, func(c *Config) { c.State = state }, f)
	if m := again.mapping(); m.External != first.External {
		t.Errorf("after %v comes %v", first.External, m.External)
	}
	again.stop()
	if _, there := f.mapped(testPort); there {
		t.Error("still mapped at the end")
	}
}

// Save is called for what changed, and only then.
func TestSavedOnce(t *testing.T) {
	t.Parallel()
	f := newFakeGateway(t)
	f.igd.off, f.lifetime = true, time.Second
	f.start()
	r := start(t, nil, f)
	r.until("renewals", func() bool { m, _ := f.mapped(testPort); return m.made >= 3 })
	r.stop()
	if n := len(r.saved); n != 2 {
		t.Errorf("saved %d times, want when mapped and when given back", n)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	f := newFakeGateway(t)
	f.igd.services = []string{wanIP2, wanIP1}
	f.start()
	r := Probe(t.Context(), f.gateway())
	var spoken []Protocol
	for _, p := range r.Protocols {
		if p.Spoken && p.Error == "" && p.External == f.external && p.Detail != "" {
			spoken = append(spoken, p.Protocol)
		}
	}
	if !slices.Equal(spoken, []Protocol{PCP, NATPMP, IGD2, IGD1}) {
		t.Errorf("report is %+v", r)
	}
	f.change(func() {
		if len(f.mappings) != 0 || len(f.igd.table) != 0 {
			t.Error("something is left behind")
		}
	})

	silent := newFakeGateway(t)
	silent.silent, silent.igd.off = true, true
	silent.start()
	best := patience
	for try := 0; try < 5 && best > probeFor; try++ { // one of them finds the machine at leisure
		begin := time.Now()
		for _, p := range Probe(t.Context(), silent.gateway()).Protocols {
			if p.Spoken || p.Error == "" {
				t.Errorf("of a silent gateway: %+v", p)
			}
		}
		best = min(best, time.Since(begin))
	}
	if best > probeFor {
		t.Errorf("took %v", best)
	}
}
